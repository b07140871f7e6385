"""What an index is made with, checked before torch and a model are loaded."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Union

from atlas.engine.settings import (
    METHODS,
    POSITIONS,
    Integration,
    require_one_of,
    require_position,
)
from atlas.errors import SettingsError
from atlas.indexing.shards import Shard
from atlas.selection.thresholds import Thresholds

if TYPE_CHECKING:
    from atlas.models.language_model import LanguageModel

COMMIT_WAIT = 600.0  # seconds that a commit waits for readers


@dataclass(frozen=True)
class IndexSettings:
    """Everything besides the facts that decides what an index holds.

    model, dtype, device: as for `load_model`; a loaded model is taken as it is. position: where
    neurons are attributed, at the `answer` position (Dai et al. 2022) or at the `subject`'s last
    token. score_floor: scores below this share of a prompt's maximum (in absolute value) are not
    stored. memory_budget (bytes) changes no score. shard: which part of the facts the index is of,
    which is recorded, but no part of what identifies the run.
    """

    model: Union[str, "LanguageModel"] = "mini-bert"
    dtype: str = "float32"
    device: str = "auto"
    position: str = "answer"
    method: str = "integrated-gradients"
    integration: Integration = field(default_factory=Integration)
    score_floor: float = 0.05
    thresholds: Thresholds = field(default_factory=Thresholds)
    memory_budget: int | None = None
    shard: Shard | None = None

    @property
    def name(self) -> str:
        """The model's name, loaded or not."""
        return self.model if isinstance(self.model, str) else self.model.name

    def __post_init__(self) -> None:
        require_one_of(POSITIONS, "position", self.position)
        require_one_of(METHODS, "method", self.method)
        require_position(self.method, self.position)
        if not 0 <= self.score_floor <= self.thresholds.ratio:
            raise SettingsError(
                f"score floor must lie between 0 and the selection's ratio "
                f"{self.thresholds.ratio}, got {self.score_floor}"
            )
