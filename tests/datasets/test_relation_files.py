from pathlib import Path

import pytest
from dataset_files import TEMPLATE, pararel, relation_file, write

from atlas.datasets import Problem, check_file, read_dataset
from atlas.errors import DataError


def only_problem(path: Path) -> Problem:
    (problem,) = check_file(path)
    assert "\n" not in str(problem)
    with pytest.raises(DataError) as error:
        read_dataset(path)
    assert str(error.value) == str(problem)
    return problem


def test_a_directory_of_relation_files_is_read_in_the_order_of_relation_numbers(
    tmp_path: Path,
) -> None:
    for relation in ("P101", "P36", "P17"):
        fact = {"uuid": relation, "subject": "s", "object": "o"}
        relation_file(tmp_path, relation, label=relation.lower(), facts=[fact])
    dataset = read_dataset(tmp_path)
    assert [r.relation_id for r in dataset.relations] == ["P17", "P36", "P101"]
    assert [r.label for r in dataset.relations] == ["p17", "p36", "p101"]
    assert dataset.name == tmp_path.name


def test_one_relation_file_is_a_dataset_too(tmp_path: Path) -> None:
    (relation,) = read_dataset(relation_file(tmp_path)).relations
    assert [t.text for t in relation.templates] == [TEMPLATE]
    assert [(f.fact_id, f.subject, f.object) for f in relation.facts] == [
        ("u-1", "Ireland", "Dublin"),
        ("u-2", "France", "Paris"),
    ]


def test_problems_of_a_relation_file_name_the_line_of_the_fact_or_template(tmp_path: Path) -> None:
    path = relation_file(
        tmp_path,
        templates=[TEMPLATE, "[X] alone", 7],
        facts=[
            {"subject": "Ireland", "object": "Dublin"},
            {"subject": "France"},
            "Paris",
            {"subject": " ", "object": None},
        ],
    )
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [(lines[(p.line or 0) - 1].strip(" ,"), p.message) for p in check_file(path)]
    assert found == [
        ('"[X] alone"', found[0][1]),
        ("7", '"template" must be text, not int: put it in quotes'),
        ('{"subject": "France"}', '"object" is missing: give it, or remove the line'),
        ('"Paris"', 'not a fact: write {"subject": …, "object": …}'),
        (
            '{"subject": " ", "object": null}',
            '"subject" is empty: give it, or remove the line',
        ),
        (
            '{"subject": " ", "object": null}',
            '"object" is missing: give it, or remove the line',
        ),
    ]
    assert "has no [Y]" in found[0][1]


def test_a_relation_file_that_lacks_a_part_says_which(tmp_path: Path) -> None:
    path = write(tmp_path / "P36.json", '{"relation": "P36",\n "facts": {}}')
    assert [(p.line, p.message) for p in check_file(path)] == [
        (1, '"templates" must be a list: write [ … ]'),
        (2, '"facts" must be a list: write [ … ]'),
    ]


def test_a_relation_under_another_relations_file_name_is_refused(tmp_path: Path) -> None:
    path = relation_file(tmp_path).rename(tmp_path / "P37.json")
    assert only_problem(path).message == "relation P36 in P37.json: rename one of them"


def test_malformed_json_names_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "P36.json", '{"relation": "P36",', ' "facts": [}')
    assert only_problem(path).line == 2


def test_a_key_given_twice_is_refused_rather_than_half_read(tmp_path: Path) -> None:
    path = write(tmp_path / "P36.json", '{"facts": [], "templates": [], "facts": []}')
    assert 'the key "facts" appears twice' in only_problem(path).message


def test_a_json_file_in_a_directory_that_is_no_relation_is_refused(tmp_path: Path) -> None:
    relation_file(tmp_path)
    write(tmp_path / "P37.json", "[1]")
    assert only_problem(tmp_path).message.startswith("not a relation: write")


@pytest.mark.parametrize(
    ("patterns", "facts", "given"),
    [
        ("patterns", "facts", "."),
        ("data/pattern_data/graphs_json", "data/trex_lms_vocab", "."),
        ("data/pattern_data/graphs_json", "data/trex_lms_vocab", "data"),
    ],
)
def test_pararel_is_read_in_its_own_layout_and_in_the_flat_one(
    tmp_path: Path, patterns: str, facts: str, given: str
) -> None:
    dataset = read_dataset(pararel(tmp_path, patterns, facts) / given)
    (relation,) = dataset.relations
    assert dataset.name == "pararel"
    assert [t.text for t in relation.templates] == [TEMPLATE, "[X]'s capital, [Y]."]
    assert [fact.fact_id for fact in relation.facts] == ["u-1", "u-2"]


def test_problems_in_pararel_name_the_file_and_line(tmp_path: Path) -> None:
    pararel(tmp_path)
    write(tmp_path / "patterns" / "P37.jsonl", '{"pattern": "[X] speaks"}', '{"lemma": "speak"}')
    write(tmp_path / "facts" / "P37.jsonl", '{"sub_label": "a", "obj_label": ""}', "", "[]")
    found = {(Path(p.file).parent.name, p.line): p.message for p in check_file(tmp_path)}
    assert found.keys() == {("patterns", 1), ("patterns", 2), ("facts", 1), ("facts", 3)}
    assert found["facts", 1] == '"obj_label" is empty: give it, or remove the line'
    assert found["facts", 3].startswith("not a JSON object")


def test_a_file_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = relation_file(tmp_path)
    lines = path.read_bytes().replace(b"Ireland", "Éire".encode("latin-1")).split(b"\n")
    path.write_bytes(b"\n".join(lines))
    problem = only_problem(path)
    assert b"\xc9ire" in lines[(problem.line or 0) - 1]
    assert problem.message == "is not UTF-8: save the file with that encoding"
