"""Reproducing: experiments measured item by item, stored, and held against what was published."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
from atlas.selection.chosen import OfSelection
from atlas.store.atlas_file import AtlasFile

if TYPE_CHECKING:
    from atlas.models.language_model import LanguageModel

SECONDS = 5.0  # that a batch of items shall take, for it is what an interruption loses
MOST = 256  # items of a batch


@dataclass(frozen=True)
class Reproduced:
    """An experiment that was carried out, or why it was not.

    seconds: that measuring took, in all calls.
    """

    experiment: str
    title: str
    items: int
    seconds: float
    not_measured: str | None = None
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

    With the report, each experiment's rows that its claims and charts rest on.

    model: loads the model, asked once something has to be measured on it. skip: an experiment for
    which something is missing is told of, and not raised for.
    """
    if setting.limit is not None and setting.limit < 1:
        raise SettingsError(f"limit is {setting.limit}: use 1 or more", parameters=["limit"])
    measuring = Measuring(atlas, setting, _once(model))
    experiments, claims, rows = [], [], {}
    for name in names:
        try:
            found, own, rows[name] = _carried_out(name, measuring, report)
        except (NotFound, NoScores) as missing:
            if not skip:
                raise
            found, own = Reproduced(name, EXPERIMENTS[name].title, 0, 0.0, str(missing)), []
        experiments.append(found)
        claims += own
    if not rows:
        raise NotFound(experiments[0].not_measured or "")
    return ReproduceReport(setting.seed, setting.limit, tuple(experiments), tuple(claims)), rows


def _carried_out(
    name: str, measuring: Measuring, report: Reporter
) -> tuple[Reproduced, list[PublishedClaim], list[Row]]:
    atlas, setting = measuring.atlas, measuring.setting
    selection_id = setting.selection.selection_id
    experiment = EXPERIMENTS[name].load()
    with atlas.reading() as connection:
        items = experiment.items(connection, setting)
        stored = measured_items(connection, selection_id, name)
    missing = [item for item in items if stored.get(item.name) != item.asked]
    done = len(items) - len(missing)
    if missing:
        reported(_measured(name, measuring, missing, done), report)
    named = [item.name for item in items]
    with atlas.reading() as connection:
        found = rows_of(connection, selection_id, name, named)
        seconds = seconds_of(connection, selection_id, name, named)
    rows = Rows(found, setting.seed)
    claims = [PublishedClaim.of(name, claim) for claim in experiment.claims(rows)]
    about: dict[str, object] = {
        "seed": setting.seed,
        "facts_per_relation": setting.limit,
        "items": len(items),
        "seconds": seconds,
        "atlas_version": version("knowledge-neuron-atlas"),
    }
    with atlas.writing() as connection:
        record_experiment(connection, selection_id, name, about, claims)
    charts = tuple(experiment.charts(rows))
    title = EXPERIMENTS[name].title
    return Reproduced(name, title, len(items), seconds, charts=charts), claims, found


def _measured(
    name: str, measuring: Measuring, missing: Sequence[Item], done: int
) -> Iterator[Advance]:
    """Measure the items some at a time and store what comes out; yields where that stands."""
    experiment, what = EXPERIMENTS[name].load(), f"reproduce {name}"
    selection_id = measuring.setting.selection.selection_id
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
