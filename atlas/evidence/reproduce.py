"""Reproducing: experiments measured item by item, stored, and held against what was published."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from atlas.errors import NoScores, NotFound, SettingsError
from atlas.evidence.experiments.experiment import Chart, Item, Measuring, Row, Rows, Setting
from atlas.evidence.experiments.stored import (
    PublishedClaim,
    measured_items,
    record_experiment,
    record_items,
    rows_of,
    seconds_of,
)
from atlas.evidence.experiments.table import EXPERIMENTS
from atlas.progress import Advance, Reporter
from atlas.reporting import reported
from atlas.selection.chosen import OfSelection, null_selection
from atlas.store.atlas_file import AtlasFile

if TYPE_CHECKING:
    from atlas.models.language_model import LanguageModel

SECONDS = 5.0  # that a batch of items shall take, for it is what an interruption loses
MOST = 256  # items of a batch


@dataclass(frozen=True)
class Reproduced:
    """An experiment that was carried out, or why it was not.

    seconds: that measuring took, in all calls. parameters: as of the error that says what is
    missing, `errors.AtlasError`. null_items: measured of the run's null, the same of neurons of
    false objects; None: there is no null, or the experiment has none.
    """

    experiment: str
    title: str
    items: int
    seconds: float
    not_measured: str | None = None
    parameters: tuple[str, ...] = ()
    null_items: int | None = None
    charts: tuple[Chart, ...] = ()


@dataclass(frozen=True)
class ReproduceReport(OfSelection, rows="claims"):
    """Published claims beside what was measured here."""

    seed: int
    limit: int | None  # facts of each relation that were asked; None: all
    experiments: tuple[Reproduced, ...]
    claims: tuple[PublishedClaim, ...]


def reproduce(
    atlas: AtlasFile,
    names: Sequence[str],
    setting: Setting,
    model: "Callable[[], LanguageModel]",
    report: Reporter,
    *,
    skip: bool,
) -> tuple[ReproduceReport, dict[str, list[Row]]]:
    """Carry out these experiments, store what comes out, and hold it against what was published.

    With the report, each experiment's rows that its claims and charts rest on; those of its null,
    the same of neurons of false objects, as `NAME-null`.

    model: loads the model, asked once something has to be measured on it. skip: an experiment for
    which something is missing is told of, and not raised for.
    """
    if setting.limit is not None and setting.limit < 1:
        raise SettingsError(f"limit is {setting.limit}: use 1 or more", parameters=["limit"])
    measuring = Measuring(atlas, setting, _once(model))
    experiments, claims = [], []
    rows: dict[str, list[Row]] = {}
    for name in names:
        try:
            found, own, its_rows = _carried_out(name, measuring, report)
            rows |= its_rows
        except (NotFound, NoScores) as missing:
            if not skip:
                raise
            title = EXPERIMENTS[name].title
            found = Reproduced(name, title, 0, 0.0, str(missing), tuple(missing.parameters))
            own = []
        experiments.append(found)
        claims += own
    if not rows:
        raise NotFound(experiments[0].not_measured or "")
    return ReproduceReport(setting.seed, setting.limit, tuple(experiments), tuple(claims)), rows


def _carried_out(
    name: str, measuring: Measuring, report: Reporter
) -> tuple[Reproduced, list[PublishedClaim], dict[str, list[Row]]]:
    """The experiment, its claims, and its rows; those of its null as `NAME-null`."""
    setting = measuring.setting
    experiment, listed = EXPERIMENTS[name].load(), EXPERIMENTS[name]
    own = _measured(name, measuring, report)
    null = _null(name, measuring, report) if listed.null else None
    rows = Rows(own.rows, setting.seed)
    of_null = {}
    if null is not None:
        claims_of_null = experiment.claims(Rows(null.rows, setting.seed))
        of_null = {claim.name: claim.measured for claim in claims_of_null}
    claims = [
        PublishedClaim.of(name, claim, of_null.get(claim.name), setting.seed)
        for claim in experiment.claims(rows)
    ]
    about: dict[str, object] = {
        "seed": setting.seed,
        "facts_per_relation": setting.limit,
        "items": own.items,
        "seconds": own.seconds,
        "atlas_version": version("knowledge-neuron-atlas"),
    }
    with measuring.atlas.writing() as connection:
        record_experiment(connection, setting.selection.selection_id, name, about, claims)
    found = Reproduced(
        name,
        listed.title,
        own.items,
        own.seconds,
        null_items=None if null is None else null.items,
        charts=tuple(experiment.charts(rows)),
    )
    return found, claims, {name: own.rows} | ({} if null is None else {f"{name}-null": null.rows})


@dataclass(frozen=True)
class _Measured:
    items: int
    seconds: float
    rows: list[Row]


def _null(name: str, measuring: Measuring, report: Reporter) -> _Measured | None:
    """The same of neurons of false objects; None without a null, or where it lacks something."""
    setting = measuring.setting
    with measuring.atlas.reading() as connection:
        null = null_selection(connection, setting.selection.selection_id)
    if null is None:
        return None
    try:
        return _measured(name, replace(measuring, setting=replace(setting, null=null)), report)
    except (NotFound, NoScores):
        return None


def _measured(name: str, measuring: Measuring, report: Reporter) -> _Measured:
    """All items of an experiment, those measured that are not yet."""
    atlas, setting = measuring.atlas, measuring.setting
    selection_id = setting.neurons_of.selection_id
    with atlas.reading() as connection:
        items = EXPERIMENTS[name].load().items(connection, setting)
        stored = measured_items(connection, selection_id, name)
    missing = [item for item in items if stored.get(item.name) != item.asked]
    if missing:
        reported(_measuring(name, measuring, missing, len(items) - len(missing)), report)
    named = [item.name for item in items]
    with atlas.reading() as connection:
        rows = rows_of(connection, selection_id, name, named)
        seconds = seconds_of(connection, selection_id, name, named)
    return _Measured(len(items), seconds, rows)


def _measuring(
    name: str, measuring: Measuring, missing: Sequence[Item], done: int
) -> Iterator[Advance]:
    """Measure the items some at a time and store what comes out; yields where that stands."""
    experiment = EXPERIMENTS[name].load()
    what = f"reproduce {name}" + (", null" if measuring.setting.null else "")
    selection_id = measuring.setting.neurons_of.selection_id
    if EXPERIMENTS[name].asks_model:
        _ = measuring.lm  # loaded before the clock runs
    started, computed, size = time.monotonic(), 0, 1
    total = done + len(missing)
    yield Advance(what, done, total, unit="items")
    while computed < len(missing):
        some = missing[computed : computed + size]
        begun = time.monotonic()
        rows = experiment.measure(measuring, some)
        seconds = time.monotonic() - begun
        with measuring.atlas.writing() as connection:
            record_items(connection, selection_id, name, some, rows, seconds)
        computed += len(some)
        size = max(1, min(round(len(some) / max(seconds, 1e-9) * SECONDS), 4 * size, MOST))
        yield Advance(
            what,
            done + computed,
            total,
            computed,
            time.monotonic() - started,
            unit="items",
            complete=computed == len(missing),
        )


def _once(model: "Callable[[], LanguageModel]") -> "Callable[[], LanguageModel]":
    loaded: list[LanguageModel] = []

    def lm() -> "LanguageModel":
        if not loaded:
            loaded.append(model())
        return loaded[0]

    return lm
