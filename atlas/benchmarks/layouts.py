"""Which layout a benchmark file has, and reading it.

A new layout is a function from an entry to a case and its row of LAYOUTS.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atlas.benchmarks.case import Benchmark, BenchmarkCase
from atlas.benchmarks.counterfact import rome_case, tracing_case
from atlas.benchmarks.easyedit import flat_case, knowedit_case
from atlas.benchmarks.entries import Entry
from atlas.benchmarks.zsre import easyedit_case, mend_case
from atlas.datasets.rows import Place, Problem, json_lines, parse_json, read_text
from atlas.errors import DataError

LINES = (".jsonl", ".ndjson")
NEW_OBJECTS = ("target_new", "alt", "alternatives", "target_false")  # empty: the entry is no case


@dataclass(frozen=True)
class BenchmarkLayout:
    """How entries of a layout are known and read.

    name: for messages. known_by: keys that all entries have. one_of: of these one at least, if any
    is named. keys: the others that are read, by which a file that lacks some is told to be near.
    """

    name: str
    known_by: frozenset[str]
    keys: frozenset[str]
    case: Callable[[Entry], BenchmarkCase]
    one_of: frozenset[str] = frozenset()

    def fits(self, entry: Mapping[str, Any]) -> bool:
        return self.known_by <= entry.keys() and (
            not self.one_of or bool(self.one_of & entry.keys())
        )

    def likeness(self, entry: Mapping[str, Any]) -> int:
        return len((self.known_by | self.keys | self.one_of) & entry.keys())


LAYOUTS = (
    BenchmarkLayout(
        "CounterFact, as ROME has it",
        frozenset(("requested_rewrite",)),
        frozenset(
            ("paraphrase_prompts", "neighborhood_prompts", "attribute_prompts",
             "generation_prompts", "pararel_idx")
        ),
        rome_case,
    ),
    BenchmarkLayout(
        "KnowEdit",
        frozenset(("prompt", "subject", "target_new")),
        frozenset(("ground_truth", "rephrase_prompt")),
        knowedit_case,
        frozenset(("portability", "locality")),
    ),
    BenchmarkLayout(
        "CounterFact, flat as EasyEdit has it",
        frozenset(("prompt", "subject", "target_new")),
        frozenset(("ground_truth", "rephrase_prompt", "locality_prompt", "locality_ground_truth")),
        flat_case,
    ),
    BenchmarkLayout(
        "CounterFact, flat for tracing",
        frozenset(("prompt", "subject", "target_true", "target_false")),
        frozenset(("relation_id", "relation_prefix", "relation_suffix")),
        tracing_case,
    ),
    BenchmarkLayout(
        "zsRE, as EasyEdit has it",
        frozenset(("src", "alt")),
        frozenset(("subject", "pred", "rephrase", "answers", "loc", "loc_ans", "cond")),
        easyedit_case,
    ),
    BenchmarkLayout(
        "zsRE, as MEND has it",
        frozenset(("input", "output", "alternatives")),
        frozenset(("prediction", "filtered_rephrases")),
        mend_case,
    ),
)  # fmt: skip
OF_A_DATASET = frozenset(("object", "template", "templates", "facts"))
NEAR = 2  # keys of a layout by which an entry is told to be meant so
NO_FACTS = {  # of the field, but not of facts: keys by which an entry is known
    "KnowEdit's WikiBio, whose answers are sentences": frozenset(("text", "labels", "concept")),
    "KnowEdit's ConvSent, which is about sentiment": frozenset(("topic", "sent_toxicity")),
}


def looks_like_benchmark(path: Path) -> bool:
    """Whether a file's first entry has the keys of a benchmark, or comes near one."""
    if path.suffix.lower() not in (".json", *LINES) or not path.is_file():
        return False
    first = next((e for e in _entries(path) if not isinstance(e, Problem)), None)
    if first is None or first[1].keys() & OF_A_DATASET:
        return False
    fits = any(layout.fits(first[1]) for layout in LAYOUTS)
    return (
        fits
        or any(keys <= first[1].keys() for keys in NO_FACTS.values())
        or (max(layout.likeness(first[1]) for layout in LAYOUTS) >= NEAR)
    )


