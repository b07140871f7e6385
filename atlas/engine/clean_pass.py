"""One unpatched run of a batch of targets: everything that the patched rows start from."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

from atlas.engine.answer import ask_head
from atlas.models.hooks import after_forward, before_forward
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target


class FrozenPrefix(Cache):
    """A read-only key/value cache: `update` returns prefix ⊕ new and stores nothing.

    `rows` maps each row of the batch under way to the target whose prefix it continues.
    """

    def __init__(self, filled: Cache, rows: Tensor) -> None:
        super().__init__(layers=filled.layers)
        self.rows = rows

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Return keys and values [row, head, prefix + new, d_head] of a layer."""
        if layer_idx >= len(self.layers):  # the prompt is a single token: there is no prefix
            return key_states, value_states
        prefix: Any = self.layers[layer_idx]
        return (
            torch.cat([prefix.keys.index_select(0, self.rows), key_states], dim=-2),
            torch.cat([prefix.values.index_select(0, self.rows), value_states], dim=-2),
        )


@dataclass(frozen=True, eq=False)
class CleanPass:
    """What a clean run of targets leaves behind. No tensor carries a graph.

    Axes: `position` is the whole input for masked models, and for causal ones what stands behind
    the tokens before every target's site: the last token alone where the sites are the answer
    positions. Where the lengths of a causal model's inputs differ, they are padded on the left.
    """

    lm: LanguageModel
    targets: tuple[Target, ...]
    tokens: Tensor  # [target] the answer token
    answer_at: Tensor  # [target] the answer position along the position axis
    site: Tensor  # [target] where activations are attributed and changed, along that axis
    apart: bool  # whether any site is not the answer position
    hidden: list[Tensor]  # per layer [target, position, d_model]: the block's output
    activations: Tensor  # [layer, target, neuron]
    projected: Tensor  # [layer, target, d_model]: the value projection's output at the site
    linear: Tensor  # [layer, target, d_model]: the same without the bias, so linear in α
    norm_input: Tensor  # [layer, target, d_model]: what enters `norm_after`, else `projected`
    norm_ratio: Tensor  # [layer, target] float32: |FFN output| / |what the next norm adds it to|
    gradient: Tensor  # [layer, target, d_model]: dP/d(projected) at α = 1, float32
    logits: Tensor  # [target, vocabulary] float32
    p: Tensor  # [target] float32: P(target token)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]  # per layer: a block's other arguments
    calls_of_each: bool  # whether they are those of every target, or of one for all
    prefix: FrozenPrefix | None

    @property
    def length(self) -> int:
        """Tokens of the longest input."""
        return max(len(target.token_ids) for target in self.targets)

    def run_block(self, layer: int, hidden: Tensor, rows: Tensor) -> Tensor:
        """Run a block on rows [row, position, d_model]; `rows` [row] names their targets."""
        args, kwargs = self.calls[layer]
        if self.prefix is not None:
            self.prefix.rows = rows
        per_head = self.lm.blocks[layer].per_head
        args = tuple(self._of_rows(value, rows) for value in args)
        kwargs = {
            name: self._of_rows(value, rows, per_head=name in per_head)
            for name, value in kwargs.items()
        }
        output = self.lm.blocks[layer].module(hidden, *args, **kwargs)
        result: Tensor = output[0] if isinstance(output, tuple) else output
        return result

    def _of_rows(self, value: Any, rows: Tensor, *, per_head: bool = False) -> Any:
        """A block's argument for rows: those of their targets, or one that broadcasts over rows."""
        if isinstance(value, tuple):
            return tuple(self._of_rows(item, rows) for item in value)
        if not isinstance(value, Tensor):
            return value
        if not self.calls_of_each:
            return value.repeat(len(rows), 1, 1) if per_head else value
        if per_head:
            return value.unflatten(0, (len(self.targets), -1))[rows].flatten(0, 1)
        each = value.dim() > 1 and len(value) == len(self.targets)
        return value.index_select(0, rows) if each else value

    def run_last_block(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Run the last block and return its output at the answer position, [row, d_model]."""
        narrow = self.lm.blocks[-1].ffn_input
        if narrow is None or hidden.shape[1] == 1:
            return self._at_answer(self.run_block(self.lm.layers - 1, hidden, rows), rows)
        with after_forward(narrow, lambda _, args, out: self._at_answer(out, rows)[:, None]):
            return self.run_block(self.lm.layers - 1, hidden, rows)[:, 0]

    def _at_answer(self, hidden: Tensor, rows: Tensor) -> Tensor:
        return hidden[torch.arange(len(rows), device=rows.device), self.answer_at[rows]]

    def patched(self, layer: int, rows: Tensor, projected: Tensor) -> Tensor:
        """A block's output at the site, its value projection's output there replaced.

        `projected` and the result are [row, d_model]. The block ends in rest + norm(u + change),
        where u is what the norm saw and rest all that bypasses it, so nothing of the block has to
        run again; where no norm follows, norm is the identity.
        """
        norm = self.lm.blocks[layer].norm_after or _identity
        u = self.norm_input[layer, rows]
        row = torch.arange(len(rows), device=rows.device)
        rest = self.hidden[layer].index_select(0, rows)[row, self.site[rows]] - norm(u)
        return rest + norm(u + (projected - self.projected[layer, rows]))

    def with_patched(self, layer: int, rows: Tensor, patched: Tensor) -> Tensor:
        """A block's clean output [row, position, d_model], `patched` [row, d_model] at sites."""
        clean = self.hidden[layer].index_select(0, rows)
        if clean.shape[1] == 1:
            return patched[:, None]
        row = torch.arange(len(rows), device=rows.device)
        return clean.index_put((row, self.site[rows]), patched)

    def answered(self, rows: Tensor, patched: Tensor) -> Tensor:
        """The last block's output at the answer position, `patched` being that at sites."""
        if not self.apart:
            return patched
        return self._at_answer(self.with_patched(self.lm.layers - 1, rows, patched), rows)


def _bias(projection: Any, like: Tensor) -> Tensor:
    return like.new_zeros(like.shape[-1]) if projection.bias is None else projection.bias


def _identity(x: Tensor) -> Tensor:
    return x


def longest_beside(lm: LanguageModel, shortest: int) -> int:
    """The longest input, in tokens, that is worth padding one of `shortest` tokens to.

    A causal model's rows are few tokens however long their prefixes, and few rows are slow. A
    masked model's rows are whole inputs: padding them costs more than larger waves gain.
    """
    return 2 * shortest + 8 if lm.objective == "causal" else shortest


def carried(lm: LanguageModel, target: Target) -> int:
    """How many tokens a patched row of the target is: what its change can reach."""
    length = len(target.token_ids)
    return length - target.site if lm.objective == "causal" else length


def run_clean(lm: LanguageModel, targets: Sequence[Target]) -> CleanPass:
    """Run the model once on targets and take dP/d(projected) of every layer.

    One backward serves all layers: at α = 1 the patched model is the clean model.
    """
    device = lm.model.device
    ids, pads, padding = padded_inputs(lm, targets)
    padded, kwargs = bool(padding), dict[str, Any](padding)
    tokens = torch.tensor([target.token for target in targets], device=device)
    answer_at = torch.tensor([target.position for target in targets], device=device) + pads
    site = torch.tensor([target.site for target in targets], device=device) + pads
    apart = any(target.site != target.position for target in targets)
    prefix = None
    if lm.objective == "causal":
        start = ids.shape[1] - max(carried(lm, target) for target in targets)
        prefix = prefill(lm, ids, start, padding)
        if "position_ids" in kwargs:
            kwargs["position_ids"] = kwargs["position_ids"][:, start:]
        kwargs |= lm.continuing(prefix)
        ids, answer_at, site = ids[:, start:], answer_at - start, site - start
    recorder = _Recorder(lm, answer_at, site)
    with torch.enable_grad(), recorder.attached():
        lm.model.base_model(input_ids=ids, **kwargs)
    answer = ask_head(lm, recorder.answer, tokens)
    with torch.no_grad():
        logits = lm.head(recorder.answer).float()
    gradients = torch.autograd.grad(recorder.answer, recorder.zeros, answer.gradient)
    if prefix is not None and not padded:
        prefix.rows = torch.zeros(1, dtype=torch.long, device=device)
    projected = torch.stack(recorder.projected)
    bias = torch.stack([_bias(block.value_projection, projected) for block in lm.blocks])
    linear = projected - bias[:, None]
    return CleanPass(
        lm=lm,
        targets=tuple(targets),
        tokens=tokens,
        answer_at=answer_at,
        site=site,
        apart=apart,
        hidden=recorder.hidden,
        activations=torch.stack(recorder.activations),
        projected=projected,
        linear=linear,
        norm_input=torch.stack(recorder.norm_input) if recorder.norm_input else projected,
        norm_ratio=_norm_ratio(lm, recorder, linear),
        gradient=torch.stack(gradients).float(),
        logits=logits,
        p=answer.p,
        calls=_block_calls(lm, ids if padded else ids[:1], kwargs),
        calls_of_each=padded,
        prefix=prefix,
    )


def _norm_ratio(lm: LanguageModel, recorder: "_Recorder", linear: Tensor) -> Tensor:
    """|W_out w| / |what the next norm sees at α = 0|, [layer, target]; see `_StretchedPath`."""
    if recorder.norm_input:
        base = torch.stack(recorder.norm_input) - linear
    else:
        base = torch.stack([recorder.at_site(hidden) for hidden in recorder.hidden]) - linear
    norm = lm.blocks[0].norm_after
    epsilon = getattr(norm, "eps", getattr(norm, "variance_epsilon", 1e-6))
    floor = base.shape[-1] * epsilon
    squares = base.float().square().sum(-1)
    ratio: Tensor = linear.float().norm(dim=-1) / (squares + floor).sqrt()
    return ratio


def padded_inputs(
    lm: LanguageModel, targets: Sequence[Target]
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Token ids [target, position], pads before each [target], and what the model needs if padded.

    Inputs of one length need nothing, so that nothing of the model's own choice is overruled.
    """
    device = lm.model.device
    longest, filler = max(len(t.token_ids) for t in targets), lm.pad_id
    counts = [longest - len(t.token_ids) for t in targets]
    rows = [[filler] * count + list(t.token_ids) for count, t in zip(counts, targets, strict=True)]
    ids, pads = torch.tensor(rows, device=device), torch.tensor(counts, device=device)
    if not any(counts):
        return ids, pads, {}
    place = torch.arange(longest, device=device)[None]
    padding = {"attention_mask": (place >= pads[:, None]).long()}
    if "position_ids" in inspect.signature(lm.model.base_model.forward).parameters:
        padding["position_ids"] = (place - pads[:, None]).clamp(min=0)
    return ids, pads, padding


def prefill(
    lm: LanguageModel, ids: Tensor, stop: int, padding: Mapping[str, Tensor] | None = None
) -> FrozenPrefix:
    """Keys and values of the first `stop` tokens of `ids` [row, position], of a causal model.

    padding: what the model is told of padded rows, each [row, position].
    """
    filled = DynamicCache(config=lm.model.config)
    if stop:
        before = {name: value[:, :stop] for name, value in (padding or {}).items()}
        with torch.no_grad():
            lm.model.base_model(input_ids=ids[:, :stop], **lm.continuing(filled), **before)
    else:
        filled.layers = []
    return FrozenPrefix(filled, torch.arange(len(ids), device=ids.device))


def _block_calls(
    lm: LanguageModel, ids: Tensor, model_kwargs: dict[str, Any]
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Every block's arguments besides the hidden states, for the given rows."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def note(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        calls.append((args[1:] if "hidden_states" not in kwargs else args, rest))

    modules = [block.module for block in lm.blocks]
    with before_forward(modules, note, with_kwargs=True), torch.no_grad():
        lm.model.base_model(input_ids=ids, **model_kwargs)
    return calls


class _Recorder:
    """Hooks that note, layer by layer, what a clean run computes at the targets' sites.

    Layers are told apart by the order of the calls, because ALBERT runs one module many times.
    """

    def __init__(self, lm: LanguageModel, answer_at: Tensor, site: Tensor) -> None:
        self.lm, self.answer_at, self.site = lm, answer_at, site
        self.row = torch.arange(len(site), device=site.device)
        self.hidden: list[Tensor] = []
        self.activations: list[Tensor] = []
        self.projected: list[Tensor] = []
        self.norm_input: list[Tensor] = []
        self.zeros: list[Tensor] = []
        self.answer = torch.empty(0)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Hooks in place within the context, gone after it, also after an exception."""
        blocks = self.lm.blocks
        norms = [block.norm_after for block in blocks if block.norm_after is not None]
        with (
            after_forward([block.module for block in blocks], self._block),
            after_forward([block.value_projection for block in blocks], self._projection),
            before_forward(norms, self._norm),
        ):
            yield

    def at_site(self, tensor: Tensor) -> Tensor:
        """The tensor's rows at the sites, [target, …]."""
        return self._by_row(tensor)[self.row, self.site].detach()

    def _by_row(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(len(self.row), -1, tensor.shape[-1])  # OPT flattens batch × position

    def _block(self, module: Any, args: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        self.hidden.append(hidden.detach())
        self.answer = self._by_row(hidden)[self.row, self.answer_at]  # the last one's, with graph

    def _norm(self, module: Any, args: tuple[Tensor, ...]) -> None:
        self.norm_input.append(self.at_site(args[0]))

    def _projection(self, module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        self.activations.append(self.at_site(args[0]))
        self.projected.append(self.at_site(output))
        zero = torch.zeros_like(self.projected[-1]).requires_grad_()
        self.zeros.append(zero)
        rows = self._by_row(output).index_put((self.row, self.site), zero, accumulate=True)
        return rows.reshape(output.shape)
