"""Measuring activations of a run's prompts: one forward pass, into the atlas, resumable."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.engine.probe import BATCH_TOKENS
from atlas.errors import ModelError, NotFound
from atlas.models.hooks import after_forward
from atlas.models.language_model import LanguageModel
from atlas.moments.stored import (
    ActivationRow,
    SampledPrompt,
    complete_layers,
    measured_count,
    prompts_with_activations,
    record_activations,
    record_complete,
    sampled_prompts,
)
from atlas.progress import Advance, Reporter
from atlas.prompts import Target, UnusablePrompt
from atlas.store.atlas_file import AtlasFile

MOST_PROMPTS = 8192  # of a layer, so that an atlas of a million facts stays bounded
MOST_NUMBERS = 1 << 24  # activations at the run's position of a layer, likewise: 64 MB
FEWEST_PROMPTS = 1024  # of a layer, however wide it is
ELSEWHERE = 2  # other positions of a prompt
ELSEWHERE_PROMPTS = 2048  # at most, with other positions
COMMIT_EVERY = 2.0  # seconds between commits: what a kill can cost
COMMIT_WAIT = 600.0  # seconds that a commit waits for readers


def complete_activations(
    atlas: AtlasFile,
    lm: LanguageModel,
    run_id: str,
    layers: Sequence[int],
    report: Reporter = lambda event: None,
) -> None:
    """`measure_activations` to the end, telling `report` where it stands if anything is missing."""
    for at in measure_activations(atlas, lm, run_id, layers):
        report(at)


def measure_activations(
    atlas: AtlasFile, lm: LanguageModel, run_id: str, layers: Sequence[int]
) -> Generator[Advance, None, None]:
    """Let the atlas hold the layers' activations of the run's prompts, at most `most_prompts`.

    They are taken where the run measured neurons and at a few other positions drawn by the prompt's
    id. What is there is not measured again; facts that the run has measured since are added.
    Yields nothing if nothing is missing, else at the start and after every batch; what is measured
    is committed every few seconds, at the end, and when the generator is closed or fails.

    Raises NotFound for a run that measured no prompt and for a layer that the model does not have,
    ModelError for a model of other weights and for one that returns NaN.
    """
    for layer in layers:
        if not 0 <= layer < lm.layers:
            raise NotFound(f"no layer {layer}: {lm.name} has {lm.layers}, counted from 0")
    with atlas.reading() as connection:
        if not measured_count(connection, run_id):
            raise NotFound(
                f"run {run_id} has measured no prompt, so there are no activations to take: index "
                "the model first"
            )
        _require_weights(connection, lm, run_id)
        known = complete_layers(connection, run_id)
        wanted = [layer for layer in sorted(set(layers)) if layer not in known]
        if not wanted:
            return
        sampled = sampled_prompts(connection, run_id, most_prompts(lm))
        missing = {
            layer: {prompt.prompt_id for prompt in sampled}
            - prompts_with_activations(connection, run_id, layer)
            for layer in wanted
        }
    yield from _Job(atlas, lm, run_id, missing).measure(sampled)
    with atlas.writing(COMMIT_WAIT) as connection:
        for layer in wanted:
            record_complete(connection, run_id, layer, [prompt.prompt_id for prompt in sampled])


def most_prompts(lm: LanguageModel) -> int:
    """Of how many prompts the atlas holds a layer's activations at most."""
    affordable = max(FEWEST_PROMPTS, MOST_NUMBERS // lm.neurons_per_layer)
    return min(MOST_PROMPTS, affordable)


def _require_weights(connection: Any, lm: LanguageModel, run_id: str) -> None:
    (weights,) = connection.execute(
        """
        SELECT m.weights_sha256
        FROM runs AS r
        JOIN models AS m USING (model_id)
        WHERE r.run_id = ?
        """,
        [run_id],
    ).fetchall()[0]
    if weights != lm.weights_sha256:
        raise ModelError(
            f"run {run_id} measured the weights {str(weights)[:12]}, and {lm.name} has "
            f"{lm.model_id}: load the model that was indexed",
            parameters=["model"],
        )


@dataclass(frozen=True)
class Site:
    """A position of an input whose activations are wanted.

    token: which of the answer's tokens is asked for there; None: another position.
    """

    prompt_id: int
    token: int | None
    token_ids: tuple[int, ...]
    position: int


def prompt_sites(lm: LanguageModel, prompt: SampledPrompt, elsewhere: int) -> list[Site]:
    """Where a prompt's activations are taken: at its sites, and at so many other positions.

    A site that stands in the same input as that of an earlier token of the answer is not taken
    twice: at the subject's last token all of them are one. In a causal model that token is the
    first of the other positions where it is no site, because edits are written there.
    """
    targets = lm.targets(prompt.text, prompt.object, prompt.subject_end)
    sites: dict[Any, Site] = {}
    for target in targets:
        site = Site(prompt.prompt_id, target.index, target.token_ids, target.site)
        sites.setdefault(_seen_there(lm, target), site)
    taken = {target.site for target in targets}
    first = targets[0].token_ids
    others = [place for place in range(len(first)) if place not in taken]
    drawn = Random(prompt.prompt_id).sample(others, min(elsewhere, len(others)))
    subject = subject_token(lm, prompt) if drawn and lm.objective == "causal" else None
    if subject is not None and subject not in (*taken, *drawn):
        drawn[0] = subject
    return [
        *sites.values(),
        *(Site(prompt.prompt_id, None, first, place) for place in sorted(drawn)),
    ]


def subject_token(lm: LanguageModel, prompt: SampledPrompt) -> int | None:
    """Index of the token in which the prompt's subject ends; None if no token is told to be it."""
    if prompt.subject_stop is None:
        return None
    try:
        return lm.targets(prompt.text, prompt.object, prompt.subject_stop)[0].subject_token
    except UnusablePrompt:
        return None


def _seen_there(lm: LanguageModel, target: Target) -> tuple[int, tuple[int, ...]]:
    """All that the model has read at the target's site, and where that is."""
    ids = target.token_ids
    return target.site, ids[: target.site + 1] if lm.objective == "causal" else ids


class _Job:
    """One call of `measure_activations`: what is measured but not committed yet."""

    def __init__(
        self, atlas: AtlasFile, lm: LanguageModel, run_id: str, missing: dict[int, set[int]]
    ) -> None:
        self.atlas, self.lm, self.run_id, self.missing = atlas, lm, run_id, missing
        self.pending: dict[int, list[ActivationRow]] = {layer: [] for layer in missing}
        self.committed_at = time.monotonic()

    def measure(self, sampled: Sequence[SampledPrompt]) -> Iterator[Advance]:
        started, total = time.monotonic(), len(sampled)
        left = set().union(*self.missing.values())
        sites = [
            prompt_sites(self.lm, prompt, ELSEWHERE if place < ELSEWHERE_PROMPTS else 0)
            for place, prompt in enumerate(sampled)
            if prompt.prompt_id in left
        ]
        done = total - len(sites)
        what = f"activations of layer {', '.join(map(str, self.missing))}"
        yield Advance(what, done, total, complete=not sites)
        try:
            for batch in _batches(sites):
                self._take(batch)
                done += len(batch)
                if time.monotonic() - self.committed_at > COMMIT_EVERY:
                    self._commit()
                computed, seconds = done - total + len(sites), time.monotonic() - started
                yield Advance(what, done, total, computed, seconds, complete=done == total)
        finally:
            self._commit()

    def _take(self, batch: list[list[Site]]) -> None:
        flat = [site for sites in batch for site in sites]
        for layer, values in site_activations(self.lm, flat, sorted(self.missing)).items():
            if not np.isfinite(values).all():
                raise ModelError(
                    "the model's activations are NaN or infinite: check its weights, and try "
                    "float32"
                )
            self.pending[layer] += [
                ActivationRow(site.prompt_id, site.token, site.position, value)
                for site, value in zip(flat, values, strict=True)
                if site.prompt_id in self.missing[layer]
            ]

    def _commit(self) -> None:
        if any(self.pending.values()):
            with self.atlas.writing(COMMIT_WAIT) as connection:
                for layer, rows in self.pending.items():
                    record_activations(connection, self.run_id, layer, rows)
        # Ctrl-C may come before this line: recording rows twice changes nothing.
        for rows in self.pending.values():
            rows.clear()
        self.committed_at = time.monotonic()


def _batches(sites: list[list[Site]]) -> Iterator[list[list[Site]]]:
    """Prompts, each with its sites, of about BATCH_TOKENS tokens, those of one length together."""

    def longest(prompt: list[Site]) -> int:
        return max(len(site.token_ids) for site in prompt)

    for length, group in groupby(sorted(sites, key=longest), key=longest):
        prompts = list(group)
        size = max(1, BATCH_TOKENS // length)
        yield from (prompts[start : start + size] for start in range(0, len(prompts), size))


def site_activations(
    lm: LanguageModel, sites: Sequence[Site], layers: Sequence[int]
) -> dict[int, NDArray[np.float32]]:
    """By layer, the activations [site, neuron] at the sites; the model runs to the last layer."""
    taken = {layer: np.empty((len(sites), lm.neurons_per_layer), np.float32) for layer in layers}
    inputs: dict[tuple[int, ...], list[int]] = {}
    for number, site in enumerate(sites):
        inputs.setdefault(site.token_ids, []).append(number)
    with lm.frozen(), torch.no_grad():
        for _, group in groupby(sorted(inputs, key=len), key=len):
            ids = list(group)
            rows = [(row, n) for row, input_ids in enumerate(ids) for n in inputs[input_ids]]
            _pass(lm, ids, [row for row, _ in rows], [sites[n].position for _, n in rows],
                  [n for _, n in rows], taken)  # fmt: skip
    return taken


class _Enough(Exception):
    """All layers asked for have run."""


@dataclass
class _Taker:
    """A hook on value projections that takes what enters them, telling layers by their order."""

    lm: LanguageModel
    rows: list[int]
    positions: list[int]
    numbers: list[int]
    taken: dict[int, NDArray[np.float32]]
    length: int
    layer: int = field(default=-1)

    def __call__(self, _: Any, args: tuple[Any, ...], output: Any) -> None:
        self.layer += 1  # every block has one value projection, ALBERT's the same one
        if self.layer in self.taken:
            entering = args[0].reshape(-1, self.length, args[0].shape[-1])
            found = entering[self.rows, self.positions].float().cpu().numpy()
            self.taken[self.layer][self.numbers] = found
        if self.layer == max(self.taken):
            raise _Enough


def _pass(
    lm: LanguageModel,
    ids: list[tuple[int, ...]],
    rows: list[int],
    positions: list[int],
    numbers: list[int],
    taken: dict[int, NDArray[np.float32]],
) -> None:
    """Run inputs of one length, and put what is at (row, position) into the site's place."""
    taker = _Taker(lm, rows, positions, numbers, taken, len(ids[0]))
    kwargs = {"use_cache": False} if lm.objective == "causal" else {}
    inputs = torch.tensor(ids, device=lm.model.device)
    projections = [block.value_projection for block in lm.blocks]
    with after_forward(projections, taker), suppress(_Enough):
        lm.model.base_model(input_ids=inputs, **kwargs)
