"""Experiments of the paper and its critics: what was measured, and what it says of each claim."""

from alembic import op

revision = "0010"
down_revision = "0009"

EXPERIMENTS = """
CREATE TABLE experiments (
    selection_id VARCHAR NOT NULL,
    experiment VARCHAR NOT NULL,
    seed INTEGER NOT NULL,
    facts_per_relation INTEGER,
    items INTEGER NOT NULL,
    seconds DOUBLE NOT NULL,
    atlas_version VARCHAR NOT NULL
);
CREATE TABLE experiment_items (
    selection_id VARCHAR NOT NULL,
    experiment VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    fact_id VARCHAR,
    asked VARCHAR NOT NULL,
    seconds DOUBLE NOT NULL
);
CREATE TABLE experiment_rows (
    selection_id VARCHAR NOT NULL,
    experiment VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    fact_id VARCHAR,
    measure VARCHAR NOT NULL,
    series VARCHAR NOT NULL,
    x DOUBLE,
    value DOUBLE NOT NULL
);
CREATE TABLE experiment_claims (
    selection_id VARCHAR NOT NULL,
    experiment VARCHAR NOT NULL,
    place INTEGER NOT NULL,
    claim VARCHAR NOT NULL,
    statement VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    unit VARCHAR NOT NULL,
    published DOUBLE,
    published_control DOUBLE,
    ours DOUBLE,
    ours_low DOUBLE,
    ours_high DOUBLE,
    n INTEGER NOT NULL,
    against VARCHAR NOT NULL,
    control DOUBLE,
    control_low DOUBLE,
    control_high DOUBLE,
    difference DOUBLE,
    difference_low DOUBLE,
    difference_high DOUBLE,
    expected VARCHAR NOT NULL,
    verdict VARCHAR NOT NULL
);
"""
SELECTION = "the selection whose neurons it is about"
EXPERIMENT = "its name, as `atlas reproduce` takes it"
COMMENTS = {
    "experiments": "experiments of the paper and its critics that were carried out on a selection",
    "experiments.selection_id": SELECTION,
    "experiments.experiment": EXPERIMENT,
    "experiments.seed": "of its draws and intervals",
    "experiments.facts_per_relation": "facts of each relation that were asked; NULL: all",
    "experiments.items": "facts, relations or whatever is measured as one",
    "experiments.seconds": "that measuring these took, in all calls",
    "experiments.atlas_version": "of the package that drew the conclusions",
    "experiment_items": "what an experiment measured as one, and what was asked about it",
    "experiment_items.selection_id": SELECTION,
    "experiment_items.experiment": EXPERIMENT,
    "experiment_items.item": "a fact's id, a relation's, or a name of the experiment's own",
    "experiment_items.fact_id": "the fact whose neurons it is about; NULL: of more than one",
    "experiment_items.asked": "digest of everything that decides its rows but for the model",
    "experiment_items.seconds": "its part of the time that measuring took",
    "experiment_rows": "every number that an experiment's claims and figures are made of",
    "experiment_rows.selection_id": SELECTION,
    "experiment_rows.experiment": EXPERIMENT,
    "experiment_rows.item": "whose number it is, see `experiment_items`",
    "experiment_rows.fact_id": "as in `experiment_items`",
    "experiment_rows.measure": "what was measured",
    "experiment_rows.series": "by which neurons, method or prompts",
    "experiment_rows.x": "budget, layer, number of prompts or draw; NULL: there is no such axis",
    "experiment_rows.value": "the number",
    "experiment_claims": "published claims on trial: theirs beside ours, with a control",
    "experiment_claims.selection_id": SELECTION,
    "experiment_claims.experiment": EXPERIMENT,
    "experiment_claims.place": "of the claim among the experiment's, from 0",
    "experiment_claims.claim": "its name",
    "experiment_claims.statement": "what was published, in words",
    "experiment_claims.source": "where",
    "experiment_claims.unit": "of all its figures",
    "experiment_claims.published": "the figure as published; NULL: in words alone",
    "experiment_claims.published_control": "the control's, as published",
    "experiment_claims.ours": "mean over items",
    "experiment_claims.ours_low": "lower end of its 95 % bootstrap interval over items",
    "experiment_claims.ours_high": "upper end",
    "experiment_claims.n": "items",
    "experiment_claims.against": "what the control is",
    "experiment_claims.control": "mean of the control over the same items",
    "experiment_claims.control_low": "lower end of its interval; NULL: a number that chance gives",
    "experiment_claims.control_high": "upper end",
    "experiment_claims.difference": "ours minus the control, item by item",
    "experiment_claims.difference_low": "lower end of its interval",
    "experiment_claims.difference_high": "upper end",
    "experiment_claims.expected": "higher | lower: how ours lies to the control if the claim holds",
    "experiment_claims.verdict": "holds | does not hold | undecided | not measured",
}


def upgrade() -> None:
    execute = op.get_bind().exec_driver_sql
    execute(EXPERIMENTS)
    for name, text in COMMENTS.items():
        kind = "COLUMN" if "." in name else "TABLE"
        quoted = text.replace("'", "''")
        execute(f"COMMENT ON {kind} {name} IS '{quoted}'")
