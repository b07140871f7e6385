import csv
import io
import json
import tempfile
import unicodedata
from pathlib import Path

import pytest
from dataset_files import CAPITAL, FRANCE, IRELAND, TEMPLATE, write
from hypothesis import given
from hypothesis import strategies as st

from atlas.datasets import check_file, read_dataset
from atlas.facts import Dataset, Fact, Relation, Template, derived_fact_id

RESERVED = ("[X]", "[Y]", "[MASK]")


def lines_and_messages(path: Path) -> list[tuple[int | None, str]]:
    problems = check_file(path)
    assert all("\n" not in str(problem) for problem in problems)
    return [(problem.line, problem.message) for problem in problems]


def expected_capitals(name: str) -> Dataset:
    facts = (Fact("u-1", "P36", "Ireland", "Dublin"), Fact("u-2", "P36", "France", "Paris"))
    relation = Relation("P36", "capital", (Template("P36", TEMPLATE),), facts)
    return Dataset(name, (relation,))


def test_jsonl_with_facts_and_templates_in_one_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", CAPITAL, IRELAND, FRANCE)
    assert read_dataset(path) == expected_capitals("mine")


def test_jsonl_with_facts_and_templates_in_one_directory_is_read(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "facts.jsonl", IRELAND, FRANCE)
    write(tmp_path / "mine" / "templates.jsonl", CAPITAL)
    assert read_dataset(tmp_path / "mine") == expected_capitals("mine")


def test_templates_that_a_fact_brings_count_for_its_whole_relation(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", IRELAND | {"templates": [TEMPLATE]}, FRANCE)
    (relation,) = read_dataset(path).relations
    assert [t.text for t in relation.templates] == [TEMPLATE]
    assert len(relation.facts) == 2


def test_text_is_stripped_and_a_null_or_empty_uuid_is_none(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.jsonl",
        CAPITAL,
        {"relation": " P36", "subject": "Ireland ", "object": "\tDublin", "uuid": None},
        {"relation": "P36", "subject": "Ireland", "object": "Dublin", "uuid": " "},
    )
    (fact,) = read_dataset(path).relations[0].facts
    assert fact.fact_id == derived_fact_id("P36", "Ireland", "Dublin")


def test_every_problem_of_a_jsonl_file_is_reported_by_line(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.jsonl",
        CAPITAL,
        '{"relation": "P36", "subject": "Ireland"',
        "",
        {"relation": "P36", "subject": "Ireland", "object": 7},
        {"subject": "Ireland", "object": ""},
        {"relation": "P36"},
        {"relation": "P36", "templates": "[X] [Y]"},
        {"relation": "P36", "templates": ["[X]"]},
        {"pattern": "[X] [Y]"},
        '{"relation": "P36", "relation": "P37"}',
        '{"relation": "P36", "subject": "\\ud800", "object": "Dublin"}',
        CAPITAL | {"label": "seat"},
        "[" * 100_000,
        FRANCE | {"relation": "P37"},
    )
    found = lines_and_messages(path)
    expected = {
        2: "malformed JSON at column",
        4: '"object" must be text, not int',
        5: '"relation" is missing',
        6: 'neither a fact nor a template: give "subject" and "object", or "template"',
        7: '"templates" must be a list',
        8: 'template "[X]" has no [Y]',
        9: "a line of ParaRel's",
        10: 'malformed JSON (the key "relation" appears twice)',
        11: "malformed JSON",
        12: 'relation P36 is called "seat" here',
        13: "malformed JSON",
        14: "relation P37 has 1 fact but no template",
    }
    assert {line for line, _ in found} == expected.keys()
    for line, message in found:
        assert line is not None
        if message != '"object" is empty: give it, or remove the line':
            assert message.startswith(expected[line])
    assert (5, '"object" is empty: give it, or remove the line') in found


def test_csv_with_a_template_column_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.csv",
        "relation,subject,object,uuid,label,template",
        f"P36,,,,capital,{TEMPLATE}",
        "P36,Ireland,Dublin,u-1,,",
        ",,,,,",
        "P36,France,Paris,u-2,,",
    )
    assert read_dataset(path) == expected_capitals("mine")


def test_csv_without_a_template_column_takes_templates_from_the_file_beside(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.csv",
        "object,subject,relation,uuid,source",
        "Dublin,Ireland,P36,u-1,somewhere",
        "Paris,France,P36,u-2,elsewhere",
    )
    write(tmp_path / "templates.csv", "relation,template,label", f"P36,{TEMPLATE},capital")
    assert read_dataset(path) == expected_capitals("mine")


def test_a_directory_of_csv_files_is_one_dataset(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "a.csv", "relation,subject,object,uuid", "P36,Ireland,Dublin,u-1")
    write(tmp_path / "mine" / "b.csv", "relation,subject,object,uuid", "P36,France,Paris,u-2")
    write(tmp_path / "mine" / "c.csv", "relation,template,label", f"P36,{TEMPLATE},capital")
    assert read_dataset(tmp_path / "mine") == expected_capitals("mine")


def test_csv_from_a_spreadsheet_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    text = f"Relation,Subject,Object,Template\r\nP36,Ireland,Dublin,{TEMPLATE}\r\n"
    path = tmp_path / "mine.csv"
    path.write_bytes(text.encode("utf-8-sig"))
    assert len(read_dataset(path).relations[0].facts) == 1


