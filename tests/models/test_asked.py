"""Tokens as people can read them, with tokenizers that cut characters into bytes."""

import pytest
from tiny_tokenizers import byte_level, metaspace
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from atlas.models.asked import spelled

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


def of_bytes(*merges):
    """A byte-level tokenizer with these merges of two."""
    vocabulary = [*LETTERS, *("".join(pair) for pair in merges)]
    backend = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary)}, list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def spelled_out(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False).input_ids
    return [spelled(tokenizer, token) for token in ids]


@pytest.mark.parametrize(
    ("merges", "text", "expected"),
    [
        ([], "東", ["<0xE6>", "<0x9D>", "<0xB1>"]),
        ([("æ", "Ŀ")], "東", ["<0xE6><0x9D>", "<0xB1>"]),
        ([("Ġ", "æ")], " 東", ["␣<0xE6>", "<0x9D>", "<0xB1>"]),
        ([("Ã", "©")], "é\n", ["é", "\\n"]),
    ],
)
def test_bytes_that_are_no_whole_character_are_shown_by_number(merges, text, expected):
    assert spelled_out(of_bytes(*merges), text) == expected


def test_all_bytes_are_told_apart():
    tokenizer = of_bytes()
    shown = [spelled(tokenizer, token) for token in range(256)]
    assert len(set(shown)) == 256
    assert [f"<0x{byte:02X}>" in shown for byte in range(128, 256)] == [True] * 128


def test_special_tokens_keep_their_names_and_blanks_are_visible():
    tokenizer = byte_level()
    assert spelled(tokenizer, tokenizer.eos_token_id) == "<|endoftext|>"
    assert spelled_out(tokenizer, "The capital")[:2] == ["The", "␣capital"]
    assert spelled_out(metaspace(), "The capital")[:2] == ["␣The", "␣capital"]
