"""Neurons that others published, as a run of the atlas: which neurons, but no scores.

Two kinds of files are read, and one import holds one kind:

- An object ParaRel uuid → [[layer, neuron], …], as EleutherAI/knowledge-neurons publishes them.
- `kn_bag-P36.json` of the paper's own code (Hunter-DDM/knowledge-neurons): a list with one entry a
  bag, each [[layer, neuron], …]. The bag's position tells the fact: facts come in the order of
  that relation's bags in `data_all_allbags.json`, which has to be the dataset.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from atlas.answers import Answer
from atlas.counted import counted
from atlas.datasets import read_dataset
from atlas.datasets.layouts import find_layout
from atlas.datasets.rows import FactRow, Place, Problem, parse_json, quoted, read_text
from atlas.errors import DataError
from atlas.facts import Dataset, Fact, derived_fact_id
from atlas.indexing import published_records
from atlas.indexing.known_models import published_model
from atlas.indexing.records import ModelRecord, RunRecord
from atlas.selection.chosen import default_selection
from atlas.selection.selections import DefaultSelection, default_since
from atlas.store.atlas_file import open_file

_BAGS = re.compile(r"(?:base_)?kn_bag-(?P<relation>[^.]+)\.json")
_SHAPE = "expected is an object uuid → [[layer, neuron], …], or kn_bag-P36.json of the paper's code"

Neuron = tuple[int, int]


@dataclass(frozen=True)
class Imported(Answer, rows="unknown"):
    """What an import put into the atlas, or found there already."""

    run_id: str
    selection_id: str
    model: str
    relations: int
    facts: int
    fact_neurons: int  # pairs of fact and neuron
    distinct_neurons: int
    without_neurons: int  # facts of the files with an empty list
    default: DefaultSelection  # the atlas's now, and what was before
    unknown: tuple[str, ...]  # uuids of the files that the dataset lacks, which were left out


def import_published(
    path: Path,
    files: Sequence[Path],
    model: str,
    data: Path,
    *,
    layers: int | None = None,
    neurons_per_layer: int | None = None,
) -> Imported:
    """Store published neurons as a finished run with one selection, in the atlas at `path`.

    model: a well-known name, a local model directory, or any name if its shape is given.
    data: ParaRel, or `data_all_allbags.json` for the files of the paper's code.

    The run is identified by model, dataset and neurons, so that importing the same again changes
    no row. Raises DataError for files that are no such dump or do not fit the dataset or the model,
    SettingsError for a model of unknown shape; then nothing is written.
    """
    record = published_model(model, layers, neurons_per_layer)
    dataset = read_dataset(data)
    neurons: dict[str, list[Neuron]] = {}
    places: dict[str, str] = {}
    numbered = _Numbered(data)
    for file in files:
        for fact_id, found in _read(file, numbered):
            _require_shape(found, record, file, fact_id)
            if neurons.setdefault(fact_id, found) != found:
                raise DataError(
                    f"{file} has other neurons for fact {quoted(fact_id)} than "
                    f"{places[fact_id]}: import one of them"
                )
            places.setdefault(fact_id, str(file))
    part = _part(dataset, neurons)
    facts = [fact for relation in part.relations for fact in relation.facts]
    if not facts:
        raise DataError(
            f"none of the {counted(len(neurons), 'fact')} in {files[0]} is in {data}: "
            "name the dataset that they were made from",
            parameters=["data"],
        )
    known = {fact.fact_id: neurons[fact.fact_id] for fact in facts}
    run = _run_record(record, dataset, known)
    with open_file(path, create=True).writing() as connection:
        before = default_selection(connection)
        selection_id = published_records.record_published(connection, part, record, run, known)
        default = default_since(connection, before)
    distinct = {neuron for found in known.values() for neuron in found}
    return Imported(
        run_id=run.run_id,
        selection_id=selection_id,
        model=record.name,
        relations=len(part.relations),
        facts=len(facts),
        fact_neurons=sum(map(len, known.values())),
        distinct_neurons=len(distinct),
        without_neurons=sum(not found for found in known.values()),
        default=default,
        unknown=tuple(sorted(neurons.keys() - known.keys())),
    )


def _part(dataset: Dataset, neurons: Mapping[str, Sequence[Neuron]]) -> Dataset:
    """The dataset's facts that have an entry, without templates: nothing is asked of a model."""
    relations = (
        replace(
            relation,
            templates=(),
            facts=tuple(fact for fact in relation.facts if fact.fact_id in neurons),
        )
        for relation in dataset.relations
    )
    return replace(dataset, relations=tuple(r for r in relations if r.facts))


