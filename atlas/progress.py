"""What long work tells of itself while it runs, and how a notebook or a terminal shows it.

Work that takes a while has a parameter `progress`: a function that is called with each event, True
to have bars drawn on stderr, or None for silence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from atlas.counted import counted
from atlas.given_up import NotMeasured

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
    parts. complete: all of the part, or of the work that has none, is done and stored. workers: of
    a cluster that are at work; None: this process alone.
    given_up: what took workers with it, so far.
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
    workers: int | None = None
    given_up: tuple[NotMeasured, ...] = ()

    @property
    def pace(self) -> str:
        """Units a second of this call, the time left at that pace, and who is at work."""
        if not self.computed:
            return "already measured" if self.done else ""
        rate = self.computed / max(self.seconds, 1e-9)
        left = timedelta(seconds=round((self.total - self.done) / rate))
        workers = "" if self.workers is None else f", {counted(self.workers, 'worker')}"
        return f"{rate:,.1f} {self.unit}/s, ETA {left}{workers}"
