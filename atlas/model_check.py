"""Whether the atlas measures a model rightly: the check that a newcomer runs first."""

import time
from dataclasses import dataclass

from atlas.answers import Answer
from atlas.engine.trial import Comparison, seeded_targets, try_whole
from atlas.errors import PromptError
from atlas.models.language_model import LanguageModel
from atlas.models.load import EMBEDDED, load_model
from atlas.models.positions import UNBOUNDED
from atlas.prompts import Target

# Unlike in length. A model whose tokenizer cannot express one is asked seeded tokens in its place.
_QUESTIONS = (
    ("The capital of France is [Y].", "Paris"),
    ("The official language of the Kingdom of Norway is [Y].", "Norwegian"),
)


@dataclass(frozen=True)
class ModelCheck(Answer, rows="comparisons"):
    """What the engine makes of a model, held against the model's own plain passes.

    right: whether every comparison's error is within what rounding comes to.
    """

    model: str
    model_id: str
    architecture: str
    listed: bool  # else its blocks were found by looking
    objective: str
    layers: int
    neurons_per_layer: int
    value_projection: str  # its place in the first block
    longest_input: int | None  # in tokens; None: any length
    dtype: str
    device: str
    seconds: float
    right: bool
    comparisons: tuple[Comparison, ...]


def check_model(
    model: LanguageModel | str = EMBEDDED, dtype: str = "float32", device: str = "auto"
) -> ModelCheck:
    """Compare answers and every layer's scores with the naive loop, on the model itself.

    model: a loaded model, or a name as for `load_model`, whose errors are raised. Takes about six
    forward passes and four backward passes a layer.

    Raises UnsupportedArchitecture where the model's own code fails, ModelError if it returns NaN.
    """
    lm = load_model(model, dtype, device, trial=False) if isinstance(model, str) else model
    started = time.perf_counter()
    comparisons = try_whole(lm, _targets(lm), every_layer=True)
    block = lm.blocks[0]
    names = {module: name for name, module in block.module.named_modules()}
    return ModelCheck(
        model=lm.name,
        model_id=lm.model_id,
        architecture=lm.architecture,
        listed=not lm.discovered,
        objective=lm.objective,
        layers=lm.layers,
        neurons_per_layer=lm.neurons_per_layer,
        value_projection=names[block.value_projection],
        longest_input=lm.context if lm.context < UNBOUNDED else None,
        dtype=lm.dtype,
        device=lm.device,
        seconds=time.perf_counter() - started,
        right=all(comparison.right for comparison in comparisons),
        comparisons=tuple(comparisons),
    )


def _targets(lm: LanguageModel) -> list[Target]:
    """The first answer token of each question."""
    try:
        return [lm.targets(text, answer)[0] for text, answer in _QUESTIONS]
    except PromptError:
        return seeded_targets(lm)
