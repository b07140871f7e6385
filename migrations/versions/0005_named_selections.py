"""Named selections, one of them the default; views for people speak of the default alone.

The views that spoke of every selection go on beside them, as all_NAME.
"""

import json
from collections.abc import Mapping
from typing import Any

from alembic import op

revision = "0005"
down_revision = "0004"

# Made anew: DuckDB adds no column that must not be NULL, and refuses to change one in the
# transaction that has filled it. `asked_at` was when a selection last became the latest.
SELECTIONS = """
CREATE TABLE named_selections (
    selection_id VARCHAR PRIMARY KEY,
    run_id VARCHAR NOT NULL,
    preset VARCHAR NOT NULL,
    ratio DOUBLE,
    sharing DOUBLE,
    comparison VARCHAR,
    min_prompts INTEGER,
    created_at TIMESTAMP NOT NULL,
    asked_at TIMESTAMP,                  -- when it last became the default; NULL: it never was
    settings JSON NOT NULL,
    name VARCHAR NOT NULL,               -- unique within the run
    associated BOOLEAN NOT NULL          -- whether its neuron_associations are computed
)
"""

FILL = """
INSERT INTO named_selections
SELECT selection_id, run_id, preset, ratio, sharing, comparison, min_prompts,
       created_at, asked_at, settings, $2,
       EXISTS (FROM neuron_associations AS a WHERE a.selection_id = s.selection_id)
FROM selections AS s
WHERE selection_id = $1
"""

REPLACE = """
DROP VIEW latest_selection;
DROP TABLE selections;
ALTER TABLE named_selections RENAME TO selections;
ALTER TABLE models ADD COLUMN path VARCHAR;
"""

# The preset "paper" as it stood in every version up to this one.
PAPER = {
    "ratio": 0.2,
    "sharing": 0.7,
    "comparison": ">=",
    "min_prompts": 3,
    "target_low": 2.0,
    "target_high": 5.0,
    "step": 0.05,
    "max_moves": 6,
}

DEFAULT = """
CREATE VIEW default_selection AS
    SELECT selection_id, run_id, preset, ratio, sharing, comparison, min_prompts,
           created_at, asked_at, settings, name, associated
    FROM selections
    ORDER BY asked_at DESC NULLS LAST, created_at DESC, selection_id
    LIMIT 1;
CREATE VIEW latest_selection AS
    SELECT selection_id, run_id, preset, ratio, sharing, comparison, min_prompts,
           created_at, asked_at, settings, name, associated
    FROM default_selection;
"""

