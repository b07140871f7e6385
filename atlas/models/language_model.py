"""A loaded language model, seen as blocks with value projections and a head."""

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from atlas.counted import counted
from atlas.errors import UnsupportedArchitecture
from atlas.models.architectures import TABLE, Block, find_blocks
from atlas.models.discovery import discover_blocks, how_to_register
from atlas.models.hooks import after_forward
from atlas.models.identity import ModelIdentity
from atlas.models.positions import longest_input
from atlas.prompts import Prompt, Target, UnusablePrompt, cloze, encode
from atlas.threads import nobody_to_wait_for

Objective = Literal["masked", "causal"]


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A frozen model in eval mode with its tokenizer and what the atlas needs to know of it.

    `model` and `tokenizer` are the plain transformers objects; `weights_sha256` identifies the
    weights as they were loaded, `identity` what else decides its probabilities.
    """

    model: Any
    tokenizer: Any
    name: str
    revision: str | None
    weights_sha256: str
    objective: Objective
    architecture: str
    dtype: str
    device: str
    blocks: tuple[Block, ...]
    neurons_per_layer: int
    blocks_return_tuples: bool
    longest_input: int  # in tokens, as far as the model has positions
    discovered: bool = False  # not in the table: the blocks were found by looking
    identity: ModelIdentity | None = None  # None: put together by hand, so unknown

    def __repr__(self) -> str:
        return (
            f"LanguageModel({self.name!r}, {self.model_id}, {self.architecture} {self.objective}, "
            f"layers={self.layers}, neurons_per_layer={self.neurons_per_layer}, {self.dtype} on "
            f"{self.device})"
        )

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        width: int = self.value_vectors(0).shape[1]
        return width

    @property
    def model_id(self) -> str:
        """The first twelve hex digits of the weights' SHA-256."""
        return self.weights_sha256[:12]

    @property
    def attention(self) -> str:
        """transformers' name for the attention that runs: eager or sdpa."""
        return str(getattr(self.model.config, "_attn_implementation", None) or "eager")

    @property
    def context(self) -> int:
        """Longest input in tokens."""
        return min(self.longest_input, int(self.tokenizer.model_max_length))

    @property
    def rows(self) -> int:
        """Number of the input embeddings; token ids beyond them cannot be asked."""
        count: int = self.model.get_input_embeddings().weight.shape[0]
        return count

    @property
    def pad_id(self) -> int:
        """What fills up short inputs: masked, so any token with an embedding will do."""
        pad = self.tokenizer.pad_token_id
        return pad if pad is not None and pad < self.rows else 0

    @classmethod
    def from_parts(
        cls,
        *,
        model: Any,
        tokenizer: Any,
        name: str,
        revision: str | None,
        weights_sha256: str,
        dtype: str,
        device: str,
        identity: ModelIdentity | None = None,
    ) -> "LanguageModel":
        """Wrap a transformers language model; raises UnsupportedArchitecture if it cannot be read.

        The model is put into eval mode and its parameters are frozen.
        """
        model.eval()
        model.requires_grad_(False)
        known = model.config.model_type in TABLE
        blocks = find_blocks(model) if known else discover_blocks(model)
        widths = {value_vectors(block.value_projection).shape[0] for block in blocks}
        if len(widths) != 1:
            raise UnsupportedArchitecture(
                f"layers of different FFN widths ({sorted(widths)}) are not supported"
            )
        return cls(
            model=model,
            tokenizer=tokenizer,
            name=name,
            revision=revision,
            weights_sha256=weights_sha256,
            objective=objective_of(type(model).__name__),
            architecture=model.config.model_type,
            dtype=dtype,
            device=device,
            blocks=blocks,
            neurons_per_layer=widths.pop(),
            blocks_return_tuples=_return_tuples(model, blocks),
            longest_input=longest_input(model),
            discovered=not known,
            identity=identity,
        )

    def value_vectors(self, layer: int) -> Tensor:
        """A layer's value vectors, [neuron, d_model]: a view of the value projection's weight."""
        return value_vectors(self.blocks[layer].value_projection)

    def replica(self) -> "LanguageModel":
        """The same weights behind modules of its own, for a thread of its own.

        Hooks and flags set on a replica's modules do not reach this model's; weights are the same
        tensors, so edits reach both.
        """
        modules = list(self.model.modules())
        shared = [
            self.tokenizer,
            *self.model.parameters(),
            *self.model.buffers(),
            *(module.config for module in modules if hasattr(module, "config")),
        ]
        return copy.deepcopy(self, {id(item): item for item in shared})

    def encode(self, prompt: Prompt) -> list[Target]:
        """A prompt's targets, one an answer token. Raises UnusablePrompt."""
        if _unreachable(prompt.answer.strip(), self.tokenizer):
            raise UnusablePrompt(
                "answer is capitalised in a lowercased vocabulary",
                f"the vocabulary has '{prompt.answer.strip()}', but the tokenizer lowercases every "
                "text and so never reaches it",
            )
        targets = encode(prompt, self.tokenizer, self.objective, self.context)
        rows = self.rows
        beyond = {i for t in targets for i in (*t.token_ids, t.token) if i >= rows}
        if beyond:
            raise UnusablePrompt(
                "token without an embedding",
                f"the token {self.tokenizer.convert_ids_to_tokens(min(beyond))!r} was added to the "
                f"tokenizer but not to the model, which has {counted(rows, 'embedding')}",
            )
        return targets

    def targets(self, text: str, answer: str, subject_end: int | None = None) -> list[Target]:
        """The targets of a text whose answer's place is `[Y]`. Raises UnusablePrompt.

        subject_end: index into the text behind the subject, at whose last token neurons are then
        measured and changed; None: at the answer position.
        """
        if self.objective == "masked" and self.tokenizer.mask_token in text:
            raise UnusablePrompt(
                "template has a mask of its own",
                f"[Y] is where the answer stands: take {self.tokenizer.mask_token} out of '{text}'",
            )
        return self.encode(cloze(text, answer, self.objective, subject_end))

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Eval mode and frozen parameters within the context, also if a user trained in between.

        What asks the model does it here, so this is where torch's threads are kept from spinning
        (`atlas.threads`). Every module and parameter has its own flag again after it, also after an
        exception.
        """
        training = [module for module in self.model.modules() if module.training]
        trainable = [weight for weight in self.model.parameters() if weight.requires_grad]
        try:
            for module in training:
                module.training = False
            for weight in trainable:
                weight.requires_grad_(False)
            with nobody_to_wait_for():
                yield
        finally:
            for module in training:
                module.training = True
            for weight in trainable:
                weight.requires_grad_(True)

    @contextmanager
    def bypassed(self, blocks: Sequence[Block], hidden: Tensor) -> Iterator[None]:
        """Let blocks return `hidden` without running; they are themselves again after it."""
        output = (hidden,) if self.blocks_return_tuples else hidden
        modules = {id(block.module): block.module for block in blocks}.values()
        try:
            for module in modules:
                module.forward = lambda *args, **kwargs: output
            yield
        finally:
            for module in modules:
                module.__dict__.pop("forward", None)

    def continuing(self, cache: Cache) -> dict[str, Any]:
        """Arguments with which a causal model goes on behind the keys and values of `cache`."""
        names = inspect.signature(self.model.base_model.forward).parameters
        # transformers 5.24 renamed the argument
        name = "cache" if "cache" in names else "past_key_values"
        return {name: cache, "use_cache": True}

    def head(self, hidden: Tensor) -> Tensor:
        """Logits [row, vocabulary] for the last block's output [row, d_model].

        Runs the model's own forward with every block replaced by `hidden`, so the final norm, the
        output embedding, soft-capping and the like are the model's own code.
        """
        ids = torch.zeros(len(hidden), 1, dtype=torch.long, device=hidden.device)
        kwargs = {"use_cache": False} if self.objective == "causal" else {}
        output = hidden[:, None]
        with self.bypassed(self.blocks, output):
            logits: Tensor = self.model(input_ids=ids, **kwargs).logits.squeeze(1)
        return logits


def objective_of(class_name: str) -> Objective:
    """What a transformers class of this name is asked for."""
    return "masked" if class_name.endswith("ForMaskedLM") else "causal"


def _unreachable(answer: str, tokenizer: Any) -> bool:
    """Whether an answer is a token, and the tokenizer lowercases it to something that is none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    normalizer = backend.normalizer if backend is not None else None
    lower = answer.lower()
    if normalizer is None or answer == lower or normalizer.normalize_str(answer) != lower:
        return False
    absent = (None, tokenizer.unk_token_id)
    written, lowered = (tokenizer.convert_tokens_to_ids(text) for text in (answer, lower))
    return written not in absent and lowered in absent


def value_vectors(projection: nn.Module) -> Tensor:
    """Weight of a value projection as [neuron, d_model], whichever way the module stores it."""
    weight: Tensor = projection.weight  # type: ignore[assignment]
    # transformers' Conv1D (GPT-2) keeps [in, out]; nn.Linear keeps [out, in]
    return weight.T if isinstance(projection, nn.Linear) else weight


def _return_tuples(model: Any, blocks: tuple[Block, ...]) -> bool:
    """Whether blocks return (hidden states, …) or the hidden states alone; runs one token."""
    seen: list[Any] = []
    try:
        with after_forward(blocks[0].module, lambda *call: seen.append(call[2])), torch.no_grad():
            model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise UnsupportedArchitecture(
            f"this {model.config.model_type!r} model does not run on a single token "
            f"({type(error).__name__}): {how_to_register(model.config)}"
        ) from error
    return isinstance(seen[0], tuple)