def test_every_problem_of_a_csv_file_is_reported_by_line(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.csv",
        "relation,subject,object,template",
        f'P36,"Ire\nland",Dublin,{TEMPLATE}',
        "P36,Ireland,,",
        "P36,,Dublin,[X] [Y]",
        "P36,Ireland,Dublin",
        ",,,[X] [Y]",
        "P36,,,[X]",
        'P36,"Ire"land,Dublin,',
    )
    found = lines_and_messages(path)
    assert found == [
        (4, '"object" is empty: give it, or remove the line'),
        (5, '"subject" is empty: give it, or remove the line'),
        (6, "3 cells under 4 columns: put a text that has a comma in double quotes"),
        (7, '"relation" is empty: give it, or remove the line'),
        (8, found[4][1]),
        (9, found[5][1]),
    ]
    assert found[4][1].startswith('template "[X]" has no [Y]')
    assert found[5][1].startswith("malformed CSV")


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv"])
def test_white_space_within_a_template_is_kept_as_written(tmp_path: Path, ending: str) -> None:
    template = "Q:  Which city is\tthe capital of [X] ?\nA: [Y]"
    path = tmp_path / f"mine.{ending}"
    if ending == "jsonl":
        write(path, {"relation": "P36", "template": template}, IRELAND)
    else:
        text = io.StringIO(newline="")
        rows = csv.writer(text, delimiter="," if ending == "csv" else "\t")
        rows.writerow(["relation", "subject", "object", "template"])
        rows.writerow(["P36", "Ireland", "Dublin", template])
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
    (relation,) = read_dataset(path).relations
    assert [t.text for t in relation.templates] == [template]


def test_blanks_around_a_template_are_kept_in_json_and_dropped_in_csv(tmp_path: Path) -> None:
    template = " [X] has its seat in [Y] "
    jsonl = write(tmp_path / "a.jsonl", {"relation": "P36", "template": template}, IRELAND)
    table = write(tmp_path / "b.csv", "relation,subject,object,template", f"P36,A,B,{template}")
    assert [read_dataset(path).relations[0].templates[0].text for path in (jsonl, table)] == [
        template,
        template.strip(),
    ]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("relation;subject;object", "the first line must name the columns, separated by commas"),
        ("P36,Ireland,Dublin", "the first line must name the columns"),
        ("", "the first line must name the columns"),
        ('"relation', "the first line must name the columns"),
        ("relation,subject,object,subject", "the column subject appears twice"),
    ],
)
def test_a_csv_header_that_cannot_be_used_is_refused(
    tmp_path: Path, header: str, message: str
) -> None:
    ((line, found),) = lines_and_messages(write(tmp_path / "mine.csv", header))
    assert line == 1
    assert found.startswith(message)


def test_csv_facts_without_templates_say_so(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", "relation,subject,object", "P36,Ireland,Dublin")
    ((line, message),) = lines_and_messages(path)
    assert line == 2
    assert message.startswith("relation P36 has 1 fact but no template: give one")


# Every text that a dataset can hold: no surrogates, which are not text, and no blank ends.
texts = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    .map(str.strip)
    .filter(lambda text: text != "" and not any(slot in text for slot in RESERVED))
)
pieces = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
template_texts = (
    st.builds(
        lambda before, slots, between, after: before + slots[0] + between + slots[1] + after,
        pieces,
        st.sampled_from([("[X]", "[Y]"), ("[Y]", "[X]")]),
        pieces,
        pieces,
    )
    .filter(lambda text: text.count("[X]") == text.count("[Y]") == 1 and "[MASK]" not in text)
    .filter(lambda text: text == text.strip(" \t"))  # a CSV cell has no blanks around it
)


def composed(*triple: str) -> str:
    """The derived id of the fact that the triple is, whichever way its characters are written."""
    return derived_fact_id(*(unicodedata.normalize("NFC", text) for text in triple))


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    relations: list[Relation] = []
    ids: set[str] = set()
    for relation in draw(st.lists(texts, min_size=1, max_size=3, unique=True)):
        facts: list[Fact] = []
        for subject, object in draw(st.lists(st.tuples(texts, texts), min_size=1, max_size=4)):
            derived = derived_fact_id(relation, subject, object)
            fact_id = draw(st.just(derived) | texts)
            key = composed(relation, subject, object) if fact_id == derived else fact_id
            if key not in ids:
                ids.add(key)
                facts.append(Fact(fact_id, relation, subject, object))
        templates = draw(st.lists(template_texts, min_size=1, max_size=3, unique=True))
        relations.append(
            Relation(
                relation,
                draw(texts),
                tuple(Template(relation, text) for text in templates),
                tuple(facts),
            )
        )
    return Dataset("written", tuple(relations))


def records(dataset: Dataset) -> list[dict[str, str]]:
    return [
        record
        for relation in dataset.relations
        for record in (
            *(
                {"relation": t.relation_id, "template": t.text, "label": relation.label}
                for t in relation.templates
            ),
            *(
                {"relation": f.relation_id, "subject": f.subject, "object": f.object}
                | (
                    {}
                    if f.fact_id == derived_fact_id(f.relation_id, f.subject, f.object)
                    else {"uuid": f.fact_id}
                )
                for f in relation.facts
            ),
        )
    ]


@given(datasets(), st.booleans())
def test_a_dataset_written_as_jsonl_and_read_back_is_equal(
    dataset: Dataset, ensure_ascii: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "written.jsonl"
        lines = [json.dumps(record, ensure_ascii=ensure_ascii) for record in records(dataset)]
        path.write_text("\n".join(lines), encoding="utf-8", newline="")
        assert read_dataset(path) == dataset
        assert check_file(path) == []


@given(datasets())
def test_a_dataset_written_as_csv_and_read_back_is_equal(dataset: Dataset) -> None:
    text = io.StringIO(newline="")
    columns = ["relation", "subject", "object", "uuid", "label", "template"]
    writer = csv.DictWriter(text, columns, restval="", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(records(dataset))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "written.csv"
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
        assert read_dataset(path) == dataset
