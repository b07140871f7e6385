"""The data dictionary: comments on every table, view and column, for `atlas sql --explain-views`.

A name without a dot is a column wherever it occurs, unless TABLE.COLUMN says something else.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
alembic_version: the revision of this schema
models: a language model whose neurons are in the atlas
relations: a relation between subjects and objects
templates: a cloze text of a relation
facts: a triple of subject, relation and object
prompts: a template with a fact's subject filled in
runs: one model, one method, one set of settings; everything measured belongs to a run
prompt_results: what a run measured on a prompt
attributions: a neuron's score for a prompt, for scores of at least the run's floor
selections: thresholds applied to a run's scores
selection_relations: what a selection came to in a relation
knowledge_neurons: a neuron that a selection chose for a fact
relation_overlaps: how many neurons the facts of two relations share, over all pairs of facts
fact_masses: how much of a fact's score mass lies on a neuron
interference_measurements: what suppressing one fact's neurons did to a fact, measured
neuron_meanings: a token that a neuron's value vector writes for or against most
neuron_associations: what a neuron's facts have in common more often than chance
interactions: two neurons of a fact, suppressed alone and together
fact_interactions: how a fact's neurons work together
edits: a stored set of deltas to value vectors
edit_deltas: what an edit adds to one value vector
edit_outcomes: what an edit did to a prompt of the fact or relation that it is about
side_effects: what an edit did to a prompt that it was not meant to change
latest_selection: the selection that was asked for last
neuron_facts: a knowledge neuron and a fact that it serves, with names
neuron_degrees: a neuron and how many facts and relations it serves
fact_sharing: two facts that share a neuron, in either order
relation_sharing: two relations that share a neuron, in either order
overlap_summary: shared neurons over all pairs of facts within relations, and across them
relation_interference: predicted interference of relation_a's facts on relation_b's
edit_summary: an edit with its success and its side effects
"""

