"""Which of a run's prompts a checkpoint is asked."""

import re
from dataclasses import dataclass

import duckdb

from atlas.errors import NotFound, SettingsError
from atlas.store.rows import fetch

_SAMPLE = re.compile(r"sample:([0-9]{1,9})")


@dataclass(frozen=True)
class AuditScope:
    """All measured prompts, those of known facts, or so many drawn by `seed`."""

    kind: str = "all"  # all | known | sample
    prompts: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class AuditedPrompt:
    """A prompt to be asked; `text` still has [Y]."""

    prompt_id: int
    text: str
    answer: str


def parse_audit_scope(text: str, seed: int = 0) -> AuditScope:
    """`all`, `known` or `sample:N`; SettingsError for anything else."""
    if text in ("all", "known"):
        return AuditScope(text, seed=seed)
    sample = _SAMPLE.fullmatch(text)
    if sample and int(sample[1]) > 0:
        return AuditScope("sample", int(sample[1]), seed)
    raise SettingsError(
        f"unknown scope '{text}': choose all, known or sample:N, for example sample:500",
        parameters=["scope"],
    )


def audited_prompts(
    connection: duckdb.DuckDBPyConnection, run_id: str, scope: AuditScope
) -> list[AuditedPrompt]:
    """The scope's prompts that the run measured, by id; NotFound if there is none."""
    found = fetch(
        connection,
        AuditedPrompt,
        """
        SELECT p.prompt_id,
               p.text,
               f.object AS answer
        FROM prompt_results AS r
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f USING (fact_id)
        LEFT JOIN all_fact_knowledge AS k
          ON k.run_id = r.run_id
         AND k.fact_id = f.fact_id
        WHERE r.run_id = $run_id
          AND r.skipped_because IS NULL
          AND ($kind <> 'known' OR k.known)
        QUALIFY $count IS NULL
             OR row_number() OVER (ORDER BY md5($seed || ':' || p.prompt_id), p.prompt_id) <= $count
        ORDER BY p.prompt_id
        """,
        {
            "run_id": run_id,
            "kind": scope.kind,
            "count": scope.prompts,
            "seed": str(scope.seed),
        },
    )
    if not found:
        raise NotFound(
            f"run {run_id} has no measured prompt{' of a known fact' * (scope.kind == 'known')}, "
            "so there is nothing to audit",
            parameters=["run"],
        )
    return found
