"""What a single neuron is a neuron of, by what suppressing it costs whom.

Its costs are means over prompts of the log P(answer) that is lost, in nats. Its own cost is that on
the fact's own prompts, and a group of others *carries* if it loses at least half as much. Then the
neuron's label is

    unclear   its own cost is less than FLOOR nats, or unrelated prompts change by half as much
    relation  other facts of the relation, of other objects, carry
    answer    facts of other relations with the same object carry; or, if neither these nor the
              relation do, those of the same relation with the same object
    subject   facts of other relations with the same subject carry
    fact      none of these groups carries, and each of the three kinds was asked
    unclear   none carries, but the fact has no partner of some kind, so that one might

Where several carry, the one that loses most decides.
"""

from collections.abc import Mapping

FLOOR = 0.001  # nats
CARRIES = 0.5  # of what the fact's own prompts lose

LABELS = ("fact", "subject", "answer", "relation", "unclear")


Effects = Mapping[str, float | None]


def label_of(effects: Effects) -> str:
    """A neuron's label by its mean Δ log P on each group (see `partners`); None: nobody to ask."""
    if not _is_clear(effects):
        return "unclear"
    own = _cost(effects, "own")
    carrying = {
        label: _cost(effects, group)
        for label, group in (
            ("relation", "same_relation"),
            ("answer", "same_object"),
            ("subject", "same_subject"),
        )
        if _cost(effects, group) >= CARRIES * own
    }
    if not {"relation", "answer"} & carrying.keys():
        same = _cost(effects, "same_relation_and_object")
        if same >= CARRIES * own:
            carrying["answer"] = same
    if carrying:
        return max(carrying, key=lambda label: carrying[label])
    return "fact" if _fully_asked(effects) else "unclear"


def wants_partner(effects: Effects) -> bool:
    """Whether a neuron is unclear because a group that might carry has nobody to ask."""
    clear = label_of(effects) != "unclear"
    return not clear and _is_clear(effects) and not _fully_asked(effects)


def _cost(effects: Effects, group: str) -> float:
    return -(effects.get(group) or 0.0)


def _is_clear(effects: Effects) -> bool:
    own = _cost(effects, "own")
    return own >= FLOOR and abs(_cost(effects, "unrelated")) < CARRIES * own


def _fully_asked(effects: Effects) -> bool:
    """Whether there was a partner of the relation, of the answer and of the subject."""
    asked = {group for group, effect in effects.items() if effect is not None}
    answer = {"same_object", "same_relation_and_object"} & asked
    return {"same_relation", "same_subject"} <= asked and bool(answer)
