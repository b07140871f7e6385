"""The tokens with which a model was asked about a fact."""

from dataclasses import dataclass

from atlas.models.asked import AskedTokens
from atlas.queries.named_facts import NamedFact
from atlas.selection.chosen import OfSelection


@dataclass(frozen=True)
class FactTokensReport(OfSelection, rows="prompts"):
    """A fact's prompts as its run's model is asked them, token by token."""

    fact: NamedFact
    prompts: tuple[AskedTokens, ...]  # those that the run measured or skipped; at most the limit