# Each twice: of every selection and run, and of the default selection and its run alone, which
# are chosen where the rows are read, not among the results.
VIEWS = """
CREATE VIEW {prefix}neuron_facts AS
    SELECT k.selection_id, k.layer, k.neuron,
           f.relation_id, r.label AS relation, k.fact_id, f.subject, f.object,
           k.mean_score, k.prompt_share
    FROM {knowledge_neurons} AS k
    JOIN facts AS f USING (fact_id)
    JOIN relations AS r USING (relation_id);
CREATE VIEW {prefix}neuron_degrees AS
    SELECT k.selection_id, k.layer, k.neuron,
           count(*) AS facts,
           count(DISTINCT f.relation_id) AS relations,
           avg(k.mean_score) AS mean_score
    FROM {knowledge_neurons} AS k
    JOIN facts AS f USING (fact_id)
    GROUP BY k.selection_id, k.layer, k.neuron;
CREATE VIEW {prefix}fact_sharing AS
    SELECT a.selection_id,
           a.fact_id AS fact_a,
           b.fact_id AS fact_b,
           count(*) AS shared_neurons
    FROM {knowledge_neurons} AS a
    JOIN {knowledge_neurons} AS b
      ON a.selection_id = b.selection_id
     AND a.layer = b.layer
     AND a.neuron = b.neuron
     AND a.fact_id <> b.fact_id
    GROUP BY a.selection_id, a.fact_id, b.fact_id;
CREATE VIEW {prefix}relation_sharing AS
    WITH degrees AS (
        SELECT k.selection_id, f.relation_id, k.layer, k.neuron, count(*) AS facts
        FROM {knowledge_neurons} AS k
        JOIN facts AS f USING (fact_id)
        GROUP BY k.selection_id, f.relation_id, k.layer, k.neuron
    )
    SELECT a.selection_id,
           a.relation_id AS relation_a,
           b.relation_id AS relation_b,
           count(*) AS shared_neurons,
           sum(a.facts * b.facts) AS shared_by_fact_pairs
    FROM degrees AS a
    JOIN degrees AS b
      ON a.selection_id = b.selection_id
     AND a.layer = b.layer
     AND a.neuron = b.neuron
     AND a.relation_id <> b.relation_id
    GROUP BY a.selection_id, a.relation_id, b.relation_id;
CREATE VIEW {prefix}overlap_summary AS
    SELECT selection_id,
           CASE WHEN relation_a = relation_b THEN 'within' ELSE 'across' END AS pairs,
           count(*) AS relation_pairs,
           sum(fact_pairs)::BIGINT AS fact_pairs,
           sum(shared_by_fact_pairs)::BIGINT AS shared_by_fact_pairs,
           sum(shared_by_fact_pairs) / nullif(sum(fact_pairs), 0) AS mean_over_fact_pairs,
           avg(mean_shared_neurons) AS mean_over_relation_pairs
    FROM {relation_overlaps}
    GROUP BY selection_id, relation_a = relation_b;
CREATE VIEW {prefix}relation_interference AS
    WITH chosen AS (
        SELECT s.selection_id, s.run_id, k.fact_id, f.relation_id, k.layer, k.neuron
        FROM {knowledge_neurons} AS k
        JOIN selections AS s USING (selection_id)
        JOIN facts AS f USING (fact_id)
    ),
    sources AS (
        SELECT selection_id, run_id, relation_id, layer, neuron, count(*) AS facts
        FROM chosen
        GROUP BY selection_id, run_id, relation_id, layer, neuron
    ),
    targets AS (
        SELECT m.run_id, f.relation_id, m.layer, m.neuron, sum(m.share) AS share
        FROM {fact_masses} AS m
        JOIN facts AS f USING (fact_id)
        GROUP BY m.run_id, f.relation_id, m.layer, m.neuron
    ),
    sizes AS (
        SELECT m.run_id, f.relation_id, count(DISTINCT m.fact_id) AS facts
        FROM {fact_masses} AS m
        JOIN facts AS f USING (fact_id)
        GROUP BY m.run_id, f.relation_id
    ),
    crossed AS (
        SELECT s.selection_id,
               s.relation_id AS relation_a,
               t.relation_id AS relation_b,
               sum(s.facts * t.share) AS predicted
        FROM sources AS s
        JOIN targets AS t USING (run_id, layer, neuron)
        GROUP BY s.selection_id, s.relation_id, t.relation_id
    ),
    own AS (
        SELECT c.selection_id, c.relation_id, sum(m.share) AS predicted
        FROM chosen AS c
        JOIN {fact_masses} AS m USING (run_id, fact_id, layer, neuron)
        GROUP BY c.selection_id, c.relation_id
    )
    SELECT a.selection_id,
           a.relation_id AS relation_a,
           b.relation_id AS relation_b,
           (coalesce(x.predicted, 0)
            - CASE WHEN a.relation_id = b.relation_id THEN coalesce(o.predicted, 0) ELSE 0 END)
           / nullif(a.facts * b.facts
                    - CASE WHEN a.relation_id = b.relation_id THEN b.facts ELSE 0 END, 0)
               AS mean_predicted
    FROM {selection_relations} AS a
    JOIN selections AS s USING (selection_id)
    JOIN sizes AS b ON b.run_id = s.run_id
    LEFT JOIN crossed AS x
      ON x.selection_id = a.selection_id
     AND x.relation_a = a.relation_id
     AND x.relation_b = b.relation_id
    LEFT JOIN own AS o
      ON o.selection_id = a.selection_id
     AND o.relation_id = a.relation_id;
"""

REMADE = (
    "neuron_facts",
    "neuron_degrees",
    "fact_sharing",
    "relation_sharing",
    "overlap_summary",
    "relation_interference",
)
READ = {
    "knowledge_neurons": "selection_id",
    "relation_overlaps": "selection_id",
    "selection_relations": "selection_id",
    "fact_masses": "run_id",
}

# Comments, as in 0004.
TABLES = """
selections: thresholds applied to a run's scores, under a name; one of them is the default
default_selection: the selection that questions are about unless another is named
latest_selection: the same as default_selection, for older SQL
"""

