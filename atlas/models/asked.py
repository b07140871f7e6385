"""What a model is asked, token by token, as people can read it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.prompts import UnusablePrompt

if TYPE_CHECKING:
    from atlas.models.language_model import LanguageModel

_MARKS = str.maketrans({" ": "␣", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


@dataclass(frozen=True)
class AskedTokens:
    """A prompt with the tokens that the model reads and those that it is asked for.

    tokens, token_ids: the input when the first answer token is asked for; a causal model's later
        ones see the answer's tokens before them, too.
    answer_tokens, answer_ids: what is predicted, in order.
    across: in running text a token reaches across the answer's edge, see `prompts.Target`.
    skipped_because: why the model cannot be asked; then there are no tokens.
    """

    text: str  # the object still [Y]
    answer: str
    tokens: tuple[str, ...] = ()
    answer_tokens: tuple[str, ...] = ()
    token_ids: tuple[int, ...] = ()
    answer_ids: tuple[int, ...] = ()
    across: bool = False
    skipped_because: str | None = None


def asked_tokens(lm: "LanguageModel", text: str, answer: str) -> AskedTokens:
    """The tokens of a text whose answer's place is `[Y]`, or why the model cannot be asked."""
    try:
        targets = lm.targets(text, answer)
    except UnusablePrompt as unusable:
        return AskedTokens(text, answer, skipped_because=unusable.reason)
    ids, wanted = targets[0].token_ids, tuple(target.token for target in targets)
    return AskedTokens(
        text=text,
        answer=answer,
        tokens=tuple(spelled(lm.tokenizer, token) for token in ids),
        answer_tokens=tuple(spelled(lm.tokenizer, token) for token in wanted),
        token_ids=ids,
        answer_ids=wanted,
        across=targets[0].across,
    )


def spelled(tokenizer: Any, token: int) -> str:
    """A token as text with its white space visible, `␣Paris`; by name where it is no whole text."""
    name = str(tokenizer.convert_ids_to_tokens(token))
    text = str(tokenizer.decode([token]))
    if token in tokenizer.all_special_ids or not text or "\ufffd" in text:
        text = name
    if name.startswith("▁") and not text.startswith(" "):  # decoding drops a text's first blank
        text = name.replace("▁", " ")
    return text.translate(_MARKS)
