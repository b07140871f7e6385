"""What decides a model's probabilities besides its weights: configuration, tokenizer, conversion.

How a model was loaded (dtype, device, attention) is no part of it: runs record that.
"""

import hashlib
import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from atlas.errors import UnknownIdentity
from atlas.models.checkpoint import read_json, sha256_of_file

# Keys of config.json, at any depth, that no probability depends on: who wrote it and with what;
# dtype, attention and class, which are chosen when the model is loaded (the objective, which the
# class decides, is a part of its own); how a forward pass hands out its results; how text would be
# generated, by sampling or search; what a classifier's labels are called; how weights were drawn.
# Everything else counts. A key that is missing here costs a second measurement, never a wrong one.
_OF_NO_EFFECT = """
    transformers_version _name_or_path _commit_hash auto_map architectures torch_dtype dtype
    attn_implementation _attn_implementation use_cache return_dict use_return_dict output_attentions
    output_hidden_states output_scores return_dict_in_generate torchscript gradient_checkpointing
    do_sample early_stopping max_length min_length max_new_tokens num_beams num_beam_groups
    num_return_sequences diversity_penalty temperature top_k top_p typical_p repetition_penalty
    length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids
    exponential_decay_length_penalty suppress_tokens begin_suppress_tokens forced_bos_token_id
    forced_eos_token_id remove_invalid_values task_specific_params finetuning_task problem_type
    id2label label2id num_labels initializer_range initializer_factor
"""
_TOKENIZER_FILES = """
    tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json vocab.txt
    vocab.json vocab.bpe merges.txt tokenizer.model spiece.model sentencepiece.bpe.model
    tokenizer.tiktoken tekken.json
"""
_TOKENIZER_CONFIG = "tokenizer_config.json"
# Of tokenizer_config.json: the chat template, and where and by what the file was written.
_OF_NO_EFFECT_ON_TOKENS = """
    chat_template name_or_path _name_or_path tokenizer_file special_tokens_map_file
    transformers_version is_local local_files_only
"""


@dataclass(frozen=True)
class ModelIdentity:
    """What besides the weights can change a probability; equal identities give equal ones.

    config, tokenizer: SHA-256 over the directory's files; None for a GGUF file, which holds both
    and is its own weights' fingerprint. conversion: the version of what read that file.
    """

    objective: str  # masked | causal
    config: str | None = None
    tokenizer: str | None = None
    conversion: int | None = None

    def __str__(self) -> str:
        """As the atlas stores it: JSON with sorted keys; equal texts are equal identities."""
        return json.dumps(asdict(self), sort_keys=True)

    def unlike(self, other: "ModelIdentity") -> str:
        """What differs, in words; empty where nothing does."""
        names = {
            "objective": "objective",
            "config": "config.json",
            "tokenizer": "tokenizer files",
            "conversion": "conversion of its GGUF file",
        }
        mine, theirs = asdict(self), asdict(other)
        return " and ".join(said for name, said in names.items() if mine[name] != theirs[name])


def stored_identity(text: str | None) -> ModelIdentity | None:
    """The identity that was stored as `text`; None, which is unknown, stays so."""
    return None if text is None else ModelIdentity(**json.loads(text))


def directory_identity(directory: Path, words: Path, objective: str) -> ModelIdentity:
    """The identity of a model directory with the tokenizer in `words`.

    Changing this changes that of every run to come.

    Raises CorruptCheckpoint for a config.json that is not JSON.
    """
    config = _without(read_json(directory / "config.json"), _OF_NO_EFFECT.split())
    files = sorted(file for file in words.iterdir() if file.name in _TOKENIZER_FILES.split())
    tokenizer = [
        (
            file.name,
            _without(read_json(file), _OF_NO_EFFECT_ON_TOKENS.split())
            if file.name == _TOKENIZER_CONFIG
            else sha256_of_file(file),
        )
        for file in files
        if file.is_file()
    ]
    return ModelIdentity(objective, config=_digest(config), tokenizer=_digest(tokenizer))


def identity_difference(
    given: ModelIdentity | None, wanted: ModelIdentity | None, name: str
) -> str:
    """What of the model at hand is not as it was when it was measured; empty where nothing is.

    Warns UnknownIdentity where either is not known, for then nobody can tell.
    """
    if given is not None and wanted is not None:
        return given.unlike(wanted)
    if given is not wanted:
        warnings.warn(
            f"with which configuration and tokenizer '{name}' was measured was not recorded: only "
            "its weights are known to be the same; index it again to be sure",
            UnknownIdentity,
            stacklevel=1,  # always the same place, so that it is said once
        )
    return ""


def _without(content: object, keys: list[str]) -> object:
    if isinstance(content, dict):
        return {key: _without(value, keys) for key, value in content.items() if key not in keys}
    return content


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
