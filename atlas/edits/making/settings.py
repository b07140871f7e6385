"""How an edit is made: its settings, checked before any model is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from atlas.counted import counted
from atlas.edits.making.texts import texts_of
from atlas.engine.settings import POSITIONS, require_one_of
from atlas.errors import EditError, SettingsError
from atlas.facts import as_name

METHODS = {  # of an update, with a line each for help
    "spare": "one direction that tells this fact's prompts from all others in the atlas",
    "solve": "the smallest change that puts the new object on top, others kept",
    "paper": "the λ rule of Dai et al. 2022",
    "hypernetwork": "as spare, how far told by the network of `atlas edit train`",
}
SOLVE_TOGETHER = ("spare",)
"""Methods that give several facts new objects in one edit."""
COMMON = 0.1  # share of a relation's facts, where nobody says another
_ONLY_OF = {  # methods that would not ignore the setting
    "lambda1": ("paper",),
    "lambda2": ("paper",),
    "pull_back": ("paper",),
    "keep": ("spare", "solve"),
    "layer": ("spare", "hypernetwork"),
    "position": ("spare",),
    "spare_on": ("spare", "hypernetwork"),
    "common": ("solve", "paper"),
}
_OF_AN_UPDATE = {"method", *_ONLY_OF} - {"common"}


@dataclass(frozen=True)
class EditSettings:
    """How an edit is made; nothing but `neurons` is meant to need tuning.

    selection_id: whose knowledge neurons; None: the latest selection's.
    common: leave out neurons of more than this share of the relation's facts (of those that have
        knowledge neurons; a neuron of a single fact is never common); None: COMMON. Not together
        with `neurons`, which takes the strongest whatever they are.
    neurons: None: the fact's knowledge neurons, and where all of them are common, its WIDENED
        neurons of highest mean score; N: its N neurons of highest mean score instead. Method spare
        takes N of one layer, those with a score first; a layer's width or more: all of it.
    lambda1, lambda2: strengths of method paper. pull_back: let it take the slope of the objects'
        logits at the prompts in place of their output embeddings, see `directions`.
    keep: prompts of other facts that method solve leaves in place, and that spare looks at before
        it settles for a layer.
    layer: in which methods spare and hypernetwork make their change; None: as `layers` says, or
        the first that the network learnt. position: where spare writes it, one of `POSITIONS`;
        None: as `own_keys` says. spare_on: texts whose activations they leave in place beside those
        of the atlas's other facts.
    held_out: share of the fact's prompts that play no part.
    """

    method: str = "spare"
    selection_id: str | None = None
    common: float | None = None
    neurons: int | None = None
    lambda1: float = 1.0
    lambda2: float = 8.0
    pull_back: bool = False
    keep: int = 40
    layer: int | None = None
    position: str | None = None
    spare_on: tuple[str, ...] = ()
    held_out: float = 0.25

    def __post_init__(self) -> None:
        """SettingsError for a value outside its range."""
        if self.method not in METHODS:
            raise SettingsError(f"unknown method '{self.method}': choose {', '.join(METHODS)}")
        if self.common is not None and not 0 <= self.common <= 1:
            raise SettingsError(f"common is {self.common}: use a share between 0 and 1")
        if self.neurons is not None and self.neurons < 1:
            raise SettingsError(f"neurons is {self.neurons}: use 1 or more")
        if self.common is not None and self.neurons is not None:
            raise SettingsError(
                "a number of neurons takes the strongest, also common ones: give either that or "
                "the share from which neurons are common",
                parameters=["neurons", "common"],
            )
        if not 0 <= self.held_out < 1:
            raise SettingsError(f"held_out is {self.held_out}: use a share from 0 to below 1")
        if self.position is not None:
            require_one_of(POSITIONS, "position", self.position)
        if self.keep < 0:
            raise SettingsError(f"keep is {self.keep}: use 0 or more")

    @property
    def common_share(self) -> float:
        """`common`, or what it is where nobody says."""
        return COMMON if self.common is None else self.common


def update_settings(selection_id: str, given: Mapping[str, Any]) -> EditSettings:
    """Settings of an update; a setting that is None counts as not given.

    spare_on: texts, or a file with one a line.

    SettingsError for an unknown one, and for one that the method would ignore.
    """
    wanted = {name: value for name, value in given.items() if value is not None}
    if isinstance(spared := wanted.get("spare_on"), str | Path):
        wanted["spare_on"] = texts_of(spared)
    settings = _settings(selection_id, wanted, [f.name for f in fields(EditSettings)])
    for name, methods in _ONLY_OF.items():
        if name in wanted and settings.method not in methods:
            raise SettingsError(
                f"{name} is a setting of method {' and '.join(methods)}, and method "
                f"{settings.method} would ignore it: leave it out, or choose "
                f"{'that method' if len(methods) == 1 else 'one of those'}",
                parameters=[name, "method"],
            )
    return settings


def require_solving_together(settings: EditSettings, facts: int, each: bool) -> None:
    """SettingsError for one edit of several facts by a method that makes one a fact."""
    if facts > 1 and not each and settings.method not in SOLVE_TOGETHER:
        raise SettingsError(
            f"method {settings.method} makes one edit a fact, and this is one of "
            f"{counted(facts, 'fact')}: ask for one edit each, or choose method "
            f"{' or '.join(SOLVE_TOGETHER)}",
            parameters=["each", "method"],
        )


def fact_settings(selection_id: str, given: Mapping[str, Any]) -> EditSettings:
    """Settings of an edit of a fact that is no update: `common`, `neurons`, `held_out`."""
    wanted = {name: value for name, value in given.items() if value is not None}
    known = [f.name for f in fields(EditSettings) if f.name not in _OF_AN_UPDATE]
    return _settings(selection_id, wanted, known)


def relation_settings(selection_id: str, given: Mapping[str, Any]) -> EditSettings:
    """Settings of an edit of a whole relation: `neurons` alone."""
    wanted = {name: value for name, value in given.items() if value is not None}
    if "common" in wanted:
        raise SettingsError(
            "erasing a whole relation takes its commonest neurons, so none is left out as common",
            parameters=["common"],
        )
    return _settings(selection_id, wanted, ["neurons"])


def require_factor(factor: float) -> None:
    """SettingsError for a factor that is negative, endless, or changes nothing."""
    if not 0 <= factor < float("inf") or factor == 1:
        raise SettingsError(f"factor is {factor}: use 0 to below 1 to suppress, more to amplify")


def require_other_object(fact: str, old_object: str, new_object: str) -> None:
    """EditError if the new object is the one that the fact has; `fact`: how to call it."""
    if as_name(new_object) == as_name(old_object):
        raise EditError(
            f"'{new_object.strip()}' is the object of {fact} already: name another",
            parameters=["to"],
        )


def _settings(selection_id: str, wanted: Mapping[str, Any], known: list[str]) -> EditSettings:
    known = [name for name in known if name != "selection_id"]
    for name in wanted:
        if name not in known:
            raise SettingsError(
                f"no setting '{name}' of this kind of edit: there are {', '.join(known)}"
            )
    return EditSettings(selection_id=selection_id, **wanted)
