"""An open atlas: every question and every job is one method that returns a frozen dataclass.

    db = atlas.open("atlas.duckdb")
    db.fact("Ireland:P36")
    db.edit_update("France:P36", "London")

Methods that ask about neurons take `selection` (a name, or an unambiguous beginning of an id) and
`run`; left out, the default selection is meant. `limit` is how many rows are shown; 0 and None both
show all. Methods that need the model take `lm`: a loaded model, a name or a path, or None for the
run's model wherever that is found; other weights, configuration or tokenizer than the run's are
refused. Methods that take a while take `progress`, see `atlas.progress`.

What needs torch is imported where it is used: questions must not wait for it.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union

import duckdb

from atlas.answers import Answer, Listed, at_most
from atlas.counted import counted
from atlas.distributed.settings import RaySettings, ray_settings
from atlas.edits.diff import EditDiff, edit_diff
from atlas.edits.edit import ChangedEdit, Edit, ImportedEdit, overlapping
from atlas.edits.in_force import (
    ExportedEdits,
    edits_in_force,
    interfering_edits,
    require_models,
    selection_of,
)
from atlas.edits.making.settings import (
    fact_settings,
    relation_settings,
    require_factor,
    require_other_object,
    require_solving_together,
    update_settings,
)
from atlas.edits.making.wanted import Wanted, named_changes, read_wanted
from atlas.edits.network.report import TrainedNetwork
from atlas.edits.network.settings import TrainingSettings
from atlas.edits.report import EditReport, MadeEdits, edit_report
from atlas.edits.stored import (
    delete_edit,
    edit_summaries,
    held_before,
    read_edits,
    record_edit,
    revert_edit,
    set_edit_state,
)
from atlas.errors import EditError, NoScores, SettingsError
from atlas.evidence.drawn import parse_sample, run_settings
from atlas.export.run_export import RunExport, export_run
from atlas.indexing.run_model import RunModel, edit_model, selection_model
from atlas.interactions.report import InteractionReport, interaction_report
from atlas.interactions.stored import unexamined_facts
from atlas.interference.predicted import InterferenceReport, interference_report
from atlas.meaning.report import NeuronMeaning, neuron_meaning
from atlas.meaning.stored import turned
from atlas.meaning.stored_associations import remember_associations
from atlas.pages.ask import AskPage, ask_page
from atlas.pages.compare import FactsCompared, facts_compared
from atlas.pages.edit import EditForecast, EditPage, edit_forecast, edit_page
from atlas.pages.fact import FactPage, fact_page, fact_pages
from atlas.pages.neuron import NeuronPage, neuron_page
from atlas.pages.overview import OverviewPage, overview_page
from atlas.pages.relation import RelationPage, relation_page
from atlas.progress import Loading, Progress, Reporter, Working
from atlas.queries.diff import SelectionDiff, selection_diff
from atlas.queries.fact_tokens import FactTokensReport
from atlas.queries.facts import FactReport, FactsReport, fact_reports, require_measured
from atlas.queries.group_overlap import group_overlap
from atlas.queries.info import AtlasInfo, atlas_info
from atlas.queries.knowledge import no_neuron
from atlas.queries.named_facts import one_fact, require_known_name
from atlas.queries.neurons import (
    HubOrder,
    HubsReport,
    NeuronReport,
    hubs_report,
    named_neuron,
    neuron_report,
    require_neuron,
)
from atlas.queries.objects import ObjectReport, object_report
from atlas.queries.overlap import (
    LayerOverlapReport,
    OverlapReport,
    layer_overlap,
    relation_overlap,
)
from atlas.queries.prompt_scores import PromptScoresReport, prompt_scores_report
from atlas.queries.relation_facts import FactOrder, Standing
from atlas.queries.relation_sharing import RelationPairReport, relation_pair
from atlas.queries.relations import RelationReport, one_relation, relation_report
from atlas.queries.search import SearchReport, search_report
from atlas.queries.sharing import NeighboursReport, SharedReport, neighbours_report, shared_report
from atlas.queries.single_facts import SingleFactsReport, single_facts_report
from atlas.reporting import reported, reporting
from atlas.selection.chosen import (
    ChosenSelection,
    choose_run,
    choose_selection,
    default_selection,
)
from atlas.selection.selections import (
    DefaultSelection,
    MadeSelection,
    delete_selection,
    make_selection,
    selections,
    use_selection,
)
from atlas.selection.stored_ratios import GRID
from atlas.selection.thresholds import Thresholds
from atlas.side_effects.forecast import ForecastReport, forecast_report, layers_to_measure
from atlas.side_effects.scopes import Scope, checked_by, parse_scope
from atlas.specificity.planned import planned
from atlas.specificity.report import SpecificityReport, specificity_report
from atlas.specificity.stored import measured_already
from atlas.store.atlas_file import AtlasFile, open_file
from atlas.store.dictionary import data_dictionary
from atlas.store.user_sql import QueryResult, run_sql

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from atlas.audit.report import AuditReport
    from atlas.benchmarks.report import EvaluationReport
    from atlas.distributed.workers import Workers
    from atlas.edits.asking import AskedReport
    from atlas.edits.live import LiveEdits
    from atlas.evidence.reproduce import ReproduceReport
    from atlas.evidence.verify import VerifyReport
    from atlas.explorer.rendering.inline import ShownPage
    from atlas.export.plots import Plotted
    from atlas.facts import Dataset
    from atlas.indexing.published import Imported
    from atlas.interference.measure import MeasuredInterference
    from atlas.jobs import IndexReport
    from atlas.meaning.typed_prompt import TypedPromptReport
    from atlas.merging.merge import Merged
    from atlas.models.language_model import LanguageModel
    from atlas.side_effects.checks import ChecksReport

ModelOrName: TypeAlias = Union["LanguageModel", str, Path, None]

# Naming these alone leaves the preset `paper`.
_OF_EITHER_PRESET = {"known_only", "templates", "against", "frequency"}


def open_atlas(path: Path | str = "atlas.duckdb", *, create: bool = False) -> "Atlas":
    """The atlas at `path`, upgraded first if an older version wrote it; also called `atlas.open`.

    An older file is copied to `PATH.backup-REVISION` before it is touched. With `create`, a
    missing file (or a DuckDB file without any table) becomes a new atlas.

    Errors: StoreError (no such file), NotAnAtlas, NewerAtlas, LockedAtlas, ReadOnlyAtlas, DiskFull.
    """
    return Atlas(open_file(path, create=create).path)


@dataclass(frozen=True)
class Atlas(AtlasFile):
    """An atlas at the newest revision; the file is open only while a method runs."""

    # Questions about what is stored

    def info(self) -> AtlasInfo:
        """Models, runs, selections and counts."""
        with self.reading() as connection:
            return atlas_info(connection, self.path)

    def fact(
        self, name: str, *, selection: str | None = None, run: str | None = None
    ) -> FactReport:
        """A fact's prompts and knowledge neurons; `name` is an id, a subject or SUBJECT:RELATION.

        Raises NotFound with near matches, AmbiguousFact for a name that several facts go by.
        """
        with self._opened(selection, run) as (connection, chosen):
            fact = one_fact(connection, name)
            return fact_reports(connection, chosen, fact.fact_id)[0].of(chosen)

    def facts(
        self,
        name: str,
        *,
        limit: int | None = None,
        selection: str | None = None,
        run: str | None = None,
    ) -> FactsReport:
        """Every fact that the name leads to; `limit` bounds the prompts and neurons of each."""
        with self._opened(selection, run) as (connection, chosen):
            found = fact_reports(connection, chosen, name, at_most(limit))
            return FactsReport(tuple(found)).of(chosen)

    def fact_prompts(
        self, name: str, *, selection: str | None = None, run: str | None = None
    ) -> PromptScoresReport:
        """A fact's knowledge neurons in each of its prompts, with their scores."""
        with self._opened(selection, run) as (connection, chosen):
            return prompt_scores_report(connection, chosen, name).of(chosen)

    def fact_tokens(
        self,
        name: str,
        *,
        lm: ModelOrName = None,
        limit: int | None = None,
        device: str = "auto",
        selection: str | None = None,
        run: str | None = None,
        progress: Progress = None,
    ) -> FactTokensReport:
        """The tokens with which the run's model is asked about a fact; nothing is measured."""
        with self._opened(selection, run) as (connection, chosen):
            named = one_fact(connection, name)
            (report,) = fact_reports(connection, chosen, named.fact_id, at_most(limit))
            wanted = selection_model(connection, chosen.selection_id)
        if not report.prompts:
            return FactTokensReport(named, ()).of(chosen)
        from atlas.models.asked import asked_tokens

        with reporting(progress) as tell:
            model = self._model(lm, wanted, device, tell)
            asked = (asked_tokens(model, prompt.text, named.object) for prompt in report.prompts)
            return FactTokensReport(named, tuple(asked)).of(chosen)

    def facts_with_object(
        self,
        name: str,
        *,
        limit: int | None = None,
        offset: int = 0,
        selection: str | None = None,
        run: str | None = None,
    ) -> ObjectReport:
        """The facts with this object: whether each is known, and how many neurons it has."""
        with self._opened(selection, run) as (connection, chosen):
            return object_report(connection, chosen, name, at_most(limit), offset).of(chosen)

    def diff(self, a: str, b: str, *, limit: int | None = None) -> SelectionDiff:
        """Two selections, or the selections of two runs, side by side."""
        with self.reading() as connection:
            return selection_diff(connection, a, b, at_most(limit))

    def neuron(
        self,
        layer: int | str,
        neuron: int | None = None,
        *,
        limit: int | None = None,
        selection: str | None = None,
        run: str | None = None,
    ) -> NeuronReport:
        """The facts that a neuron serves, highest score first; `3, 172` and `"3:172"` are one."""
        at = named_neuron(layer, neuron)
        with self._opened(selection, run) as (connection, chosen):
            return neuron_report(connection, chosen, *at, at_most(limit)).of(chosen)

    def relation(
        self,
        name: str,
        *,
        limit: int | None = None,
        selection: str | None = None,
        run: str | None = None,
    ) -> RelationReport:
        """A relation's neurons, layers and thresholds; `name` is its id or label."""
        with self._opened(selection, run) as (connection, chosen):
            return relation_report(connection, chosen, name, at_most(limit)).of(chosen)

    def hubs(
        self,
        *,
        by: HubOrder = "facts",
        limit: int | None = 20,
        selection: str | None = None,
        run: str | None = None,
    ) -> HubsReport:
        """The neurons that serve most facts, facts of most relations, or relations most evenly."""
        with self._opened(selection, run) as (connection, chosen):
            return hubs_report(connection, chosen, at_most(limit), by).of(chosen)

    def single_facts(
        self,
        *,
        ratios: Sequence[float] = GRID,
        selection: str | None = None,
        run: str | None = None,
    ) -> SingleFactsReport:
        """How many neurons serve one fact alone, at the selection's ratio and at others."""
        with self._opened(selection, run) as (connection, chosen):
            return single_facts_report(connection, chosen, ratios).of(chosen)

    def shared(
        self,
        a: str,
        b: str,
        *,
        limit: int | None = None,
        selection: str | None = None,
        run: str | None = None,
    ) -> SharedReport:
        """The neurons that two facts have in common."""
        with self._opened(selection, run) as (connection, chosen):
            return shared_report(connection, chosen, a, b, at_most(limit)).of(chosen)

    def neighbours(
        self,
        fact: str,
        *,
        limit: int | None = 20,
        selection: str | None = None,
        run: str | None = None,
    ) -> NeighboursReport:
        """The facts that share a fact's knowledge neurons, most shared first."""
        with self._opened(selection, run) as (connection, chosen):
            return neighbours_report(connection, chosen, fact, at_most(limit)).of(chosen)

    def overlap(
        self,
        *,
        by: Literal["relation", "layer", "object", "subject"] = "relation",
        limit: int | None = None,
        selection: str | None = None,
        run: str | None = None,
    ) -> OverlapReport | LayerOverlapReport:
        """How many knowledge neurons facts share, exactly, within groups and across them."""
        with self._opened(selection, run) as (connection, chosen):
            shown = at_most(limit)
            if by == "layer":
                return layer_overlap(connection, chosen, shown).of(chosen)
            if by == "relation":
                return relation_overlap(connection, chosen, shown).of(chosen)
            if by not in ("object", "subject"):
                raise SettingsError(
                    f"unknown group '{by}': choose relation, layer, object or subject"
                )
            return group_overlap(connection, chosen, by, shown).of(chosen)

    def sql(
        self, statement: str, *, limit: int | None = None, seconds: float | None = None
    ) -> QueryResult:
        """The answer to one SQL statement that reads; BadQuery for anything else.

        BadQuery, too, for one that takes longer than `seconds`.
        """
        return run_sql(self.path, statement, limit=at_most(limit), seconds=seconds)

    def dictionary(self) -> Listed:
        """Every view, table and column of the atlas with its meaning."""
        with self.reading() as connection:
            return Listed(tuple(data_dictionary(connection)))

    def engine(self) -> "Engine":
        """A read-only SQLAlchemy engine on the atlas, for pandas, polars and notebooks.

        Dispose of it before anything writes to the atlas.
        """
        import sqlalchemy

        return sqlalchemy.create_engine(
            f"duckdb:///{self.path}",
            connect_args={"read_only": True},
            poolclass=sqlalchemy.NullPool,
        )

    # Pages: all that is stored about one subject, in one answer

    def search(
        self,
        text: str,
        *,
        limit: int | None = 20,
        selection: str | None = None,
        run: str | None = None,
    ) -> SearchReport:
        """What a text typed into a search box may mean: a neuron, relations, facts, objects."""
        with self._opened(selection, run) as (connection, chosen):
            return search_report(connection, chosen, text, at_most(limit)).of(chosen)

    def overview_page(
        self, *, selection: str | None = None, run: str | None = None
    ) -> OverviewPage:
        """The atlas at a glance: contents, relations, layers, hubs, what relations share."""
        with self._opened(selection, run) as (connection, chosen):
            return overview_page(connection, self.path, chosen).of(chosen)

    def relation_page(
        self,
        name: str,
        *,
        by: FactOrder = "subject",
        standing: Standing = "all",
        containing: str = "",
        limit: int | None = None,
        offset: int = 0,
        selection: str | None = None,
        run: str | None = None,
    ) -> RelationPage:
        """A relation's neurons, layers and fellows, and its facts: sorted, filtered, paged."""
        with self._opened(selection, run) as (connection, chosen):
            return relation_page(
                connection,
                chosen,
                name,
                by=by,
                standing=standing,
                containing=containing,
                limit=at_most(limit),
                offset=offset,
            ).of(chosen)

    def fact_page(
        self, name: str, *, selection: str | None = None, run: str | None = None
    ) -> FactPage:
        """All that is stored of a fact; named as for `fact`."""
        with self._opened(selection, run) as (connection, chosen):
            return fact_page(connection, chosen, name).of(chosen)

    def fact_pages(
        self, relation: str, *, selection: str | None = None, run: str | None = None
    ) -> Iterator[FactPage]:
        """The pages of a relation's facts, by subject."""
        with self._opened(selection, run) as (connection, chosen):
            relation_id, _ = one_relation(connection, relation)
            for page in fact_pages(connection, chosen, relation_id):
                yield page.of(chosen)

    def neuron_page(
        self,
        layer: int | str,
        neuron: int | None = None,
        *,
        limit: int | None = None,
        offset: int = 0,
        selection: str | None = None,
        run: str | None = None,
    ) -> NeuronPage:
        """All that is stored of a neuron, named as for `neuron`.

        limit: at most so many of its facts; offset: after so many of them.
        """
        at = named_neuron(layer, neuron)
        with self._opened(selection, run) as (connection, chosen):
            return neuron_page(connection, chosen, *at, at_most(limit), offset).of(chosen)

    def compare_facts(
        self, a: str, b: str, *, selection: str | None = None, run: str | None = None
    ) -> FactsCompared:
        """Two facts side by side, with the neurons of each and those of both."""
        with self._opened(selection, run) as (connection, chosen):
            return facts_compared(connection, chosen, a, b).of(chosen)

    def compare_relations(
        self,
        a: str,
        b: str,
        *,
        limit: int | None = None,
        offset: int = 0,
        selection: str | None = None,
        run: str | None = None,
    ) -> RelationPairReport:
        """Two relations side by side, with the neurons that serve facts of both.

        limit: at most so many of those neurons; offset: after so many of them.
        """
        with self._opened(selection, run) as (connection, chosen):
            return relation_pair(connection, chosen, a, b, at_most(limit), offset).of(chosen)

    def edit_page(self, number: int) -> EditPage:
        """What is stored of an edit: outcome and side effects."""
        with self.reading() as connection:
            return edit_page(connection, number)

    def edit_forecast(self, number: int) -> EditForecast:
        """Who was forecast to suffer from an edit, and what came true; no model is asked."""
        with self.reading() as connection:
            return edit_forecast(connection, number)

    def ask_page(self, *, selection: str | None = None, run: str | None = None) -> AskPage:
        """How the selection's model is asked, with an example, and its edits in force."""
        with self._opened(selection, run) as (connection, chosen):
            return ask_page(connection, chosen).of(chosen)

    def page(
        self,
        what: Literal["overview", "relation", "fact", "neuron", "edit"],
        name: str | int = "",
        *,
        selection: str | None = None,
        run: str | None = None,
    ) -> "ShownPage":
        """A page of the explorer by itself, which a notebook shows; named as for its question."""
        from atlas.explorer.rendering.inline import TEMPLATES, shown_page

        of, named = {"selection": selection, "run": run}, str(name)
        if what not in TEMPLATES:
            raise SettingsError(f"there is no page '{what}': choose {', '.join(TEMPLATES)}")
        answer: Answer
        if what == "overview":
            answer = self.overview_page(**of)
        elif what == "relation":
            answer = self.relation_page(named, limit=100, selection=selection, run=run)
        elif what == "fact":
            answer = self.fact_page(named, **of)
        elif what == "neuron":
            answer = self.neuron_page(named, limit=40, selection=selection, run=run)
        else:
            answer = self.edit_page(int(name))
        return shown_page(what, answer, self.path)

    # Questions that may need the model; what it answers is stored, and not asked again

    def interference(
        self,
        fact: str,
        *,
        measure: ModelOrName | bool = None,
        facts: int | None = None,
        limit: int | None = None,
        device: str = "auto",
        selection: str | None = None,
        run: str | None = None,
        progress: Progress = None,
    ) -> "InterferenceReport | MeasuredInterference":
        """What a fact's neurons are to the other facts: predicted from scores, or measured.

        measure: a model, its name, or True for the run's: suppress the neurons in it, ask the
        `facts` (20 unless given) predicted to suffer most, as many controls, and twice as many
        drawn from all other facts, and store what comes out. How well it was predicted is told of
        the first two together and of the random ones apart, whatever `limit` shows of them.
        """
        shown = at_most(limit)
        predicted_only = measure is None or measure is False
        if predicted_only and (facts is not None or device != "auto"):
            ignored = "facts" if facts is not None else "device"
            raise SettingsError(
                f"{ignored} goes with measuring: what is predicted asks no model",
                parameters=[ignored],
            )
        with self._opened(selection, run) as (connection, chosen):
            if predicted_only:
                return interference_report(connection, chosen, fact, shown).of(chosen)
            interference_report(connection, chosen, fact, 0)  # refused before the model is loaded
            wanted = selection_model(connection, chosen.selection_id)
        from atlas.interference.measure import measure_interference

        with reporting(progress) as report:
            lm = self._model(None if measure is True else measure, wanted, device, report)
            count = 20 if facts is None else facts
            measured = measure_interference(self, lm, chosen, fact, count).of(chosen)
        return replace(measured, measurements=measured.measurements[:shown])

    def interactions(
        self,
        fact: str,
        *,
        lm: ModelOrName = None,
        limit: int | None = 20,
        device: str = "auto",
        selection: str | None = None,
        run: str | None = None,
        progress: Progress = None,
    ) -> InteractionReport:
        """What suppressing each of a fact's neurons, each pair and all of them does.

        NotFound for a fact without knowledge neurons, NoScores for published neurons.
        """
        shown = at_most(limit)
        with self._opened(selection, run) as (connection, chosen):
            if chosen.preset == "published":
                raise NoScores(
                    f"run {chosen.run_id} is of published neurons, without the prompts that "
                    "interactions are measured on: ask a run that measured a model",
                    parameters=("run",),
                )
            named = one_fact(connection, fact)
            require_measured(connection, chosen, named)
            missing = unexamined_facts(connection, chosen.selection_id, fact_id=named.fact_id)
            wanted = selection_model(connection, chosen.selection_id)
        with reporting(progress) as report:
            model = self._asked(lm, wanted, device, report, needed=bool(missing))
            if missing and model is not None:
                from atlas.interactions.examine import examine_and_record

                reported(examine_and_record(self, model, chosen.selection_id, missing), report)
        with self.reading() as connection:
            found = interaction_report(connection, chosen, named, shown)
            if found is None:
                raise no_neuron(connection, chosen, named)
        return found.of(chosen)

    def specificity(
        self,
        *,
        relations: Sequence[str] = (),
        controls: int = 10,
        limit: int | None = None,
        seed: int = 0,
        lm: ModelOrName = None,
        device: str = "auto",
        selection: str | None = None,
        run: str | None = None,
        progress: Progress = None,
    ) -> SpecificityReport:
        """What suppressing known facts' neurons does to their own prompts and to those of others.

        relations: ids or labels; none: all. controls: random draws. limit: facts of each relation.
        Stored, and not measured again with the same neurons, controls and seed. NotFound where
        there is no fact to measure or none to compare with, NoScores for published neurons.
        """
        with self._opened(selection, run) as (connection, chosen):
            named = [one_relation(connection, name)[0] for name in relations] or None
            plans = planned(connection, chosen, named, controls, limit, seed)
            stored = measured_already(connection, chosen.selection_id)
            missing = [plan for plan in plans if stored.get(plan.fact.fact_id) != plan.asked]
            wanted = selection_model(connection, chosen.selection_id)
        if missing:
            from atlas.specificity.measure import measure_and_record

            with reporting(progress) as report:
                model = self._model(lm, wanted, device, report)
                done = len(plans) - len(missing)
                reported(
                    measure_and_record(self, model, chosen.selection_id, missing, done), report
                )
        with self.reading() as connection:
            fact_ids = [plan.fact.fact_id for plan in plans]
            return specificity_report(connection, chosen.selection_id, fact_ids, controls, seed).of(
                chosen
            )

    def verify(
        self,
        *,
        sample: str | int = "1%",
        seed: int = 0,
        lm: ModelOrName = None,
        device: str = "auto",
        ray: str | None = None,
        workers: int | None = None,
        gpus_per_worker: float | None = None,
        selection: str | None = None,
        run: str | None = None,
        progress: Progress = None,
    ) -> "VerifyReport":
        """Stored prompts drawn at random, measured again here, and the selection made again.

        sample: a share of the run's measured prompts such as "1%" (64 at least), or a number.
        Nothing is written; whether all of it is as stored, `holds` says. ray, workers,
        gpus_per_worker: measure on workers of a Ray cluster, see `RaySettings`. NoScores for
        published neurons, SettingsError for a null.
        """
        drawn = parse_sample(sample)
        where = ray_settings(ray, workers, gpus_per_worker, device)
        with self._opened(selection, run) as (connection, chosen):
            run_settings(connection, chosen.run_id)  # refused before the model is loaded
            if chosen.null_of is not None:
                raise SettingsError(
                    f"selection {chosen.name} looks at a null: verify {chosen.null_of}, whose "
                    "thresholds it has",
                    parameters=["selection"],
                )
            wanted = selection_model(connection, chosen.selection_id)
        with reporting(progress) as report, self._crew(lm, wanted, device, where, report) as crew:
            from atlas.evidence.verify import verify

            _, theirs = crew
            return verify(self, theirs, chosen, drawn, seed, report).of(chosen)

    def reproduce(
        self,
        *experiments: str,
        seed: int = 0,
        limit: int | None = 5,
        report: Path | str | None = None,
        force: bool = False,
        lm: ModelOrName = None,
        device: str = "auto",
        selection: str | None = None,
        run: str | None = None,
        progress: Progress = None,
    ) -> "ReproduceReport":
        """Claims of the paper and its critics on trial: theirs beside ours, with a control each.

        experiments: names of `EXPERIMENTS`; none: all for which there is what they need. limit:
        known facts of each relation that the model is asked about; None: all. report: a
        file for a page of HTML, with the rows beside it; force: replace it. What is measured is
        stored, and not measured again. SettingsError for another name or a file that is there,
        NotFound and NoScores for what a named experiment lacks.
        """
        from atlas.evidence.experiments.table import named_experiments

        names = named_experiments(experiments)
        if report is not None:
            from atlas.explorer.rendering.reproduced import require_free

            require_free(Path(report), force)
        with self._opened(selection, run) as (connection, chosen):
            wanted = selection_model(connection, chosen.selection_id)
        with reporting(progress) as tell:
            from atlas.evidence.experiments.experiment import Setting
            from atlas.evidence.reproduce import reproduce

            found, rows = reproduce(
                self,
                names,
                Setting(chosen, seed, limit),
                lambda: self._model(lm, wanted, device, tell),
                tell,
                skip=not experiments,
            )
        found = found.of(chosen)
        if report is not None:
            from atlas.explorer.rendering.reproduced import write_report

            write_report(found, rows, self.path, Path(report))
        return found

    def meaning(
        self,
        layer: int | str,
        neuron: int | None = None,
        *,
        lm: ModelOrName = None,
        limit: int | None = 5,
        device: str = "auto",
        selection: str | None = None,
        run: str | None = None,
        progress: Progress = None,
    ) -> NeuronMeaning:
        """Tokens that an active neuron raises, prompts that excite it, what its facts share.

        The neuron as for `neuron`. Only what is not stored yet is asked of the model.
        """
        at, shown = named_neuron(layer, neuron), at_most(limit)
        with self._opened(selection, run) as (connection, chosen):
            require_neuron(chosen, *at)
            wanted = selection_model(connection, chosen.selection_id)
        remember_associations(self, chosen.selection_id)
        with self.reading() as connection:
            found = neuron_meaning(connection, chosen, *at, shown)
        unwritten = not found.tokens and chosen.preset != "published"
        with reporting(progress) as report:
            model = self._asked(lm, wanted, device, report, needed=unwritten)
        if unwritten and model is not None:
            from atlas.meaning.written import store_meaning

            written = store_meaning(self, model, chosen, *at)
            mean = written.activation if found.activation is None else found.activation
            found = replace(found, activation=mean, tokens=turned(written.tokens, mean))
        return found.of(chosen)

    # Selections

    def select(
        self,
        *,
        run: str | None = None,
        name: str | None = None,
        make_default: bool = True,
        **thresholds: Any,
    ) -> MadeSelection:
        """Choose knowledge neurons anew from the stored scores; thresholds as for `Thresholds`.

        Without any, the preset `paper`; with some and no `preset`, these as they are. Of known
        facts, unless `known_only` is False; with `templates`, by so many prompts of each fact; with
        `frequency`, those alone that are chosen as often over other ratios and bootstraps. The
        selection becomes the default, unless that is not wanted or it has no neuron. A selection
        with equal thresholds is the same one, and `name` renames it. Without `run`, the run of the
        default selection is meant.
        """
        if thresholds.keys() - _OF_EITHER_PRESET and "preset" not in thresholds:
            thresholds["preset"] = "fixed"
        how = Thresholds(**thresholds)
        with self.writing() as connection:
            default = default_selection(connection) if run is None else None
            run_id = choose_run(connection, run) if default is None else default.run_id
            return make_selection(connection, run_id, how, name=name, make_default=make_default)

    def selections(self) -> Listed:
        """Every selection with its thresholds and what it found, the default first."""
        with self.reading() as connection:
            return Listed(tuple(selections(connection)))

    def use_selection(self, wanted: str, *, run: str | None = None) -> DefaultSelection:
        """Make a selection the default, also an empty one."""
        with self.writing() as connection:
            return use_selection(connection, wanted, run)

    def delete_selection(self, wanted: str, *, run: str | None = None) -> ChosenSelection:
        """Delete a selection, not the default one, with all that is derived from it."""
        with self.writing() as connection:
            return delete_selection(connection, wanted, run)

    # Filling the atlas

    def index(
        self,
        model: "LanguageModel | str | Path" = "mini-bert",
        data: "Dataset | Path | str | None" = None,
        *,
        progress: Progress = None,
        **settings: Any,
    ) -> "IndexReport":
        """Measure facts on a model and select their neurons; see `atlas.jobs.index`."""
        from atlas.jobs import index

        return index(self.path, model, data, progress=progress, **settings)

    def import_published(
        self,
        files: Sequence[Path | str],
        model: str,
        data: Path | str,
        *,
        layers: int | None = None,
        neurons_per_layer: int | None = None,
    ) -> "Imported":
        """Store neurons that others published as a finished run with one selection."""
        from atlas.indexing.published import import_published

        return import_published(
            self.path,
            [Path(file) for file in files],
            model,
            Path(data),
            layers=layers,
            neurons_per_layer=neurons_per_layer,
        )

    def import_run(self, directory: Path | str, *, progress: Progress = None) -> "Merged":
        """Put back a run that `export_run` wrote; one that is there is joined with it."""
        from atlas.merging.merge import import_run

        return import_run(self.path, directory, progress=progress)

    def merge(
        self, sources: Path | str | Sequence[Path | str], *, progress: Progress = None
    ) -> "Merged":
        """Merge other atlases and exported runs into this one; see `atlas.merge`."""
        from atlas.merging.merge import merge

        return merge(sources, self.path, progress=progress)

    # Edits

    def edits(self, *ids: int) -> list[Edit]:
        """The stored edits with these numbers, in that order; without numbers, all in force.

        NotFound for a number that there is not.
        """
        with self.reading() as connection:
            return read_edits(connection, ids or None)

    def edit(self, number: int) -> EditReport:
        """An edit in full but for its deltas: neurons, settings, outcome."""
        with self.reading() as connection:
            return edit_report(connection, number)

    def edit_list(self) -> Listed:
        """One row an edit, oldest first."""
        with self.reading() as connection:
            return Listed(tuple(edit_summaries(connection)))

    def edit_diff(self, first: int, second: int) -> EditDiff:
        """What sets two edits apart: settings, neurons, and how alike their changes are."""
        with self.reading() as connection:
            found = read_edits(connection, [first, second])
            return replace(edit_diff(*found), selection=selection_of(connection, found))

    def edit_revert(self, *ids: int, undo: bool = False) -> Listed:
        """Take edits out of force but keep them, or bring them back; rows are `ChangedEdit`."""
        with self.writing() as connection:
            found = read_edits(connection, ids)
            for number in ids:
                if undo:
                    set_edit_state(connection, number, "stored")
                else:
                    revert_edit(connection, number)
        return Listed(tuple(_changed(edit, "stored" if undo else "reverted") for edit in found))

    def edit_delete(self, *ids: int) -> Listed:
        """Delete edits with their measurements; rows are `ChangedEdit`."""
        with self.writing() as connection:
            found = read_edits(connection, list(dict.fromkeys(ids)))
            for edit in found:
                delete_edit(connection, edit.edit_id or 0)
        return Listed(tuple(_changed(edit, "deleted") for edit in found))

    def edit_update(
        self,
        fact: str,
        to: str,
        *,
        relation: str | None = None,
        any_object: bool = False,
        lm: ModelOrName = None,
        device: str = "auto",
        selection: str | None = None,
        progress: Progress = None,
        **settings: Any,
    ) -> EditReport:
        """Give a fact a new object; settings as for `EditSettings`.

        Raises NotFound for an object that no fact of the atlas knows unless `any_object`, EditError
        for the object that it has, SettingsError for settings that are unknown or would be ignored;
        all that before the model is loaded. Then nothing is stored.
        """
        with self._opened(selection, None) as (connection, chosen):
            how = update_settings(chosen.selection_id, settings)
            found = one_fact(connection, fact, relation)
            if not any_object:
                require_known_name(connection, to)
            require_other_object(found.named, found.object, to)
            require_measured(connection, chosen, found)
            wanted = selection_model(connection, chosen.selection_id)
        with reporting(progress) as report:
            model = self._model(lm, wanted, device, report)
            report(Working(f"Editing {fact}"))
            from atlas.edits.making.make import make_update

            made = make_update(model, self, found.fact_id, to, how, report)
        return self._made(made)

    def edit_updates(
        self,
        changes: Wanted,
        *,
        each: bool = False,
        any_object: bool = False,
        lm: ModelOrName = None,
        device: str = "auto",
        selection: str | None = None,
        progress: Progress = None,
        **settings: Any,
    ) -> MadeEdits:
        """Give many facts new objects, solved together so that they do not undo each other.

        changes: rows (subject, relation, new object), or a CSV, TSV or JSONL file of them. each:
        store one edit a fact in place of one for all; they add up to it. Raises what `edit_update`
        raises, listing all that is wrong by line; then nothing is stored.
        """
        wanted = read_wanted(changes)
        with self._opened(selection, None) as (connection, chosen):
            how = update_settings(chosen.selection_id, settings)
            require_solving_together(how, len(wanted), each)
            facts = named_changes(connection, chosen, wanted, any_object)
            model_wanted = selection_model(connection, chosen.selection_id)
        with reporting(progress) as report:
            model = self._model(lm, model_wanted, device, report)
            report(Working(f"Editing {counted(len(wanted), 'fact')}"))
            from atlas.edits.making.make import make_updates

            pairs = [(f.fact_id, w.object) for f, w in zip(facts, wanted, strict=True)]
            made = make_updates(model, self, pairs, how, each, report)
        reports = tuple(self._made(one) for one in made)
        return MadeEdits(reports, len(facts), sum(one.seconds for one in reports)).of(chosen)

    def edit_train(
        self,
        *,
        layers: Sequence[int] = (),
        edits: int = 2000,
        steps: int = 800,
        seed: int = 0,
        lm: ModelOrName = None,
        device: str = "auto",
        selection: str | None = None,
        progress: Progress = None,
    ) -> TrainedNetwork:
        """Train the network of edits by method hypernetwork, and write it beside the atlas.

        layers: in which it is to edit; none: the likeliest one. edits: sampled from the facts of
        the selection's run to learn from; steps: of the training. The same call gives the same
        file, which replaces the one that is there once it is done.
        """
        how = TrainingSettings(layers=tuple(layers), edits=edits, steps=steps, seed=seed)
        with self._opened(selection, None) as (connection, chosen):
            wanted = selection_model(connection, chosen.selection_id)
        with reporting(progress) as report:
            model = self._model(lm, wanted, device, report)
            report(Working("Training the hypernetwork"))
            from atlas.edits.network.training import train_network

            return train_network(model, self, chosen, how, report)

    def edit_erase(
        self,
        fact: str | None = None,
        *,
        relation: str | None = None,
        lm: ModelOrName = None,
        device: str = "auto",
        selection: str | None = None,
        progress: Progress = None,
        **settings: Any,
    ) -> EditReport:
        """Set value vectors to zero: a fact's, or without one those of the relation's commonest.

        settings: `neurons`, and of a fact `common` and `held_out`, see `EditSettings`.
        """
        with self._opened(selection, None) as (connection, chosen):
            if fact is not None:
                how = fact_settings(chosen.selection_id, settings)
                found = one_fact(connection, fact, relation)
                require_measured(connection, chosen, found)
                target = found.fact_id
            else:
                how = relation_settings(chosen.selection_id, settings)
                target = one_relation(connection, relation or "")[0]
            wanted = selection_model(connection, chosen.selection_id)
        with reporting(progress) as report:
            model = self._model(lm, wanted, device, report)
            report(Working(f"Erasing {fact or relation}"))
            from atlas.edits.making.make import make_erase, make_relation_erase

            if fact is not None:
                made = make_erase(model, self, target, how)
            else:
                made = make_relation_erase(model, self, target, how.neurons or 20, how)
        return self._made(made)

    def edit_scale(
        self,
        fact: str,
        factor: float,
        *,
        relation: str | None = None,
        lm: ModelOrName = None,
        device: str = "auto",
        selection: str | None = None,
        progress: Progress = None,
        **settings: Any,
    ) -> EditReport:
        """Multiply the value vectors of a fact's neurons: below 1 suppresses, above 1 amplifies.

        settings: `neurons`, `common` and `held_out`, see `EditSettings`.
        """
        require_factor(factor)
        with self._opened(selection, None) as (connection, chosen):
            how = fact_settings(chosen.selection_id, settings)
            found = one_fact(connection, fact, relation)
            require_measured(connection, chosen, found)
            wanted = selection_model(connection, chosen.selection_id)
        with reporting(progress) as report:
            model = self._model(lm, wanted, device, report)
            report(Working(f"Editing {fact}"))
            from atlas.edits.making.make import make_scale

            made = make_scale(model, self, found.fact_id, factor, how)
        return self._made(made)

    def ask(
        self,
        lm: ModelOrName,
        *texts: str,
        edits: Sequence[int] = (),
        top: int = 5,
        tokens: int = 0,
        device: str = "auto",
        progress: Progress = None,
    ) -> "AskedReport":
        """Top answers to the texts without the edits and with them; the model stays as it was.

        Without texts, each edit's facts are asked once. tokens: how many a causal model writes on
        behind each text, at most.
        """
        with self.reading() as connection:
            found = edits_in_force(connection, edits)
            wanted = _model_of(connection, found[0]) if found else self._latest(connection)
            conflicts = interfering_edits(connection, found)
            own = [edit_report(connection, number).questions for number in edits]
            selection = selection_of(connection, found)
        questions = texts or tuple(question for several in own for question in several)
        from atlas.edits.asking import ask_all, require_questions, require_writer

        require_questions(questions)
        require_writer(wanted.objective, tokens)
        with reporting(progress) as report:
            model = self._model(lm, wanted, device, report)
            return ask_all(model, found, questions, top, tokens, conflicts, selection)

    def model(
        self,
        lm: ModelOrName = None,
        *,
        device: str = "auto",
        selection: str | None = None,
        run: str | None = None,
        progress: Progress = None,
    ) -> "LanguageModel":
        """The run's model, loaded: what methods that need it take as `lm`."""
        with self._opened(selection, run) as (connection, chosen):
            wanted = selection_model(connection, chosen.selection_id)
        with reporting(progress) as report:
            return self._model(lm, wanted, device, report)

    def attribute(
        self,
        text: str,
        answer: str,
        *,
        lm: ModelOrName = None,
        limit: int | None = 20,
        device: str = "auto",
        selection: str | None = None,
        run: str | None = None,
        progress: Progress = None,
    ) -> "TypedPromptReport":
        """The neurons of a prompt typed by hand, at the answer position; nothing is stored.

        text: for a masked model with one `[MASK]`, for a causal one up to the answer. Raises
        PromptError for what the model cannot be asked.
        """
        shown = at_most(limit)
        with self._opened(selection, run) as (connection, chosen):
            wanted = selection_model(connection, chosen.selection_id)
        from atlas.meaning.typed_prompt import typed_prompt

        with reporting(progress) as report:
            model = self._model(lm, wanted, device, report)
            report(Working("Attributing the answer"))
            return typed_prompt(self, model, chosen, text, answer, shown, report).of(chosen)

    def live(
        self,
        *edits: int,
        tokens: int = 0,
        lm: ModelOrName = None,
        device: str = "auto",
        progress: Progress = None,
    ) -> "LiveEdits":
        """A session in which the model is asked and edits are switched on and off.

        tokens: that will be asked of it to write; refused of a masked model before it is loaded.
        """
        _require_edits(edits)
        with self.reading() as connection:
            found = edits_in_force(connection, edits)
            wanted = _model_of(connection, found[0])
        from atlas.edits.asking import require_writer
        from atlas.edits.live import LiveEdits

        require_writer(wanted.objective, tokens)
        with reporting(progress) as report:
            return LiveEdits(self, self._model(lm, wanted, device, report), found)

    def check(
        self,
        *edits: int,
        scope: str | Scope = "neighbours",
        seed: int = 0,
        fail_over: str | None = None,
        worst: int = 10,
        lm: ModelOrName = None,
        device: str = "auto",
        ray: str | None = None,
        workers: int | None = None,
        gpus_per_worker: float | None = None,
        progress: Progress = None,
    ) -> "ChecksReport":
        """Measure what edits did to the facts of the index; stored, and not measured again.

        The report, and the limits of `fail_over`, are about this call's scope alone. One that holds
        no prompt but the edit's own is widened to `all`. ray, workers, gpus_per_worker: measure on
        workers of a Ray cluster, see `RaySettings`.
        """
        from atlas.side_effects.limits import parse_limits, require_others

        _require_edits(edits)
        limits = None if fail_over is None else parse_limits(fail_over)
        chosen = parse_scope(scope, seed) if isinstance(scope, str) else scope
        require_others(chosen, limits)
        where = ray_settings(ray, workers, gpus_per_worker, device)
        with self.reading() as connection:
            found = edits_in_force(connection, edits)
            for number in edits:
                checked_by(connection, number)  # refused before the model is loaded
            wanted = _model_of(connection, found[0])
        with reporting(progress) as report, self._crew(lm, wanted, device, where, report) as crew:
            from atlas.side_effects.checks import check_edits

            model, theirs = crew
            return check_edits(self, model, edits, chosen, limits, worst, report, theirs)

    def forecast(
        self,
        edit: int,
        *,
        limit: int | None = 20,
        lm: ModelOrName = None,
        device: str = "auto",
        progress: Progress = None,
    ) -> ForecastReport:
        """Who will suffer from an edit, from stored numbers: the facts forecast to suffer most.

        The model is needed only where activations of the edit's layers are missing; these are
        measured, once for all edits of the layer.
        """
        with self.reading() as connection:
            (found,) = read_edits(connection, [edit])
            by = checked_by(connection, edit)
            missing = layers_to_measure(connection, by, found)
            wanted = _model_of(connection, found)
        with reporting(progress) as report:
            model = self._asked(lm, wanted, device, report, needed=bool(missing))
            if model is not None and missing:
                from atlas.moments.measure import complete_activations

                complete_activations(self, model, by.run_id, missing, report)
        with self.reading() as connection:
            return forecast_report(connection, found, by, at_most(limit))

    def audit(
        self,
        checkpoint: str | Path,
        *,
        scope: str = "all",
        seed: int = 0,
        forecast: bool = False,
        fail_over: str | None = None,
        limit: int | None = 10,
        lm: ModelOrName = None,
        device: str = "auto",
        selection: str | None = None,
        run: str | None = None,
        progress: Progress = None,
    ) -> "AuditReport":
        """What other weights of the run's architecture did to its facts, however they were made.

        checkpoint: a directory, GGUF file, hub id or PEFT adapter. scope: `all`, `known` or
        `sample:N`. forecast: compare the weights and forecast, but ask nothing. fail_over: as for
        `check`. lm: the run's own model. What is asked is stored, and not asked again. ModelError
        for a checkpoint of other shapes or with another tokenizer.
        """
        from atlas.audit.scopes import parse_audit_scope
        from atlas.side_effects.limits import parse_limits

        limits = None if fail_over is None else parse_limits(fail_over)
        if forecast and limits is not None:
            raise SettingsError(
                "limits are about what is asked, and a forecast asks nothing: leave one out",
                parameters=["forecast", "fail_over"],
            )
        chosen_scope = parse_audit_scope(scope, seed)
        with self._opened(selection, run) as (connection, chosen):
            wanted = selection_model(connection, chosen.selection_id)
        with reporting(progress) as report:
            from atlas.audit.audit import audit
            from atlas.models.load import load_model

            base = self._model(lm, wanted, device, report)
            report(Loading(str(checkpoint)))
            other = load_model(str(checkpoint), wanted.dtype, device, attention=wanted.attention)
            return audit(
                self,
                base,
                other,
                str(checkpoint),
                chosen,
                chosen_scope,
                report,
                only_forecast=forecast,
                limits=limits,
                limit=at_most(limit),
            )

    def evaluate(
        self,
        file: Path | str,
        *,
        edits: int | None = None,
        method: str = "spare",
        protocol: str = "both",
        seed: int | None = None,
        tokens: int = 100,
        cases: Path | str | None = None,
        lm: ModelOrName = None,
        device: str = "auto",
        selection: str | None = None,
        run: str | None = None,
        progress: Progress = None,
        **settings: Any,
    ) -> "EvaluationReport":
        """Make a benchmark's edits one by one, and measure each by both protocols; stores nothing.

        file: CounterFact, zsRE or KnowEdit, see `atlas.benchmarks.layouts`. edits: how many cases,
        the first ones or, with a seed, drawn ones; None: all. method: spare, solve or paper, with
        settings as for `EditSettings`; solve and paper take the 20 strongest neurons unless told.
        protocol: `teacher-forced`, `free` or `both`. tokens: of each continued text, for fluency.
        cases: a directory for results in the layout of ROME's evaluation. DataError for a file of
        another layout, and where the model can be asked none of its cases.
        """
        from atlas.benchmarks.layouts import require_cases
        from atlas.benchmarks.settings import EvaluationSettings, edit_settings

        how = EvaluationSettings(
            edits, protocol, seed, tokens, None if cases is None else Path(cases)
        )
        benchmark = require_cases(file)
        with self._opened(selection, run) as (connection, chosen):
            edit = edit_settings(chosen.selection_id, method, settings)
            run_settings(connection, chosen.run_id)
            wanted = selection_model(connection, chosen.selection_id)
        with reporting(progress) as report:
            from atlas.benchmarks.evaluate import evaluate

            model = self._model(lm, wanted, device, report)
            return evaluate(self, model, benchmark, chosen, edit, how, report)

    def edit_export(
        self,
        *edits: int,
        to: Path | str | None = None,
        adapter: Path | str | None = None,
        delta: Path | str | None = None,
        force: bool = False,
        lm: ModelOrName = None,
        device: str = "auto",
        progress: Progress = None,
    ) -> ExportedEdits:
        """Write edits as a model directory, as a PEFT adapter or as a file of the changes alone.

        Exactly one of `to`, `adapter` (both directories) and `delta` (a file, written without a
        model) says where.
        """
        if sum(place is not None for place in (to, adapter, delta)) != 1:
            raise ValueError("give one of `to` and `adapter`, directories, and `delta`, a file")
        _require_edits(edits)
        if delta is not None:
            _require_no_model(lm, device)
        with self.reading() as connection:
            found = edits_in_force(connection, edits)
            selection = selection_of(connection, found)
            interference = interfering_edits(connection, found) if delta is None else []
            wanted = _model_of(connection, found[0]) if delta is None else None
        if delta is not None:
            from atlas.edits.delta_files import write_delta

            file = write_delta(Path(delta), found, force=force)
            return ExportedEdits(str(file), edits, (), (), selection=selection)
        assert wanted is not None
        from atlas.edits.adapter import write_adapter
        from atlas.edits.destination import ADAPTER, MODEL, require_free
        from atlas.edits.model_export import export_model

        directory = Path(to if to is not None else adapter or "")
        require_free(directory, force, MODEL if to is not None else ADAPTER)
        with reporting(progress) as report:
            model = self._model(lm, wanted, device, report)
            report(Working(f"Writing {directory}"))
            write = export_model if to is not None else write_adapter
            written = write(model, found, directory, force=force)
        return ExportedEdits(
            str(written),
            edits,
            tuple(overlapping(found)),
            tuple(interference),
            selection=selection,
        )

    def edit_import(self, path: Path | str) -> Listed:
        """Read edits from a delta file, or from the directory of an adapter that was exported.

        Rows are `ImportedEdit`, in the order in which they were exported; one that the atlas holds
        already keeps its number.
        """
        from atlas.edits.adapter import read_adapter
        from atlas.edits.delta_files import read_delta

        edits = read_adapter(path) if Path(path).is_dir() else read_delta(path)
        with self.writing() as connection:
            require_models(connection, edits)
            return Listed(tuple(_imported(connection, edit) for edit in edits))

    # Files

    def export_run(
        self, to: Path | str, *, run: str | None = None, force: bool = False
    ) -> RunExport:
        """Write a run (the latest unless one is named) as Parquet files into a new directory."""
        return export_run(self, run, Path(to), force=force)

    def plot(
        self,
        what: str,
        to: Path | str,
        *,
        selection: str | None = None,
        run: str | None = None,
        edit: int | None = None,
        fact: str | None = None,
        relation: str | None = None,
        title: str | None = None,
        size: str | None = None,
    ) -> "Plotted":
        """Draw layers, overlap, hubs, effects, fact or edit, with data and caption.

        `to` is an .svg, .png or .pdf file; its data go into a .csv beside it. `size` is `column`,
        `page`, or WxH in inches or mm. See `atlas.export.plots`.
        """
        from atlas.export.plots import plot

        with self._opened(selection, run) as (connection, chosen):
            return plot(
                connection,
                chosen,
                what,
                to,
                edit_id=edit,
                fact=fact,
                relation=relation,
                title=title,
                size=size,
            )

    # What the methods share

    @contextlib.contextmanager
    def _opened(
        self, selection: str | None, run: str | None
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, ChosenSelection]]:
        with self.reading() as connection:
            yield connection, choose_selection(connection, selection, run)

    def _latest(self, connection: duckdb.DuckDBPyConnection) -> RunModel:
        return selection_model(connection, choose_selection(connection).selection_id)

    def _model(
        self, lm: ModelOrName | bool, wanted: RunModel, device: str, report: Reporter
    ) -> "LanguageModel":
        from atlas.indexing.load_run_model import load_run_model, require_model
        from atlas.models.language_model import LanguageModel

        if isinstance(lm, LanguageModel):
            return require_model(lm, wanted)
        name = None if lm is None else str(lm)
        report(Loading(name or wanted.name))
        return load_run_model(wanted, name, device)

    @contextlib.contextmanager
    def _crew(
        self,
        lm: ModelOrName,
        wanted: RunModel,
        device: str,
        where: RaySettings | None,
        report: Reporter,
    ) -> Iterator[tuple["LanguageModel", "Workers"]]:
        """The model, and who measures on it."""
        from atlas.distributed.hiring import hired
        from atlas.distributed.introduction import ModelToLoad
        from atlas.indexing.load_run_model import run_model_name
        from atlas.models.language_model import LanguageModel

        if where is not None and isinstance(lm, LanguageModel):
            raise SettingsError(
                "workers load the model by themselves: give its name or its path, not a loaded one",
                parameters=["model", "ray"],
            )
        theirs = None
        if where is not None:
            name = run_model_name(wanted, None if lm is None else str(lm))
            theirs = ModelToLoad.of(name, wanted.dtype, wanted.attention)
            lm, device = name, "cpu"
        with hired(where, theirs, lambda: self._model(lm, wanted, device, report)) as crew:
            yield crew

    def _asked(
        self,
        lm: ModelOrName,
        wanted: RunModel,
        device: str,
        report: Reporter,
        *,
        needed: bool,
    ) -> "LanguageModel | None":
        """The model where it is needed, or named: what is stored is not told of another one."""
        return self._model(lm, wanted, device, report) if needed or lm is not None else None

    def _made(self, made: Any) -> EditReport:
        with self.reading() as connection:
            return edit_report(connection, made.edit.edit_id, before=made.before)


def _model_of(connection: duckdb.DuckDBPyConnection, edit: Edit) -> RunModel:
    return edit_model(connection, edit.model_id, edit.model_identity, edit.run_id)


def _require_edits(edits: Sequence[int]) -> None:
    if not edits:
        raise EditError("no edit: name one or more by their numbers, as `edit_list` shows them")


def _require_no_model(lm: ModelOrName, device: str) -> None:
    named = [*(["model"] if lm is not None else []), *(["device"] if device != "auto" else [])]
    if named:
        raise SettingsError(
            f"a delta file is written without a model: leave the {' and the '.join(named)} out",
            parameters=named,
        )


def _changed(edit: Edit, state: str) -> ChangedEdit:
    return ChangedEdit(edit.edit_id or 0, edit.state, **edit.identity, state=state)


def _imported(connection: duckdb.DuckDBPyConnection, edit: Edit) -> ImportedEdit:
    before = held_before(connection, edit)
    return ImportedEdit(record_edit(connection, edit), before, **edit.identity)
