"""Audits: an exported edit found again, identical weights, resuming, other models, bad input."""

import csv
import io
import shutil
from pathlib import Path

import pytest
import torch
from invocation import run
from model_directories import change_weights
from stored_edits import Edited, build
from tiny_index import rows, tables
from tiny_models import save_tiny

from atlas.audit import measure
from atlas.errors import AtlasError, ModelError, NotFound, SettingsError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def indexed_bert(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    return build(tmp_path_factory.mktemp("bert"), saved_bert)


@pytest.fixture
def edited(indexed_bert: Edited, tmp_path: Path) -> Edited:
    """An atlas of the tiny BERT with edit 1, an update of Ireland's capital."""
    copy = indexed_bert.copied(tmp_path / "own.duckdb")
    copy.store()
    return copy


@pytest.fixture
def exported(edited: Edited, tmp_path: Path) -> Path:
    """The model with edit 1 in its weights."""
    edited.atlas.edit_export(1, to=tmp_path / "edited", lm=edited.lm)
    return tmp_path / "edited"


def test_an_exported_edit_is_found_with_its_neurons_and_its_flips(
    edited: Edited, exported: Path
) -> None:
    db, lm = edited.atlas, edited.lm
    found = db.audit(exported, lm=lm)
    (edit,) = db.edits(1)
    changed = rows(db.path, "SELECT layer, neuron, norm FROM audit_neurons ORDER BY ALL")
    assert [(layer, neuron) for layer, neuron, _ in changed] == sorted(
        zip(edit.layers.tolist(), edit.neurons.tolist(), strict=True)
    )
    norms = torch.linalg.vector_norm(torch.tensor(edit.deltas), dim=1)
    assert sorted(n for *_, n in changed) == pytest.approx(sorted(norms.tolist()), rel=1e-4)
    assert not found.identical
    assert found.changed_neurons == 3
    assert all("output.dense.weight" in tensor.tensor for tensor in found.tensors)
    db.check(1, scope="all", lm=lm)
    both = rows(
        db.path,
        """
        SELECT s.rank_before, s.rank_after, s.predicted_before, s.predicted_after, s.p_after,
               a.rank_before, a.rank_after, a.predicted_before, a.predicted_after, a.p_after
        FROM side_effects AS s
        FULL JOIN audit_effects AS a USING (prompt_id)
        """,
    )
    assert len(both) == sum(group.prompts for group in found.groups if group.group == "all")
    for one in both:
        assert one[:4] == one[5:9]
        assert one[4] == pytest.approx(one[9], rel=1e-4)
    flips = sum(one[2] != one[3] for one in both)
    assert flips > 0
    assert [group.flips for group in found.groups if group.group == "all"] == [flips]
    assert found.noise is not None
    assert found.noise.flips == 0


def test_identical_weights_change_nothing(edited: Edited, tmp_path: Path) -> None:
    shutil.copytree(edited.directory, tmp_path / "same")
    found = edited.atlas.audit(tmp_path / "same", lm=edited.lm, fail_over="flips=0,ppl=0%")
    assert found.identical
    assert (found.changed_neurons, found.changed_tensors) == (0, 0)
    assert {group.flips for group in found.groups} == {0}
    assert (found.worst, found.exceeded, found.foretold) == ((), (), None)
    told = run("audit", str(tmp_path / "same"), "--model", str(edited.directory),
               "--db", str(edited.atlas.path))  # fmt: skip
    assert told.exit_code == 0, told.output
    assert "nothing differs" in told.stdout
    assert "No top answer changed." in told.stdout


def test_resumed_equals_uninterrupted(
    edited: Edited, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = edited.copied(tmp_path / "other.duckdb")
    whole = edited.atlas.audit(exported, lm=edited.lm)
    monkeypatch.setattr(measure, "FEWEST", 4)
    monkeypatch.setattr(measure, "MOST", 4)

    def interrupt(event: object) -> None:
        if getattr(event, "what", None) == "audit" and getattr(event, "done", 0) >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        other.atlas.audit(exported, lm=edited.lm, progress=interrupt)
    assert rows(other.atlas.path, "SELECT count(*) FROM audit_effects") == [(8,)]
    events: list[object] = []
    resumed = other.atlas.audit(exported, lm=edited.lm, progress=events.append)
    assert next(e.done for e in events if getattr(e, "what", None) == "audit") == 8  # type: ignore[attr-defined]
    assert [g.flips for g in resumed.groups] == [g.flips for g in whole.groups]
    assert resumed.groups[0].mean_delta_log_p == pytest.approx(
        whole.groups[0].mean_delta_log_p, abs=1e-5
    )
    before = tables(other.atlas.path, clocks=True)
    other.atlas.audit(exported, lm=edited.lm)
    assert tables(other.atlas.path, clocks=True) == before


def test_a_forecast_asks_nothing(edited: Edited, exported: Path) -> None:
    found = edited.atlas.audit(exported, lm=edited.lm, forecast=True)
    assert found.groups == found.relations == found.worst == ()
    assert found.forecast
    assert found.forecast[0].forecast >= found.forecast[-1].forecast > 0
    assert rows(edited.atlas.path, "SELECT count(*) FROM audit_effects") == [(0,)]
    told = edited.atlas.forecast(1, lm=edited.lm)
    own = {fact.fact_id: fact.forecast for fact in found.forecast}
    for fact in told.affected[:3]:
        assert own[fact.fact_id] == pytest.approx(fact.forecast, rel=1e-3)


def test_scopes_and_limits(edited: Edited, exported: Path) -> None:
    db, lm = edited.atlas, edited.lm
    some = db.audit(exported, lm=lm, scope="sample:5", fail_over="flips=0")
    assert (some.scope, some.groups[-1].prompts) == ("sample:5", 5)
    everything = db.audit(exported, lm=lm, fail_over="flips=0")
    assert len(everything.exceeded) == 1
    result = run("audit", str(exported), "--model", str(edited.directory), "--db", str(db.path),
                 "--fail-over", "flips=0", "--format", "csv")  # fmt: skip
    assert result.exit_code == 3
    assert "Over the limit" in result.stderr
    assert next(iter(csv.DictReader(io.StringIO(result.stdout))))["relation_id"]
    with pytest.raises(NotFound, match="of a known fact"):
        db.audit(exported, lm=lm, scope="known")


def test_other_tensors_are_told(edited: Edited, tmp_path: Path) -> None:
    place = tmp_path / "attention"
    shutil.copytree(edited.directory, place)
    name = "bert.encoder.layer.0.attention.self.query.weight"

    def change(weights: dict[str, torch.Tensor]) -> None:
        weights[name] = 2 * weights[name]

    change_weights(place, change)
    found = edited.atlas.audit(place, lm=edited.lm)
    assert (found.changed_neurons, found.forecast) == (0, ())
    assert [(tensor.tensor, tensor.relative) for tensor in found.tensors] == [
        (name, pytest.approx(1.0))
    ]
    assert found.groups[-1].flips > 0


def refusal(edited: Edited, checkpoint: Path | str, kind: type[AtlasError], **how: str) -> str:
    before = tables(edited.atlas.path, clocks=True)
    with pytest.raises(kind) as refused:
        edited.atlas.audit(checkpoint, lm=edited.lm, **how)  # type: ignore[arg-type]
    assert tables(edited.atlas.path, clocks=True) == before
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_cannot_be_compared_is_refused_in_a_line(edited: Edited, tmp_path: Path) -> None:
    other = save_tiny("gpt2", tmp_path / "gpt2")
    assert "its architecture is" in refusal(edited, other, ModelError)
    broken = tmp_path / "nan"
    shutil.copytree(edited.directory, broken)

    def spoil(weights: dict[str, torch.Tensor]) -> None:
        next(iter(weights.values())).view(-1)[0] = torch.nan

    change_weights(broken, spoil)
    assert "NaN" in refusal(edited, broken, ModelError)
    words = tmp_path / "words"
    shutil.copytree(edited.directory, words)
    text = (words / "tokenizer.json").read_text(encoding="utf-8")
    assert '"Dublin"' in text
    (words / "tokenizer.json").write_text(text.replace('"Dublin"', '"Dubli"'), encoding="utf-8")
    assert "tokenizer" in refusal(edited, words, ModelError)
    assert "nowhere" in refusal(edited, tmp_path / "nowhere", ModelError)
    assert "unknown scope 'some'" in refusal(edited, edited.directory, SettingsError, scope="some")
    assert "no limit 'flops'" in refusal(
        edited, edited.directory, SettingsError, fail_over="flops=1"
    )
