"""Method solve: the smallest change that wins while other facts stay, found in `solving`."""

from atlas.edits.making import sources
from atlas.edits.making.basis import EditBasis
from atlas.edits.making.found import FoundDeltas
from atlas.edits.making.questions import ask_for
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.solving import MARGIN, solve_deltas
from atlas.models.language_model import LanguageModel
from atlas.store.atlas_file import AtlasFile


def solve_update(
    lm: LanguageModel,
    atlas: AtlasFile,
    basis: EditBasis,
    new_object: str,
    settings: EditSettings,
) -> FoundDeltas:
    """The smallest deltas that put the new object on top, with sampled other facts in place."""
    with atlas.reading() as connection:
        kept = sources.prompts_to_keep(
            connection, basis.selection, basis.fact, basis.neurons, settings.keep
        )
    wanted = ask_for(lm, basis.prompts, new_object)
    solved = solve_deltas(lm, basis.neurons, wanted, ask_for(lm, kept))
    found = {
        "keep": settings.keep,
        "margin": MARGIN,
        "reached": round(solved.reached, 6),
        "broken": round(solved.broken, 6),
        "steps": solved.steps,
        "kept_facts": sorted({prompt.fact_id for prompt in kept}),
    }
    return FoundDeltas(solved.deltas, found, tuple(kept))
