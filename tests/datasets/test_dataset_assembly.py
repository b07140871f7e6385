import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from atlas.datasets.assembly import Assembly, assemble
from atlas.datasets.rows import (
    FactRow,
    LabelRow,
    Place,
    Problem,
    Row,
    TemplateRow,
    detokenised,
)
from atlas.facts import Fact, derived_fact_id

LINE = [Place("facts.jsonl", number) for number in range(10)]
CAPITAL = TemplateRow(LINE[1], "P36", "The capital of [X] is [Y].")


def assembled(*rows: Row, templates_required: bool = True) -> Assembly:
    return assemble(rows, str.lower, templates_required=templates_required)


def only_problem(*rows: Row) -> Problem:
    problems = assembled(*rows).problems
    assert len(problems) == 1
    assert "\n" not in str(problems[0])
    return problems[0]


def test_blanks_are_single_and_none_stands_before_a_full_stop_or_comma() -> None:
    assert detokenised(" The  capital of [X]\tis [Y] . ") == "The capital of [X] is [Y]."
    assert detokenised("[X] , a city in [Y] .") == "[X], a city in [Y]."


def test_blanks_that_belong_to_the_language_or_to_a_name_stay() -> None:
    assert detokenised("Capitale de [X] : [Y]") == "Capitale de [X] : [Y]"
    assert detokenised("[X] runs on .NET and [Y]") == "[X] runs on .NET and [Y]"


@given(st.text(alphabet="ab .,:\t\u2028"))
def test_detokenising_twice_is_detokenising_once(text: str) -> None:
    assert detokenised(detokenised(text)) == detokenised(text)


@given(st.text(alphabet="ab .,:\t"))
def test_detokenising_changes_nothing_but_blanks(text: str) -> None:
    assert "".join(detokenised(text).split()) == "".join(text.split())


def test_templates_that_differ_in_white_space_are_two_and_stay_as_written() -> None:
    again = TemplateRow(LINE[2], "P36", "The capital of [X] is [Y].")
    other = TemplateRow(LINE[3], "P36", "The capital of [X]  is\n[Y] .")
    templates = assembled(CAPITAL, again, other).relations[0].templates
    assert [t.text for t in templates] == [CAPITAL.text, other.text]


def test_a_fact_written_with_composed_and_with_combining_characters_is_one_fact() -> None:
    composed, combining = (unicodedata.normalize(f, "Côte d'Ivoire") for f in ("NFC", "NFD"))
    assert composed != combining
    rows = [FactRow(LINE[2], "P36", name, "Abidjan", None) for name in (combining, composed)]
    (fact,) = assembled(CAPITAL, *rows).relations[0].facts
    assert fact.subject == combining  # as it was first written
    rows = [FactRow(LINE[2], "P36", name, "Abidjan", "u-1") for name in (composed, combining)]
    assert assembled(CAPITAL, *rows).problems == ()


def test_the_same_fact_again_adds_nothing_but_another_uuid_is_another_fact() -> None:
    def row(line: int, uuid: str) -> FactRow:
        return FactRow(LINE[line], "P36", "Ireland", "Dublin", uuid)

    assembly = assembled(CAPITAL, row(2, "u-1"), row(3, "u-1"), row(4, "u-2"))
    assert [fact.fact_id for fact in assembly.relations[0].facts] == ["u-1", "u-2"]
    assert assembly.problems == ()


def test_a_fact_without_uuid_gets_one_that_depends_on_the_triple_alone() -> None:
    row = FactRow(LINE[2], "P36", "Ireland", "Dublin", None)
    expected = Fact(derived_fact_id("P36", "Ireland", "Dublin"), "P36", "Ireland", "Dublin")
    assert assembled(CAPITAL, row, row).relations[0].facts == (expected,)


def test_a_uuid_used_for_two_facts_names_both_lines() -> None:
    problem = only_problem(
        CAPITAL,
        FactRow(LINE[2], "P36", "Ireland", "Dublin", "u-1"),
        FactRow(LINE[3], "P36", "France", "Paris", "u-1"),
    )
    assert str(problem) == (
        'facts.jsonl:3: uuid "u-1" already belongs to (Ireland, P36, Dublin) on line 2: '
        "give one of the two facts another"
    )


def test_a_uuid_used_in_two_files_names_the_other_file() -> None:
    problem = only_problem(
        CAPITAL,
        FactRow(LINE[2], "P36", "Ireland", "Dublin", "u-1"),
        FactRow(Place("more.jsonl", 1), "P36", "France", "Paris", "u-1"),
    )
    assert "on line 2 of facts.jsonl" in problem.message


def test_a_template_needs_each_slot_once() -> None:
    for text, fault in {
        "The capital is [Y].": "has no [X]",
        "The capital of [X].": "has no [Y]",
        "[X], [X]: [Y]": "has 2 times [X]",
        "[X]: [Y] and [Y] [Y]": "has 3 times [Y]",
        "[X]: [Y] or [MASK]": "contains [MASK]",
        "the capital of [x] is [Y]": "has no [X]",
    }.items():
        problem = only_problem(TemplateRow(LINE[4], "P36", text))
        assert problem.line == 4
        assert fault in problem.message
        assert "write [X] once for the subject and [Y] once for the object" in problem.message


def test_a_slot_inside_a_subject_or_object_is_refused() -> None:
    subject = only_problem(CAPITAL, FactRow(LINE[2], "P36", "Ire[Y]land", "Dublin", None))
    assert subject.message.startswith('the subject "Ire[Y]land" contains [Y]')
    answer = only_problem(CAPITAL, FactRow(LINE[2], "P36", "Ireland", "[MASK]", None))
    assert answer.message.startswith('the object "[MASK]" contains [MASK]')


def test_facts_without_a_template_are_a_problem_on_the_first_facts_line() -> None:
    rows = [FactRow(LINE[n], "P37", f"s{n}", "o", None) for n in (5, 6)]
    problem = only_problem(CAPITAL, *rows)
    assert problem.line == 5
    assert problem.message.startswith("relation P37 has 2 facts but no template: give one")


def test_facts_without_a_template_are_left_out_where_that_is_allowed() -> None:
    row = FactRow(LINE[5], "P31", "s", "o", None)
    assembly = assembled(CAPITAL, row, templates_required=False)
    assert [relation.relation_id for relation in assembly.relations] == ["P36"]
    assert (assembly.without_templates, assembly.problems) == (("P31",), ())


def test_two_labels_for_one_relation_are_refused() -> None:
    problem = only_problem(LabelRow(LINE[1], "P36", "capital"), LabelRow(LINE[2], "P36", "seat"))
    assert problem.message == (
        'relation P36 is called "seat" here but "capital" before: keep one label'
    )


def test_a_relation_without_a_label_is_labelled_by_what_is_given_for_its_id() -> None:
    assert assembled(CAPITAL).relations[0].label == "p36"
    assert assembled(CAPITAL, LabelRow(LINE[2], "P36", "seat")).relations[0].label == "seat"


def test_problems_of_the_reader_are_kept_in_order_and_once() -> None:
    first, second = Problem("a", 1, "x"), Problem("a", 2, "y")
    assert assembled(first, second, first).problems == (first, second)