def read_benchmark(path: Path | str) -> Benchmark:
    """The file's cases, or all problems in them.

    Raises DataError where there is no such file, no case in it, or a layout that is none of
    LAYOUTS; that says which one it comes near and what it lacks.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise DataError(f"benchmark file {path} {what}: name a .json or .jsonl file of cases")
    layout: BenchmarkLayout | None = None
    cases: list[BenchmarkCase] = []
    problems: list[Problem] = []
    left_out = 0
    for place, found in enumerate(_entries(path)):
        if isinstance(found, Problem):
            problems.append(found)
            continue
        where, fields = found
        if layout is None:
            layout = _layout_of(path, fields)
        if _asks_for_nothing(fields):
            left_out += 1
            continue
        entry = Entry(fields, place)
        case = layout.case(entry)
        if entry.lacks:
            of = "" if where.line is not None else f"case {place + 1} "
            problems.append(
                where.problem(f"{of}lacks {', '.join(entry.lacks)}: give it, or remove it")
            )
        else:
            cases.append(case)
    if layout is None:
        raise DataError(
            f"{problems[0]}" if problems else f"{path} holds no case: name a file that has some"
        )
    if not cases and not problems:
        raise DataError(f"{path} has no case with a new object: name a file that has some")
    if len({case.number for case in cases}) < len(cases):  # numbers of the file that come twice
        cases = [replace(case, number=place) for place, case in enumerate(cases)]
    return Benchmark(path, layout.name, tuple(cases), tuple(problems), left_out)


def require_cases(path: Path | str) -> Benchmark:
    """`read_benchmark` of a file without any problem; DataError with the first one otherwise."""
    found = read_benchmark(path)
    if found.problems:
        first, *others = found.problems
        more = f" ({len(others)} more: `atlas data check {path}`)" if others else ""
        raise DataError(f"{first}{more}")
    return found


def _entries(path: Path) -> Iterator[tuple[Place, dict[str, Any]] | Problem]:
    """The file's entries with their places; a JSON file is a list of them, or a single one."""
    if path.suffix.lower() in LINES:
        yield from json_lines(path)
        return
    text, place = read_text(path), Place(str(path))
    document = text if isinstance(text, Problem) else parse_json(text, Place(str(path), 1))
    if isinstance(document, Problem):
        yield document
        return
    for entry in document if isinstance(document, list) else [document]:
        if isinstance(entry, dict):
            yield place, entry
        else:
            yield place.problem("is no list of cases: a benchmark file is a JSON list of objects")
            return


def _layout_of(path: Path, entry: Mapping[str, Any]) -> BenchmarkLayout:
    for layout in LAYOUTS:
        if layout.fits(entry):
            return layout
    for name, keys in NO_FACTS.items():
        if keys <= entry.keys():
            raise DataError(f"{path} looks like {name}: no fact to edit; {_known()}")
    near = max(LAYOUTS, key=lambda layout: layout.likeness(entry))
    if not near.likeness(entry):
        raise DataError(f"{path} looks like no benchmark of editing; {_known()}")
    lacking = sorted(near.known_by - entry.keys())
    if not lacking:
        lacking = sorted(near.one_of)
    raise DataError(
        f"{path} looks like {near.name}, but lacks {', '.join(map(_quoted, lacking))}: add what is "
        "missing, or name another file"
    )


def _known() -> str:
    return f"read are {'; '.join(layout.name for layout in LAYOUTS)}"


def _quoted(key: str) -> str:
    return f'"{key}"'


def _asks_for_nothing(fields: Mapping[str, Any]) -> bool:
    """Whether the new object is there and empty, as in some entries of zsRE."""
    return any(fields.get(name) in ("", []) for name in NEW_OBJECTS if name in fields)
