"""Files of the field: LAMA and PopQA are read, the others named with what to do."""

import json
from pathlib import Path

import pytest
from dataset_files import write

from atlas.datasets import check_file, read_dataset

FRANCE = {"sub_label": "France", "obj_label": "Paris", "uuid": "u-1", "predicate_id": "P36"}
LAMA = {
    "relation": "P36",
    "template": "The capital of [X] is [Y] .",
    "label": "capital",
    "description": "seat of government",
    "type": "1-1",
}
COUNTERFACT = {
    "case_id": 0,
    "requested_rewrite": {"prompt": "The capital of {} is", "target_true": {"str": "Paris"}},
    "paraphrase_prompts": ["x"],
}
EASYEDIT = {"prompt": "The capital of France is", "target_new": "Rome", "subject": "France"}
ZSRE = {"subject": "France", "src": "What is its capital?", "alt": "Rome", "answers": ["Paris"]}
SQUAD = {"masked_sentences": ["It is [MASK] ."], "obj_label": "Oslo", "sub_label": "Squad"}
POPQA = ("id", "subj", "prop", "obj", "subj_id", "question", "possible_answers")


def lama(directory: Path) -> Path:
    write(directory / "relations.jsonl", LAMA)
    write(directory / "TREx" / "P36.jsonl", FRANCE)
    write(directory / "TREx" / "P1376.jsonl", {**FRANCE, "uuid": "u-2"})
    return directory


def test_lama_is_read_with_its_templates_and_a_relation_without_one_is_left_out(
    tmp_path: Path,
) -> None:
    dataset = read_dataset(lama(tmp_path))
    assert dataset.name == "lama"
    (relation,) = dataset.relations
    assert (relation.relation_id, relation.label) == ("P36", "capital")
    assert [t.text for t in relation.templates] == ["The capital of [X] is [Y]."]
    assert [(f.fact_id, f.subject, f.object) for f in relation.facts] == [
        ("u-1", "France", "Paris")
    ]


@pytest.mark.parametrize("part", ["relations.jsonl", "TREx", "TREx/P36.jsonl"])
def test_a_part_of_lama_says_which_directory_to_name(tmp_path: Path, part: str) -> None:
    (problem,) = check_file(lama(tmp_path) / part)
    assert "name" in problem.message
    assert "TREx/" in problem.message


def popqa(path: Path, *rows: tuple[str, str, str, str]) -> Path:
    mark = "\t" if path.suffix == ".tsv" else ","
    lines = [
        mark.join((str(i), s, p, o, "Q1", question, '["Paris", "City of Light"]'))
        for i, (s, p, o, question) in enumerate(rows)
    ]
    return write(path, mark.join(POPQA), *lines)


@pytest.mark.parametrize("ending", ["tsv", "csv"])
def test_popqa_is_read_and_asks_its_questions_as_its_authors_do(
    tmp_path: Path, ending: str
) -> None:
    path = popqa(
        tmp_path / f"popqa.{ending}",
        ("France", "capital", "Paris", "What is the capital of France?"),
        ("What", "capital", "Nowhere", "What is the capital of What?"),
        ("Ada", "occupation", "poet", "What is Ada's occupation?"),
    )
    capital, occupation = read_dataset(path).relations
    assert capital.relation_id == capital.label == "capital"
    assert [t.text for t in capital.templates] == ["Q: What is the capital of [X]? A: [Y]"]
    assert [(f.subject, f.object) for f in capital.facts] == [
        ("France", "Paris"),
        ("What", "Nowhere"),
    ]
    assert [t.text for t in occupation.templates] == ["Q: What is [X]'s occupation? A: [Y]"]


def test_a_popqa_question_without_its_subject_is_a_problem_by_line(tmp_path: Path) -> None:
    path = popqa(tmp_path / "popqa.tsv", ("France", "capital", "Paris", "What is its capital?"))
    problem, _ = check_file(path)  # and the relation has no template then
    assert problem.line == 2
    assert "does not name its subject" in problem.message


@pytest.mark.parametrize(
    ("name", "entry", "said"),
    [
        ("counterfact", COUNTERFACT, "CounterFact is not read: write its facts as lines"),
        ("easyedit", EASYEDIT, "EasyEdit's JSON is not read: write its facts as lines"),
        ("zsre", ZSRE, "zsRE is not read: write its facts as lines"),
        ("squad", SQUAD, "a LAMA file without relations is not read: name the directory"),
        ("list", {"a": 1}, "a list of objects is not read: write a .jsonl file"),
    ],
)
def test_what_is_not_read_is_named_in_one_line_however_long_it_is(
    tmp_path: Path, name: str, entry: dict[str, object], said: str
) -> None:
    whole = write(tmp_path / f"{name}.json", json.dumps([entry] * 1000))
    (problem,) = check_file(whole)
    assert problem.message.startswith(said)
    if name != "list":
        lines = write(tmp_path / f"{name}.jsonl", *[json.dumps(entry)] * 1000)
        assert [p.message for p in check_file(lines)] == [problem.message]
