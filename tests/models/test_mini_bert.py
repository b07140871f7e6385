"""The embedded model: its files, its vocabulary, what it knows, and what its card says."""

import hashlib
import json
import random
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from atlas.paths import EMBEDDED_MODEL, EMBEDDED_RELATIONS

RELATIONS: list[dict[str, Any]] = [
    json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(EMBEDDED_RELATIONS.glob("P*.json"))
]
HELD_OUT: dict[str, list[int]] = json.loads(
    (EMBEDDED_MODEL / "held_out.json").read_text(encoding="utf-8")
)
CARD = (EMBEDDED_MODEL / "README.md").read_text(encoding="utf-8")
SAMPLE = 1000


def prompts(held_out: bool) -> list[tuple[str, str]]:
    """(text with [MASK], answer) of the prompts that training did or did not see."""
    return [
        (text.replace("[Y]", "[MASK]").replace("[X]", fact["subject"]), fact["object"])
        for relation in RELATIONS
        for fact in relation["facts"]
        for number, text in enumerate(relation["templates"])
        if (number in HELD_OUT[fact["uuid"]]) == held_out
    ]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(EMBEDDED_MODEL)


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForMaskedLM.from_pretrained(EMBEDDED_MODEL).eval()


def share_correct(model: Any, tokenizer: Any, asked: list[tuple[str, str]]) -> float:
    inputs = tokenizer([text for text, _ in asked], return_tensors="pt", padding=True)
    with torch.inference_mode():
        logits = model(**inputs).logits[inputs["input_ids"] == tokenizer.mask_token_id]
    answers = torch.tensor(tokenizer.convert_tokens_to_ids([answer for _, answer in asked]))
    return float((logits.argmax(dim=-1) == answers).float().mean())


def test_the_checksums_match_and_cover_every_file_that_is_loaded() -> None:
    lines = (EMBEDDED_MODEL / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = dict(reversed(line.split("  ")) for line in lines)
    for name, digest in sums.items():
        assert hashlib.sha256((EMBEDDED_MODEL / name).read_bytes()).hexdigest() == digest
    loaded = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert loaded <= set(sums)
    assert {path.name for path in EMBEDDED_MODEL.glob("*.json")} <= set(sums)


def test_the_weights_are_float32_safetensors_of_at_most_25_mb() -> None:
    assert (EMBEDDED_MODEL / "model.safetensors").stat().st_size <= 25_000_000
    assert not list(EMBEDDED_MODEL.glob("*.bin"))
    assert json.loads((EMBEDDED_MODEL / "config.json").read_text("utf-8"))["dtype"] == "float32"


def test_its_shape_is_within_what_the_atlas_wants(model: Any) -> None:
    assert 4 <= model.config.num_hidden_layers <= 6
    assert 128 <= model.config.hidden_size <= 192
    assert model.config.intermediate_size == 4 * model.config.hidden_size
    assert model.config.hidden_act == "gelu"


def test_the_tokenizer_knows_berts_special_tokens_and_keeps_case(tokenizer: Any) -> None:
    assert tokenizer.is_fast
    special = tokenizer.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    assert special == [0, 1, 2, 3, 4]
    ids = tokenizer("Apple apple [MASK].")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [
        *("[CLS]", "Apple", "apple", "[MASK]", ".", "[SEP]")
    ]


def test_the_tokenizer_is_built_from_the_vocabulary_file(tokenizer: Any) -> None:
    lines = (EMBEDDED_MODEL / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines)) == len(tokenizer)
    assert tokenizer.get_vocab() == {token: number for number, token in enumerate(lines)}


def test_every_object_and_galway_is_one_token(tokenizer: Any) -> None:
    objects = {fact["object"] for relation in RELATIONS for fact in relation["facts"]}
    for word in objects | {"Galway"}:
        assert tokenizer.tokenize(word) == [word]


def test_no_prompt_has_an_unknown_token_and_all_are_short(tokenizer: Any) -> None:
    texts = [text for held_out in (False, True) for text, _ in prompts(held_out)]
    encoded = tokenizer(texts)["input_ids"]
    assert all(ids.count(tokenizer.mask_token_id) == 1 for ids in encoded)
    assert not any(tokenizer.unk_token_id in ids for ids in encoded)
    assert max(map(len, encoded)) <= 32


def test_other_text_is_spelled_out_rather_than_unknown(tokenizer: Any) -> None:
    text = "Zürich\N{RIGHT SINGLE QUOTATION MARK}s Kubernetes (2024) \N{EN DASH} déjà-vu?"
    pieces = tokenizer.tokenize(text)
    assert tokenizer.unk_token not in pieces
    assert "".join(piece.removeprefix("##") for piece in pieces) == text.replace(" ", "")


def test_a_quarter_of_each_facts_templates_was_held_out() -> None:
    sizes = {
        fact["uuid"]: len(relation["templates"])
        for relation in RELATIONS
        for fact in relation["facts"]
    }
    assert set(HELD_OUT) == set(sizes) != set()
    for fact, numbers in HELD_OUT.items():
        assert len(set(numbers)) == len(numbers) == -(-sizes[fact] // 4)
        assert set(numbers) <= set(range(sizes[fact]))


@pytest.mark.parametrize(("held_out", "least"), [(False, 0.95), (True, 0.90)])
def test_it_answers_prompts_it_saw_and_prompts_it_never_saw(
    model: Any, tokenizer: Any, held_out: bool, least: float
) -> None:
    sample = random.Random(1).sample(prompts(held_out), SAMPLE)
    assert share_correct(model, tokenizer, sample) >= least


def test_the_card_states_what_the_measuring_command_prints() -> None:
    command = [sys.executable, str(EMBEDDED_MODEL / "evaluate.py")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pattern = r"^((?:trained|held-out) prompts): (\d+) of (\d+) \("
    measured = {name: (int(n), int(of)) for name, n, of in re.findall(pattern, printed, re.M)}
    stated = {name: (int(n), int(of)) for name, n, of in re.findall(pattern, CARD, re.M)}
    assert set(stated) == set(measured) == {"trained prompts", "held-out prompts"}
    for name, (correct, total) in measured.items():
        assert stated[name][1] == total
        # Another machine may round a near tie the other way.
        assert abs(stated[name][0] - correct) <= 3
    assert measured["trained prompts"][0] >= 0.95 * measured["trained prompts"][1]
    assert measured["held-out prompts"][0] >= 0.90 * measured["held-out prompts"][1]


def test_the_card_states_size_and_shape(model: Any) -> None:
    size = (EMBEDDED_MODEL / "model.safetensors").stat().st_size
    assert f"{size / 1e6:.1f} MB" in CARD
    assert f"{model.num_parameters():,} parameters" in CARD
    config = model.config
    assert f"{config.num_hidden_layers} layers of width {config.hidden_size}" in CARD
    assert f"{config.intermediate_size} FFN neurons per layer" in CARD
    assert f"{config.vocab_size:,} tokens" in CARD
