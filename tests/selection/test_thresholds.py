from dataclasses import replace
from typing import Any, Literal

import pytest

from atlas.errors import SettingsError
from atlas.selection.select import Thresholds
from atlas.selection.thresholds import Settled, settle


def test_a_share_of_seven_in_ten_is_at_least_0_7() -> None:
    at_7_of_10 = {700_000: 30}
    assert settle(at_7_of_10, 10, Thresholds(preset="fixed", sharing=0.7)).mean_neurons == 3
    assert (
        settle(at_7_of_10, 10, Thresholds(preset="fixed", sharing=0.7000000001)).sharing == 700_000
    )
    assert settle(at_7_of_10, 10, Thresholds(preset="fixed", sharing=0.700001)).mean_neurons == 0


@pytest.mark.parametrize(
    ("neurons_by_share", "sharing", "moves"),
    [
        ({1_000_000: 30}, 700_000, 0),  # 3 neurons per fact: within the target
        ({1_000_000: 20}, 700_000, 0),  # exactly 2
        ({1_000_000: 50}, 700_000, 0),  # exactly 5
        ({1_000_000: 10, 600_000: 20}, 600_000, 2),  # too few: down
        ({1_000_000: 30, 800_000: 60}, 850_000, 3),  # too many: up
        ({1_000_000: 100}, 1_000_000, 6),  # too many even if all prompts must agree
        ({}, 400_000, 6),  # none at all
        ({1_000_000: 10, 650_000: 90}, 700_000, 0),  # 1 or 10: the nearer is 1
        ({1_000_000: 10, 650_000: 45}, 650_000, 1),  # 1 or 5.5: the nearer is 5.5
        ({1_000_000: 10, 650_000: 50}, 700_000, 0),  # 1 or 6, equally near: fewer
        ({1_000_000: 10, 700_000: 50}, 750_000, 1),  # the same from above
        ({1_000_000: 10, 600_000: 45}, 600_000, 2),  # never by the number of moves
        ({1_000_000: 10, 550_000: 45}, 550_000, 3),
    ],
)
def test_the_preset_paper_moves_sharing_until_facts_have_two_to_five_neurons(
    neurons_by_share: dict[int, int], sharing: int, moves: int
) -> None:
    settled = settle(neurons_by_share, 10, Thresholds())
    assert (settled.sharing, settled.moves) == (sharing, moves)


def test_sharing_stays_above_zero_and_does_not_exceed_one() -> None:
    assert settle({}, 1, Thresholds(sharing=0.1, max_moves=50)).sharing == 50_000
    assert settle({1_000_000: 9}, 1, Thresholds(sharing=0.9, max_moves=50)).sharing == 1_000_000


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"preset": "papers"}, "use paper or fixed"),
        ({"comparison": "<"}, "use >= or >"),
        ({"ratio": 0}, "ratio is 0: use more than 0 and at most 1"),
        ({"ratio": float("nan")}, "ratio is nan"),
        ({"sharing": 1.2}, r"sharing is 1\.2"),
        ({"min_prompts": 0}, "use 1 or more"),
        ({"target_low": 6}, "target is 6 to"),
        ({"step": 0}, "step is 0"),
        ({"max_moves": -1}, "max_moves -1"),
        ({"stops": "parity"}, "use nearer or last"),
        ({"templates": 2}, "templates is 2, fewer than the 3 prompts"),
    ],
)
def test_settings_outside_their_range_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as e:
        Thresholds(**changes)
    assert "\n" not in str(e.value)


def test_the_id_of_a_selection_is_what_it_always_was() -> None:
    of_version_0_1 = Thresholds(known_only=False, stops="last")
    assert of_version_0_1.selection_id("4b4908821a95") == "a8d0c5dcb573"
    fixed = Thresholds(preset="fixed", known_only=False)
    assert fixed.selection_id("4b4908821a95") == "2570d1ac9bca"


def test_other_facts_another_stop_or_fewer_templates_make_another_selection() -> None:
    usual = Thresholds()
    others = [{"known_only": False}, {"stops": "last"}, {"templates": 3}]
    ids = {replace(usual, **changes).selection_id("r") for changes in ({}, *others)}
    assert len(ids) == 4
    fixed = Thresholds("fixed")
    assert replace(fixed, stops="last").selection_id("r") == fixed.selection_id("r")


def test_the_old_rule_goes_back_and_forth_until_the_moves_are_used_up() -> None:
    neurons_by_share = {1_000_000: 10, 650_000: 45}
    for moves, sharing in ((5, 650_000), (6, 700_000)):
        settled = settle(neurons_by_share, 10, Thresholds(stops="last", max_moves=moves))
        assert (settled.sharing, settled.moves) == (sharing, moves)


@pytest.mark.parametrize(
    ("neurons", "facts", "preset", "target_met"),
    [(30, 10, "paper", True), (10, 10, "paper", False), (30, 10, "fixed", None)],
)
def test_whether_the_target_was_met_is_told_of_the_preset_that_has_one(
    neurons: int, facts: int, preset: Literal["paper", "fixed"], target_met: bool | None
) -> None:
    settled = settle({1_000_000: neurons}, facts, Thresholds(preset))
    assert settled.target_met is target_met


def test_without_a_fact_to_select_from_there_is_no_mean_and_no_move() -> None:
    assert settle({}, 0, Thresholds()) == Settled(700_000, 0, None, None)


def test_settings_that_a_preset_ignores_do_not_make_another_selection() -> None:
    plain = Thresholds(preset="fixed")
    assert replace(plain, target_low=1.0, step=0.1).selection_id("r") == plain.selection_id("r")
    assert Thresholds(target_low=1.0).selection_id("r") != Thresholds().selection_id("r")
    assert Thresholds(ratio=0.20000000001).selection_id("r") == Thresholds().selection_id("r")
