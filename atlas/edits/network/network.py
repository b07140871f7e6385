"""The network that tells a shift, and its file beside the atlas."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atlas.durability import appearing_file
from atlas.errors import AtlasError, EditError
from atlas.models.checkpoint import check_safetensors, one_line
from atlas.models.language_model import LanguageModel

FORMAT = "knowledge-neuron-atlas hypernetwork, version 1"
WIDTH = 512  # of the hidden layers


@dataclass(frozen=True, eq=False)
class ShiftInputs:
    """What the network is told of an edit; first axis `key`, as of its key directions.

    states: mean hidden state of the fact's prompts behind the edited layer, at the key's position.
    old, new: output directions of the old and of the new object, see `making.directions`.
    layer: number of the edited layer. scale: size of an entry that would be felt.
    """

    states: Tensor  # [key, d_model] float32
    old: Tensor  # [key, d_model]
    new: Tensor  # [key, d_model]
    layer: Tensor  # [key] int64
    scale: Tensor  # [key]

    def __len__(self) -> int:
        return len(self.states)


def together(inputs: Sequence[ShiftInputs]) -> ShiftInputs:
    """Several edits' inputs, one behind the other."""
    return ShiftInputs(
        torch.cat([one.states for one in inputs]),
        torch.cat([one.old for one in inputs]),
        torch.cat([one.new for one in inputs]),
        torch.cat([one.layer for one in inputs]),
        torch.cat([one.scale for one in inputs]),
    )


@dataclass(frozen=True)
class Origin:
    """What a network was learnt from, and how."""

    weights_sha256: str
    run_id: str
    position: str
    layers: tuple[int, ...]
    seed: int
    steps: int
    edits: int
    atlas_version: str


class ShiftNetwork(nn.Module):
    """A perceptron with two hidden layers beside a linear map; inputs at a length of one's own."""

    def __init__(self, d_model: int, layers: Sequence[int], seed: int = 0) -> None:
        super().__init__()
        self.d_model, self.layers = d_model, tuple(layers)
        told = 3 * d_model + len(self.layers)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.straight = nn.Linear(told, d_model)
            self.bent = nn.Sequential(
                nn.Linear(told, WIDTH),
                nn.GELU(),
                nn.Linear(WIDTH, WIDTH),
                nn.GELU(),
                nn.Linear(WIDTH, d_model),
            )

    def forward(self, inputs: ShiftInputs) -> Tensor:
        """Shifts [key, d_model] in units of the inputs' scale."""
        numbers = torch.tensor(self.layers, device=inputs.layer.device)
        told = torch.cat(
            [
                _of_length_one(inputs.states),
                _of_length_one(inputs.old),
                _of_length_one(inputs.new),
                (inputs.layer[:, None] == numbers).float(),
            ],
            dim=-1,
        )
        shifts: Tensor = self.straight(told) + self.bent(told)
        return shifts


def _of_length_one(rows: Tensor) -> Tensor:
    """Rows whose entries have a root mean square of 1."""
    of_length_one: Tensor = nn.functional.normalize(rows, dim=-1) * rows.shape[-1] ** 0.5
    return of_length_one


def file_beside(atlas: Path) -> Path:
    """Where the network of an atlas lies: atlas.duckdb's is atlas.hypernetwork.safetensors."""
    return atlas.with_name(f"{atlas.stem}.hypernetwork.safetensors")


def write_network(path: Path, network: ShiftNetwork, origin: Origin) -> None:
    """Write the network; the file appears whole or not at all, and has no date in it.

    EditError if it cannot be written.
    """
    from safetensors.torch import save

    tensors = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    about = {
        "format": FORMAT,
        "d_model": network.d_model,
        "digest": _digest(tensors),
        **asdict(origin),
    }
    # Of several entries of the metadata, safetensors would choose the order by chance.
    content = save(tensors, {"hypernetwork": json.dumps(about, sort_keys=True)})
    try:
        with appearing_file(path) as unfinished:
            unfinished.write_bytes(content)
    except OSError as error:
        raise EditError(f"{path} cannot be written: {one_line(error)}") from error


def read_network(path: Path, lm: LanguageModel, position: str) -> tuple[ShiftNetwork, Origin]:
    """The network of this model at this position.

    EditError for a file that is missing, damaged, of something else, or of another model.
    """
    again = "run `atlas edit train`"
    if not path.is_file():
        raise EditError(f"there is no hypernetwork {path}: {again} first", parameters=["method"])
    tensors, about = _content(path, f"{path} is damaged or no hypernetwork: {again} again")
    if about["weights_sha256"] != lm.weights_sha256:
        raise EditError(
            f"{path} is of another model (weights {about['weights_sha256'][:12]}), and {lm.name} "
            f"has {lm.model_id}: {again} on this one",
            parameters=["model", "method"],
        )
    if about["position"] != position:
        raise EditError(
            f"{path} was learnt at the {about['position']}, and this run measured at the "
            f"{position}: {again} on this run",
            parameters=["selection", "method"],
        )
    origin = Origin(**{name: about[name] for name in Origin.__dataclass_fields__})
    network = ShiftNetwork(about["d_model"], origin.layers)
    network.load_state_dict(tensors)
    return network.to(lm.model.device).requires_grad_(False), origin


def _content(path: Path, damaged: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description of a file, each checked."""
    from safetensors import SafetensorError, safe_open

    try:
        check_safetensors(path)
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["hypernetwork"])
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        about["layers"] = tuple(about["layers"])
        whole = about["format"] == FORMAT and about["digest"] == _digest(tensors)
        expected = ShiftNetwork(about["d_model"], about["layers"]).state_dict()
        whole = whole and {n: t.shape for n, t in expected.items()} == {
            n: t.shape for n, t in tensors.items()
        }
        if not whole or not Origin.__dataclass_fields__.keys() <= about.keys():
            raise EditError(damaged)
    except (AtlasError, SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise EditError(damaged) from error
    return tensors, about


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
