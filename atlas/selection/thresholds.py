"""What a selection asks of a neuron, and how the preset "paper" moves it.

Shares of prompts are compared as integers, in millionths: 0.7 of 10 prompts is 7 prompts, although
`0.7 * 10 > 7` may hold in floating point. Ratio and sharing are rounded to six decimals first.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from atlas.counted import counted
from atlas.errors import SettingsError

AGAINST = ("answer", "template")  # whose neurons a selection may leave out, see `against`
WHOLE = 1_000_000  # a share of 1, in millionths


@dataclass(frozen=True)
class Thresholds:
    """What a selection asks of a neuron.

    Preset "fixed" uses `sharing` as it is. Preset "paper" (Dai et al. 2022, section 4.1) starts
    there, and moves it for each relation by `step` until the relation's facts have between
    `target_low` and `target_high` neurons on average, `max_moves` times at most: down if they
    have too few, up if too many. It stays above 0 and does not exceed 1. Where a step jumps over
    the target, it comes to rest on the `nearer` side of it, of two equally near ones with fewer
    neurons. (Up to version 0.1 it went back and forth until the moves were used up, and stayed on
    the `last` side: `stops` names that for selections that were made so.)

    known_only: select neurons of known facts alone, see the view `all_fact_knowledge`.
    against: "answer" leaves out neurons that serve the same answer elsewhere, "template" those that
    serve other answers to the same templates, see `against`, once the sharing threshold has come
    to rest.
    templates: go by so many prompts of a fact, the first by template id, or all that it has if
    there are fewer: of facts asked with unlike numbers, those with fewer prompts have more neurons.
    frequency: of the neurons that all this chooses, keep those chosen as often over other ratios
    and bootstraps of the prompts, see stability.py. The preset "paper" comes to rest before.
    """

    preset: Literal["paper", "fixed"] = "paper"
    ratio: float = 0.2
    sharing: float = 0.7
    comparison: Literal[">=", ">"] = ">="
    min_prompts: int = 3
    target_low: float = 2.0
    target_high: float = 5.0
    step: float = 0.05
    max_moves: int = 6
    known_only: bool = True
    templates: int | None = None  # None: all
    stops: Literal["nearer", "last"] = "nearer"
    against: Literal["answer", "template"] | None = None
    frequency: float | None = None  # None: whatever it is

    @classmethod
    def from_settings(cls, settings: str) -> Self:
        """The thresholds whose `settings` a selection has stored, as JSON."""
        return cls(**({"known_only": False, "stops": "last"} | json.loads(settings)))

    def __post_init__(self) -> None:
        """SettingsError for a value outside its range."""
        if self.preset not in ("paper", "fixed"):
            raise SettingsError(f"preset is {self.preset!r}: use paper or fixed")
        if self.comparison not in (">=", ">"):
            raise SettingsError(f"comparison is {self.comparison!r}: use >= or >")
        if self.stops not in ("nearer", "last"):
            raise SettingsError(f"stops is {self.stops!r}: use nearer or last")
        if self.against not in (*AGAINST, None):
            raise SettingsError(f"against is {self.against!r}: use {' or '.join(AGAINST)}")
        for name in ("ratio", "sharing"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise SettingsError(f"{name} is {value}: use more than 0 and at most 1")
            object.__setattr__(self, name, round(float(value), 6))
        if self.frequency is not None:
            if not 0 < self.frequency <= 1:
                raise SettingsError(
                    f"frequency is {self.frequency}: use more than 0 and at most 1",
                    parameters=["frequency"],
                )
            object.__setattr__(self, "frequency", round(float(self.frequency), 6))
        if self.min_prompts < 1:
            raise SettingsError(f"min_prompts is {self.min_prompts}: use 1 or more")
        if self.templates is not None and self.templates < self.min_prompts:
            raise SettingsError(
                f"templates is {self.templates}, fewer than the "
                f"{counted(self.min_prompts, 'prompt')} that a neuron must pass in: use "
                "as many or more",
                parameters=["templates", "min_prompts"],
            )
        if not 0 <= self.target_low <= self.target_high:
            raise SettingsError(
                f"the target is {self.target_low} to {self.target_high:g} neurons per fact: "
                "the first must not be negative, nor exceed the second"
            )
        if not 0 < self.step <= 1 or self.max_moves < 0:
            raise SettingsError(
                f"step is {self.step} and max_moves {self.max_moves}: use a step of more than 0 "
                "and at most 1, and no negative number of moves"
            )

    def settings(self) -> dict[str, Any]:
        """The values that matter for the preset, by name.

        What is as it was in version 0.1 is left out, so that a selection of that version keeps its
        id: all facts, all templates, and moves that stop at the last one.
        """
        decisive: dict[str, Any] = {
            "preset": self.preset,
            "ratio": self.ratio,
            "sharing": self.sharing,
            "comparison": self.comparison,
            "min_prompts": int(self.min_prompts),
        }
        if self.preset == "paper":
            decisive |= {
                "target_low": float(self.target_low),
                "target_high": float(self.target_high),
                "step": float(self.step),
                "max_moves": int(self.max_moves),
            }
            if self.stops != "last":
                decisive["stops"] = self.stops
        if self.known_only:
            decisive["known_only"] = True
        if self.templates is not None:
            decisive["templates"] = int(self.templates)
        if self.against is not None:
            decisive["against"] = self.against
        if self.frequency is not None:
            decisive["frequency"] = self.frequency
        return decisive

    @property
    def name(self) -> str:
        """What a selection is called that nobody named: `paper`, `ratio-0.3-sharing-0.7`, …

        The preset "paper" as it stands has its own name; what differs from it is said.
        """
        usual = Thresholds()
        parts = ["paper"] if self.preset == "paper" else []
        if self.preset == "fixed" or self.ratio != usual.ratio:
            parts.append(f"ratio-{self.ratio:g}")
        if self.preset == "fixed" or self.sharing != usual.sharing:
            parts.append(f"sharing-{self.sharing:g}")
        if self.comparison != usual.comparison:
            parts.append("above")
        if self.min_prompts != usual.min_prompts:
            parts.append(f"prompts-{self.min_prompts}")
        if self.preset == "paper":
            low, high = self.target_low, self.target_high
            if (low, high) != (usual.target_low, usual.target_high):
                parts.append(f"target-{low:g}-{high:g}")
            if (self.max_moves, self.step) != (usual.max_moves, usual.step):
                parts.append(f"moves-{self.max_moves}-{self.step:g}")
            if self.stops != usual.stops:
                parts.append(self.stops)
        if self.templates is not None:
            parts.append(f"templates-{self.templates}")
        if self.against is not None:
            parts.append(f"against-{self.against}")
        if self.frequency is not None:
            parts.append(f"frequency-{self.frequency:g}")
        if not self.known_only:
            parts.append("all-facts")
        return "-".join(parts)

    @property
    def longer_name(self) -> str:
        """What it is called if its name is taken by another selection of the run.

        In an atlas of version 0.1 that is one of all facts, which were not in the name then.
        """
        return f"{self.name}-known-facts" if self.known_only else self.name

    def selection_id(self, run_id: str) -> str:
        """Twelve hex digits of SHA-256 over run and settings; changing this changes every id."""
        text = json.dumps([run_id, self.settings()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Settled:
    """The sharing threshold that a relation ended up with, in millionths."""

    sharing: int
    moves: int  # steps from where the preset starts
    mean_neurons: float | None  # None: the relation has no fact to select from
    target_met: bool | None  # None: there is no target, or no fact


def settle(neurons_by_share: Mapping[int, int], facts: int, thresholds: Thresholds) -> Settled:
    """Where the sharing threshold of a relation with `facts` facts to select from comes to rest.

    `neurons_by_share` counts (fact, neuron) pairs by the share of the fact's prompts in which
    they pass, in millionths.
    """
    sharing = round(thresholds.sharing * WHOLE)
    if not facts:
        return Settled(sharing, 0, None, None)

    def mean(threshold: int) -> float:
        return sum(n for share, n in neurons_by_share.items() if share >= threshold) / facts

    if thresholds.preset != "paper":
        return Settled(sharing, 0, mean(sharing), None)
    step = round(thresholds.step * WHOLE)
    moves = 0
    while moves < thresholds.max_moves:
        side = _side(mean(sharing), thresholds)
        following = sharing + side * step
        if not side or not 0 < following <= WHOLE:
            break
        jumps = _side(mean(following), thresholds) == -side
        if jumps and thresholds.stops == "nearer":
            if _nearer(mean(following), mean(sharing), thresholds):
                sharing, moves = following, moves + 1
            break
        sharing, moves = following, moves + 1
    return Settled(sharing, moves, mean(sharing), _side(mean(sharing), thresholds) == 0)


def narrowed(settled: Settled, mean_neurons: float, thresholds: Thresholds) -> Settled:
    """The same threshold, of which other tests have left fewer neurons a fact."""
    met = None if settled.target_met is None else _side(mean_neurons, thresholds) == 0
    return replace(settled, mean_neurons=mean_neurons, target_met=met)


def _side(mean: float, thresholds: Thresholds) -> int:
    """-1 for fewer neurons a fact than the target, 1 for more, 0 within it."""
    return int(mean > thresholds.target_high) - int(mean < thresholds.target_low)


def _nearer(mean: float, other: float, thresholds: Thresholds) -> bool:
    """Whether a mean lies nearer to the target than one on its other side; if equal, the lower."""
    return (_distance(mean, thresholds), mean) < (_distance(other, thresholds), other)


def _distance(mean: float, thresholds: Thresholds) -> float:
    return max(thresholds.target_low - mean, mean - thresholds.target_high, 0)
