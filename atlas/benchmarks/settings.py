"""How a benchmark is run, checked before any model is loaded."""

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from atlas.benchmarks.case import BenchmarkCase
from atlas.edits.making.settings import EditSettings, update_settings
from atlas.errors import SettingsError

METHODS = ("spare", "solve", "paper")
PROTOCOLS = {
    "teacher-forced": ("teacher-forced",),
    "free": ("free-running",),
    "both": ("teacher-forced", "free-running"),
}
STRONGEST = 20  # neurons of an edit by a method that does not choose them itself
LONGEST_TEXT = 100  # tokens, as in ROME's evaluation


@dataclass(frozen=True)
class EvaluationSettings:
    """edits: how many cases, the first ones or, with a seed, drawn ones; None: all.

    protocol: one of PROTOCOLS. tokens: of a continued text, prompt included; 0 leaves fluency out.
    directory: where ROME's per-case files go; None: they are not written.
    """

    edits: int | None = None
    protocol: str = "both"
    seed: int | None = None
    tokens: int = LONGEST_TEXT
    directory: Path | None = None

    def __post_init__(self) -> None:
        """SettingsError for a value outside its range, and for a directory with results in it."""
        if self.edits is not None and self.edits < 1:
            raise SettingsError(f"edits is {self.edits}: use 1 or more", parameters=["edits"])
        if self.protocol not in PROTOCOLS:
            raise SettingsError(
                f"unknown protocol '{self.protocol}': choose {', '.join(PROTOCOLS)}",
                parameters=["protocol"],
            )
        if self.tokens < 0:
            raise SettingsError(f"tokens is {self.tokens}: use 0 or more", parameters=["tokens"])
        if self.directory is not None:
            if self.directory.exists() and not self.directory.is_dir():
                raise SettingsError(
                    f"{self.directory} is a file: name a directory for the cases",
                    parameters=["cases"],
                )
            if self.directory.is_dir() and any(self.directory.glob("case_*.json")):
                raise SettingsError(
                    f"{self.directory} holds results of cases: name another directory",
                    parameters=["cases"],
                )

    @property
    def protocols(self) -> tuple[str, ...]:
        return PROTOCOLS[self.protocol]

    def ordered(self, cases: tuple[BenchmarkCase, ...]) -> list[BenchmarkCase]:
        """The cases in the order in which they are taken."""
        return list(cases) if self.seed is None else Random(self.seed).sample(cases, len(cases))


def edit_settings(selection_id: str, method: str, given: dict[str, Any]) -> EditSettings:
    """The edits' settings: the STRONGEST neurons where a method has to be told which."""
    if method not in METHODS:
        raise SettingsError(
            f"benchmarks are not run by method '{method}': choose {', '.join(METHODS)}",
            parameters=["method"],
        )
    chosen = {name: value for name, value in given.items() if value is not None}
    if method != "spare" and not {"neurons", "common"} & chosen.keys():
        chosen["neurons"] = STRONGEST
    return update_settings(selection_id, {"method": method, **chosen})
