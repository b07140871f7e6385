import json
from pathlib import Path

import pytest
from dataset_files import CAPITAL, FRANCE, IRELAND, SHARED_PARAREL, pararel, relation_file, write

from atlas import datasets
from atlas.datasets import (
    check_file,
    choose,
    embedded_dataset,
    read_dataset,
    relations_without_templates,
)
from atlas.datasets.counts import dataset_counts
from atlas.datasets.layouts import READERS
from atlas.errors import DataError, SettingsError
from atlas.facts import Dataset, Fact, Relation, Template
from atlas.prompts import ends_in_object

needs_pararel = pytest.mark.skipif(
    not SHARED_PARAREL.is_dir(), reason="ParaRel is not at ../shared/pararel"
)


def three_relations() -> Dataset:
    labels = {"P36": "capital", "P37": "official language", "P103": "native language"}
    return Dataset(
        "three",
        tuple(
            Relation(
                relation,
                label,
                (Template(relation, "[X]: [Y]"),),
                tuple(Fact(f"{relation}-{i}", relation, f"s{i}", f"o{i}") for i in range(3)),
            )
            for relation, label in labels.items()
        ),
    )


def test_without_a_path_the_embedded_relation_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relation_file(tmp_path)
    monkeypatch.setattr(datasets, "EMBEDDED_RELATIONS", tmp_path)
    dataset = read_dataset(None)
    assert dataset == embedded_dataset()
    assert (dataset.name, dataset.relations[0].label) == ("embedded", "capital")


def test_an_installation_without_the_embedded_dataset_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "EMBEDDED_RELATIONS", tmp_path / "absent")
    with pytest.raises(DataError, match="reinstall atlas"):
        embedded_dataset()


def test_a_dataset_without_labels_takes_them_from_the_embedded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relation_file(tmp_path / "embedded")
    monkeypatch.setattr(datasets, "EMBEDDED_RELATIONS", tmp_path / "embedded")
    path = write(tmp_path / "user.jsonl", {"relation": "P36", "template": "[X] [Y]"}, IRELAND)
    assert read_dataset(path).relations[0].label == "capital"


def test_a_relation_that_nothing_labels_is_labelled_by_its_id(tmp_path: Path) -> None:
    path = write(
        tmp_path / "user.jsonl",
        {"relation": "X1", "subject": "a", "object": "b", "template": "[X] [Y]"},
    )
    assert read_dataset(path).relations[0].label == "X1"


@pytest.mark.parametrize("name", ["absent", "absent.jsonl"])
def test_a_missing_dataset_is_refused_with_the_layouts_understood(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(DataError) as error:
        read_dataset(tmp_path / name)
    message = str(error.value)
    assert message.startswith(f"no dataset at {tmp_path / name}")
    assert all(ending in message for ending in READERS)
    assert "data_all_allbags.json" in message
    assert "\n" not in message
    with pytest.raises(DataError):
        check_file(tmp_path / name)


def test_a_path_that_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read \(File name too long\): check"):
        read_dataset(tmp_path / ("x" * 5_000))


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no dataset in .*understood are"):
        read_dataset(tmp_path)


def test_a_file_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"facts\.xlsx is not a dataset"):
        read_dataset(write(tmp_path / "facts.xlsx", "x"))


def test_a_directory_of_two_kinds_is_refused_rather_than_half_read(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", CAPITAL, IRELAND)
    write(tmp_path / "b.csv", "relation,subject,object")
    with pytest.raises(DataError, match=r"\.jsonl and \.csv"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty.jsonl", ""),
        ("templates.jsonl", '{"relation": "P36", "template": "[X] [Y]"}'),
        ("empty.csv", "relation,subject,object,template\n"),
        ("empty.json", "{}"),
    ],
)
def test_a_dataset_without_facts_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="holds no facts: add some"):
        read_dataset(path)


