"""Other seeds and other number formats on trial, against models whose neurons are known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from planted import planted_dataset, save_planted
from tiny_index import CHEAP, indexed, on, rows

from atlas.atlas import Atlas, open_atlas
from atlas.errors import NotFound
from atlas.evidence.experiments.precision import passing
from atlas.evidence.experiments.seeds import _common_share
from atlas.models.load import load_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_planted(tmp_path_factory.mktemp("planted") / "model")


@pytest.fixture(scope="module")
def permuted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with the hidden neurons of every layer in another order."""
    place = tmp_path_factory.mktemp("permuted") / "model"
    lm = load_model(str(model), device="cpu")
    order = torch.randperm(32, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        for layer in lm.model.model.layers:
            for projection in (layer.mlp.gate_proj, layer.mlp.up_proj):
                projection.weight.copy_(projection.weight[order])
            layer.mlp.down_proj.weight.copy_(layer.mlp.down_proj.weight[:, order])
    lm.model.save_pretrained(place)
    lm.tokenizer.save_pretrained(place)
    return place


def build(path: Path, *models: Path) -> Atlas:
    for model in models:
        indexed(path, on(model, integration=CHEAP), planted_dataset())
    return open_atlas(path)


def test_another_order_has_other_neurons_in_the_same_layers(
    tmp_path: Path, model: Path, permuted: Path
) -> None:
    db = build(tmp_path / "a.duckdb", permuted, model)
    report = db.reproduce("seeds")
    claims = {claim.claim: claim for claim in report.claims}
    same = claims["the same neurons"]
    assert same.n == 8
    assert same.ours is not None
    assert same.ours < 0.3
    assert same.verdict != "holds"
    counts = claims["as many neurons"]
    assert counts.ours == 0  # every fact has as many in either
    layers = rows(
        db.path,
        """
        SELECT value
        FROM experiment_rows
        WHERE measure = 'layers in common'
          AND series = 'the same'
        """,
    )
    assert [value for (value,) in layers] == pytest.approx([1.0] * 8)


def test_without_another_model_it_is_said_what_to_index(tmp_path: Path, model: Path) -> None:
    db = build(tmp_path / "a.duckdb", model)
    with pytest.raises(NotFound, match="train one from another seed and index it"):
        db.reproduce("seeds")


def test_shares_of_layers_in_common_by_hand() -> None:
    first, second = [(0, 1), (0, 2), (1, 0), (2, 5)], [(0, 7), (1, 1)]
    assert _common_share(first, second, 3) == pytest.approx(0.5 + 0.25)


def test_bfloat16_is_told_from_another_fact(tmp_path: Path, model: Path) -> None:
    db = build(tmp_path / "a.duckdb", model)
    (claim,) = db.reproduce("precision", lm=load_model(str(model), device="cpu")).claims
    assert claim.ours is not None
    assert claim.control is not None
    assert claim.ours > claim.control
    errors = rows(db.path, "SELECT value FROM experiment_rows WHERE measure = 'largest error'")
    assert 0 < max(value for (value,) in errors) < 0.1
    with pytest.raises(NotFound, match="no two facts of a relation"):
        db.reproduce("precision", limit=1)


def test_what_passes_by_hand() -> None:
    assert passing(np.array([0.1, 0.5, -0.9, 1.0], np.float32), 0.5) == {1, 3}
    assert passing(np.array([-0.1, -0.5], np.float32), 0.5) == set()
