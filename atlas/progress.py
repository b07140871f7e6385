"""What long work tells of itself while it runs, and how a notebook or a terminal shows it.

Work that takes a while has a parameter `progress`: a function that is called with each event, True
to have bars drawn on stderr, or None for silence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

Reporter = Callable[[object], None]
Progress = Reporter | bool | None


@dataclass(frozen=True)
class Loading:
    """A model is being loaded, which may take minutes."""

    model: str


@dataclass(frozen=True)
class Working:
    """Something that cannot say how far it has come."""

    what: str


@dataclass(frozen=True)
class Advance:
    """Where countable work stands.

    done, total: in `unit`, what earlier calls did included; computed: what this call did, in so
    many `seconds`. part, part_done, part_total: the same of the part at hand, where there are
    parts. complete: all of the part, or of the work that has none, is done and stored.
    """

    what: str
    done: int
    total: int
    computed: int = 0
    seconds: float = 0.0
    unit: str = "prompts"
    part: str | None = None
    part_done: int = 0
    part_total: int = 0
    complete: bool = False

    @property
    def pace(self) -> str:
        """Units a second of this call, and the time left at that pace."""
        if not self.computed:
            return "already measured" if self.done else ""
        rate = self.computed / max(self.seconds, 1e-9)
        left = timedelta(seconds=round((self.total - self.done) / rate))
        return f"{rate:,.1f} {self.unit}/s, ETA {left}"
