"""What prompts lose of P(answer) with sets of neurons suppressed: all asked together."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from atlas.engine.suppression import Suppressed, ask_suppressed
from atlas.models.language_model import LanguageModel
from atlas.specificity.controls import Neurons
from atlas.specificity.partners import AskedPrompt

Key = TypeVar("Key", bound=Hashable)
Asked = tuple[Sequence[AskedPrompt], Neurons]  # with these neurons suppressed


def mean_losses(
    lm: LanguageModel, asked: Mapping[Key, Asked], *, relative: bool = True
) -> dict[Key, float]:
    """Of each, the mean over its prompts of the share of P(answer) that they lose.

    Negative where they gain. Not relative: of the loss itself. What has no prompt is left out. No
    prompt is asked twice with the same neurons. ModelError if the model returns NaN.
    """
    targets = {
        prompt: lm.targets(prompt.text, prompt.object, prompt.subject_end)
        for prompts, _ in asked.values()
        for prompt in prompts
    }
    pairs = dict.fromkeys(
        (prompt, neurons)
        for prompts, own in asked.values()
        for prompt in prompts
        for neurons in ((), own)
    )
    answers = ask_suppressed(lm, [Suppressed(targets[prompt], own) for prompt, own in pairs])
    log_p = dict(zip(pairs, answers.log_p.tolist(), strict=True))

    def loss(prompt: AskedPrompt, neurons: Neurons) -> float:
        share = -float(np.expm1(log_p[prompt, neurons] - log_p[prompt, ()]))
        return share if relative else share * float(np.exp(log_p[prompt, ()]))

    return {
        key: float(np.mean([loss(prompt, own) for prompt in prompts]))
        for key, (prompts, own) in asked.items()
        if prompts
    }
