"""Cloze texts of the embedded relations, and which of them training must not see."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
RELATIONS = HERE.parents[1] / "relations"
HELD_OUT = HERE / "held_out.json"


@dataclass(frozen=True)
class Example:
    """A fact in one of its relation's templates; `text` has [MASK] for the answer."""

    relation: str
    fact: str
    template: int
    text: str
    answer: str


def examples() -> list[Example]:
    """Every fact in every template of its relation, in the order of the files."""
    found = []
    for path in sorted(RELATIONS.glob("P*.json"), key=lambda path: int(path.stem[1:])):
        content = json.loads(path.read_text(encoding="utf-8"))
        for fact in content["facts"]:
            for number, template in enumerate(content["templates"]):
                text = template.replace("[Y]", "[MASK]").replace("[X]", fact["subject"])
                found.append(Example(path.stem, fact["uuid"], number, text, fact["object"]))
    return found


def choose_held_out(every: list[Example], seed: int) -> dict[str, list[int]]:
    """For each fact a quarter of its templates, rounded up, at random."""
    chance = random.Random(seed)
    templates: dict[str, list[int]] = {}
    for example in every:
        templates.setdefault(example.fact, []).append(example.template)
    return {
        fact: sorted(chance.sample(numbers, -(-len(numbers) // 4)))
        for fact, numbers in templates.items()
    }


def write_held_out(held_out: dict[str, list[int]]) -> None:
    """A JSON object, one fact per line: uuid → indices into its relation's templates."""
    lines = [f' "{fact}": {numbers}' for fact, numbers in held_out.items()]
    HELD_OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def split(every: list[Example]) -> tuple[list[Example], list[Example]]:
    """(trained, held-out) according to held_out.json."""
    held_out = json.loads(HELD_OUT.read_text(encoding="utf-8"))
    trained = [example for example in every if example.template not in held_out[example.fact]]
    return trained, [example for example in every if example.template in held_out[example.fact]]
