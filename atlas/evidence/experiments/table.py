"""The table of experiments: an experiment is one file and its row here."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from atlas.errors import SettingsError
from atlas.evidence.experiments.experiment import Experiment


@dataclass(frozen=True)
class Listed:
    """An experiment as it is listed, without torch; its file has the rest.

    null: whether it has one, the same measured of neurons of false objects. What compares known
    facts with unknown ones, models or number formats has none.
    """

    title: str
    file: str  # the module beside this one
    asks_model: bool = True
    null: bool = True

    def load(self) -> Experiment:
        module = import_module(f"atlas.evidence.experiments.{self.file}")
        found: Experiment = module.EXPERIMENT
        return found


EXPERIMENTS: dict[str, Listed] = {
    "neurons": Listed("How many neurons a fact has, and in which layers", "neurons", False),
    "sharing": Listed("Neurons that facts share within relations and across", "sharing", False),
    "baseline": Listed("Neurons by activation, the paper's baseline", "baseline", False, False),
    "suppress": Listed("Neurons suppressed and amplified on their own prompts", "suppress"),
    "update": Listed("Facts that get another object by the paper's rule", "update"),
    "erase": Listed("Relations erased with their commonest neurons", "erase"),
    "activating": Listed("Which prompts activate a fact's neurons", "activating"),
    "inverse": Listed("Whether what an updated fact implies follows", "inverse"),
    "methods": Listed("Methods that choose neurons, at equal budgets", "methods"),
    "paraphrases": Listed("How many paraphrases choose the same neurons", "paraphrases", False),
    "localization": Listed("Whether a fact has its place over paraphrases", "localization", False),
    "grid": Listed("Neurons at other ratios and sharings", "grid", False),
    "relation-neurons": Listed("Neurons of a relation: sums, other uses", "relation_neurons"),
    "knowledge": Listed("Known facts beside unknown ones", "knowledge", null=False),
    "negatives": Listed("Neurons of a template left out", "negatives"),
    "precision": Listed("Whether bfloat16 finds the neurons of float32", "precision", null=False),
    "seeds": Listed("Whether facts sit in the same neurons of another seed", "seeds", False, False),
}


def named_experiments(names: Sequence[str]) -> list[str]:
    """The experiments of these names, in the table's order; none: all. SettingsError for others."""
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown:
        raise SettingsError(
            f"there is no experiment '{unknown[0]}': choose {', '.join(EXPERIMENTS)}",
            parameters=["experiment"],
        )
    return [name for name in EXPERIMENTS if not names or name in names]
