"""Running a benchmark: every case's edit made on the model, measured, and taken back.

Edits are made by the atlas's own machinery, from the case's edit prompt alone, in a copy of the
atlas (`scratch`): the atlas stays as it is. The weights are bit-identical after every case.
"""

import time

from atlas.benchmarks.answers import answers_to
from atlas.benchmarks.askable import InexpressibleAnswer, askable_case
from atlas.benchmarks.asking import said
from atlas.benchmarks.case import Benchmark, BenchmarkCase
from atlas.benchmarks.report import (
    EvaluationReport,
    MeasuredCase,
    benchmark_scores,
    evaluated_case,
)
from atlas.benchmarks.rome import write_results
from atlas.benchmarks.scratch import leave_out, measured_case
from atlas.benchmarks.settings import EvaluationSettings
from atlas.edits.applying import applied
from atlas.edits.making.make import make_update
from atlas.edits.making.settings import EditSettings
from atlas.errors import DataError, EditError, NotFound
from atlas.evidence.drawn import RunSettings, run_settings
from atlas.models.language_model import LanguageModel
from atlas.progress import Advance, Reporter, Working
from atlas.selection.chosen import ChosenSelection
from atlas.store.atlas_file import AtlasFile, scratch_copy


def evaluate(
    atlas: AtlasFile,
    lm: LanguageModel,
    benchmark: Benchmark,
    selection: ChosenSelection,
    edits: EditSettings,
    how: EvaluationSettings,
    report: Reporter,
) -> EvaluationReport:
    """Evaluate edits of the cases that the settings choose, on the selection's model.

    DataError if the model can be asked none of them, EditError if no edit at all could be made;
    then no file is written.
    """
    with atlas.reading() as connection:
        run = run_settings(connection, selection.run_id)
    cases, lost = chosen_cases(lm, benchmark, how)
    report(Working("Copying the atlas"))
    with scratch_copy(atlas.path) as scratch:
        left_out = leave_out(scratch, selection.run_id, cases)
        measured: list[MeasuredCase] = []
        started = time.monotonic()
        report(Advance("evaluate", 0, len(cases), unit="cases"))
        for place, case in enumerate(cases, start=1):
            measured.append(_measured(scratch, lm, case, selection, run, edits, how, report))
            spent = time.monotonic() - started
            done = place == len(cases)
            report(Advance("evaluate", place, len(cases), place, spent, "cases", complete=done))
    problems = [one.problem for one in measured if one.problem is not None]
    if len(problems) == len(measured):
        raise EditError(f"no edit could be made; the first: {problems[0]}")
    if how.directory is not None:
        write_results(how.directory, measured)
    return EvaluationReport(
        file=str(benchmark.path),
        layout=benchmark.layout,
        model=lm.name,
        method=edits.method,
        neurons=edits.neurons,
        protocols=how.protocols,
        file_cases=len(benchmark.cases),
        evaluated=len(measured),
        not_made=len(problems),
        left_out_prompts=left_out,
        scores=benchmark_scores(measured),
        cases=tuple(evaluated_case(one) for one in measured),
        inexpressible=lost,
        directory=None if how.directory is None else str(how.directory),
        selection=selection,
    )


def chosen_cases(
    lm: LanguageModel, benchmark: Benchmark, how: EvaluationSettings
) -> tuple[list[BenchmarkCase], tuple[InexpressibleAnswer, ...]]:
    """As many cases as are wanted of those that the model can be asked, and what it cannot be.

    DataError if there is none.
    """
    cases: list[BenchmarkCase] = []
    lost: list[InexpressibleAnswer] = []
    for case in how.ordered(benchmark.cases):
        if how.edits is not None and len(cases) == how.edits:
            break
        found, problems = askable_case(lm, case)
        lost += problems
        cases += [] if found is None else [found]
    if not cases:
        first = lost[0]
        raise DataError(
            f"{lm.name} can be asked none of the cases of {benchmark.path}: "
            f"'{first.answer}' behind '{first.text}': {first.reason}; name another model or file",
            parameters=["model"],
        )
    return cases, tuple(lost)


def _measured(
    scratch: AtlasFile,
    lm: LanguageModel,
    case: BenchmarkCase,
    selection: ChosenSelection,
    run: RunSettings,
    edits: EditSettings,
    how: EvaluationSettings,
    report: Reporter,
) -> MeasuredCase:
    """Measure a case before its edit and with it; an edit that cannot be made changes nothing."""
    before = answers_to(lm, case, how.protocols, how.tokens)
    started = time.monotonic()
    try:
        old = case.true_object or _own_answer(lm, case)
        with measured_case(scratch, lm, selection.run_id, run, case, old) as fact_id:
            edit = make_update(lm, scratch, fact_id, case.new_object, edits, report).edit
    except (EditError, NotFound) as error:
        return MeasuredCase(case, before, before, time.monotonic() - started, str(error))
    seconds = time.monotonic() - started
    with applied(lm, edit):
        after = answers_to(lm, case, how.protocols, how.tokens)
    return MeasuredCase(case, before, after, seconds)


def _own_answer(lm: LanguageModel, case: BenchmarkCase) -> str:
    """What the model says at the edit's prompt, as many tokens as the new object has."""
    (own,) = said(lm, [(case.prompt, (case.new_object,))])
    text = str(lm.tokenizer.decode(own.tokens)).strip()
    if not text:
        raise EditError("the file names no true object, and the model says nothing there")
    return text
