"""A few prompts, asked of any of the tiny models."""

from tiny_models import tiny

from atlas.models.language_model import LanguageModel
from atlas.prompts import Prompt, Target, encode

TEXTS = (
    ("The capital of Ireland is [MASK].", "Dublin"),
    ("The capital of France is [MASK].", "Paris"),
    ("The capital of Italy is [MASK].", "Ouagadougou"),
    ("The official capital city of Norway is [MASK].", "Oslo"),
)


def loaded(family: str) -> LanguageModel:
    model, tokenizer = tiny(family)
    return LanguageModel.from_parts(
        model=model,
        tokenizer=tokenizer,
        name=family,
        revision=None,
        weights_sha256="0" * 64,
        dtype="float32",
        device="cpu",
    )


def encoded(lm: LanguageModel) -> list[list[Target]]:
    prompts = [
        Prompt(text if lm.objective == "masked" else text.partition(" [MASK]")[0], answer)
        for text, answer in TEXTS
    ]
    return [encode(prompt, lm.tokenizer, lm.objective, lm.context) for prompt in prompts]