COLUMNS = """
model_id: the model; first 12 hex digits of its weights' SHA-256
run_id: the run
selection_id: the selection
relation_id: the relation, for example P36
relation: the relation's label
fact_id: the fact; ParaRel's uuid where there is one
template_id: the template
prompt_id: the prompt; 63 bits of SHA-256 over fact and template
edit_id: the edit; 1, 2, ..., never given out a second time
layer: counted from 0
neuron: counted from 0 within its layer
subject: for example Ireland
object: for example Dublin
score: knowledge attribution; the integral of dP/dw times w
mean_score: over the fact's prompts in which the neuron passes the ratio; NULL without scores
prompt_share: of the fact's measured prompts, those in which the neuron passes; NULL without scores
relation_a: a relation
relation_b: a relation
settings: every further setting that decides the numbers
created_at: UTC
weights_sha256: of the weights, name by name
atlas_version: of the package that wrote it
method: how it was computed

alembic_version.version_num: revision
models.name: as the user named it
models.revision: of a model from the hub
models.architecture: transformers' model_type
models.objective: masked | causal
models.layers: how many
models.neurons_per_layer: how many
models.weights_sha256: NULL where an import does not know the weights
relations.label: for example capital
templates.text: [X] stands for the subject, [Y] for the object
prompts.text: the object is still [Y]
runs.method: integrated-gradients | gradient-x-activation | activation | as an import names it
runs.rule: of the integral: adaptive, riemann-right, ...
runs.points: of a fixed rule
runs.tolerance: of the adaptive rule, a share of the prompt's largest layer effect
runs.baseline: zero
runs.dtype: of the model's weights
runs.device: that computed it
runs.seed: NULL: nothing in the run is random
runs.score_floor: scores below this share of the prompt's largest are not stored
runs.dataset: name
runs.dataset_digest: 12 hex digits over relations, templates and facts
runs.status: running | interrupted | finished
runs.started_at: UTC
runs.finished_at: UTC
runs.environment: versions of what computed it
prompt_results.p_answer: probability of the fact's object, the product over its tokens
prompt_results.answer_rank: 1 = the model's top answer
prompt_results.predicted: the model's top answer
prompt_results.p_predicted: its probability
prompt_results.answer_tokens: of the object
prompt_results.max_score: largest score of the prompt over all layers
prompt_results.layer_effect: largest |F(1) - F(0)| over layers
prompt_results.completeness_gap: signed; of the layer where it is largest
prompt_results.over_tolerance: the gap is still above tolerance x layer_effect
prompt_results.gradient_evaluations: summed over layers
prompt_results.skipped_because: NULL: measured
attributions.activation: at the answer position
selections.preset: paper | fixed | published
selections.ratio: of the prompt's largest score that a neuron must reach
selections.sharing: share of the fact's prompts in which it must, where the preset starts
selections.comparison: >= | >
selections.min_prompts: number of prompts in which it must
selections.asked_at: when it last became the latest, UTC
latest_selection.preset: paper | fixed | published
latest_selection.ratio: of the prompt's largest score that a neuron must reach
latest_selection.sharing: share of the fact's prompts in which it must, where the preset starts
latest_selection.comparison: >= | >
latest_selection.min_prompts: number of prompts in which it must
latest_selection.asked_at: when it last became the latest, UTC
selection_relations.sharing: the threshold actually used
selection_relations.moves: steps of the preset paper from where it started
selection_relations.facts: with a measured prompt; of an import: listed
selection_relations.prompts: measured prompts of those facts
selection_relations.mean_neurons: knowledge neurons a fact
relation_overlaps.relation_a: not after relation_b; the same: within the relation
relation_overlaps.fact_pairs: unordered pairs of different facts
relation_overlaps.shared_by_fact_pairs: neurons in common, summed over those pairs
relation_overlaps.mean_shared_neurons: over those pairs; NULL: there is none
relation_overlaps.neurons_a: distinct neurons of relation_a
relation_overlaps.neurons_b: distinct neurons of relation_b
relation_overlaps.neurons_both: distinct neurons of both
relation_overlaps.jaccard: both / either
fact_masses.mass: positive scores, summed over the fact's prompts
fact_masses.share: of the fact's mass on all neurons
interference_measurements.source_fact: whose neurons were suppressed
interference_measurements.fact_id: on which it was measured
interference_measurements.role: self | predicted | control
interference_measurements.predicted: share of the fact's score mass on source_fact's neurons
interference_measurements.prompts: measured
interference_measurements.delta_log_p: mean over prompts of log P suppressed - log P
interference_measurements.flips: prompts whose top answer changed
interference_measurements.right_to_wrong: prompts whose top answer was the object and is no longer
neuron_meanings.side: top | bottom
neuron_meanings.position: 1 = furthest
neuron_meanings.token: of the vocabulary
neuron_meanings.logit: what one unit of the neuron adds to the token's logit
neuron_associations.aspect: relation | subject | object
neuron_associations.value: of that aspect
neuron_associations.facts: of the neuron's facts, those with this value
neuron_associations.expected: how many by chance
neuron_associations.p_value: hypergeometric, one-sided
neuron_associations.q_value: Benjamini-Hochberg over neurons
interactions.layer_a: of the first neuron
interactions.neuron_a: the first neuron
interactions.layer_b: of the second neuron
interactions.neuron_b: the second neuron
interactions.effect_a: mean over prompts of log P with a suppressed - log P
interactions.effect_b: the same with b
interactions.effect_ab: the same with both
interactions.interaction: effect_ab - effect_a - effect_b; negative: they back each other up
interactions.kept_a: prompts whose top answer it still is without a
interactions.kept_b: the same without b
interactions.kept_ab: the same without both
fact_interactions.neurons: of the fact
fact_interactions.prompts: those whose top answer is the object; the rest plays no part
fact_interactions.log_p: mean over prompts, nothing suppressed
fact_interactions.effect_all: on log P, all neurons suppressed together
fact_interactions.kept_all: prompts whose top answer it still is without them
fact_interactions.removing_greedy: size of the set found that removes the answer; NULL: none
fact_interactions.removing_exact: smallest size there is; NULL for more than 10 neurons
fact_interactions.removing_sets: how many sets of that size remove the answer
fact_interactions.removing_neurons: one of them
fact_interactions.asked: digest of neurons and prompts; others make the row outdated
edits.digest: 12 hex digits over model, settings, neurons and deltas
edits.kind: update | erase | suppress | amplify
edits.method: paper | solve | zero | scale
edits.weights_sha256: of the model that it was made for
edits.run_id: NULL where the edit came from a file
edits.fact_id: NULL: the whole relation
edits.old_object: the fact's object
edits.new_object: NULL unless kind is update
edits.neurons: how many it changes
edits.norm: Frobenius norm of all deltas
edits.state: stored | reverted | deleted
edits.seconds: that making it took
edit_deltas.delta: [d_model], added to the value vector
edit_outcomes.held_out: played no part in choosing neurons or deltas
edit_outcomes.p_old_before: probability of the old object
edit_outcomes.p_old_after: probability of the old object
edit_outcomes.p_new_before: probability of the new object; NULL unless kind is update
edit_outcomes.p_new_after: probability of the new object
edit_outcomes.old_rank_before: 1 = top answer
edit_outcomes.old_rank_after: 1 = top answer
edit_outcomes.new_rank_before: 1 = top answer
edit_outcomes.new_rank_after: 1 = top answer
edit_outcomes.predicted_before: the model's top answer
edit_outcomes.predicted_after: the model's top answer
side_effects.interference: share of the fact's score mass on the edited neurons
side_effects.p_before: probability of the fact's object
side_effects.p_after: probability of the fact's object
side_effects.rank_before: 1 = top answer
side_effects.rank_after: 1 = top answer
side_effects.predicted_before: the model's top answer
side_effects.predicted_after: the model's top answer
neuron_degrees.facts: that the neuron serves
neuron_degrees.relations: of those facts
neuron_degrees.mean_score: over those facts
fact_sharing.fact_a: a fact
fact_sharing.fact_b: another fact
fact_sharing.shared_neurons: in common
relation_sharing.shared_neurons: distinct neurons of both
relation_sharing.shared_by_fact_pairs: neurons in common, summed over pairs of facts
overlap_summary.pairs: within | across relations
overlap_summary.relation_pairs: relations, or pairs of them
overlap_summary.fact_pairs: unordered pairs of different facts
overlap_summary.shared_by_fact_pairs: neurons in common, summed over those pairs
overlap_summary.mean_over_fact_pairs: shared neurons, each pair of facts weighing the same
overlap_summary.mean_over_relation_pairs: each relation, or pair of them, weighing the same
relation_interference.relation_a: whose facts' neurons
relation_interference.relation_b: whose facts' score mass
relation_interference.mean_predicted: share of mass, mean over pairs of different facts
edit_summary.kind: update | erase | suppress | amplify
edit_summary.method: paper | solve | zero | scale
edit_summary.old_object: the fact's object
edit_summary.new_object: NULL unless kind is update
edit_summary.neurons: how many it changes
edit_summary.norm: Frobenius norm of all deltas
edit_summary.state: stored | reverted
edit_summary.prompts: that the edit was made on
edit_summary.success: share of those whose top answer is the new object
edit_summary.held_out_success: the same over prompts that played no part
edit_summary.old_gone: share of prompts whose top answer is no longer the old object
edit_summary.p_old_before: mean probability of the old object
edit_summary.p_old_after: mean probability of the old object
edit_summary.p_new_before: mean probability of the new object
edit_summary.p_new_after: mean probability of the new object
edit_summary.checked_prompts: prompts looked at for side effects
edit_summary.right_to_wrong: of those, answered rightly before and not after
edit_summary.wrong_to_right: of those, answered rightly after and not before
edit_summary.mean_delta_log_p: over checked prompts
"""


def _entries(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.splitlines() if line)


def upgrade() -> None:
    # The driver's own, for Alembic would take `:neuron` in a comment for a parameter.
    execute = op.get_bind().exec_driver_sql
    tables, columns = _entries(TABLES), _entries(COLUMNS)
    statements = []
    for name, column, view in execute(
        """
        SELECT c.table_name, c.column_name, v.view_name IS NOT NULL
        FROM duckdb_columns() AS c
        LEFT JOIN duckdb_views() AS v ON v.view_name = c.table_name AND NOT v.internal
        WHERE NOT c.internal
        ORDER BY c.table_name, c.column_index
        """
    ).fetchall():
        text = columns.get(f"{name}.{column}", columns.get(column))
        if text is not None:
            statements.append(f"COMMENT ON COLUMN {name}.{column} IS '{_quoted(text)}'")
        if name in tables:
            kind = "VIEW" if view else "TABLE"
            statements.append(f"COMMENT ON {kind} {name} IS '{_quoted(tables.pop(name))}'")
    execute(";\n".join(statements))


def _quoted(text: str) -> str:
    return text.replace("'", "''")
