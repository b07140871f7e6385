"""What an edit or an answer says of its neurons and its model is what it did."""

from pathlib import Path

import pytest
from stored_edits import Edited, build

from atlas.errors import ModelError, NotFound
from atlas.models.load import load_model


@pytest.fixture(scope="module")
def edited(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    return build(tmp_path_factory.mktemp("said"), saved_bert)


def test_an_edit_says_where_its_neurons_are_not_quite_the_facts(edited: Edited) -> None:
    for number in range(4):
        fact = f"P36-{number}"
        own = {(n.layer, n.neuron) for n in edited.atlas.fact(fact).neurons}
        if not own:
            continue
        made = edited.atlas.edit_scale(fact, 0.5, lm=edited.lm)
        changed = {(n.layer, n.neuron) for n in made.neurons}
        if made.settings.get("widened_because") is not None or changed == own:
            assert made.chosen_anew is None
        else:
            assert made.chosen_anew is not None
            assert made.chosen_anew.startswith(f"{len(own & changed)} of the fact's {len(own)} ")
    assert edited.atlas.edit_scale("P36-0", 0.5, neurons=2, lm=edited.lm).chosen_anew is None


def test_stored_interactions_and_meanings_are_not_told_of_another_model(
    edited: Edited, saved_gpt2: Path
) -> None:
    other = load_model(str(saved_gpt2), device="cpu")
    fact = next(f for f in ("P36-0", "P36-1", "P36-2") if edited.atlas.fact(f).neurons)
    first = edited.atlas.fact(fact).neurons[0]
    edited.atlas.interactions(fact, lm=edited.lm)
    edited.atlas.meaning(first.layer, first.neuron, lm=edited.lm)
    for _ in edited.atlas.interactions(fact).pairs[:1]:
        assert edited.atlas.interactions(fact, lm=edited.lm).pairs
    with pytest.raises(ModelError, match="name the model that was indexed"):
        edited.atlas.interactions(fact, lm=other)
    with pytest.raises(ModelError, match="name the model that was indexed"):
        edited.atlas.meaning(first.layer, first.neuron, lm=other)


def test_an_edit_of_an_unmeasured_fact_is_refused_before_the_model_is_loaded(
    edited: Edited, tmp_path: Path
) -> None:
    own = edited.copied(tmp_path / "own.duckdb")
    with own.atlas.writing() as connection:
        connection.execute("DELETE FROM prompt_results")
    with pytest.raises(NotFound, match="index relation P36 with all its facts"):
        own.atlas.edit_update("P36-0", "Paris", lm="nowhere/at-all")
