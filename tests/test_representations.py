"""What is looked at in a notebook prints itself on one line, and never its arrays."""

import numpy as np
from edit_models import ENCODED, language_model

from atlas.engine.attribution import attribute
from atlas.engine.probe import Probed
from atlas.facts import Dataset, Fact, Relation, Template
from atlas.prompts import Prompt


def test_a_model_an_attribution_and_answers_print_themselves_briefly() -> None:
    lm = language_model("bert")
    assert repr(lm) == (
        f"LanguageModel('tiny-bert', {lm.model_id}, bert masked, layers={lm.layers}, "
        f"neurons_per_layer={lm.neurons_per_layer}, float32 on cpu)"
    )
    word = lm.tokenizer.decode([ENCODED[0][0]])
    found = attribute(lm, [Prompt(f"{word} [MASK] .", word)], rule="riemann-right", points=2)
    assert repr(found) == (
        f"Attribution(prompts=1, layers={lm.layers}, neurons_per_layer={lm.neurons_per_layer}, "
        f"answer_on_top={int(found.answer_rank[0] == 1)}, "
        f"over_tolerance={int(found.over_tolerance.sum())})"
    )
    ranks = np.array([1, 3, 1], np.int64)
    p = np.ones(3, np.float32)
    probed = Probed(p, np.zeros(3), ranks, p, ("a", "b", "c"), np.ones(3, np.int64))
    assert repr(probed) == "Probed(prompts=3, answer_on_top=2)"


def test_facts_of_a_dataset_are_counted_and_not_listed() -> None:
    facts = tuple(Fact(f"P36-{i}", "P36", f"Land {i}", f"Town {i}") for i in range(9))
    relation = Relation("P36", "capital", (Template("P36", "[X] has [Y]."),), facts)
    assert repr(relation) == "Relation('P36', 'capital', templates=<1>, facts=<9>)"
    assert repr(Dataset("mine", (relation,))) == "Dataset('mine', relations=<1>, facts=<9>)"
