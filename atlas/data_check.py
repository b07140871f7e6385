"""Whether a dataset or a benchmark can be read, what is in it, and what a model can be asked."""

from dataclasses import dataclass
from pathlib import Path

from atlas.answers import Answer
from atlas.benchmarks.askable import InexpressibleAnswer
from atlas.benchmarks.counts import BenchmarkCounts, benchmark_counts
from atlas.benchmarks.layouts import looks_like_benchmark, read_benchmark
from atlas.datasets import inspect_dataset
from atlas.datasets.askable import Askable, askable
from atlas.datasets.counts import DatasetCounts, dataset_counts
from atlas.datasets.rows import Problem
from atlas.progress import Loading, Progress, Working
from atlas.reporting import reporting


@dataclass(frozen=True)
class DatasetReport(Answer, rows="problems"):
    """What is in a dataset, or what is wrong with it.

    counts: None where there are problems.
    without_templates: relations of ParaRel that have facts but no template, and are left out.
    asked: what a model can be asked of it; None where none is named, or there are problems.
    benchmark: what is in a benchmark of edits, in place of counts; None for a dataset, or where
        there are problems. inexpressible: what the model named cannot be asked of it.
    """

    path: str
    counts: DatasetCounts | None
    asked: Askable | None
    without_templates: tuple[str, ...]
    problems: tuple[Problem, ...]
    benchmark: BenchmarkCounts | None = None
    inexpressible: tuple[InexpressibleAnswer, ...] = ()


def check_data(
    path: Path | str, model: str | Path | None = None, *, progress: Progress = None
) -> DatasetReport:
    """Read the dataset at the path; DataError where it is missing or its layout is unknown.

    model: a name or a place; every prompt is encoded with its tokenizer, and nothing is measured.
    A file with cases of CounterFact, zsRE or KnowEdit is checked as a benchmark of edits.
    """
    if looks_like_benchmark(Path(path)):
        return _benchmark(Path(path), model, progress)
    found = inspect_dataset(Path(path))
    counts = None if found.dataset is None else dataset_counts(found.dataset)
    asked = None
    if model is not None and found.dataset is not None:
        from atlas.models.load import load_model

        with reporting(progress) as report:
            report(Loading(str(model)))
            lm = load_model(str(model), device="cpu")
            report(Working(f"Reading {found.dataset.name}"))
            asked = askable(lm, found.dataset)
    return DatasetReport(str(path), counts, asked, found.without_templates, found.problems)


def _benchmark(path: Path, model: str | Path | None, progress: Progress) -> DatasetReport:
    benchmark = read_benchmark(path)
    if benchmark.problems:
        return DatasetReport(str(path), None, None, (), benchmark.problems)
    if model is None:
        counts, lost = benchmark_counts(benchmark)
    else:
        from atlas.models.load import load_model

        with reporting(progress) as report:
            report(Loading(str(model)))
            lm = load_model(str(model), device="cpu")
            report(Working(f"Reading {path}"))
            counts, lost = benchmark_counts(benchmark, lm)
    return DatasetReport(str(path), None, None, (), (), counts, lost)
