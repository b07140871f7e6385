"""A session with a model whose edits are switched on and off; nothing is written."""

from collections.abc import Sequence

from atlas.edits.asking import Asked, AskedReport, ask
from atlas.edits.edit import Edit, overlapping
from atlas.edits.in_force import edits_in_force, interfering_edits, selection_of
from atlas.edits.stored import read_edits
from atlas.models.language_model import LanguageModel
from atlas.store.atlas_file import AtlasFile


class LiveEdits:
    """A model, the edits that it may get, and those that are on, in the order of switching on."""

    def __init__(self, atlas: AtlasFile, lm: LanguageModel, edits: Sequence[Edit]) -> None:
        self._atlas, self._lm = atlas, lm
        self.known = {edit.edit_id or 0: edit for edit in edits}
        self.on = list(self.known)

    def __repr__(self) -> str:
        return f"LiveEdits({self._lm.name}, on={self.on})"

    def ask(self, text: str, top: int = 5, tokens: int = 0) -> Asked:
        """The text's top answers without edits and with those that are on.

        tokens: how many a causal model writes on behind the text, at most.
        """
        return ask(self._lm, [self.known[number] for number in self.on], text, top, tokens)

    def switch_on(self, number: int) -> bool:
        """Switch an edit on, any of this model; False if it was on. Raises NotFound, EditError."""
        if number not in self.known:
            first = next(iter(self.known))
            with self._atlas.reading() as connection:
                self.known[number] = edits_in_force(connection, [first, number])[1]
        if number in self.on:
            return False
        self.on.append(number)
        return True

    def switch_off(self, number: int) -> bool:
        """Switch an edit off; False if it was not on. NotFound for one that there is not."""
        if number not in self.on:
            with self._atlas.reading() as connection:
                read_edits(connection, [number])
            return False
        self.on.remove(number)
        return True

    def conflicts(self) -> AskedReport:
        """Edits that are on together and get in each other's way, without any answer."""
        edits = [self.known[number] for number in self.on]
        with self._atlas.reading() as connection:
            interference = interfering_edits(connection, edits)
            selection = selection_of(connection, edits)
        return AskedReport(
            answers=(),
            model=self._lm.name,
            model_id=self._lm.model_id,
            edits=tuple(self.on),
            overlaps=tuple(overlapping(edits)),
            interference=tuple(interference),
            selection=selection,
        )