def test_reading_raises_the_first_problem_and_says_how_many_follow(tmp_path: Path) -> None:
    path = write(tmp_path / "user.jsonl", CAPITAL, '{"relation": ', {"relation": "P36"}, IRELAND)
    problems = check_file(path)
    assert [problem.line for problem in problems] == [2, 3]
    with pytest.raises(DataError) as error:
        read_dataset(path)
    assert str(error.value) == f"{problems[0]} (1 more: `atlas data check {path}`)"
    assert f"{path}:2: malformed JSON at column 14" in str(error.value)


def test_pararel_relations_without_templates_are_left_out_and_named(tmp_path: Path) -> None:
    pararel(tmp_path)
    assert [relation.relation_id for relation in read_dataset(tmp_path).relations] == ["P36"]
    assert relations_without_templates(tmp_path) == ("P31",)
    assert check_file(tmp_path) == []


def test_relations_are_chosen_in_the_order_given_by_id_or_label_in_any_case() -> None:
    chosen = choose(three_relations(), ["p103", "Capital", "P103"], limit=2)
    assert [relation.relation_id for relation in chosen.relations] == ["P103", "P36"]
    assert [fact.fact_id for fact in chosen.relations[0].facts] == ["P103-0", "P103-1"]
    assert chosen.name == "three"


def test_choosing_nothing_in_particular_keeps_everything() -> None:
    assert choose(three_relations()) == three_relations()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("P38", r"no relation 'P38' in three: did you mean .*P36 \(capital\).*\?"),
        ("captial", r"did you mean P36 \(capital\)\?"),
        ("language", r"did you mean P37 \(official language\) or P103 \(native language\)\?"),
        ("zzz", r"no relation 'zzz' in three: it has P36, P37, P103$"),
    ],
)
def test_an_unknown_relation_is_answered_with_near_matches(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose(three_relations(), [name])


def test_a_label_of_two_relations_must_be_told_apart_by_id() -> None:
    one, two, _ = three_relations().relations
    twins = Dataset("twins", (one, Relation(two.relation_id, "capital", two.templates, two.facts)))
    with pytest.raises(DataError, match=r"name one of P36 \(capital\), P37 \(capital\)"):
        choose(twins, ["capital"])


def test_a_negative_limit_is_refused_and_none_and_zero_are_all() -> None:
    assert choose(three_relations(), limit=0) == three_relations()
    with pytest.raises(SettingsError, match="or 0 for all"):
        choose(three_relations(), limit=-1)


def test_counts_are_taken_per_relation_and_summed(tmp_path: Path) -> None:
    other = {"relation": "P37", "templates": ["[Y] in [X]", "[X]: [Y]!"], "subject": "a"}
    path = write(tmp_path / "user.jsonl", CAPITAL, IRELAND, FRANCE, other | {"object": "b"})
    counts = dataset_counts(read_dataset(path))
    assert (counts.relations, counts.facts, counts.templates) == (2, 3, 3)
    assert (counts.templates_ending_in_object, counts.prompts) == (2, 2 * 1 + 1 * 2)


@needs_pararel
def test_the_whole_of_pararel_is_read_and_no_template_is_lost() -> None:
    dataset = read_dataset(SHARED_PARAREL)
    counts = dataset_counts(dataset)
    assert (counts.relations, counts.facts, counts.prompts) == (39, 27_610, 224_674)
    assert relations_without_templates(SHARED_PARAREL) == ("P31", "P527")
    patterns = {path.stem: path for path in (SHARED_PARAREL / "patterns").glob("*.jsonl")}
    for relation in dataset.relations:
        lines = patterns[relation.relation_id].read_text(encoding="utf-8").splitlines()
        raw = [json.loads(line)["pattern"] for line in lines]
        assert ["".join(t.text.split()) for t in relation.templates] == [
            "".join(pattern.split()) for pattern in raw
        ]
    causal = [sum(ends_in_object(t.text) for t in r.templates) >= 3 for r in dataset.relations]
    assert sum(causal) == 27
