"""What a model answers by itself: its own top tokens, never told any of the answer asked for.

A masked model is asked for all masks of an answer at once, and P(answer) is the product over them.
The top token of each mask is the answer for which that product is largest. To fill one mask and ask
again, in whichever order, would give a product of other conditions, not to be held against it.

A causal model is asked behind the answer's own tokens as long as they are what it says; from the
first that is not, it has to be asked again behind what it did say, until it has said as many tokens
as the answer has, or ended. So the answer is the model's own, and its rank 1, if each of its tokens
is on top behind those before it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from atlas.models.language_model import LanguageModel
from atlas.prompts import Target


class OwnAnswers:
    """The model's own answers to prompts, put together from top tokens in any order."""

    def __init__(self, lm: LanguageModel, encoded: Sequence[Sequence[Target]]) -> None:
        self.lm, self.encoded = lm, encoded
        self.tokens = [[0] * len(targets) for targets in encoded]
        self._log_p = [[0.0] * len(targets) for targets in encoded]

    def add(
        self,
        prompts: Sequence[int],
        indices: Sequence[int],
        top: Sequence[int],
        log_p: Sequence[float],
    ) -> None:
        """Note the top tokens that answer tokens `indices` of `prompts` were found to have."""
        for prompt, index, token, value in zip(prompts, indices, top, log_p, strict=True):
            self.tokens[prompt][index] = token
            self._log_p[prompt][index] = value

    def rounds(self) -> Iterator[list[tuple[int, int, Target]]]:
        """What is to be asked besides the targets: prompt, index of the token, and target.

        Every target's top token is to be there before the first round, and a round's before the
        next. No prompt of one token is in any.
        """
        if self.lm.objective == "masked":
            return
        said = {prompt: self._said(prompt) for prompt in range(len(self.encoded))}
        ends = _ends(self.lm)
        while True:
            for prompt, length in said.items():
                if length and self.tokens[prompt][length - 1] in ends:
                    del self.tokens[prompt][length:], self._log_p[prompt][length:]
            left = {p: length for p, length in said.items() if length < len(self.tokens[p])}
            if not left:
                return
            yield [(prompt, length, self._next(prompt, length)) for prompt, length in left.items()]
            said = {prompt: length + 1 for prompt, length in left.items()}

    def _said(self, prompt: int) -> int:
        """How many tokens the model said with nothing but its own before them."""
        targets = self.encoded[prompt]
        pairs = zip(self.tokens[prompt], targets, strict=True)
        other = (i for i, (token, target) in enumerate(pairs) if token != target.token)
        return min(next(other, len(targets)) + 1, len(targets))

    def _next(self, prompt: int, length: int) -> Target:
        targets = self.encoded[prompt]
        ids = (*targets[0].token_ids, *self.tokens[prompt][:length])
        return replace(targets[length], token_ids=ids)

    def log_p(self) -> NDArray[np.float64]:
        """Natural logarithm of the answers' probabilities, [prompt]."""
        return np.array([sum(values) for values in self._log_p], np.float64)

    def texts(self) -> tuple[str, ...]:
        """The answers, [prompt]."""
        return tuple(self.lm.tokenizer.decode(ids).strip() for ids in self.tokens)


def _ends(lm: LanguageModel) -> set[int]:
    """The tokens with which the model ends its text."""
    config = getattr(lm.model, "generation_config", None) or lm.model.config
    ids = getattr(config, "eos_token_id", None)
    return set(ids if isinstance(ids, list) else [] if ids is None else [ids])
