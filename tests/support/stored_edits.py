"""A small atlas of a tiny model, and edits in it that are made by hand."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_index import CHEAP, indexed, on, tiny_dataset

from atlas.atlas import Atlas, open_atlas
from atlas.edits.edit import Edit, EditOutcome
from atlas.edits.stored import record_edit
from atlas.facts import Dataset, Fact, Relation, Template
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.selection.chosen import choose_selection


@dataclass(frozen=True)
class Edited:
    """An indexed atlas, the directory of its model and that model."""

    atlas: Atlas
    directory: Path
    lm: LanguageModel

    def copied(self, path: Path) -> "Edited":
        """The same with an atlas of its own."""
        shutil.copy(self.atlas.path, path)
        return Edited(open_atlas(path), self.directory, self.lm)

    def store(self, fact_id: str | None = "P36-0", **changes: Any) -> int:
        """Store `hand_made(…)`; returns its number."""
        with self.atlas.writing() as connection:
            return record_edit(connection, hand_made(self, connection, fact_id, **changes))


_BUILT: dict[Path, Edited] = {}


def inverse_dataset() -> Dataset:
    """The tiny dataset with an inverse relation P1376 and a synonym P2 of its P36."""
    dataset = tiny_dataset(relations=2, facts=4)
    capital = dataset.relations[0]
    swapped = tuple(
        Fact(f"P1376-{i}", "P1376", f.object, f.subject) for i, f in enumerate(capital.facts[:3])
    )
    same = tuple(
        Fact(f"P2-{i}", "P2", f.subject, f.object) for i, f in enumerate(capital.facts[:1])
    )
    others = (Fact("P2-9", "P2", "Japan", "Lima"),)
    return Dataset(
        "inverse",
        (
            *dataset.relations,
            Relation(
                "P1376",
                "capital of",
                (
                    Template("P1376", "[X] is the capital of [Y]."),
                    Template("P1376", "The city of [X] is the seat of [Y]."),
                    Template("P1376", "[Y] speaks the language of [X]."),
                ),
                swapped,
            ),
            Relation("P2", "city", (Template("P2", "The city in [X] is [Y]."),), same + others),
        ),
    )


def build(directory: Path, model: Path, dataset: Dataset | None = None) -> Edited:
    """Index the dataset (default: `inverse_dataset`, once a model) on a saved model."""
    path = directory / "atlas.duckdb"
    if dataset is None and model in _BUILT:
        return _BUILT[model].copied(path)
    indexed(path, on(model, integration=CHEAP), dataset or inverse_dataset())
    edited = Edited(open_atlas(path), model, load_model(str(model), device="cpu"))
    if dataset is not None:
        return edited
    _BUILT[model] = edited
    return edited.copied(directory / "copy.duckdb")


def hand_made(
    edited: Edited,
    connection: Any,
    fact_id: str | None = "P36-0",
    *,
    scale: float = 3.0,
    count: int = 3,
    seed: int = 0,
    **changes: Any,
) -> Edit:
    """An update of a fact (None: of all P36) by random deltas on neurons that serve facts."""
    lm, random = edited.lm, np.random.default_rng(seed)
    selection = choose_selection(connection)
    served = connection.execute(
        """
        SELECT DISTINCT layer, neuron
        FROM knowledge_neurons
        WHERE $fact_id IS NULL OR fact_id = $fact_id
        ORDER BY layer, neuron
        """,
        {"fact_id": fact_id},
    ).fetchall()
    neurons = served[:count] or [(0, i) for i in range(count)]
    fact = connection.execute(
        "SELECT relation_id, subject, object FROM facts WHERE fact_id = ?", [fact_id or "P36-0"]
    ).fetchall()[0]
    about: dict[str, Any] = {
        "kind": "update" if fact_id else "erase",
        "method": "solve" if fact_id else "zero",
        "weights_sha256": lm.weights_sha256,
        "model_identity": lm.identity,
        "layers": [layer for layer, _ in neurons],
        "neurons": [neuron for _, neuron in neurons],
        "deltas": scale * random.standard_normal((len(neurons), lm.d_model)),
        "run_id": selection.run_id,
        "selection_id": selection.selection_id,
        "relation_id": fact[0],
        "fact_id": fact_id,
        "subject": fact[1] if fact_id else None,
        "old_object": fact[2] if fact_id else None,
        "new_object": "Lima" if fact_id else None,
        "atlas_version": "0.1.0",
        "settings": {"seed": seed},
    }
    return Edit(**(about | changes))


def outcome(prompt_id: int, **changes: Any) -> EditOutcome:
    """The outcome of an update on one prompt."""
    about: dict[str, Any] = {
        "prompt_id": prompt_id,
        "held_out": False,
        "p_old_before": 0.75,
        "p_old_after": 0.25,
        "p_new_before": 0.125,
        "p_new_after": 0.5,
        "old_rank_before": 1,
        "old_rank_after": 2,
        "new_rank_before": 3,
        "new_rank_after": 1,
        "predicted_before": "Dublin",
        "predicted_after": "Lima",
    }
    return EditOutcome(**(about | changes))


class ByHand:
    """Asks a transformers model whose weights are changed by hand: the oracle of `applied`."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm

    def answer(self, text: str, answer: str, edit: Edit | None) -> tuple[float, int, str]:
        """P(answer), its rank and the top answer for a filled template with [Y].

        One plain forward pass of the whole model for each answer token.
        """
        weights = [self._weight(layer) for layer in range(self.lm.layers)]
        saved = [weight.clone() for weight in weights]
        try:
            for layer, neuron, delta in _rows(edit):
                weights[layer][neuron] += torch.tensor(delta)
            return self._ask(text, answer)
        finally:
            for weight, original in zip(weights, saved, strict=True):
                weight.copy_(original)

    def _weight(self, layer: int) -> torch.Tensor:
        model = self.lm.model
        if self.lm.architecture == "bert":
            return model.bert.encoder.layer[layer].output.dense.weight.data.T
        return model.transformer.h[layer].mlp.c_proj.weight.data

    def _ask(self, text: str, answer: str) -> tuple[float, int, str]:
        tokenizer = self.lm.tokenizer
        before, _, after = text.partition("[Y]")
        if self.lm.objective == "masked":
            tokens = tokenizer(answer, add_special_tokens=False)["input_ids"]
            ids = tokenizer(before + tokenizer.mask_token * len(tokens) + after)["input_ids"]
            start = ids.index(tokenizer.mask_token_id)
            asked = [(ids, start + j, token) for j, token in enumerate(tokens)]
        else:
            prefix = tokenizer(before.rstrip())["input_ids"]
            tokens = tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]
            asked = [
                (prefix + tokens[:j], len(prefix) + j - 1, token) for j, token in enumerate(tokens)
            ]
        p, rank, top = 1.0, 1, []
        for ids, position, token in asked:
            with torch.no_grad():
                logits = self.lm.model(torch.tensor([ids])).logits[0, position].double()
            p *= float(logits.softmax(-1)[token])
            rank = max(rank, 1 + int((logits > logits[token]).sum()))
            top.append(int(logits.argmax()))
        if self.lm.objective == "causal":  # what it says by itself
            ids = torch.tensor([asked[0][0]])
            said = self.lm.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=len(asked),
                pad_token_id=0,
            )
            top = said[0, ids.shape[1] :].tolist()
        return p, rank, tokenizer.decode(top).strip()


def _rows(edit: Edit | None) -> list[tuple[int, int, Any]]:
    if edit is None:
        return []
    return list(
        zip(
            edit.layers.tolist(), edit.neurons.tolist(), edit.deltas.astype(np.float32), strict=True
        )
    )
