"""How the network is trained."""

from dataclasses import dataclass

from atlas.errors import SettingsError


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained; nothing is meant to need tuning.

    layers: in which it is to edit; none: the likeliest of method spare. edits: sampled to learn
    from. steps: of the descent. seed: of all that is drawn.
    """

    layers: tuple[int, ...] = ()
    edits: int = 2000
    steps: int = 800
    seed: int = 0

    def __post_init__(self) -> None:
        """SettingsError for a value outside its range."""
        for name in ("edits", "steps"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}: use 1 or more")