COLUMNS = """
runs.dataset_digest: 16 hex digits over relations, templates and facts
models.model_id: first 12 hex digits of its weights' SHA-256; without weights, of name and shape
models.path: where it was found when it was last indexed or named; a hint, may be NULL
selections.name: unique within the run
selections.associated: whether its neuron_associations are computed
selections.asked_at: when it last became the default, UTC; NULL: it never was
"""


def upgrade() -> None:
    # The driver's own, for Alembic would take `:neuron` in a comment for a parameter.
    execute = op.get_bind().exec_driver_sql
    comments = _comments(execute)
    execute(SELECTIONS)
    _name(execute)
    execute(REPLACE)
    execute(DEFAULT)
    for view in REMADE:
        execute(f"DROP VIEW {view}")
    everything = {table: table for table in READ}
    # A comparison, for behind a SEMI JOIN the planner loses what else a question asks for.
    of_the_default = {
        table: f"(SELECT * FROM {table} WHERE {key} = (SELECT {key} FROM default_selection))"
        for table, key in READ.items()
    }
    execute(VIEWS.format(prefix="all_", **everything))
    execute(VIEWS.format(prefix="", **of_the_default))
    _comment(execute, comments)


def _name(execute: Any) -> None:
    """Name every selection as selecting does from now on."""
    taken: set[tuple[str, str]] = set()
    for selection_id, run_id, settings in execute(
        """
        SELECT selection_id, run_id, settings::VARCHAR
        FROM selections
        ORDER BY created_at, selection_id
        """
    ).fetchall():
        plain = name = _automatic(json.loads(settings))
        number = 1
        while (run_id, name) in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add((run_id, name))
        execute(FILL, (selection_id, name))


def _automatic(settings: Mapping[str, Any]) -> str:
    preset = settings["preset"]
    if preset not in ("paper", "fixed"):
        return str(preset)
    changed = {name for name, value in PAPER.items() if settings.get(name, value) != value}
    parts = ["paper"] if preset == "paper" else []
    if preset == "fixed" or "ratio" in changed:
        parts.append(f"ratio-{settings['ratio']:g}")
    if preset == "fixed" or "sharing" in changed:
        parts.append(f"sharing-{settings['sharing']:g}")
    if "comparison" in changed:
        parts.append("above")
    if "min_prompts" in changed:
        parts.append(f"prompts-{settings['min_prompts']}")
    if changed & {"target_low", "target_high"}:
        parts.append(f"target-{settings['target_low']:g}-{settings['target_high']:g}")
    if changed & {"step", "max_moves"}:
        parts.append(f"moves-{settings['max_moves']}-{settings['step']:g}")
    return "-".join(parts)


def _comments(execute: Any) -> dict[tuple[str, str], str]:
    """What the schema says of the columns of what is made anew, and of each view as column ''."""
    return {
        (table, column): text
        for table, column, text in execute(
            """
            SELECT table_name, column_name, comment
            FROM duckdb_columns()
            WHERE NOT internal
            UNION ALL
            SELECT view_name, '', comment
            FROM duckdb_views()
            WHERE NOT internal
            """
        ).fetchall()
        if table in ("selections", *REMADE) and text is not None
    }


def _comment(execute: Any, said: Mapping[tuple[str, str], str]) -> None:
    """Say what the new columns and views are; of what was made anew, what was said before."""
    tables, columns = _entries(TABLES), {}
    for (table, column), text in said.items():
        if column:
            columns[f"{table}.{column}"] = text
            if table in REMADE:
                columns[f"all_{table}.{column}"] = text
        else:
            tables[table] = f"{text}; of the default selection"
            tables[f"all_{table}"] = f"{text}; of every selection"
    columns |= _entries(COLUMNS)
    for name, text in list(columns.items()):
        table, _, column = name.partition(".")
        if table == "selections":
            for view in ("default_selection", "latest_selection"):
                columns[f"{view}.{column}"] = text
    statements = [
        f"COMMENT ON COLUMN {name} IS '{_quoted(text)}'" for name, text in columns.items()
    ]
    statements += [
        f"COMMENT ON {'TABLE' if name == 'selections' else 'VIEW'} {name} IS '{_quoted(text)}'"
        for name, text in tables.items()
    ]
    execute(";\n".join(statements))


def _entries(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.splitlines() if line)


def _quoted(text: str) -> str:
    return text.replace("'", "''")
