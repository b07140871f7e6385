"""Benchmark files: every layout read into the same cases, and what is said of all others."""

from pathlib import Path
from typing import Any

import pytest
from benchmark_files import KNOWEDIT, LAYOUTS, MEND, ZSRE, rome, written
from invocation import run

from atlas.benchmarks.case import Question
from atlas.benchmarks.layouts import read_benchmark, require_cases
from atlas.data_check import check_data
from atlas.errors import DataError


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_edit(tmp_path: Path, name: str, ending: str) -> None:
    found = read_benchmark(written(tmp_path / f"cases{ending}", LAYOUTS[name]))
    (case,) = found.cases
    assert (found.layout, found.problems) == (name, ())
    assert (case.subject, case.true_object, case.new_object) == ("Ireland", "Dublin", "Oslo")
    question = name.startswith("zsRE")
    assert case.prompt == ("What is the capital of Ireland?" if question else
                           "The capital of Ireland is")  # fmt: skip


def test_what_a_case_of_rome_holds(tmp_path: Path) -> None:
    (case,) = read_benchmark(
        written(tmp_path / "c.json", rome(3, "Ireland", "Dublin", "Oslo"))
    ).cases
    assert (case.number, case.relation) == (3, "P36")
    assert case.paraphrases == ("The city of Ireland is",)
    assert [(q.text, q.answers) for q in case.neighbourhood] == [
        ("The capital of Norway is", ("Dublin",)),
        ("The official city of Japan is", ("Dublin",)),
    ]
    assert case.generation == ("Ireland is",)


def test_what_cases_of_knowedit_and_zsre_hold(tmp_path: Path) -> None:
    (case,) = read_benchmark(written(tmp_path / "k.json", KNOWEDIT)).cases
    assert case.portability == (
        Question("The city of Ireland is", ("Oslo",), "Subject_Aliasing"),
        Question("The language of the capital is", ("Norway", "Norwegian"), "Reasoning"),
    )
    assert case.neighbourhood == (
        Question("The capital of France is", ("Paris",), "Relation_Specificity"),
    )
    (case,) = read_benchmark(written(tmp_path / "z.json", ZSRE)).cases
    assert [(q.text, q.answers[0]) for q in case.neighbourhood] == [(ZSRE["loc"], "Paris")]
    (case,) = read_benchmark(written(tmp_path / "m.jsonl", MEND)).cases
    assert case.paraphrases == ("Which city is Ireland's capital?",)


def test_lists_of_prompts_beside_lists_of_answers(tmp_path: Path) -> None:
    entry = KNOWEDIT | {"locality": {"neighbours": {"prompt": ["A is", "B is"],
                                                    "ground_truth": ["one", "two"]}}}  # fmt: skip
    (case,) = read_benchmark(written(tmp_path / "k.json", entry)).cases
    assert [(q.text, q.answers) for q in case.neighbourhood] == [
        ("A is", ("one",)),
        ("B is", ("two",)),
    ]


def test_numbers_that_come_twice_are_places(tmp_path: Path) -> None:
    both = [rome(7, "Ireland", "Dublin", "Oslo"), rome(7, "France", "Paris", "Oslo")]
    assert [c.number for c in read_benchmark(written(tmp_path / "c.json", *both)).cases] == [0, 1]


def test_an_empty_new_object_is_no_case(tmp_path: Path) -> None:
    found = read_benchmark(written(tmp_path / "z.json", ZSRE | {"alt": ""}, ZSRE))
    assert (len(found.cases), found.left_out, found.problems) == (1, 1, ())
    with pytest.raises(DataError, match="no case with a new object"):
        read_benchmark(written(tmp_path / "y.json", ZSRE | {"alt": ""}))


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"requested_rewrites": 1, "paraphrase_prompts": [], "neighborhood_prompts": []},
     'looks like CounterFact, as ROME has it, but lacks "requested_rewrite"'),
    ({"prompt": "a", "subject": "b", "ground_truth": "c", "rephrase_prompt": "d"},
     'looks like KnowEdit, but lacks "target_new"'),
    ({"src": "a", "rephrase": "b", "answers": ["c"]},
     'looks like zsRE, as EasyEdit has it, but lacks "alt"'),
    ({"input": "a", "filtered_rephrases": [], "output": []},
     'looks like zsRE, as MEND has it, but lacks "alternatives"'),
    ({"text": "a", "labels": "b", "concept": "c"}, "looks like KnowEdit's WikiBio"),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "said"), OTHERS)
