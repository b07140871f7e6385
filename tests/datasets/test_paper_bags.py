import json
from pathlib import Path
from typing import Any

import pytest
from dataset_files import SHARED_PARAREL, write
from hypothesis import example, given
from hypothesis import strategies as st

from atlas.datasets import Problem, check_file, read_dataset
from atlas.datasets.paper_bags import recover
from atlas.facts import derived_fact_id

TEMPLATES = ["[X] is the capital of [Y].", "The capital of [Y] is [X].", "[Y]'s capital, [X]."]
FACTS = [("Buenos Aires", "Argentina"), ("Rome", "Italy"), ("Cairo", "Egypt")]


def prompts(templates: list[str], subject: str) -> list[str]:
    return [t.replace("[X]", subject).replace("[Y]", "[MASK]") for t in templates]


def bag(
    subject: str, answer: str, templates: list[str] = TEMPLATES, named: str = "P1376(capital of)"
) -> list[list[str]]:
    return [[prompt, answer, named] for prompt in prompts(templates, subject)]


def write_bags(path: Path, document: Any, indent: int | None = 2) -> Path:
    return write(path, json.dumps(document, indent=indent))


def only_problem(path: Path) -> Problem:
    (problem,) = check_file(path)
    assert "\n" not in str(problem)
    return problem


@pytest.mark.parametrize("indent", [None, 2])
def test_subjects_and_templates_are_recovered_from_the_papers_file(
    tmp_path: Path, indent: int | None
) -> None:
    bags = {"P1376": [bag(*fact) for fact in FACTS]}
    path = write_bags(tmp_path / "data_all_allbags.json", bags, indent)
    dataset = read_dataset(path)
    (relation,) = dataset.relations
    assert (dataset.name, relation.relation_id) == ("data_all_allbags", "P1376")
    assert relation.label == "capital of"
    assert [t.text for t in relation.templates] == TEMPLATES
    assert [(f.subject, f.object) for f in relation.facts] == FACTS
    assert relation.facts[1].fact_id == derived_fact_id("P1376", "Rome", "Italy")


def test_the_papers_files_without_the_outer_object_are_read_too(tmp_path: Path) -> None:
    bags = [bag(*fact) for fact in FACTS]
    nested = read_dataset(write_bags(tmp_path / "nested.json", {"P1376": bags}))
    flat = read_dataset(write_bags(tmp_path / "data_11.json", bags))
    assert flat.relations == nested.relations


def test_a_bag_that_comes_twice_is_one_fact(tmp_path: Path) -> None:
    bags = [bag(*fact) for fact in (*FACTS, FACTS[0])]
    path = write_bags(tmp_path / "bags.json", {"P1376": bags})
    assert len(read_dataset(path).relations[0].facts) == 3


def test_a_subject_that_also_occurs_in_the_template_is_told_apart() -> None:
    templates = ["[Y] is the language of the language [X] here.", "[X]: [Y]"]
    subjects = ["language", "Irish language", "the"]
    assert recover([prompts(templates, s) for s in subjects]) == (templates, subjects)


def test_subjects_are_whole_words_though_letters_of_all_of_them_agree() -> None:
    templates = ["[X] lies in [Y].", "In [Y] lies [X]."]
    subjects = ["Nigeria", "Niger", "New York", "Norway"]
    assert recover([prompts(templates, s) for s in subjects]) == (templates, subjects)


def test_without_blanks_between_words_characters_are_matched() -> None:
    templates = ["法国的[X]在[Y]", "在[Y]的[X]"]
    subjects = ["巴黎", "里昂"]
    assert recover([prompts(templates, s) for s in subjects]) == (templates, subjects)


def test_words_that_all_subjects_share_become_part_of_the_templates() -> None:
    bags = [prompts(["[X] was in [Y]."], s) for s in ("Battle of Hastings", "Battle of Bouvines")]
    assert recover(bags) == (["Battle of [X] was in [Y]."], ["Hastings", "Bouvines"])


words = st.text(alphabet="ab .,", max_size=5)


