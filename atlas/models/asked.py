"""What a model is asked, token by token, as people can read it."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.prompts import UnusablePrompt

if TYPE_CHECKING:
    from atlas.models.language_model import LanguageModel

_BYTE = re.compile("<0x[0-9A-F]{2}>")  # so SentencePiece calls a byte
_MARKS = str.maketrans({" ": "␣", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
# How GPT-2 and its like write a byte as a letter: itself where it is visible, else one from 256 on.
_VISIBLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_BYTES = {
    **{chr(byte): byte for byte in _VISIBLE},
    **{chr(256 + i): byte for i, byte in enumerate(b for b in range(256) if b not in _VISIBLE)},
}
# What surrogateescape makes of bytes that are no whole character.
_LONE_BYTES = {0xDC00 + byte: f"<0x{byte:02X}>" for byte in range(128, 256)}


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
    """A token as text with its white space visible, `␣Paris`.

    Bytes that are no whole character are `<0xE6>`; what is no text otherwise is called by its name.
    """
    name = str(tokenizer.convert_ids_to_tokens(token))
    text = str(tokenizer.decode([token]))
    if token in tokenizer.all_special_ids or not text:
        text = name
    elif "\ufffd" in text:
        byte_level = all(letter in _BYTES for letter in name)
        text = _bytes_spelled(name) if byte_level and not _BYTE.fullmatch(name) else name
    if name.startswith("▁") and not text.startswith(" "):  # decoding drops a text's first blank
        text = name.replace("▁", " ")
    return text.translate(_MARKS)


def _bytes_spelled(name: str) -> str:
    """The text of a byte-level token, its bytes that are no whole character by number."""
    content = bytes(_BYTES[letter] for letter in name)
    return content.decode("utf-8", "surrogateescape").translate(_LONE_BYTES)
