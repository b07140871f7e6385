"""What an edit by method spare is to leave in place: activations of everything but its own facts.

They are those that the atlas holds of the run's prompts (`atlas.moments`), without the facts that
are edited, and those of texts that the settings name, at all their positions.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from atlas.errors import EditError, NotFound
from atlas.models.language_model import LanguageModel
from atlas.moments.activations import StoredActivations, second_moment
from atlas.moments.measure import Site, site_activations
from atlas.moments.stored import read_activations
from atlas.prompts import MASK

ELSEWHERE = 1.0
"""Weight of the second moment at other positions than the run's (μ), beside that at them."""


@dataclass(frozen=True, eq=False)
class Spared:
    """What is to stay.

    moment: [neuron, neuron] of the layer, the weighted sum of the second moments.
    prompts: with activations at the run's position; elsewhere: other positions, those of texts too.
    stored: what the atlas holds of the prompts; None: nothing.
    """

    moment: NDArray[np.float64]
    prompts: int
    elsewhere: int
    stored: StoredActivations | None = None

    def at_risk(self, directions: NDArray[np.float64], share: float) -> list[int]:
        """Ids of the prompts that move along directions by `share` of a shift or more, anywhere.

        directions: [neuron, key] of all the layer's neurons. Those that move most come first.
        """
        if self.stored is None:
            return []
        moved = np.abs(self.stored.along(directions)).max(1)
        ids = self.stored.prompt_ids
        order = [row for row in np.argsort(-moved, kind="stable") if moved[row] >= share]
        return list(dict.fromkeys(ids[order].tolist()))


def spared_activations(
    connection: duckdb.DuckDBPyConnection, run_id: str, layer: int, edited: Collection[str]
) -> StoredActivations | None:
    """The stored activations of all facts but the edited ones; None where there are none.

    Left out, too, are facts of the same subject and relation: they say of it what is to change.
    """
    try:
        stored = read_activations(connection, run_id, layer)
    except NotFound:
        return None
    rows = connection.execute(
        """
        SELECT DISTINCT f.fact_id
        FROM facts AS f
        JOIN facts AS e
          ON e.relation_id = f.relation_id
         AND lower(nfc_normalize(e.subject)) = lower(nfc_normalize(f.subject))
        WHERE e.fact_id IN $edited
        """,
        {"edited": list(edited)},
    ).fetchall()
    left = stored.without({fact_id for (fact_id,) in rows})
    return left if len(left) else None


def what_to_spare(
    lm: LanguageModel, stored: StoredActivations | None, texts: Sequence[str], layer: int
) -> Spared:
    """The second moment of what is to stay. EditError if there is nothing."""
    if stored is None and not texts:
        raise EditError(
            "the atlas has no other fact whose prompts this edit could leave in place: index more "
            "facts, or say which texts to spare",
            parameters=["spare_on"],
        )
    width = lm.neurons_per_layer
    moment, prompts = np.zeros((width, width)), 0
    others: list[NDArray[np.float32]] = []
    if stored is not None:
        at_site, elsewhere = stored.at_site, stored.elsewhere
        moment, prompts = at_site.second_moment(), len(at_site)
        others.append(elsewhere.values)
    if texts:
        others.append(_of_texts(lm, texts, layer))
    rows = np.concatenate(others)
    if len(rows):
        moment = moment + ELSEWHERE * second_moment(rows)
    return Spared(moment, prompts, len(rows), stored)


def _of_texts(lm: LanguageModel, texts: Sequence[str], layer: int) -> NDArray[np.float32]:
    """A layer's activations at every position of the texts, [row, neuron]."""
    sites = []
    for number, text in enumerate(texts):
        if lm.objective == "masked":
            text = text.replace(MASK, lm.tokenizer.mask_token)
        ids = tuple(lm.tokenizer(text, verbose=False)["input_ids"][: lm.context])
        sites += [Site(number, None, ids, position) for position in range(len(ids))]
    if not sites:
        raise EditError("the texts to spare are empty: write a sentence a line",
                        parameters=["spare_on"])  # fmt: skip
    return site_activations(lm, sites, [layer])[layer]
