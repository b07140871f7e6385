"""Prints docs/what-they-are.md's tables from atlases whose specificity has been measured.

python tests/bench/what_they_are.py 'NAME=ATLAS.duckdb' ['NAME=ATLAS.duckdb:SELECTION' …]
"""

import argparse
from collections.abc import Iterator, Sequence

import atlas
from atlas.specificity.report import GroupEffect, SpecificityReport

GROUPS = {
    "own": "own",
    "same_relation_and_object": "same relation and object",
    "same_relation": "same relation, other object",
    "same_object": "other relation, same object",
    "same_subject": "same subject, other relation",
    "unrelated": "unrelated",
}
LABELS = ("fact", "subject", "answer", "relation", "unclear")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("atlases", nargs="+", metavar="NAME=ATLAS[:SELECTION]")
    named = [argument.rpartition("=") for argument in parser.parse_args().atlases]
    reports = {name: measured(where) for name, _, where in named}
    heads(["model and position", "neurons at a time", *GROUPS.values(), "random neurons, own"])
    for name, report in reports.items():
        cells = [cell(effect(report, "own", group)) for group in GROUPS]
        row([name, f"{report.neurons:.1f}", *cells, cell(effect(report, "random", "own"))])
    print()
    heads(["model and position", "neurons", *LABELS, "no partner"])
    for name, report in reports.items():
        neurons = sum(layer.neurons for layer in report.labels)
        row([name, f"{neurons:,}", *(f"{share:.0%}" for share in labels(report))])


def measured(where: str) -> SpecificityReport:
    """What an atlas says of a selection, its default if none is named."""
    path, _, selection = where.partition(":")
    return atlas.open(path).specificity(selection=selection or None, progress=True)


def effect(report: SpecificityReport, neurons: str, group: str) -> GroupEffect:
    """Over all relations."""
    (found,) = [
        row
        for row in report.effects
        if row.relation_id is None and (row.neurons, row.partners) == (neurons, group)
    ]
    return found


def cell(found: GroupEffect) -> str:
    """Relative ΔP with its interval, and of how many facts."""
    if found.relative_dp is None:
        return "none"
    interval = ""
    if found.relative_dp_low is not None and found.relative_dp_high is not None:
        interval = f" [{100 * found.relative_dp_low:+.1f}, {100 * found.relative_dp_high:+.1f}]"
    text = f"{100 * found.relative_dp:+.1f} %{interval}, n = {found.facts}"
    return text.replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0")


def labels(report: SpecificityReport) -> Iterator[float]:
    """The share of each label in all layers, and of those that want a partner."""
    neurons = sum(layer.neurons for layer in report.labels)
    for name in (*LABELS, "no_partner"):
        yield sum(getattr(layer, name) * layer.neurons for layer in report.labels) / neurons


def heads(names: Sequence[str]) -> None:
    row(names)
    print("|---|" + "---:|" * (len(names) - 1))


def row(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
