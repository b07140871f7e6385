"""An edited model as a Hugging Face directory that plain transformers loads."""

from collections.abc import Sequence
from pathlib import Path

from atlas.durability import appearing_directory
from atlas.edits.applying import applied
from atlas.edits.destination import MODEL, require_free
from atlas.edits.edit import Edit
from atlas.errors import EditError
from atlas.models.checkpoint import one_line
from atlas.models.language_model import LanguageModel
from atlas.models.pretrained import quiet


def export_model(
    lm: LanguageModel, edits: Edit | Sequence[Edit], directory: Path | str, force: bool = False
) -> Path:
    """Write the model with the edits in its weights, and its tokenizer, as safetensors.

    Weights keep the loaded model's dtype and its ties, and differ from it in the edited value
    vectors alone. The directory appears whole or not at all; the live model is as it was.

    EditError if the directory exists and `force` is not given, if it holds something other than a
    model (which is never replaced), if it cannot be written, or if an edit is of another model.
    """
    directory = Path(directory)
    require_free(directory, force, MODEL)
    try:
        with appearing_directory(directory) as unfinished, applied(lm, edits), quiet():
            lm.model.save_pretrained(str(unfinished))
            lm.tokenizer.save_pretrained(str(unfinished))
    except OSError as error:
        raise EditError(f"{directory} cannot be written: {one_line(error)}") from error
    return directory
