"""Which rows of which tables belong to a run, or are referred to by rows that do.

How a merge puts them into another atlas is told table by table in `atlas.merging.rows`.
"""

import duckdb

_OF_RUN = "run_id = getvariable('exported_run')"
_OF_MODEL = f"model_id = (SELECT model_id FROM runs WHERE {_OF_RUN})"
_OF_SELECTION = f"selection_id IN (SELECT selection_id FROM selections WHERE {_OF_RUN})"
_OF_EDIT = f"edit_id IN (SELECT edit_id FROM edits WHERE {_OF_RUN} AND state <> 'deleted')"
_OF_AUDIT = f"audit_id IN (SELECT audit_id FROM audits WHERE {_OF_RUN})"
_OF_RELATION = "relation_id IN (SELECT relation_id FROM run_facts)"

_WHERE = {
    "models": _OF_MODEL,
    "runs": _OF_RUN,
    "run_shards": _OF_RUN,
    "relations": _OF_RELATION,
    "templates": "template_id IN (SELECT template_id FROM run_prompts)",
    "facts": "fact_id IN (SELECT fact_id FROM run_facts)",
    "prompts": "prompt_id IN (SELECT prompt_id FROM run_prompts)",
    "prompt_results": _OF_RUN,
    "attributions": _OF_RUN,
    "token_attributions": _OF_RUN,
    "prompt_activations": _OF_RUN,
    "activation_layers": _OF_RUN,
    "selections": _OF_RUN,
    "selection_relations": _OF_SELECTION,
    "knowledge_neurons": _OF_SELECTION,
    "neuron_stability": _OF_SELECTION,
    "fact_stability": _OF_SELECTION,
    "relation_overlaps": _OF_SELECTION,
    "fact_masses": _OF_RUN,
    "interference_measurements": _OF_RUN,
    "neuron_meanings": _OF_MODEL,
    "neuron_associations": _OF_SELECTION,
    "interactions": _OF_SELECTION,
    "fact_interactions": _OF_SELECTION,
    "experiments": _OF_SELECTION,
    "experiment_items": _OF_SELECTION,
    "experiment_rows": _OF_SELECTION,
    "experiment_claims": _OF_SELECTION,
    "specificity_facts": _OF_SELECTION,
    "specificity_effects": _OF_SELECTION,
    "neuron_specificity": _OF_SELECTION,
    "audits": _OF_RUN,
    "audit_neurons": _OF_AUDIT,
    "audit_tensors": _OF_AUDIT,
    "audit_effects": _OF_AUDIT,
    "edits": f"{_OF_RUN} AND state <> 'deleted'",
    "edit_facts": _OF_EDIT,
    "edit_deltas": _OF_EDIT,
    "edit_outcomes": _OF_EDIT,
    "side_effects": _OF_EDIT,
}

# Table and query; the queries need what `run_temporary_tables` makes.
EXPORTED: tuple[tuple[str, str], ...] = tuple(
    (table, f"SELECT * FROM {table} WHERE {where}") for table, where in _WHERE.items()
)


def run_temporary_tables(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Let `EXPORTED` be about this run: its id, its prompts and its facts."""
    # COPY takes no parameters, but reads variables.
    connection.execute("SET VARIABLE exported_run = ?", [run_id])
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE run_prompts AS
        SELECT DISTINCT p.prompt_id, p.template_id, p.fact_id
        FROM prompts AS p
        WHERE p.prompt_id IN (SELECT prompt_id FROM prompt_results WHERE {_OF_RUN})
           OR p.prompt_id IN (SELECT prompt_id FROM edit_outcomes WHERE {_OF_EDIT})
           OR p.prompt_id IN (SELECT prompt_id FROM side_effects WHERE {_OF_EDIT})
        """
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE run_facts AS
        SELECT DISTINCT f.fact_id, f.relation_id
        FROM facts AS f
        WHERE f.fact_id IN (SELECT fact_id FROM run_prompts)
           OR f.fact_id IN (SELECT fact_id FROM knowledge_neurons WHERE {_OF_SELECTION})
           OR f.fact_id IN (SELECT fact_id FROM edits WHERE {_OF_RUN} AND fact_id IS NOT NULL)
           OR f.fact_id IN (
               SELECT fact_id FROM edit_facts WHERE {_OF_EDIT} AND fact_id IS NOT NULL
           )
        """
    )
