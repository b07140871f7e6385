"""SmolLM2's neuron 24:1005 is active at −20 to −27 where its facts are."""

from pathlib import Path

import pytest
import torch
from tiny_index import CHEAP, indexed, on

from atlas.atlas import open_atlas
from atlas.engine.interventions import scaled
from atlas.facts import Dataset, Fact, Relation, Template
from atlas.models.load import load_model

pytestmark = pytest.mark.real_model
LAYER, NEURON = 24, 1005


def test_taking_it_away_lowers_what_is_listed_as_raised(smollm2_path: Path, tmp_path: Path) -> None:
    template = Template("P36", "The capital of [X] is [Y].")
    facts = (Fact("a", "P36", "France", "Paris"), Fact("b", "P36", "Italy", "Rome"))
    dataset = Dataset("two", (Relation("P36", "capital", (template,), facts),))
    path = tmp_path / "atlas.duckdb"
    how = on(smollm2_path, integration=CHEAP, method="activation", score_floor=0.0)
    indexed(path, how, dataset)
    lm = load_model(str(smollm2_path), device="cpu")
    found = open_atlas(path).meaning(LAYER, NEURON, lm=lm)
    assert found.activation is not None
    changed = torch.zeros(len(lm.tokenizer))
    for fact in facts:
        (target,) = lm.targets(template.text.replace("[X]", fact.subject), fact.object)[:1]
        ids = torch.tensor([target.token_ids])
        with torch.no_grad():
            before = lm.model(input_ids=ids).logits[0, target.position]
            with scaled(lm, [(LAYER, NEURON)], 0.0):
                changed += lm.model(input_ids=ids).logits[0, target.position] - before
    changed -= changed.mean()
    by_text = {lm.tokenizer.decode([token]): token for token in range(len(changed))}
    sides = {
        side: [by_text[t.token] for t in found.tokens if t.side == side and t.token in by_text]
        for side in ("top", "bottom")
    }
    assert changed[sides["top"]].mean() < 0 < changed[sides["bottom"]].mean()
