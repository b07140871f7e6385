"""The report of side effects, its correlation, its limits, and what the edited fact implies."""

import math
from collections import Counter
from pathlib import Path

import pytest
from naive_ranks import naive_spearman
from stored_edits import ByHand, Edited, build
from tiny_index import rows

from atlas.errors import SettingsError
from atlas.side_effects.check import check
from atlas.side_effects.implied import carried_over as judged
from atlas.side_effects.implied import implied_effects
from atlas.side_effects.implied_facts import ImpliedEffect, implied_facts
from atlas.side_effects.limits import Limits, parse_limits
from atlas.side_effects.report import SideEffectReport, side_effect_report
from atlas.side_effects.scopes import checked_by, parse_scope

ROWS = """
    SELECT fact_id, relation_id, p_before, p_after, rank_before, rank_after,
           predicted_before, predicted_after, interference
    FROM side_effects
    JOIN prompts USING (prompt_id)
    JOIN facts USING (fact_id)
    WHERE edit_id = 1
    ORDER BY prompt_id
"""
Row = tuple[str, str, float, float, int, int, str, str, float]


@pytest.fixture(scope="module")
def indexed_bert(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    return build(tmp_path_factory.mktemp("bert"), saved_bert)


@pytest.fixture(scope="module")
def checked(indexed_bert: Edited, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    """Edit 1 of Ireland's capital, checked on everything."""
    copy = indexed_bert.copied(tmp_path_factory.mktemp("checked") / "atlas.duckdb")
    copy.store(settings={"kept_facts": ["P37-1", "P37-2", "P36-1"]})
    for _ in check(copy.atlas, copy.lm, 1, parse_scope("all")):
        pass
    return copy


@pytest.fixture(scope="module")
def report(checked: Edited) -> SideEffectReport:
    with checked.atlas.reading() as connection:
        return side_effect_report(connection, checked_by(connection, 1))


def test_groups_add_up_as_a_naive_loop_over_the_rows(
    checked: Edited, report: SideEffectReport
) -> None:
    found: list[Row] = rows(checked.atlas.path, ROWS)  # type: ignore[assignment]
    neurons = set(rows(checked.atlas.path, "SELECT layer, neuron FROM edit_deltas"))
    chosen = rows(checked.atlas.path, "SELECT fact_id, layer, neuron FROM knowledge_neurons")
    sharing = {fact for fact, *neuron in chosen if tuple(neuron) in neurons}
    members = {
        "own": [r for r in found if r[0] == "P36-0"],
        "neighbours": [r for r in found if r[0] in sharing - {"P36-0"}],
        "same relation": [r for r in found if r[1] == "P36" and r[0] != "P36-0"],
        "other relations": [r for r in found if r[1] != "P36"],
        "told to keep": [r for r in found if r[0] in ("P37-1", "P37-2", "P36-1")],
        "all but own": [r for r in found if r[0] != "P36-0"],
    }
    assert [group.group for group in report.groups] == list(members)
    for group in report.groups:
        theirs = members[group.group]
        before = [-math.log(r[2]) for r in theirs]
        after = [-math.log(r[3]) for r in theirs]
        n = len(theirs)
        kinds = Counter(_flip(r) for r in theirs)
        assert (group.prompts, group.facts) == (n, len({r[0] for r in theirs}))
        assert group.mean_delta_log_p == pytest.approx((sum(before) - sum(after)) / n)
        assert group.perplexity_before == pytest.approx(math.exp(sum(before) / n))
        assert group.perplexity_after == pytest.approx(math.exp(sum(after) / n))
        ratio = group.perplexity_after / group.perplexity_before
        assert group.perplexity_change == pytest.approx(ratio - 1)
        assert group.right_to_wrong == kinds["right to wrong"]
        assert group.wrong_to_right == kinds["wrong to right"]
        assert group.wrong_to_wrong == kinds["wrong to wrong"]
        assert group.flips == n - kinds["same"] > 0
    assert report.prompts == len(found)


def test_the_worst_facts_are_those_that_lost_most_and_the_edited_one_is_not_among_them(
    checked: Edited, report: SideEffectReport
) -> None:
    deltas: dict[str, list[float]] = {}
    for row in rows(checked.atlas.path, ROWS):
        deltas.setdefault(row[0], []).append(math.log(row[3]) - math.log(row[2]))
    means = {fact: sum(d) / len(d) for fact, d in deltas.items() if fact != "P36-0"}
    expected = sorted((mean, fact) for fact, mean in means.items() if mean < 0)[:10]
    assert [fact.fact_id for fact in report.worst] == [fact for _, fact in expected]
    assert [f.delta_log_p for f in report.worst] == pytest.approx([mean for mean, _ in expected])
    with checked.atlas.reading() as connection:
        assert len(side_effect_report(connection, checked_by(connection, 1), worst=1).worst) == 1
    found: list[Row] = rows(checked.atlas.path, ROWS)  # type: ignore[assignment]
    for fact in report.worst:
        theirs = [row for row in found if row[0] == fact.fact_id]
        flips = Counter(_flip(row) for row in theirs)
        assert fact.flips == len(theirs) - flips["same"]
        assert fact.right_to_wrong == flips["right to wrong"]
        assert Counter(row[7] for row in theirs)[fact.predicted_after] == max(
            Counter(row[7] for row in theirs).values()
        )


def test_the_correlation_is_spearmans_over_facts_that_are_not_the_edits_own(
    checked: Edited, report: SideEffectReport
) -> None:
    predicted: dict[str, float] = {}
    deltas: dict[str, list[float]] = {}
    for row in rows(checked.atlas.path, ROWS):
        if row[0] != "P36-0":
            predicted[row[0]] = row[8]
            deltas.setdefault(row[0], []).append(math.log(row[3]) - math.log(row[2]))
    facts = list(predicted)
    measured = [abs(sum(deltas[f]) / len(deltas[f])) for f in facts]
    assert report.facts == len(facts)
    assert report.correlation == pytest.approx(
        naive_spearman([predicted[f] for f in facts], measured)
    )


def test_a_check_of_one_scope_reports_that_scope_alone(
    indexed_bert: Edited, tmp_path: Path
) -> None:
    edited = indexed_bert.copied(tmp_path / "atlas.duckdb")
    edited.store()
    for _ in check(edited.atlas, edited.lm, 1, parse_scope("own")):
        pass
    with edited.atlas.reading() as connection:
        report = side_effect_report(connection, checked_by(connection, 1))
    assert [group.group for group in report.groups] == ["own"]
    assert (report.prompts, report.facts, report.worst, report.correlation) == (6, 0, (), None)


@pytest.mark.parametrize(
    ("scope", "named"),
    [
        (
            "neighbours",
            {
                "neighbours": "neighbours",
                "same relation": "neighbours, same relation",
                "other relations": "neighbours, other relations",
                "told to keep": "neighbours, told to keep",
                "all but own": "all neighbours",
            },
        ),
        (
            "relation",
            {
                "neighbours": "neighbours, same relation",
                "same relation": "same relation",
                "told to keep": "same relation, told to keep",
                "all but own": "all of the same relation",
            },
        ),
        (
            "others",
            {
                "neighbours": "neighbours, other relations",
                "other relations": "other relations",
                "told to keep": "other relations, told to keep",
                "all but own": "all of other relations",
            },
        ),
        (
            "sample:20",
            {
                "neighbours": "neighbours, in part",
                "same relation": "same relation, in part",
                "other relations": "other relations, in part",
                "told to keep": "told to keep, in part",
                "all but own": "all but own, in part",
            },
        ),
    ],
)
def test_a_group_is_named_after_what_the_check_measured_of_it(
    indexed_bert: Edited, tmp_path: Path, scope: str, named: dict[str, str]
) -> None:
    """Neighbours of the edit's relation are not the relation: four of 59 facts, the worst ones."""
    edited = indexed_bert.copied(tmp_path / "atlas.duckdb")
    with edited.atlas.writing() as connection:  # neighbours are a part of every relation
        connection.execute("DELETE FROM knowledge_neurons WHERE fact_id IN ('P36-2', 'P37-2')")
    edited.store(settings={"kept_facts": ["P36-1", "P36-2", "P37-1", "P37-2"]})
    for _ in check(edited.atlas, edited.lm, 1, parse_scope(scope)):
        pass
    with edited.atlas.reading() as connection:
        report = side_effect_report(connection, checked_by(connection, 1))
    assert {g.kind: g.group for g in report.groups if g.kind != "own"} == named
    for group in report.groups:
        assert (group.checked == "all") == (group.prompts == group.of_prompts)
        assert (group.checked == "all") == (group.group == group.kind)


def test_limits_are_read_from_their_short_form() -> None:
    assert parse_limits("flips=3,ppl=5%") == Limits(flips=3, perplexity=0.05)
    assert parse_limits(" broken = 0 ") == Limits(broken=0)


@pytest.mark.parametrize(
    "text",
    [
        *("", "flips", "flips=", "flips=-1", "flips=2.5", "flips=²", "flops=3", "flips=3,,ppl=5%"),
        *("ppl=5", "ppl=x%", "ppl=-1%", "ppl=nan%", "flips=1,flips=2", "ppl=1%,ppl=2%"),
    ],
)
def test_limits_that_cannot_be_read_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingsError, match=r"write for example flips=3,ppl=5%$"):
        parse_limits(text)


def test_a_limit_is_exceeded_only_above_it_and_own_prompts_do_not_count(
    report: SideEffectReport,
) -> None:
    everything = report.group("all but own")
    assert everything is not None
    at = Limits(everything.flips, everything.right_to_wrong, abs(everything.perplexity_change) + 1)
    assert at.exceeded(report.group("all but own")) == []
    below = Limits(everything.flips - 1, everything.right_to_wrong - 1, None)
    assert below.exceeded(report.group("all but own")) == [
        f"{everything.flips} flips, over {everything.flips - 1}",
        f"{everything.right_to_wrong} answers broken, over {everything.right_to_wrong - 1}",
    ]
    if everything.perplexity_change > 0:
        assert (
            len(
                Limits(perplexity=everything.perplexity_change / 2).exceeded(
                    report.group("all but own")
                )
            )
            == 1
        )


def test_implied_facts_are_the_mirror_and_the_synonym_of_the_edited_one(checked: Edited) -> None:
    with checked.atlas.reading() as connection:
        found = implied_facts(connection, 1)
    assert [
        (i.way, i.relation_id, i.subject, i.object, i.mirrored, i.relation_facts) for i in found
    ] == [
        ("inverse", "P1376", "Dublin", "Ireland", 3, 3),
        ("synonym", "P2", "Ireland", "Dublin", 1, 2),
    ]


def test_an_edit_of_a_whole_relation_implies_nothing_that_could_be_named(
    indexed_bert: Edited, tmp_path: Path
) -> None:
    edited = indexed_bert.copied(tmp_path / "atlas.duckdb")
    edited.store(None)
    with edited.atlas.reading() as connection:
        assert implied_facts(connection, 1) == []


def test_implied_questions_are_answered_as_plain_transformers_does(checked: Edited) -> None:
    effects = _implied(checked)
    assert [(e.way, e.subject, e.object, e.wanted) for e in effects] == [
        ("inverse", "Dublin", "Ireland", "falls"),
        ("inverse", "Lima", "Ireland", "rises"),
        ("synonym", "Ireland", "Dublin", "falls"),
        ("synonym", "Ireland", "Lima", "rises"),
    ]
    (edit,) = checked.atlas.edits(1)
    hand = ByHand(checked.lm)
    for effect in effects:
        texts = rows(
            checked.atlas.path,
            f"SELECT text FROM templates WHERE relation_id = '{effect.relation_id}'",
        )
        for which, p, top in (
            (None, effect.p_before, effect.top_before),
            (edit, effect.p_after, effect.top_after),
        ):
            asked = [
                hand.answer(text.replace("[X]", effect.subject), effect.object, which)
                for (text,) in texts
            ]
            assert effect.prompts == len(asked)
            assert p == pytest.approx(sum(a[0] for a in asked) / len(asked), rel=2e-4)
            assert top == sum(rank == 1 for _, rank, _ in asked)


@pytest.mark.parametrize(
    ("wanted", "before", "after", "carried_over"),
    [
        ("falls", 3, 1, True),
        ("falls", 3, 2, False),
        ("falls", 1, 0, None),
        ("rises", 0, 2, True),
        ("rises", 0, 1, False),
        ("rises", 2, 3, None),
    ],
)
def test_an_edit_carried_over_where_most_top_answers_changed_as_it_implies(
    wanted: str, before: int, after: int, carried_over: bool | None
) -> None:
    assert judged(wanted, 3, before, after) is carried_over


def test_what_an_amplified_fact_implies_should_rise(checked: Edited, tmp_path: Path) -> None:
    edited = checked.copied(tmp_path / "atlas.duckdb")
    edited.store(kind="amplify", method="scale", new_object=None)
    assert [(e.way, e.wanted) for e in _implied(edited, 2)] == [
        ("inverse", "rises"),
        ("synonym", "rises"),
    ]


def test_questions_that_a_model_cannot_be_asked_are_left_out(
    saved_gpt2: Path, tmp_path: Path
) -> None:
    edited = build(tmp_path, saved_gpt2)
    edited.store()
    prompts = {(e.way, e.prompts) for e in _implied(edited)}
    assert prompts == {("inverse", 2), ("synonym", 1)}  # one of three does not end in [Y]


def _implied(edited: Edited, number: int = 1) -> list[ImpliedEffect]:
    with edited.atlas.reading() as connection:
        found = implied_facts(connection, number)
    return implied_effects(edited.lm, edited.atlas.edits(number)[0], found)


def _flip(row: Row) -> str:
    right_before, right_after = row[4] == 1, row[5] == 1
    if right_before and right_after:
        return "same"
    if right_before != right_after:
        return "right to wrong" if right_before else "wrong to right"
    return "same" if row[6] == row[7] else "wrong to wrong"
