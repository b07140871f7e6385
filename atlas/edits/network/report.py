"""What training the network came to."""

from dataclasses import dataclass

from atlas.selection.chosen import OfSelection


@dataclass(frozen=True)
class NetworkPart:
    """How the network does on edits of one part of facts and objects.

    success: share of the prompts that the network was told of with the new object on top;
    held_out_success: of the fact's other prompts. None: there is no such edit, or no such prompt.
    """

    part: str
    facts: int  # of the run
    objects: int  # of the atlas
    edits: int  # tried
    success: float | None
    held_out_success: float | None


@dataclass(frozen=True)
class TrainedNetwork(OfSelection, rows="parts"):
    """A hypernetwork: where it lies, what it was learnt from, and how it does."""

    file: str
    model: str
    run_id: str
    position: str
    layers: tuple[int, ...]
    seed: int
    steps: int
    edits: int  # sampled to learn from
    kept_step: int  # whose network is kept: the best on the edits to choose by
    seconds: float
    cpu_seconds: float
    parts: tuple[NetworkPart, ...]