@example([("", "", "", False)], ["a", "aa"])
@given(
    st.lists(st.tuples(words, words, words, st.booleans()), min_size=1, max_size=4),
    st.lists(
        st.text(alphabet="ab .", min_size=1, max_size=5).filter(lambda s: s == s.strip()),
        min_size=2,
        max_size=4,
        unique=True,
    ),
)
def test_whatever_is_recovered_makes_every_prompt_again(
    parts: list[tuple[str, str, str, bool]], subjects: list[str]
) -> None:
    templates = [
        before + ("[X]" if first else "[Y]") + middle + ("[Y]" if first else "[X]") + after
        for before, middle, after, first in parts
    ]
    bags = [prompts(templates, subject) for subject in subjects]
    found = recover(bags)
    assert found is not None
    assert [prompts(found[0], subject) for subject in found[1]] == bags
    assert all(template.count("[X]") == template.count("[Y]") == 1 for template in found[0])


def test_a_relation_with_one_fact_says_that_its_subject_cannot_be_recovered(
    tmp_path: Path,
) -> None:
    path = write_bags(tmp_path / "bags.json", {"P1376": [bag(*FACTS[0]), bag(*FACTS[0])]})
    problem = only_problem(path)
    assert problem.message.startswith("P1376 has one fact only, from which its subject cannot be")
    assert problem.message.endswith("add a fact, or write the relation as JSONL")


def test_the_bag_that_does_not_fit_the_others_is_named_by_its_line(tmp_path: Path) -> None:
    bags = [bag(f"City{number}", "Italy") for number in range(20)]
    bags[13].reverse()
    path = write_bags(tmp_path / "bags.json", {"P1376": bags})
    problem = only_problem(path)
    assert problem.message.startswith("the subject cannot be recovered: this bag of P1376")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert "City13" in "".join(lines[problem.line or 0 :][:3])


def test_what_is_not_a_bag_is_refused_by_line(tmp_path: Path) -> None:
    good = [bag(*fact) for fact in FACTS]
    first = bag("Oslo", "Norway")
    bad: dict[str, Any] = {
        "not a bag of prompts": [],
        "a bag with an entry that is not three texts": [["[MASK]", "x"]],
        '"Oslo" must have [MASK] once': [["Oslo", "Norway", "P1376(capital of)"]],
        "a bag with several answers or relations": [first[0], bag("Oslo", "Sweden")[1], first[2]],
        "a bag whose answer is empty": bag("Oslo", " "),
        "a bag of P36 under": bag("Oslo", "Norway", named="P36(capital)"),
        "2 prompts in a bag of P1376 whose first bag has 3": first[:2],
        '"()" names no relation': bag("Oslo", "Norway", named="()"),
    }
    for start, wrong in bad.items():
        path = write(
            tmp_path / "bags.json",
            '{"P1376": [',
            ",\n".join(json.dumps(value) for value in (*good, wrong)),
            "]}",
        )
        problem = only_problem(path)
        assert problem.message.startswith(start)
        assert problem.line == 5


def test_a_json_file_of_something_else_is_refused(tmp_path: Path) -> None:
    assert only_problem(write(tmp_path / "a.json", "7")).message.startswith("neither a relation")
    document = {"model_type": "bert"}
    assert only_problem(write_bags(tmp_path / "b.json", document)).message.startswith("not a bag")


@pytest.mark.skipif(not SHARED_PARAREL.is_dir(), reason="ParaRel is not at ../shared/pararel")
def test_pararel_as_bags_gives_the_facts_and_templates_of_pararel(tmp_path: Path) -> None:
    pararel = [r for r in read_dataset(SHARED_PARAREL).relations if len(r.templates) > 3]
    bags = {
        r.relation_id: [
            bag(f.subject, f.object, [t.text for t in r.templates], f"{r.relation_id}({r.label})")
            for f in r.facts[:200]
        ]
        for r in pararel
    }
    recovered = read_dataset(write_bags(tmp_path / "data_all_allbags.json", bags)).relations
    assert [r.templates for r in recovered] == [r.templates for r in pararel]
    for found, expected in zip(recovered, pararel, strict=True):
        pairs = dict.fromkeys((f.subject, f.object) for f in expected.facts[:200])
        assert [(f.subject, f.object) for f in found.facts] == list(pairs)
