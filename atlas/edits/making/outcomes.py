"""What an edit came to on its own facts' prompts: asked before and after, by the edited model."""

from collections.abc import Sequence

from atlas.edits.applying import applied
from atlas.edits.edit import Edit, EditOutcome
from atlas.edits.making.questions import ask_for
from atlas.edits.making.sources import MeasuredPrompt
from atlas.engine.probe import Probed, probe
from atlas.models.language_model import LanguageModel


def measured_outcomes(
    lm: LanguageModel,
    edit: Edit,
    prompts: Sequence[MeasuredPrompt],
    held_out: Sequence[MeasuredPrompt] = (),
) -> tuple[EditOutcome, ...]:
    """One outcome per prompt, those held out last.

    Each object is asked for as the model is asked for it: a masked model gets one mask per token
    of that object. The top answers are those where the old object belongs.
    """
    every = [*prompts, *held_out]
    old = ask_for(lm, every)
    objects = {prompt.fact_id: edit.new_object for prompt in every} | {
        fact.fact_id: fact.new_object for fact in edit.facts
    }
    wanted = {fact_id: name for fact_id, name in objects.items() if fact_id and name is not None}
    new = ask_for(lm, every, wanted) if wanted else None
    before, new_before = probe(lm, old), None if new is None else probe(lm, new)
    with applied(lm, edit):
        after, new_after = probe(lm, old), None if new is None else probe(lm, new)
    return tuple(
        EditOutcome(
            prompt_id=prompt.prompt_id,
            held_out=row >= len(prompts),
            p_old_before=float(before.p_answer[row]),
            p_old_after=float(after.p_answer[row]),
            p_new_before=_p(new_before, row),
            p_new_after=_p(new_after, row),
            old_rank_before=int(before.answer_rank[row]),
            old_rank_after=int(after.answer_rank[row]),
            new_rank_before=_rank(new_before, row),
            new_rank_after=_rank(new_after, row),
            predicted_before=before.predicted[row],
            predicted_after=after.predicted[row],
        )
        for row, prompt in enumerate(every)
    )


def measured_kept(lm: LanguageModel, edit: Edit, kept: Sequence[MeasuredPrompt]) -> dict[str, int]:
    """How many prompts the edit was to leave in place, and how many are answered right.

    As the edit's settings say it, see `edit.MEASURED`.
    """
    questions = ask_for(lm, kept)
    before = probe(lm, questions)
    with applied(lm, edit):
        after = probe(lm, questions)
    return {
        "kept_prompts": len(kept),
        "kept_right_before": int((before.answer_rank == 1).sum()),
        "kept_right_after": int((after.answer_rank == 1).sum()),
    }


def _p(probed: Probed | None, row: int) -> float | None:
    return None if probed is None else float(probed.p_answer[row])


def _rank(probed: Probed | None, row: int) -> int | None:
    return None if probed is None else int(probed.answer_rank[row])
