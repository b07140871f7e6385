"""Neurons by activation beside those by attribution, counted by hand."""

from collections import defaultdict
from pathlib import Path

import pytest
from planted import planted_dataset, save_planted
from tiny_index import CHEAP, rows

from atlas import jobs
from atlas.atlas import open_atlas
from atlas.errors import NotFound
from atlas.models.load import load_model

pytestmark = pytest.mark.usefixtures("one_thread")
CHEAPLY = {"rule": CHEAP.rule, "points": CHEAP.points, "device": "cpu"}


def test_the_baseline_asks_for_its_run_and_its_ratio_and_is_counted_by_hand(tmp_path: Path) -> None:
    lm = load_model(str(save_planted(tmp_path / "model")), device="cpu")
    path = tmp_path / "atlas.duckdb"
    dataset = planted_dataset()
    jobs.index(path, lm, dataset, **CHEAPLY)
    db = open_atlas(path)
    ((own,),) = rows(path, "SELECT selection_id FROM selections")
    with pytest.raises(NotFound, match="no run by activation of this model"):
        db.reproduce("baseline", selection=own)
    jobs.index(path, lm, dataset, method="activation", device="cpu")
    (run,) = (r for (r,) in rows(path, "SELECT run_id FROM runs WHERE method = 'activation'"))
    with pytest.raises(NotFound, match=f"run {run}, by activation, has no selection at"):
        db.reproduce("baseline", selection=own)
    made = db.select(preset="paper", ratio=0.5, run=run, make_default=False)
    theirs = made.selection.selection_id
    report = db.reproduce("baseline", selection=own)
    claims = {claim.claim: claim for claim in report.claims}
    for selection, side in ((own, "ours"), (theirs, "control")):
        neurons: dict[str, dict[str, set[tuple[int, int]]]] = defaultdict(dict)
        for relation, fact, layer, neuron in rows(
            path,
            f"""
            SELECT f.relation_id, fact_id, layer, neuron
            FROM knowledge_neurons
            JOIN facts AS f USING (fact_id)
            WHERE selection_id = '{selection}'
            """,
        ):
            neurons[relation].setdefault(fact, set()).add((layer, neuron))
        counts = [
            sum(map(len, facts.values())) / len(facts) for _, facts in sorted(neurons.items())
        ]
        found = getattr(claims["more by attribution"], side)
        assert found == pytest.approx(sum(counts) / len(counts))
        one, other = neurons.values()
        across = [len(a & b) for a in one.values() for b in other.values()]
        found = getattr(claims["fewer shared across relations"], side)
        assert found == pytest.approx(sum(across) / len(across))
    assert claims["more by attribution"].published_control == 3.96
