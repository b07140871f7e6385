"""Files of published neurons over a dataset of three relations, and the dataset as a file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiny_index import tiny_dataset, write_jsonl

from atlas.facts import Dataset

SHARED = Path(__file__).parents[3] / "shared"
MODEL = "bert-base-uncased"

Neurons = Mapping[str, Sequence[tuple[int, int]]]


def dataset() -> Dataset:
    """Twelve facts P36-0 … P30-3."""
    return tiny_dataset(3)


def neurons() -> dict[str, list[tuple[int, int]]]:
    """All facts share 11:7; each has neurons of its own, the first of them none but that."""
    facts = [fact for relation in dataset().relations for fact in relation.facts]
    return {
        fact.fact_id: [(11, 7), *((layer, 100 + i) for layer in range(i % 3))]
        for i, fact in enumerate(facts)
    }


def write_dump(path: Path, content: Neurons | None = None) -> Path:
    """An object uuid → neurons."""
    path.write_text(json.dumps(neurons() if content is None else content), encoding="utf-8")
    return path


def write_dataset(path: Path) -> Path:
    """The dataset, with these uuids."""
    return write_jsonl(path, dataset())


def write_bags(path: Path) -> Path:
    """The dataset as the paper's code has it; its facts have no uuid there."""
    bags = {
        relation.relation_id: [
            [
                [
                    t.text.replace("[X]", fact.subject).replace("[Y]", "[MASK]"),
                    fact.object,
                    f"{relation.relation_id}({relation.label})",
                ]
                for t in relation.templates
            ]
            for fact in relation.facts
        ]
        for relation in dataset().relations
    }
    path.write_text(json.dumps(bags), encoding="utf-8")
    return path
