"""An edited model as a Hugging Face directory that plain transformers loads."""

from collections.abc import Sequence
from pathlib import Path

from atlas.durability import appearing_directory
from atlas.edits.applying import applied
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
    require_free(directory, force)
    try:
        with appearing_directory(directory) as unfinished, applied(lm, edits), quiet():
            lm.model.save_pretrained(str(unfinished))
            lm.tokenizer.save_pretrained(str(unfinished))
    except OSError as error:
        raise EditError(f"{directory} cannot be written: {one_line(error)}") from error
    return directory


def require_free(directory: Path, force: bool) -> None:
    """EditError unless a model can be written to the directory."""
    if directory.is_dir():
        if not force:
            raise EditError(
                f"{directory} exists: name another directory, or have it replaced",
                parameters=["directory", "force"],
            )
        if any(directory.iterdir()) and not (directory / "config.json").is_file():
            raise EditError(
                f"{directory} holds something other than a model, so it is not replaced: name "
                "another directory"
            )
    elif directory.exists():
        raise EditError(f"{directory} is a file: name a directory")
    elif not directory.parent.is_dir():
        raise EditError(f"there is no directory {directory.parent}: create it first")
