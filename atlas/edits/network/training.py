"""Training the network: edits sampled from the atlas's facts, with the objective of spare's shift.

For a sampled edit with key directions U (as of method spare, from the facts that are learnt from)
the network tells shifts T, and descends on

    mean over the edit's tokens of max(0, MARGIN − lead)  +  SMALL · |T / scale|² / keys

the lead being the new token's logit less the highest other one with U T in the layer. Facts and
objects are dealt into parts by hash: a part to learn from, a part to choose the best of the
networks on the way by, and a part that nothing has seen, which the report is about.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.edits.making import sources
from atlas.edits.making.key_directions import at_one, solved
from atlas.edits.making.layer_keys import WHERE_IT_IS_SAID
from atlas.edits.making.layers import default_layers, require_layer, require_own_layers
from atlas.edits.making.questions import Questions, split_held_out
from atlas.edits.making.sources import MeasuredPrompt
from atlas.edits.making.spared import what_to_spare
from atlas.edits.network.inputs import told
from atlas.edits.network.network import (
    Origin,
    ShiftInputs,
    ShiftNetwork,
    file_beside,
    together,
    write_network,
)
from atlas.edits.network.parts import PARTS, WantedEdit, part_of, wanted_edits
from atlas.edits.network.report import NetworkPart, TrainedNetwork
from atlas.edits.network.settings import TrainingSettings
from atlas.edits.network.shifted import Row, leads
from atlas.errors import EditError, NotFound
from atlas.models.language_model import LanguageModel
from atlas.moments.measure import complete_activations
from atlas.moments.stored import read_activations
from atlas.progress import Advance, Reporter
from atlas.prompts import Target, UnusablePrompt
from atlas.selection.chosen import ChosenSelection
from atlas.store.atlas_file import AtlasFile

MARGIN = 4.0  # nats: an unseen object is told less exactly, and needs some to spare
SMALL = 1e-4  # weight of the shifts' size: as of method spare, every answer would lack some
BATCH = 32  # edits a step
LEARNT = 4  # prompts of an edit to learn from, at most
PROMPTS = 3  # of these a step, drawn anew every time
RATE = 1e-3  # of a step of Adam at the start; it falls to nothing along a cosine
DECAY = 0.01
TRIED = 64  # edits of each part, to choose by and for the report
LOOKS = 8  # at the part to choose by, evenly along the way
TOGETHER = 64  # edits that are prepared in one pass
HELD_OUT = 0.25  # share of a fact's prompts that the network is not told of


Rows = Sequence[Sequence[Row]]  # by prompt and answer token


@dataclass(frozen=True, eq=False)
class _Case:
    """A sampled edit, ready to be learnt from."""

    layer: int
    learnt: Rows
    held_out: Rows
    directions: Tensor  # [neuron, key] float32
    inputs: ShiftInputs


def train_network(
    lm: LanguageModel,
    atlas: AtlasFile,
    selection: ChosenSelection,
    settings: TrainingSettings,
    report: Reporter = lambda event: None,
) -> TrainedNetwork:
    """Train the network on the selection's run, and write it beside the atlas.

    The same call gives the same file, bit for bit, on the same machine with as many threads. It is
    written at the end alone. EditError for a model whose layers cannot be edited, too few facts.
    """
    started, worked = time.monotonic(), time.process_time()
    require_own_layers(lm)
    layers = settings.layers or (default_layers(lm, selection.position)[0],)
    for layer in layers:
        require_layer(lm, layer)
    complete_activations(atlas, lm, selection.run_id, layers, report)
    sampler = _Sampler(lm, atlas, selection, layers, settings.seed)
    cases = sampler.cases("learning", settings.edits, report, prompts=LEARNT)
    if not cases:
        raise EditError(
            f"run {selection.run_id} has too few facts to learn from: index more of them, with "
            "several objects a relation"
        )
    tried = {part: sampler.cases(part, TRIED) for part in PARTS}
    network = ShiftNetwork(lm.d_model, layers, settings.seed).to(lm.model.device)
    kept_step = _descend(lm, network, cases, tried["choosing"], settings, report)
    parts = tuple(
        NetworkPart(
            part,
            facts=sum(part_of(fact_id) == part for fact_id in sampler.facts),
            objects=sum(part_of(name) == part for name in sampler.names),
            edits=len(tried[part]),
            success=_success(lm, network, tried[part], lambda case: case.learnt),
            held_out_success=_success(lm, network, tried[part], lambda case: case.held_out),
        )
        for part in PARTS
    )
    origin = Origin(
        weights_sha256=lm.weights_sha256,
        run_id=selection.run_id,
        position=selection.position,
        layers=tuple(layers),
        seed=settings.seed,
        steps=settings.steps,
        edits=len(cases),
        atlas_version=version("knowledge-neuron-atlas"),
    )
    file = file_beside(atlas.path)
    write_network(file, network, origin)
    return TrainedNetwork(
        file=str(file),
        model=lm.name,
        run_id=selection.run_id,
        position=selection.position,
        layers=tuple(layers),
        seed=settings.seed,
        steps=settings.steps,
        edits=len(cases),
        kept_step=kept_step,
        seconds=time.monotonic() - started,
        cpu_seconds=time.process_time() - worked,
        parts=parts,
        selection=selection,
    )


class _Sampler:
    """Ready cases of the run's facts."""

    def __init__(
        self,
        lm: LanguageModel,
        atlas: AtlasFile,
        selection: ChosenSelection,
        layers: Sequence[int],
        seed: int,
    ) -> None:
        self.lm, self.layers, self.seed = lm, layers, seed
        self.at_subject = selection.position == "subject"
        self.encoded: dict[tuple[int, str], list[Target]] = {}
        self.facts: dict[str, list[MeasuredPrompt]] = defaultdict(list)
        self.objects: dict[str, list[str]] = defaultdict(list)
        with atlas.reading() as connection:
            facts = connection.execute(
                """
                SELECT fact_id, relation_id, object
                FROM facts
                ORDER BY fact_id
                """
            ).fetchall()
            self.relations = {fact_id: relation for fact_id, relation, _ in facts}
            for _, relation, name in facts:
                if name not in self.objects[relation]:
                    self.objects[relation].append(name)
            everything = list(self.relations)
            for prompt in sources.measured_prompts(connection, selection.run_id, everything):
                self.facts[prompt.fact_id].append(prompt)
            learning = [fact_id for fact_id in self.facts if part_of(fact_id) == "learning"]
            self.moments = {}
            for layer in layers:
                try:
                    stored = read_activations(connection, selection.run_id, layer, None, learning)
                except NotFound:
                    continue
                self.moments[layer] = what_to_spare(lm, stored, (), layer).moment

    @property
    def names(self) -> set[str]:
        """Of all objects."""
        return {name for own in self.objects.values() for name in own}

    def cases(
        self,
        part: str,
        count: int,
        report: Reporter = lambda event: None,
        prompts: int | None = None,
    ) -> list[_Case]:
        """So many of the part; none where it has none.

        prompts: keep so many of a fact's at most, with what enters the layer, and hold none out.
        """
        if not self.moments:
            return []
        started, found = time.monotonic(), list[_Case]()
        facts = self.facts
        if prompts is not None:
            facts = {
                fact_id: Random(f"{self.seed} {fact_id}").sample(own, min(prompts, len(own)))
                for fact_id, own in self.facts.items()
            }
        wanted = islice(
            wanted_edits(facts, self.relations, self.objects, part, self.seed, self._askable),
            count,
        )
        while some := list(islice(wanted, TOGETHER)):
            for place, layer in enumerate(self.layers):
                found += self._ready(some[place :: len(self.layers)], layer, prompts is not None)
            seconds = time.monotonic() - started
            done = len(found)
            what = "edits to learn from"
            report(Advance(what, done, count, done, seconds, "edits", complete=done == count))
        return found

    def _askable(self, prompts: Sequence[MeasuredPrompt], new_object: str) -> bool:
        try:
            self._asked(prompts, new_object)
        except UnusablePrompt:
            return False
        return True

    def _asked(self, prompts: Sequence[MeasuredPrompt], answer: str) -> Questions:
        for prompt in prompts:
            if (prompt.prompt_id, answer) not in self.encoded:
                end = prompt.subject_end if self.at_subject else None
                targets = self.lm.targets(prompt.text, answer, end)
                self.encoded[prompt.prompt_id, answer] = targets
        return [self.encoded[prompt.prompt_id, answer] for prompt in prompts]

    def _ready(self, wanted: Sequence[WantedEdit], layer: int, to_learn: bool) -> list[_Case]:
        if not wanted:
            return []
        split = [split_held_out(e.prompts, 0 if to_learn else HELD_OUT) for e in wanted]
        questions = [
            (
                self._asked(learnt, edit.new_object),
                self._asked(learnt[:1], edit.old_object),  # its tokens are the same in all
            )
            for edit, (learnt, _) in zip(wanted, split, strict=True)
        ]
        found = told(self.lm, questions, layer)
        keys = [one.keys.T.double().cpu().numpy() for one in found]
        ends = np.cumsum([of.shape[1] for of in keys])[:-1]
        damping = WHERE_IT_IS_SAID.damping
        along = np.split(solved(self.moments[layer], np.hstack(keys), damping), ends, axis=1)
        cases = []
        for place, one in enumerate(found):
            if not keys[place].any(0).all():
                continue  # silent there
            directions = at_one(along[place], keys[place]).astype(np.float32)
            learnt = [
                [
                    Row(target, state if to_learn else None)
                    for target, state in zip(*of, strict=True)
                ]
                for of in zip(questions[place][0], one.entering, strict=True)
            ]
            held_out = self._asked(split[place][1], wanted[place].new_object)
            cases.append(
                _Case(
                    layer,
                    learnt,
                    [[Row(target) for target in targets] for targets in held_out],
                    torch.from_numpy(directions).to(self.lm.model.device),
                    one.inputs,
                )
            )
        return cases


