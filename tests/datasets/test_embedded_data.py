"""The embedded dataset: every relation, template and fact of it, and where the facts come from."""

import hashlib
import itertools
import json
import re
import shutil
import subprocess
import sys
import uuid
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest

from atlas.paths import DATA, EMBEDDED_RELATIONS

PARAREL = Path(__file__).resolve().parents[3] / "shared" / "pararel"
needs_pararel = pytest.mark.skipif(
    not PARAREL.is_dir(), reason="ParaRel is not beside the repository (../shared/pararel)"
)

RELATIONS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(EMBEDDED_RELATIONS.glob("*.json"))
}
every_relation = pytest.mark.parametrize("relation", RELATIONS)
EXPECTED = """P17 P19 P20 P27 P30 P36 P37 P39 P47 P101 P103 P106 P108 P127 P131 P136 P138 P140 P159
P176 P178 P190 P264 P276 P279 P361 P364 P407 P413 P449 P463 P495 P530 P740 P937 P1001 P1303 P1376
P1412"""
FEWER_THAN_SIXTY = {"P264": 53}


def normalised(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def triples(relation: str) -> set[tuple[str, str]]:
    return {(fact["subject"], fact["object"]) for fact in RELATIONS[relation]["facts"]}


def pararel_lines(kind: str, relation: str) -> list[dict[str, str]]:
    lines = (PARAREL / kind / f"{relation}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line]


def test_exactly_the_39_relations_are_there() -> None:
    assert sorted(RELATIONS) == sorted(EXPECTED.split())
    assert len(RELATIONS) == 39


@needs_pararel
def test_the_relations_are_those_for_which_pararel_has_templates() -> None:
    assert sorted(RELATIONS) == sorted(path.stem for path in (PARAREL / "patterns").glob("*"))


@every_relation
def test_a_file_names_its_relation_and_has_nothing_unexpected(relation: str) -> None:
    content = RELATIONS[relation]
    assert list(content) == ["relation", "label", "templates", "facts"]
    assert content["relation"] == relation
    assert content["label"].strip() == content["label"] != ""
    assert all(list(fact) == ["uuid", "subject", "object"] for fact in content["facts"])


def test_labels_are_unique() -> None:
    assert len({content["label"] for content in RELATIONS.values()}) == 39


@every_relation
def test_one_fact_takes_one_line(relation: str) -> None:
    lines = (EMBEDDED_RELATIONS / f"{relation}.json").read_text(encoding="utf-8").splitlines()
    facts = [line for line in lines if '"uuid"' in line]
    assert len(facts) == len(RELATIONS[relation]["facts"])
    assert [json.loads(line.strip().rstrip(",]}") + "}") for line in facts] == (
        RELATIONS[relation]["facts"]
    )


@every_relation
def test_a_relation_has_ten_to_twelve_templates_of_which_five_end_in_the_answer(
    relation: str,
) -> None:
    templates = RELATIONS[relation]["templates"]
    assert 10 <= len(templates) <= 12
    ending = [text for text in templates if text.endswith(("[Y]", "[Y]."))]
    assert len(ending) >= 5
    assert len(templates) - len(ending) >= 3


@every_relation
def test_each_template_has_one_subject_and_one_answer_and_is_a_sentence(relation: str) -> None:
    for text in RELATIONS[relation]["templates"]:
        assert text.count("[X]") == 1, text
        assert text.count("[Y]") == 1, text
        assert re.fullmatch(r"[A-Z\[][A-Za-z ,\-\[\]]+\.", text), text
        assert "  " not in text
        assert " ," not in text
        assert not re.search(r"\ban? \[[XY]\]", text), f"the article may not fit: {text}"


@every_relation
def test_no_two_templates_of_a_relation_are_nearly_the_same(relation: str) -> None:
    for one, other in itertools.combinations(RELATIONS[relation]["templates"], 2):
        a, b = normalised(one).split(), normalised(other).split()
        assert SequenceMatcher(None, a, b).ratio() <= 0.8, (one, other)


def test_no_template_serves_two_relations() -> None:
    texts = Counter(
        normalised(text) for content in RELATIONS.values() for text in content["templates"]
    )
    assert [text for text, count in texts.items() if count > 1] == []


@needs_pararel
def test_no_template_is_pararels_up_to_case_and_punctuation() -> None:
    theirs = {
        normalised(line["pattern"])
        for path in (PARAREL / "patterns").glob("*.jsonl")
        for line in pararel_lines("patterns", path.stem)
    }
    ours = {normalised(text) for content in RELATIONS.values() for text in content["templates"]}
    assert theirs
    assert ours & theirs == set()


@every_relation
def test_a_relation_has_sixty_facts_or_all_there_are(relation: str) -> None:
    assert len(RELATIONS[relation]["facts"]) == FEWER_THAN_SIXTY.get(relation, 60)


def test_there_are_at_least_2300_facts() -> None:
    assert sum(len(content["facts"]) for content in RELATIONS.values()) == 38 * 60 + 53


@needs_pararel
@pytest.mark.parametrize("relation", FEWER_THAN_SIXTY)
def test_a_relation_with_fewer_facts_has_all_of_pararels(relation: str) -> None:
    theirs = {line["uuid"] for line in pararel_lines("facts", relation)}
    assert {fact["uuid"] for fact in RELATIONS[relation]["facts"]} == theirs


def test_uuids_are_canonical_and_unique() -> None:
    ids = [fact["uuid"] for content in RELATIONS.values() for fact in content["facts"]]
    assert all(str(uuid.UUID(fact_id)) == fact_id for fact_id in ids)
    assert len(set(ids)) == len(ids)


@every_relation
def test_a_subject_has_one_object_in_a_relation(relation: str) -> None:
    subjects = Counter(fact["subject"] for fact in RELATIONS[relation]["facts"])
    repeated = {subject: count for subject, count in subjects.items() if count > 1}
    # All of P264's facts are wanted, and two of them are Buddy Holly's (two labels, both true).
    assert repeated == ({"Buddy Holly": 2} if relation == "P264" else {})
    assert len(triples(relation)) == len(RELATIONS[relation]["facts"])


@every_relation
def test_subjects_and_objects_are_clean_words(relation: str) -> None:
    for subject, object_ in triples(relation):
        assert subject == subject.strip() != ""
        assert object_.isalpha()
        assert subject != object_
        assert len(subject) <= 40


@every_relation
def test_no_object_takes_more_than_its_share(relation: str) -> None:
    objects = Counter(object_ for _, object_ in triples(relation))
    assert len(objects) >= 4
    assert max(objects.values()) <= (5 if len(objects) >= 24 else 20)


@needs_pararel
@every_relation
def test_each_fact_is_pararels_word_for_word(relation: str) -> None:
    theirs = {
        line["uuid"]: (line["sub_label"], line["obj_label"])
        for line in pararel_lines("facts", relation)
    }
    for fact in RELATIONS[relation]["facts"]:
        assert theirs[fact["uuid"]] == (fact["subject"], fact["object"])


@needs_pararel
def test_the_script_chooses_these_facts_again(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED_RELATIONS, tmp_path / "relations")
    for name in ("select_facts.py", "choices.json"):
        shutil.copy(DATA / name, tmp_path)
    command = [sys.executable, str(tmp_path / "select_facts.py"), str(PARAREL)]
    subprocess.run(command, check=True, capture_output=True)
    for path in EMBEDDED_RELATIONS.glob("*.json"):
        assert (tmp_path / "relations" / path.name).read_bytes() == path.read_bytes()


def test_capitals_have_their_inverse() -> None:
    forwards, backwards = triples("P36"), {(b, a) for a, b in triples("P1376")}
    assert len(forwards & backwards) >= 40
    for pair in [
        ("Ireland", "Dublin"),
        ("France", "Paris"),
        ("Italy", "Rome"),
        ("Japan", "Tokyo"),
        ("Germany", "Berlin"),
    ]:
        assert pair in forwards & backwards


@pytest.mark.parametrize("relation", ["P47", "P190", "P530"])
def test_symmetric_relations_hold_pairs_in_both_directions(relation: str) -> None:
    facts = triples(relation)
    assert len([1 for a, b in facts if (b, a) in facts]) >= 30


def test_many_subjects_are_known_to_several_relations() -> None:
    relations_of = Counter(
        subject
        for content in RELATIONS.values()
        for subject in {fact["subject"] for fact in content["facts"]}
    )
    assert relations_of["Ireland"] >= 3
    assert relations_of["Germany"] >= 4
    assert sum(count > 1 for count in relations_of.values()) >= 250


def test_the_readme_states_the_checksums_of_the_relations() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    stated = dict(re.findall(r"^([0-9a-f]{64})  relations/(P\d+)\.json$", readme, re.MULTILINE))
    actual = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path.stem
        for path in EMBEDDED_RELATIONS.glob("*.json")
    }
    assert stated == actual
