"""What an experiment is: items to measure, rows that come of them, claims that rest on the rows."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, Protocol

import duckdb

from atlas.selection.chosen import ChosenSelection
from atlas.statistics import mean_interval
from atlas.store.atlas_file import AtlasFile

if TYPE_CHECKING:
    from atlas.models.language_model import LanguageModel


@dataclass(frozen=True)
class Setting:
    """What decides an experiment besides the atlas and the model.

    limit: facts of each relation that are asked; None: all. null: the selection of the run's null
    whose neurons, those of false objects, stand in the place of the facts' own; None: their own.
    """

    selection: ChosenSelection
    seed: int = 0
    limit: int | None = None
    null: ChosenSelection | None = None

    @property
    def neurons_of(self) -> ChosenSelection:
        """The selection whose neurons it is about."""
        return self.null or self.selection


@dataclass(frozen=True)
class Item:
    """What is measured and stored as one: a fact, a relation, or the whole selection.

    fact_id: the fact whose neurons it is about; None: it is about more than one fact. task: what
    `Experiment.measure` needs to know. asked: a digest of everything that decides the rows but for
    the model, see `digest`.
    """

    name: str
    fact_id: str | None
    task: Any
    asked: str


@dataclass(frozen=True)
class Row:
    """One number of an item.

    measure: what was measured, with its unit in docs. series: of whose neurons, by which method,
    on whose prompts. x: budget, layer, number of prompts, draw; None: there is no such axis.
    """

    item: str
    measure: str
    series: str
    x: float | None
    value: float


@dataclass(frozen=True)
class Estimate:
    """A mean over items, with its 95 % bootstrap interval; no interval for fewer than two."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float], seed: int) -> "Estimate":
        found = list(values)
        low, high = mean_interval(found, seed) or (None, None)
        return cls(fmean(found) if found else None, low, high, len(found))


@dataclass(frozen=True)
class Contrast:
    """What was measured beside its control, and their difference.

    by_item: the difference of each item; what `difference` is the mean of.
    """

    ours: Estimate
    control: Estimate
    difference: Estimate
    by_item: Mapping[str, float] = field(default_factory=dict, repr=False)

    def beyond(self, null: "Contrast", seed: int) -> Estimate:
        """How much larger the difference is than in the null, over items that both have."""
        return Estimate.of(
            (
                value - null.by_item[item]
                for item, value in self.by_item.items()
                if item in null.by_item
            ),
            seed,
        )


Verdict = Literal["holds", "does not hold", "undecided", "not measured"]


@dataclass(frozen=True)
class Claim:
    """Something published, and what was measured of it here beside a control.

    published, published_control: the figures as published, None where words alone were. against:
    what the control is. expected: how ours lies to the control if the claim is true.
    """

    name: str
    statement: str
    source: str
    unit: str
    published: float | None
    published_control: float | None
    measured: Contrast
    against: str
    expected: Literal["higher", "lower"]

    @property
    def verdict(self) -> Verdict:
        """What the difference to the control says."""
        return self.said_by(self.measured.difference)

    def said_by(self, difference: Estimate) -> Verdict:
        """What a difference says: its whole interval on one side of 0, or neither."""
        low, high = difference.low, difference.high
        if difference.value is None:
            return "not measured"
        if low is None or high is None or low <= 0 <= high:
            return "undecided"
        return "holds" if (low > 0) == (self.expected == "higher") else "does not hold"


@dataclass(frozen=True)
class Point:
    """A mean of a chart with its interval: at `x`, a number or a name, of `series`."""

    series: str
    x: float | str
    estimate: Estimate


@dataclass(frozen=True)
class Chart:
    """What a figure of an experiment shows; whoever draws it decides how.

    about: one sentence that says what is to be seen, for those who do not see it.
    """

    name: str
    title: str
    about: str
    x: str
    y: str
    points: tuple[Point, ...]


class Rows:
    """An experiment's rows, to be asked by what was measured."""

    def __init__(self, rows: Iterable[Row], seed: int) -> None:
        self.seed = seed
        self._values: dict[tuple[str, str], dict[float | None, dict[str, list[float]]]] = {}
        for row in rows:
            at = self._values.setdefault((row.measure, row.series), {})
            at.setdefault(row.x, defaultdict(list))[row.item].append(row.value)

    def series(self, measure: str) -> list[str]:
        """Of whom there are rows, in the order in which they were measured."""
        return [series for of, series in self._values if of == measure]

    def xs(self, measure: str, series: str) -> list[float]:
        """Where there are rows, in ascending order."""
        return sorted(x for x in self._values.get((measure, series), {}) if x is not None)

    def by_item(self, measure: str, series: str, x: float | None = None) -> dict[str, float]:
        """Each item's mean, over draws if there are any: x None means all that there are."""
        found: dict[str, list[float]] = defaultdict(list)
        for at, items in self._values.get((measure, series), {}).items():
            if x is None or at == x:
                for item, values in items.items():
                    found[item] += values
        return {item: fmean(values) for item, values in found.items()}

    def mean(self, measure: str, series: str, x: float | None = None) -> Estimate:
        """The mean over items."""
        return Estimate.of(self.by_item(measure, series, x).values(), self.seed)

    def points(self, measure: str) -> tuple[Point, ...]:
        """Every series at every x."""
        return tuple(
            Point(series, x, self.mean(measure, series, x))
            for series in self.series(measure)
            for x in self.xs(measure, series)
        )

    def contrast(
        self,
        measure: str,
        series: str,
        control: str,
        x: float | None = None,
        control_x: float | None = None,
    ) -> Contrast:
        """A series beside its control, over items that have both; control_x None: at x, too."""
        own = self.by_item(measure, series, x)
        other = self.by_item(measure, control, x if control_x is None else control_x)
        both = [item for item in own if item in other]
        differences = {item: own[item] - other[item] for item in both}
        return Contrast(
            Estimate.of((own[item] for item in both), self.seed),
            Estimate.of((other[item] for item in both), self.seed),
            Estimate.of(differences.values(), self.seed),
            differences,
        )

    def beside(self, measure: str, series: str, number: float, x: float | None = None) -> Contrast:
        """A series beside a number that chance gives, which has no interval."""
        own = self.by_item(measure, series, x)
        differences = {item: value - number for item, value in own.items()}
        return Contrast(
            Estimate.of(own.values(), self.seed),
            Estimate(number, None, None, len(own)),
            Estimate.of(differences.values(), self.seed),
            differences,
        )


@dataclass(frozen=True)
class Measuring:
    """What an experiment measures with; `lm` raises for one that asks no model."""

    atlas: AtlasFile
    setting: Setting
    model: "Callable[[], LanguageModel]"

    @property
    def lm(self) -> "LanguageModel":
        return self.model()


class Experiment(Protocol):
    """An experiment; its file has one object of this kind, `EXPERIMENT`, and its row in the table.

    Equal settings give equal rows, however the items are divided into calls of `measure`.
    """

    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        """What is to be measured; raises NotFound, NoScores with what is missing."""
        ...

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        """Measure some of the items."""
        ...

    def claims(self, rows: Rows) -> list[Claim]:
        """What the rows of all items say to what was published."""
        ...

    def charts(self, rows: Rows) -> list[Chart]:
        """What there is to be seen."""
        ...


def digest(*content: Any) -> str:
    """What decides an item's rows, in twelve characters; a version first, counted up by hand."""
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:12]
