"""The shape of a model that need not be at hand: its layers, and the neurons of each."""

from dataclasses import dataclass
from pathlib import Path

from atlas.counted import counted
from atlas.errors import CorruptCheckpoint, SettingsError
from atlas.indexing.records import ModelRecord
from atlas.models.checkpoint import sha256_of_files, weight_files


@dataclass(frozen=True)
class _Known:
    architecture: str
    objective: str
    layers: int
    neurons_per_layer: int


# As their config.json on the hub says; the part of an id before "/" does not matter.
_KNOWN: dict[str, _Known] = {
    **{
        f"bert-base-{kind}": _Known("bert", "masked", 12, 3072)
        for kind in ("uncased", "cased", "multilingual-cased", "multilingual-uncased", "chinese")
    },
    **{
        f"bert-large-{kind}": _Known("bert", "masked", 24, 4096)
        for kind in ("uncased", "cased", "uncased-whole-word-masking", "cased-whole-word-masking")
    },
    "distilbert-base-uncased": _Known("distilbert", "masked", 6, 3072),
    "distilbert-base-cased": _Known("distilbert", "masked", 6, 3072),
    "roberta-base": _Known("roberta", "masked", 12, 3072),
    "roberta-large": _Known("roberta", "masked", 24, 4096),
    "xlm-roberta-base": _Known("xlm-roberta", "masked", 12, 3072),
    "gpt2": _Known("gpt2", "causal", 12, 3072),
    "gpt2-medium": _Known("gpt2", "causal", 24, 4096),
    "gpt2-large": _Known("gpt2", "causal", 36, 5120),
    "gpt2-xl": _Known("gpt2", "causal", 48, 6400),
    "gpt-neo-125m": _Known("gpt_neo", "causal", 12, 3072),
    "gpt-neo-1.3B": _Known("gpt_neo", "causal", 24, 8192),
    "gpt-neo-2.7B": _Known("gpt_neo", "causal", 32, 10240),
    "gpt-j-6b": _Known("gptj", "causal", 28, 16384),
}
# What the families call the width of their FFN, where transformers has no one name for it.
_WIDTH = ("intermediate_size", "n_inner", "ffn_dim", "hidden_dim")


def published_model(
    name: str, layers: int | None = None, neurons_per_layer: int | None = None
) -> ModelRecord:
    """The model that published neurons are of: a local directory, a known name, or a given shape.

    Only a directory's weights are known; of the others `weights_sha256` is None. A shape that is
    given must be that of the directory or name. Raises SettingsError where no shape is known.
    """
    directory = Path(name).expanduser()
    if (directory / "config.json").is_file():
        record = _of_directory(directory)
    else:
        record = _of_name(name, layers, neurons_per_layer)
    given = (layers or record.layers, neurons_per_layer or record.neurons_per_layer)
    if given != (record.layers, record.neurons_per_layer):
        raise SettingsError(
            f"{record.name} has {counted(record.layers, 'layer')} of "
            f"{counted(record.neurons_per_layer, 'neuron')}, not {given[0]} of {given[1]:,}: "
            "leave the shape out",
            parameters=["layers", "neurons_per_layer"],
        )
    return record


def _of_name(name: str, layers: int | None, neurons_per_layer: int | None) -> ModelRecord:
    known = {key.lower(): shape for key, shape in _KNOWN.items()}
    shape = known.get(name.rpartition("/")[2].lower())
    if shape is None:
        if not name.strip() or layers is None or neurons_per_layer is None:
            raise SettingsError(
                f"the shape of model '{name}' is not known here: name its directory, or give its "
                "layers and neurons per layer",
                parameters=["model", "layers", "neurons_per_layer"],
            )
        shape = _Known("unknown", "unknown", layers, neurons_per_layer)
    return ModelRecord(
        name=name,
        revision=None,
        architecture=shape.architecture,
        objective=shape.objective,
        layers=shape.layers,
        neurons_per_layer=shape.neurons_per_layer,
        weights_sha256=None,
    )


def _of_directory(directory: Path) -> ModelRecord:
    from atlas.models.pretrained import read_config  # imports transformers, and only this needs it

    config = read_config(directory).get_text_config()
    layers = getattr(config, "num_hidden_layers", None)
    width = next((w for name in _WIDTH if (w := getattr(config, name, None))), None)
    if width is None and (d_model := getattr(config, "hidden_size", None)):
        width = 4 * d_model  # GPT-2, GPT-J and BLOOM say it only where it is something else
    if not isinstance(layers, int) or not isinstance(width, int):
        raise CorruptCheckpoint(
            f"{directory / 'config.json'} does not tell layers and FFN width: give a model's name"
        )
    architectures = config.architectures or [""]
    masked = str(architectures[0]).endswith("ForMaskedLM")
    return ModelRecord(
        name=directory.resolve().name,
        revision=None,
        architecture=str(config.model_type),
        objective="masked" if masked else "causal",
        layers=layers,
        neurons_per_layer=width,
        weights_sha256=sha256_of_files(weight_files(directory)),
    )
