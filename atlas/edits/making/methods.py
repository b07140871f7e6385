"""The table of methods that find an update's deltas: a method is one file and its row here.

The names stand in `settings.METHODS`, too, which the command line reads without torch.
"""

from collections.abc import Callable

from atlas.edits.making.basis import EditBasis
from atlas.edits.making.found import FoundDeltas
from atlas.edits.making.paper import paper_update
from atlas.edits.making.questions import ask_for
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.solve import solve_update
from atlas.models.language_model import LanguageModel
from atlas.store.atlas_file import AtlasFile

_Method = Callable[[LanguageModel, AtlasFile, EditBasis, str, EditSettings], FoundDeltas]
EDIT_METHODS: dict[str, _Method] = {
    "solve": solve_update,
    "paper": paper_update,
}


def update_deltas(
    lm: LanguageModel,
    atlas: AtlasFile,
    basis: EditBasis,
    new_object: str,
    settings: EditSettings,
) -> FoundDeltas:
    """Deltas for the basis's neurons by the settings' method.

    EditError if the model cannot be asked for the new object, before anything is computed.
    """
    for prompts in (basis.prompts, basis.held_out):
        ask_for(lm, prompts, new_object)
    return EDIT_METHODS[settings.method](lm, atlas, basis, new_object, settings)
