"""Datasets: reading them in any layout, checking them, and choosing from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from atlas.answers import at_most
from atlas.datasets.assembly import assemble
from atlas.datasets.layouts import find_layout
from atlas.datasets.relation_files import atlas_rows
from atlas.datasets.rows import LabelRow, Problem
from atlas.errors import DataError
from atlas.facts import Dataset, Relation, as_name
from atlas.paths import EMBEDDED_RELATIONS

__all__ = [
    "Inspection",
    "Problem",
    "check_file",
    "choose",
    "embedded_dataset",
    "inspect_dataset",
    "read_dataset",
    "relations_without_templates",
]


@dataclass(frozen=True)
class Inspection:
    """A dataset and all that is wrong with it.

    dataset: None where there are problems.
    problems: in the order of files and lines in which they were met.
    without_templates: relations of ParaRel that have facts but no template, and are left out.
    """

    dataset: Dataset | None
    problems: tuple[Problem, ...]
    without_templates: tuple[str, ...]


def inspect_dataset(path: Path) -> Inspection:
    """Read the dataset at the path and collect every problem in it.

    Raises DataError where the path is missing or its layout is not understood.
    """
    layout = find_layout(path)
    required = layout.templates_required
    assembly = assemble(layout.rows(), _embedded_label, templates_required=required)
    problems = assembly.problems
    if not problems and not any(relation.facts for relation in assembly.relations):
        problems = (Problem(str(path), None, "holds no facts: add some, or name another dataset"),)
    dataset = None if problems else Dataset(layout.name, assembly.relations)
    left_out = () if required else assembly.without_templates
    return Inspection(dataset, problems, left_out)


def check_file(path: Path) -> list[Problem]:
    """Every problem of a dataset file or directory; an empty list if it can be read.

    Raises DataError where the path is missing or its layout is not understood.
    """
    return list(inspect_dataset(path).problems)


def read_dataset(path: Path | None = None) -> Dataset:
    """The dataset at the path, or the embedded one; `atlas.datasets.layouts` finds the layout.

    A fact without a uuid gets `derived_fact_id`. Templates are stored as written, those of ParaRel
    and LAMA as `detokenised`; a template or fact that comes again is left out. Raises DataError
    with the first problem.
    """
    if path is None:
        return embedded_dataset()
    inspection = inspect_dataset(path)
    if inspection.dataset is None:
        first, *others = inspection.problems
        more = f" ({len(others)} more: `atlas data check {path}`)" if others else ""
        raise DataError(f"{first}{more}")
    return inspection.dataset


def embedded_dataset() -> Dataset:
    """The dataset that the atlas ships. Raises DataError if the installation lacks it."""
    if not EMBEDDED_RELATIONS.is_dir():
        raise DataError(f"the embedded dataset is missing at {EMBEDDED_RELATIONS}: reinstall atlas")
    return Dataset("embedded", read_dataset(EMBEDDED_RELATIONS).relations)


def relations_without_templates(path: Path) -> tuple[str, ...]:
    """Relations that `read_dataset` leaves out, because ParaRel has facts but no template for them.

    Raises DataError where the path is missing or its layout is not understood.
    """
    return inspect_dataset(path).without_templates


def choose(dataset: Dataset, relations: Sequence[str] = (), limit: int | None = None) -> Dataset:
    """The named relations, in the order given, with at most `limit` facts each, the first ones.

    A relation is named by its id or its label, in any case of letters; none named means all.
    Raises DataError for a name that the dataset does not have, with those that come near, and
    SettingsError for a negative limit; 0 is all, as None is.
    """
    most = at_most(limit)
    names = [relations] if isinstance(relations, str) else relations
    found = [_named(dataset, name) for name in names] or dataset.relations
    distinct = {relation.relation_id: relation for relation in found}
    return Dataset(
        dataset.name,
        tuple(
            Relation(r.relation_id, r.label, r.templates, r.facts[:most]) for r in distinct.values()
        ),
    )


def _named(dataset: Dataset, name: str) -> Relation:
    wanted = as_name(name)
    ids = {as_name(relation.relation_id): relation for relation in dataset.relations}
    if wanted in ids:
        return ids[wanted]
    labelled = [r for r in dataset.relations if as_name(r.label) == wanted]
    if len(labelled) == 1:
        return labelled[0]
    near = labelled or _near(dataset, wanted)
    shown = [f"{relation.relation_id} ({relation.label})" for relation in near]
    if labelled:
        raise DataError(f"several relations are labelled '{name}': name one of {', '.join(shown)}")
    if near:
        raise DataError(
            f"no relation '{name}' in {dataset.name}: did you mean {' or '.join(shown)}?"
        )
    names = ", ".join(relation.relation_id for relation in dataset.relations)
    raise DataError(f"no relation '{name}' in {dataset.name}: it has {names}")


def _near(dataset: Dataset, wanted: str) -> list[Relation]:
    """At most three relations whose label has the wanted word in it or that are spelt alike."""
    names = {
        as_name(name): relation
        for relation in dataset.relations
        for name in (relation.label, relation.relation_id)
    }
    within = [name for name in names if len(wanted) > 2 and wanted in name]
    near = {names[name].relation_id: names[name] for name in within}
    for name in get_close_matches(wanted, names, n=3):
        near.setdefault(names[name].relation_id, names[name])
    return list(near.values())[:3]


def _embedded_label(relation_id: str) -> str:
    """The embedded dataset's label, or the id: a relation keeps one label throughout an atlas."""
    return _labels_in(EMBEDDED_RELATIONS).get(relation_id, relation_id)


@cache
def _labels_in(directory: Path) -> dict[str, str]:
    if not directory.is_dir():
        return {}
    return {r.relation: r.label for r in atlas_rows(directory) if isinstance(r, LabelRow)}
