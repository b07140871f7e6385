"""An audit from beginning to end: compare the weights, forecast, ask, report."""

import duckdb

from atlas.audit.changed import changes_between, require_comparable, require_same_tokens
from atlas.audit.measure import ask_both, noise_of
from atlas.audit.report import Audited, AuditReport, audit_report, relate_changed
from atlas.audit.scopes import AuditedPrompt, AuditScope, audited_prompts
from atlas.audit.stored import (
    asked_prompts,
    audit_id_of,
    begun,
    record_audit,
    record_noise,
    stored_noise,
)
from atlas.edits.edit import Edit
from atlas.models.language_model import LanguageModel
from atlas.moments.measure import complete_activations
from atlas.moments.stored import complete_layers
from atlas.progress import Reporter, Working
from atlas.reporting import reported
from atlas.selection.chosen import ChosenSelection
from atlas.side_effects.forecast import PromptForecasts, forecasts_of
from atlas.side_effects.limits import Limits
from atlas.store.atlas_file import AtlasFile

COMPARED = 200  # prompts that both tokenizers must cut alike


def audit(
    atlas: AtlasFile,
    base: LanguageModel,
    other: LanguageModel,
    checkpoint: str,
    selection: ChosenSelection,
    scope: AuditScope,
    report: Reporter,
    *,
    only_forecast: bool,
    limits: Limits | None,
    limit: int | None,
) -> AuditReport:
    """Audit the checkpoint, loaded as `other`, against the selection's run on `base`.

    ModelError for another architecture, other shapes or another tokenizer, before anything is
    stored; NotFound without a measured prompt.
    """
    with atlas.reading() as connection:
        prompts = audited_prompts(connection, selection.run_id, scope)
    require_comparable(base, other)
    step = max(1, len(prompts) // COMPARED)
    require_same_tokens(base, other, [(p.text, p.answer) for p in prompts[::step]])
    audit_id = audit_id_of(selection.run_id, other.weights_sha256)
    report(Working("compare the weights"))
    changes = changes_between(base, other)
    with atlas.reading() as connection:
        known = begun(connection, audit_id)
    if not known:
        with atlas.writing() as connection:
            record_audit(
                connection,
                audit_id,
                selection.run_id,
                checkpoint,
                other.weights_sha256,
                changes,
            )
    edit = changes.as_edit(selection.run_id)
    if edit is not None:
        _complete(atlas, base, edit, selection.run_id, report)
    if not only_forecast:
        _ask(atlas, base, other, audit_id, prompts, report)
    about = Audited(
        audit_id,
        checkpoint,
        selection.run_id,
        selection.model,
        not changes.tensors,
        scope.kind if scope.prompts is None else f"{scope.kind}:{scope.prompts}",
    )
    with atlas.reading() as connection:
        relate_changed(connection, audit_id, selection)
        found = _forecasts(connection, edit, selection.run_id)
        asked = [] if only_forecast else [prompt.prompt_id for prompt in prompts]
        return audit_report(connection, about, selection, asked, found, limit, limits)


def _complete(
    atlas: AtlasFile, base: LanguageModel, edit: Edit, run_id: str, report: Reporter
) -> None:
    """Measure the activations that the forecast of the edit lacks."""
    with atlas.reading() as connection:
        known = complete_layers(connection, run_id)
    if missing := [layer for layer in edit.changed_layers if layer not in known]:
        complete_activations(atlas, base, run_id, missing, report)


def _forecasts(
    connection: duckdb.DuckDBPyConnection, edit: Edit | None, run_id: str
) -> PromptForecasts | None:
    return None if edit is None else forecasts_of(connection, edit, run_id)


def _ask(
    atlas: AtlasFile,
    base: LanguageModel,
    other: LanguageModel,
    audit_id: str,
    prompts: list[AuditedPrompt],
    report: Reporter,
) -> None:
    with atlas.reading() as connection:
        known = asked_prompts(connection, audit_id)
        noise = stored_noise(connection, audit_id)
    if noise is None:
        noise = noise_of(base, prompts)
        with atlas.writing() as connection:
            record_noise(connection, audit_id, noise)
    left = [prompt for prompt in prompts if prompt.prompt_id not in known]
    reported(ask_both(atlas, base, other, audit_id, left, len(prompts)), report)
