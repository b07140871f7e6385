"""Tiny tokenizers of the common kinds, built in code from a few words."""

import io
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors as post
from transformers import PreTrainedTokenizerFast

# One token each for `word_piece` and `metaspace`.
# fmt: off
WORDS = (
    "The", "the", "capital", "of", "is", "in", "city", "and", "language", "official", "seat",
    "located", "speaks", "born", "Ireland", "Dublin", "France", "Paris", "Italy", "Rome",
    "Germany", "Berlin", "Spain", "Madrid", "Japan", "Tokyo", "Egypt", "Cairo", "Norway", "Oslo",
    "Peru", "Lima", "Kenya", "Nairobi", "Latin", "French",
)
# fmt: on
# One token for every tokenizer here, also for the byte-level ones after a space.
CAPITALS = ("Paris", "Rome", "Oslo", "Dublin")
# Two or more tokens for every tokenizer here.
LONG_WORDS = ("Antananarivo", "Ouagadougou")
_PIECES = ("Anta", "nana", "rivo", "Ouaga", "dou", "gou")
_PUNCTUATION = ".,?'"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def word_piece() -> PreTrainedTokenizerFast:
    """A cased BERT-style tokenizer: [CLS] … [SEP], `##` pieces, unknown characters are [UNK]."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_PUNCTUATION, *WORDS]
    vocabulary += [_PIECES[0], _PIECES[3], *(f"##{p}" for p in _PIECES)]
    backend = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocabulary)}))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = post.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def _merges(words: list[str], vocabulary: list[str]) -> list[tuple[str, str]]:
    """Merges that build each word from its characters left to right; new pieces are appended."""
    known = set(vocabulary)
    merges: list[tuple[str, str]] = []
    for word in words:
        piece = word[0]
        for letter in word[1:]:
            if (piece, letter) not in merges:
                merges.append((piece, letter))
            piece += letter
            if piece not in known:
                known.add(piece)
                vocabulary.append(piece)
    return merges


def _byte_level_words(vocabulary: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A BPE vocabulary of few words, so that it stays small; other words take several tokens."""
    vocabulary += [*_LETTERS, *_PUNCTUATION, "Ġ", "Ċ"]
    spaced = ("of", "in", "is", "capital", *CAPITALS, "France", "Italy", "Norway", "Ireland")
    merges = _merges(["The", *(f"Ġ{w}" for w in spaced)], vocabulary)
    return {t: i for i, t in enumerate(vocabulary)}, merges


def byte_level() -> PreTrainedTokenizerFast:
    """A GPT-2-style tokenizer: leading-space tokens, no pad token, no token added to a text."""
    vocabulary, merges = _byte_level_words(["<|endoftext|>"])
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )


def byte_level_masked() -> PreTrainedTokenizerFast:
    """A RoBERTa-style tokenizer: <s> … </s>, pad is 1, the mask swallows the space before it."""
    vocabulary, merges = _byte_level_words(["<s>", "<pad>", "</s>", "<unk>"])
    vocabulary["<mask>"] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = post.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token=AddedToken("<mask>", lstrip=True, special=True),
    )


def metaspace() -> PreTrainedTokenizerFast:
    """A Llama-style tokenizer: <s> before the text, `▁` for a space (also before the first word),
    padding on the left."""
    backend = _metaspace_backend(["<unk>", "<s>", "</s>", "<pad>"], unk_id=0)
    backend.post_processor = post.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
    )


def metaspace_masked() -> PreTrainedTokenizerFast:
    """An XLM-R-style tokenizer: `▁` for a space, <s> … </s>, pad is 1, the mask comes last."""
    backend = _metaspace_backend(["<s>", "<pad>", "</s>", "<unk>"], unk_id=3)
    backend.post_processor = post.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token=AddedToken("<mask>", lstrip=True, special=True),
    )


def _metaspace_backend(special: list[str], unk_id: int) -> Tokenizer:
    vocabulary = [*special, "▁", *_PUNCTUATION]
    vocabulary += [f"▁{w}" for w in WORDS] + [f"▁{_PIECES[0]}", f"▁{_PIECES[3]}"]
    vocabulary += [_PIECES[1], _PIECES[2], _PIECES[4], _PIECES[5]]
    scores = [(t, 0.0 if t in special else -float(i) / 10) for i, t in enumerate(vocabulary)]
    backend = Tokenizer(models.Unigram(scores, unk_id=unk_id))
    backend.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return backend


def sentence_pieces(**options: Any) -> bytes:
    """A SentencePiece model of a few words; `options` of its trainer."""
    content = io.BytesIO()
    words = ["The capital of France is Paris", "Dublin is the capital of Ireland", "in Oslo"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words),
        model_writer=content,
        model_type="bpe",
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return content.getvalue()
