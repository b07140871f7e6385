"""What a job could not measure, for it took its workers with it."""

from dataclasses import dataclass

from atlas.counted import counted


@dataclass(frozen=True)
class GivenUp:
    """A task that took its worker with it as often as is borne; its prompts are not measured."""

    attempts: int
    because: str


@dataclass(frozen=True)
class NotMeasured:
    """Prompts or facts (`unit`, singular) of something that were given up, as one task."""

    of: str  # a relation, an edit, or the interactions
    count: int
    unit: str
    attempts: int
    because: str

    @classmethod
    def task(cls, of: str, count: int, unit: str, given_up: GivenUp) -> "NotMeasured":
        return cls(of, count, unit, given_up.attempts, given_up.because)

    def __str__(self) -> str:
        return (
            f"{counted(self.count, self.unit)} of {self.of} not measured: each of "
            f"{counted(self.attempts, 'worker')} died of them ({self.because})"
        )
