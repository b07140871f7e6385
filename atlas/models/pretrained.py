"""Building transformers' model and tokenizer from a directory of safetensors, and nothing else.

No code of the checkpoint's is run, no pickle is opened and the network is not asked.
"""

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging as transformers_logging

from atlas.counted import counted
from atlas.errors import (
    CorruptCheckpoint,
    ModelNotFound,
    UnsafeCheckpoint,
    UnsupportedArchitecture,
)
from atlas.models.checkpoint import one_line, read_json, stored_tensors, weight_files
from atlas.models.unused import first_names, refuse_quantised, refuse_unused

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_PIECES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_SENTENCEPIECE = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' warnings and progress bars; its settings are as before on exit."""
    settings: Any = transformers_logging
    verbosity = settings.get_verbosity()
    bars = settings.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            settings.set_verbosity(logging.CRITICAL)
            settings.disable_progress_bar()
            yield
        finally:
            settings.set_verbosity(verbosity)
            if bars:
                settings.enable_progress_bar()
            # transformers' switch moves the hub's too, so that one is put back last
            (enable_progress_bars if hub_bars else disable_progress_bars)()


def read_config(directory: Path) -> Any:
    """Return the transformers config of a directory.

    Raises ModelNotFound without `config.json`, CorruptCheckpoint if it cannot be understood,
    UnsafeCheckpoint if it needs code of its own, UnsupportedArchitecture if transformers does not
    know it or the weights are quantised.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise ModelNotFound(
            f"{str(directory)!r} has no config.json, so it is not a model directory: name one that "
            "transformers' save_pretrained wrote"
        )
    content = read_json(path)
    kind = content.get("model_type")
    if not isinstance(kind, str):
        raise CorruptCheckpoint(f"{str(path)!r} states no model_type: fetch it again")
    if kind not in CONFIG_MAPPING:
        if "auto_map" in content:
            raise UnsafeCheckpoint(
                f"model type {kind!r} needs code that comes with the checkpoint, which is not run: "
                "use a model that transformers itself knows"
            )
        raise UnsupportedArchitecture(
            f"transformers {transformers.__version__} does not know the model type {kind!r}: "
            "a newer transformers may"
        )
    if content.get("quantization_config"):
        raise UnsupportedArchitecture(
            f"{str(directory)!r} holds quantised weights: use the unquantised model, or a GGUF file"
        )
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(
                str(directory), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        raise CorruptCheckpoint(f"{str(path)!r} is not understood: {one_line(error)}") from error
    if getattr(config, "transformers_weights", None):
        # it names another file than those that `weight_files` checks
        raise UnsafeCheckpoint(
            f"{str(path)!r} sets transformers_weights, which is not followed: name the weights "
            "model.safetensors and remove that line"
        )
    return config


def language_model_class(config: Any) -> Any:
    """Return the one of transformers' auto classes for language models that `config` names.

    A vision-language model is asked with text alone.

    Raises UnsupportedArchitecture for encoder-decoders and models without a language-model head.
    """
    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedArchitecture(
            f"{kind!r} is an encoder-decoder, which is not supported: use a masked or causal model"
        )
    named = (getattr(config, "architectures", None) or [None])[0]
    masked = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.get(kind)
    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    pretraining = modeling_auto.MODEL_FOR_PRETRAINING_MAPPING_NAMES.get(kind)
    if masked and named in (None, masked, pretraining):
        return transformers.AutoModelForMaskedLM
    if masked and named == causal and not getattr(config, "is_decoder", False):
        raise UnsupportedArchitecture(
            f"{named!r} without is_decoder sees the words to come, so it is not a causal model: "
            f"load it as {masked!r} by naming that in config.json"
        )
    if causal and named in (None, causal):
        return transformers.AutoModelForCausalLM
    pictures = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(kind)
    if pictures and named in (None, pictures):  # asked with text alone
        return transformers.AutoModelForImageTextToText
    if named and named.endswith("ForConditionalGeneration"):
        raise UnsupportedArchitecture(
            f"{named!r} takes more than text, and transformers cannot ask it with text alone: save "
            "its text model as a checkpoint of its own"
        )
    heads = " or ".join(repr(name) for name in (masked, causal) if name)
    raise UnsupportedArchitecture(
        f"{named or kind!r} has no language-model head to ask"
        + (f": use a checkpoint of {heads}" if heads else ", so it is not supported")
    )


def read_model(directory: Path, config: Any, dtype: torch.dtype, attention: str | None) -> Any:
    """Build the language model of `config` from the directory's safetensors, on the CPU.

    attention: transformers' `attn_implementation`; None is its own choice for the model.
    Raises CorruptCheckpoint if a weight is missing, has another shape than the config says, is not
    finite or is not used, and UnsupportedArchitecture for quantised weights.
    """
    auto = language_model_class(config)
    stored = stored_tensors(weight_files(directory))
    refuse_quantised(directory, stored)
    try:
        with quiet():
            model, info = auto.from_pretrained(
                str(directory),
                config=config,
                dtype=dtype,
                attn_implementation=attention,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:
        raise CorruptCheckpoint(
            f"the weights in {str(directory)!r} do not load: {one_line(error)}"
        ) from error
    refuse_missing(info["missing_keys"], type(model).__name__)
    refuse_unused(info["unexpected_keys"], stored, type(model).__name__)
    refuse_not_finite(model)
    return model


def embedding_rows(model: Any) -> int:
    """Number of the input embeddings; UnsupportedArchitecture where there is no table of them."""
    try:
        rows: int = model.get_input_embeddings().weight.shape[0]
    except (AttributeError, NotImplementedError) as error:
        raise UnsupportedArchitecture(
            f"{type(model).__name__} keeps no table of input embeddings, so it is not supported"
        ) from error
    return rows


def has_tokenizer(directory: Path) -> bool:
    """Whether a directory has the vocabulary of a tokenizer."""
    return any((directory / name).is_file() for name in TOKENIZER_FILES)


def read_tokenizer(directory: Path, rows: int) -> Any:
    """Read the directory's tokenizer for a model with `rows` input embeddings.

    Raises CorruptCheckpoint if there is none, it cannot be read or it belongs to another model, and
    UnsafeCheckpoint if it needs code of its own.
    """
    if not has_tokenizer(directory):
        # transformers would make up an empty tokenizer.
        raise CorruptCheckpoint(
            f"{str(directory)!r} has no tokenizer: add its tokenizer.json and tokenizer_config.json"
        )
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(directory), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        lacking = [name for name in _SENTENCEPIECE if not _installed(name)]
        if lacking and any((directory / name).is_file() for name in _PIECES):
            packages = " ".join(_SENTENCEPIECE[name] for name in lacking)
            raise CorruptCheckpoint(
                f"the tokenizer in {str(directory)!r} is a SentencePiece model: more packages "
                f"are needed to read it: pip install {packages}"
            ) from error
        kind = UnsafeCheckpoint if "trust_remote_code" in str(error) else CorruptCheckpoint
        raise kind(
            f"the tokenizer in {str(directory)!r} does not load: {one_line(error)}"
        ) from error
    if tokenizer.vocab_size > rows:
        raise CorruptCheckpoint(
            f"the tokenizer in {str(directory)!r} has {counted(tokenizer.vocab_size, 'token')} but "
            f"the model {counted(rows, 'embedding')}: they do not belong together"
        )
    return tokenizer


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it lies in
        return False


def refuse_missing(names: Any, class_name: str) -> None:
    """Raise CorruptCheckpoint if weights are missing: transformers fills them in at random."""
    missing = [str(name) for name in names]
    if missing:
        raise CorruptCheckpoint(
            f"the checkpoint lacks {len(missing)} of the weights of {class_name} "
            f"({first_names(missing)}): "
            "use a complete one, saved with its language-model head"
        )


def refuse_not_finite(model: Any) -> None:
    """Raise CorruptCheckpoint naming the first parameter that holds NaN or infinity."""
    for name, parameter in model.named_parameters():
        if parameter.numel() and not torch.isfinite(torch.stack(torch.aminmax(parameter))).all():
            count = int((~torch.isfinite(parameter)).sum())
            raise CorruptCheckpoint(
                f"parameter {name} holds {counted(count, 'value')} that "
                f"{'is' if count == 1 else 'are'} NaN or infinite: "
                "the checkpoint is damaged, fetch it again"
            )