def _descend(
    lm: LanguageModel,
    network: ShiftNetwork,
    cases: Sequence[_Case],
    choosing: Sequence[_Case],
    settings: TrainingSettings,
    report: Reporter,
) -> int:
    """Train the network in place; returns the step whose weights it has at the end."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    draw, started = Random(settings.seed), time.monotonic()
    best: tuple[float, int, dict[str, Any]] | None = None
    order: Iterator[_Case] = iter(())
    looks = {settings.steps * (look + 1) // LOOKS for look in range(LOOKS)}
    with lm.frozen():
        for step in range(1, settings.steps + 1):
            batch = list(islice(order, BATCH))
            if len(batch) < min(BATCH, len(cases)):
                order = iter(draw.sample(cases, len(cases)))
                batch += list(islice(order, BATCH - len(batch)))
            optimiser.zero_grad()
            _loss(lm, network, batch, draw).backward()
            optimiser.step()
            falling.step()
            if step in looks and choosing:
                reached = _success(lm, network, choosing, lambda case: case.learnt) or 0.0
                if best is None or reached >= best[0]:
                    weights = {n: value.clone() for n, value in network.state_dict().items()}
                    best = reached, step, weights
            seconds, complete = time.monotonic() - started, step == settings.steps
            report(
                Advance(
                    "hypernetwork", step, settings.steps, step, seconds, "steps", complete=complete
                )
            )
    if best is None:
        return settings.steps
    network.load_state_dict(best[2])
    return best[1]


def _loss(lm: LanguageModel, network: ShiftNetwork, batch: Sequence[_Case], draw: Random) -> Tensor:
    drawn = [draw.sample(list(case.learnt), min(PROMPTS, len(case.learnt))) for case in batch]
    told_shifts, lead = _leads(lm, network, batch, drawn)
    missing = [(MARGIN - of).clamp(min=0).mean() for of in lead]
    return torch.stack(missing).mean() + SMALL * told_shifts.square().sum(-1).mean()


def _leads(
    lm: LanguageModel,
    network: ShiftNetwork,
    cases: Sequence[_Case],
    questions: Sequence[Rows],
) -> tuple[Tensor, list[Tensor]]:
    """What the network tells, [key, d_model] in its scale, and the leads by case, [token]."""
    inputs = together([case.inputs for case in cases])
    shifts = network(inputs)
    of_case = (shifts * inputs.scale[:, None]).split([len(case.inputs) for case in cases])
    most = max(len(case.inputs) for case in cases)
    lead: dict[int, Tensor] = {}
    for layer in sorted({case.layer for case in cases}):
        numbers = [n for n, case in enumerate(cases) if case.layer == layer]
        flat = [[row for rows in questions[n] for row in rows] for n in numbers]
        counts = [len(rows) for rows in flat]
        repeats = torch.tensor(counts, device=shifts.device)
        directions = torch.stack([_wide(cases[n].directions, most, -1) for n in numbers])
        told_there = torch.stack([_wide(of_case[n], most, 0) for n in numbers])
        every = [row for rows in flat for row in rows]
        found = leads(
            lm,
            layer,
            every,
            directions.repeat_interleave(repeats, 0),
            told_there.repeat_interleave(repeats, 0),
        )
        lead.update(zip(numbers, found.split(counts), strict=True))
    return shifts, [lead[n] for n in range(len(cases))]


def _wide(values: Tensor, keys: int, axis: int) -> Tensor:
    """The values with keys of zeros behind, so that there are so many."""
    missing = keys - values.shape[axis]
    if not missing:
        return values
    shape = list(values.shape)
    shape[axis] = missing
    return torch.cat([values, values.new_zeros(shape)], axis)


def _success(
    lm: LanguageModel,
    network: ShiftNetwork,
    cases: Sequence[_Case],
    questions: Callable[[_Case], Rows],
) -> float | None:
    """Share of the cases' questions with the new object on top; a case counts once."""
    asked = [case for case in cases if questions(case)]
    shares = []
    with torch.no_grad(), lm.frozen():
        for start in range(0, len(asked), BATCH):
            some = asked[start : start + BATCH]
            found = _leads(lm, network, some, [questions(case) for case in some])[1]
            for case, lead in zip(some, found, strict=True):
                by_prompt = lead.reshape(len(questions(case)), -1)
                shares.append(float((by_prompt > 0).all(-1).float().mean()))
    return sum(shares) / len(shares) if shares else None