def _run_record(
    model: ModelRecord, dataset: Dataset, neurons: Mapping[str, Sequence[Neuron]]
) -> RunRecord:
    rows = sorted((fact_id, *found) for fact_id, found in neurons.items())
    return RunRecord(
        model_id=model.model_id,
        method="published",
        rule=None,
        points=None,
        tolerance=None,
        dtype=None,
        device=None,
        score_floor=None,
        baseline=None,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        atlas_version=version("knowledge-neuron-atlas"),
        settings={"neurons_digest": hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]},
    )


def _read(file: Path, numbered: "_Numbered") -> Iterator[tuple[str, list[Neuron]]]:
    """Each fact's id and its neurons, sorted, each once."""
    if not file.is_file():
        raise DataError(f"no file {file}: name the published JSON files")
    place = Place(str(file))
    text = read_text(file)
    value: Any = text if isinstance(text, Problem) else parse_json(text, place)
    if isinstance(value, Problem):
        raise DataError(str(value))
    bags = _BAGS.fullmatch(file.name)
    if bags and isinstance(value, list):
        entries: Iterator[tuple[str, Any]] = numbered.entries(file, bags["relation"], value)
    elif isinstance(value, dict):
        entries = iter(value.items())
    else:
        raise DataError(f"{file} is not a file of published neurons: {_SHAPE}")
    for name, found in entries:
        if not isinstance(found, list) or not all(map(_is_neuron, found)):
            raise DataError(f"{file}: {quoted(name)} is no list of [layer, neuron]: {_SHAPE}")
        yield name, sorted({(layer, neuron) for layer, neuron in found})


def _is_neuron(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(number) is int and number >= 0 for number in value)
    )


def _require_shape(found: Sequence[Neuron], model: ModelRecord, file: Path, fact_id: str) -> None:
    for layer, neuron in found:
        if layer >= model.layers or neuron >= model.neurons_per_layer:
            raise DataError(
                f"{file}: neuron {layer}:{neuron} of fact {quoted(fact_id)} lies outside "
                f"{model.name}, which has {counted(model.layers, 'layer')} of "
                f"{counted(model.neurons_per_layer, 'neuron')}: name the right model, or its shape",
                parameters=["model", "layers", "neurons_per_layer"],
            )


class _Numbered:
    """The facts of a file of bags by their position, read when a file asks for them."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.facts: dict[str, list[Fact]] = {}

    def entries(self, file: Path, relation: str, bags: list[Any]) -> Iterator[tuple[str, Any]]:
        """A relation's bags under the ids of their facts; a fact that came before is left out."""
        if self.data.suffix != ".json":
            raise DataError(
                f"{file} counts facts as data_all_allbags.json of the paper's code does: "
                "name that file as the dataset",
                parameters=["data"],
            )
        if not self.facts:
            for row in find_layout(self.data).rows():
                if isinstance(row, FactRow):
                    fact_id = row.uuid or derived_fact_id(row.relation, row.subject, row.object)
                    fact = Fact(fact_id, row.relation, row.subject, row.object)
                    self.facts.setdefault(row.relation, []).append(fact)
        facts = self.facts.get(relation, [])
        if len(facts) != len(bags):
            raise DataError(
                f"{file} has {counted(len(bags), 'bag')}, but {self.data} has {len(facts):,} of "
                f"relation {relation}: name the file that they were made from",
                parameters=["data"],
            )
        first = {fact.fact_id: number for number, fact in reversed(list(enumerate(facts)))}
        return ((fact_id, bags[number]) for fact_id, number in sorted(first.items()))
