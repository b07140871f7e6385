"""What the indexer has workers do: a batch of prompts in, the rows that are stored out."""

from collections.abc import Sequence
from dataclasses import dataclass

from atlas.distributed.tables import (
    columns_as_table,
    rows_as_table,
    table_as_columns,
    table_as_rows,
)
from atlas.distributed.workers import Tables
from atlas.engine.attribution import attribute_targets
from atlas.engine.settings import Integration
from atlas.indexing import records
from atlas.indexing.batches import AskedPrompt
from atlas.indexing.settings import IndexSettings
from atlas.indexing.sparse_results import sparse_results
from atlas.models.language_model import LanguageModel


@dataclass(frozen=True)
class Attributing:
    """Attribute a batch of prompts, all of one shape; `Work` of the index."""

    method: str
    integration: Integration
    score_floor: float
    memory_budget: int | None

    @classmethod
    def by(cls, settings: IndexSettings) -> "Attributing":
        return cls(
            settings.method, settings.integration, settings.score_floor, settings.memory_budget
        )

    def measure(self, lm: LanguageModel, task: Sequence[AskedPrompt]) -> records.PromptResults:
        measured = attribute_targets(
            lm,
            [asked.targets for asked in task],
            method=self.method,
            how=self.integration,
            memory_budget=self.memory_budget,
        )
        return sparse_results([asked.prompt_id for asked in task], measured, self.score_floor)

    def to_tables(self, result: records.PromptResults) -> Tables:
        tables = {"prompts": rows_as_table(records.PromptResult, result.prompts)}
        for name in ("attributions", "token_attributions"):
            scores = getattr(result, name)
            if scores is not None:
                tables[name] = columns_as_table(scores)
        return tables

    def from_tables(self, tables: Tables) -> records.PromptResults:
        return records.PromptResults(
            prompts=table_as_rows(records.PromptResult, tables["prompts"]),
            attributions=table_as_columns(records.Attributions, tables["attributions"]),
            token_attributions=table_as_columns(
                records.TokenAttributions, tables["token_attributions"]
            )
            if "token_attributions" in tables
            else None,
        )


def skipped_results(batch: Sequence[AskedPrompt]) -> records.PromptResults:
    """Of prompts that the model cannot be asked: there is nothing to measure."""
    return records.PromptResults(
        [records.PromptResult(a.prompt_id, skipped_because=a.skipped_because) for a in batch]
    )
