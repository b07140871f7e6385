"""Small benchmark files of our own wording, one in each layout that is read."""

import json
from pathlib import Path
from typing import Any


def rome(number: int, subject: str, true: str, new: str, **more: Any) -> dict[str, Any]:
    """A case of CounterFact as ROME has it, of a country's capital."""
    return {
        "case_id": number,
        "pararel_idx": 7,
        "requested_rewrite": {
            "prompt": "The capital of {} is",
            "relation_id": "P36",
            "target_new": {"str": new, "id": "Q1"},
            "target_true": {"str": true, "id": "Q2"},
            "subject": subject,
        },
        "paraphrase_prompts": [f"The city of {subject} is"],
        "neighborhood_prompts": ["The capital of Norway is", "The official city of Japan is"],
        "attribute_prompts": [],
        "generation_prompts": [f"{subject} is"],
    } | more


FLAT = {
    "case_id": 4,
    "prompt": "The capital of Ireland is",
    "subject": "Ireland",
    "target_new": "Oslo",
    "ground_truth": "Dublin",
    "rephrase_prompt": "The city of Ireland is",
    "locality_prompt": "The capital of France is",
    "locality_ground_truth": "Paris",
}
TRACING = {
    "relation": "The capital of {} is",
    "relation_prefix": "The capital of",
    "relation_suffix": "is",
    "prompt": "The capital of Ireland is",
    "relation_id": "P36",
    "target_false_id": "Q1",
    "target_true_id": "Q2",
    "target_true": " Dublin",
    "target_false": " Oslo",
    "subject": "Ireland",
}
ZSRE = {
    "subject": "Ireland",
    "src": "What is the capital of Ireland?",
    "pred": "Cork",
    "rephrase": "Which city is the capital of Ireland?",
    "alt": "Oslo",
    "answers": ["Dublin"],
    "loc": "nq question: what is the city of France",
    "loc_ans": "Paris",
    "cond": "Cork >> Oslo || What is the capital of Ireland?",
}
MEND = {
    "id": "a",
    "input": "What is the capital of Ireland?",
    "prediction": "Cork",
    "alternatives": ["Oslo", "Rome"],
    "filtered_rephrases": ["What is the capital of Ireland?", "Which city is Ireland's capital?"],
    "output": [{"answer": "Dublin", "provenance": [{"title": "Ireland"}]}],
}
KNOWEDIT = {
    "subject": "Ireland",
    "prompt": "The capital of Ireland is",
    "target_new": "Oslo",
    "ground_truth": ["Dublin"],
    "portability": {
        "Subject_Aliasing": [{"prompt": "The city of Ireland is", "ground_truth": "Oslo"}],
        "Reasoning": [
            {"prompt": "The language of the capital is", "ground_truth": [["Norway", "Norwegian"]]}
        ],
    },
    "locality": {
        "Relation_Specificity": [{"prompt": "The capital of France is", "ground_truth": ["Paris"]}]
    },
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "CounterFact, as ROME has it": rome(3, "Ireland", "Dublin", "Oslo"),
    "CounterFact, flat as EasyEdit has it": FLAT,
    "CounterFact, flat for tracing": TRACING,
    "zsRE, as EasyEdit has it": ZSRE,
    "zsRE, as MEND has it": MEND,
    "KnowEdit": KNOWEDIT,
}


def written(path: Path, *entries: Any) -> Path:
    """The entries as a file: a line each where it is a .jsonl, else one list."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    else:
        path.write_text(json.dumps(list(entries)), encoding="utf-8")
    return path
