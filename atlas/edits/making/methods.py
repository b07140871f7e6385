"""The table of methods that find an update's deltas: a method is one file and its row here.

The names stand in `settings.METHODS`, too, which the command line reads without torch.
"""

from collections.abc import Callable, Sequence

from atlas.edits.making.basis import EditBasis
from atlas.edits.making.found import Change, FoundDeltas, FoundTogether
from atlas.edits.making.hypernetwork import hypernetwork_update, prepare_hypernetwork
from atlas.edits.making.paper import paper_update
from atlas.edits.making.questions import ask_for
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.solve import solve_update
from atlas.edits.making.spare import prepare_spare, spare_update
from atlas.edits.making.spare_many import spare_updates
from atlas.models.language_model import LanguageModel
from atlas.progress import Reporter
from atlas.store.atlas_file import AtlasFile

_Method = Callable[[LanguageModel, AtlasFile, EditBasis, str, EditSettings], FoundDeltas]
_Preparation = Callable[[LanguageModel, AtlasFile, EditBasis, EditSettings, Reporter], None]
EDIT_METHODS: dict[str, _Method] = {
    "spare": spare_update,
    "solve": solve_update,
    "paper": paper_update,
    "hypernetwork": hypernetwork_update,
}
_Together = Callable[
    [LanguageModel, AtlasFile, Sequence[Change], EditSettings, Reporter], FoundTogether
]
TOGETHER: dict[str, _Together] = {"spare": spare_updates}
"""Methods that solve many facts at once."""
CHOOSE_THEMSELVES = {"spare", "hypernetwork"}
"""Methods whose neurons are not the basis's."""
PREPARATIONS: dict[str, _Preparation] = {
    "spare": prepare_spare,
    "hypernetwork": prepare_hypernetwork,
}
"""What takes a while the first time and is kept in the atlas, and what must be there."""


def prepare(
    lm: LanguageModel,
    atlas: AtlasFile,
    basis: EditBasis,
    settings: EditSettings,
    report: Reporter,
) -> None:
    """What the settings' method needs in the atlas before it can find deltas."""
    if preparation := PREPARATIONS.get(settings.method):
        preparation(lm, atlas, basis, settings, report)


def require_expressible(lm: LanguageModel, basis: EditBasis, new_object: str) -> None:
    """EditError if the model cannot be asked for the new object in all the basis's prompts."""
    for prompts in (basis.prompts, basis.held_out):
        ask_for(lm, prompts, new_object)


def update_deltas(
    lm: LanguageModel,
    atlas: AtlasFile,
    basis: EditBasis,
    new_object: str,
    settings: EditSettings,
) -> FoundDeltas:
    """Deltas by the settings' method, for the basis's neurons or for those that it finds itself."""
    require_expressible(lm, basis, new_object)
    return EDIT_METHODS[settings.method](lm, atlas, basis, new_object, settings)