def test_another_layout_is_named_with_what_it_lacks(
    tmp_path: Path, entry: dict[str, Any], said: str
) -> None:
    path = written(tmp_path / "cases.json", entry)
    with pytest.raises(DataError) as caught:
        require_cases(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    told = run("data", "check", str(path))
    assert told.exit_code == 1
    assert said in told.stderr


def test_files_that_are_no_benchmark(tmp_path: Path) -> None:
    for path, said in (
        (written(tmp_path / "a.json", {"x": 1}), "looks like no benchmark of editing"),
        (written(tmp_path / "b.json"), "holds no case"),
        (written(tmp_path / "c.json", 1), "is no list of cases"),
        (tmp_path / "missing.json", "does not exist"),
        (tmp_path, "is a directory"),
    ):
        with pytest.raises(DataError, match=said):
            require_cases(path)
    broken = tmp_path / "broken.json"
    broken.write_text('[{"src": ', encoding="utf-8")
    with pytest.raises(DataError, match="malformed JSON"):
        require_cases(broken)


def test_what_an_entry_lacks_is_told_by_case_or_line(tmp_path: Path) -> None:
    good = rome(3, "Ireland", "Dublin", "Oslo")
    bad = {"requested_rewrite": {"prompt": "no place", "subject": "Ireland"}}
    path = written(tmp_path / "c.json", good, bad)
    (problem,) = read_benchmark(path).problems
    assert problem.message.startswith(
        'case 2 lacks {} for the subject in "requested_rewrite.prompt", '
        '"requested_rewrite.target_true.str", "requested_rewrite.target_new.str"'
    )
    with pytest.raises(DataError, match="case 2 lacks"):
        require_cases(path)
    told = run("data", "check", str(path))
    assert told.exit_code == 1
    assert "case 2 lacks" in told.stdout
    (problem,) = read_benchmark(written(tmp_path / "c.jsonl", good, bad)).problems
    assert problem.line == 2


def test_data_check_counts_a_benchmark_and_says_what_it_lacks(tmp_path: Path) -> None:
    path = written(tmp_path / "c.json", LAYOUTS["zsRE, as EasyEdit has it"])
    found = check_data(path)
    assert found.benchmark is not None
    assert (found.benchmark.cases, found.benchmark.paraphrases, found.counts) == (1, 1, None)
    assert found.benchmark.unusable is None
    told = run("data", "check", str(path))
    assert told.exit_code == 0, told.output
    assert "It has nothing for portability, fluency (no generation prompt)." in told.stderr


def test_answers_that_a_tokenizer_cannot_express_are_counted_and_listed(
    tmp_path: Path, saved_bert: Path
) -> None:
    unknown = "ŋŋŋ"
    path = written(
        tmp_path / "c.json",
        rome(1, "Ireland", "Dublin", "Oslo"),
        rome(2, "Ireland", "Dublin", unknown),
        {"prompt": "x"} | rome(3, "France", "Paris", "Oslo", paraphrase_prompts=["City [MASK] is"]),
    )
    found = check_data(path, saved_bert)
    assert found.benchmark is not None
    assert found.benchmark.unusable == 1
    whole, part = found.inexpressible
    assert (whole.case, whole.answer, whole.whole_case) == (2, unknown, True)
    assert (part.case, part.text, part.whole_case) == (3, "City [MASK] is", False)
    quiet = run("data", "check", str(path), "--model", str(saved_bert))
    assert "cannot be asked 1 of 3 cases and 1 question of others; --verbose" in quiet.stderr
    assert unknown not in quiet.stdout
    told = run("data", "check", str(path), "--model", str(saved_bert), "--verbose")
    assert unknown in told.stdout
