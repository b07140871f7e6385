"""Small datasets written to files, for tests."""

import json
from pathlib import Path
from typing import Any

SHARED_PARAREL = Path(__file__).resolve().parents[3] / "shared" / "pararel"

TEMPLATE = "The capital of [X] is [Y]."
IRELAND = {"relation": "P36", "subject": "Ireland", "object": "Dublin", "uuid": "u-1"}
FRANCE = {"relation": "P36", "subject": "France", "object": "Paris", "uuid": "u-2"}
CAPITAL = {"relation": "P36", "template": TEMPLATE, "label": "capital"}


def write(path: Path, *lines: str | dict[str, Any]) -> Path:
    """Write the lines, objects as JSON, and their directory; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def relation_file(directory: Path, relation: str = "P36", **changes: Any) -> Path:
    """Write a relation file of the atlas's own layout, one fact per line."""
    document: dict[str, Any] = {
        "relation": relation,
        "label": "capital",
        "templates": [TEMPLATE],
        "facts": [
            {"uuid": "u-1", "subject": "Ireland", "object": "Dublin"},
            {"uuid": "u-2", "subject": "France", "object": "Paris"},
        ],
    } | changes
    members = []
    for key, value in document.items():
        if isinstance(value, list):
            rows = ",\n".join(f"  {json.dumps(row)}" for row in value)
            members.append(f' "{key}": [\n{rows}\n ]')
        else:
            members.append(f' "{key}": {json.dumps(value)}')
    return write(directory / f"{relation}.json", "{", ",\n".join(members), "}")


def pararel(directory: Path, patterns: str = "patterns", facts: str = "facts") -> Path:
    """Write ParaRel's layout: P36 with two patterns, and P31 with a fact but no pattern."""
    write(
        directory / patterns / "P36.jsonl",
        {"pattern": "The capital of [X] is [Y] .", "lemma": "capital"},
        {"pattern": "[X]'s capital,  [Y].", "lemma": "capital"},
        {"pattern": "The capital of [X] is [Y].", "lemma": "capital"},
    )
    fact = {"sub_label": "Ireland", "obj_label": "Dublin", "uuid": "u-1"}
    again = {"sub_label": "Ireland", "obj_label": "Dublin", "uuid": "u-2"}
    rest = {"obj_uri": "Q1761", "sub_uri": "Q27", "predicate_id": "P36"}
    write(directory / facts / "P36.jsonl", fact | rest, fact | rest, again | rest)
    write(
        directory / facts / "P31.jsonl",
        {"sub_label": "Tantallon", "obj_label": "castle", "uuid": "u-3"},
    )
    return directory
