"""Prints docs/what-they-are.md's tables from atlases whose specificity has been measured.

python tests/bench/what_they_are.py ATLAS.duckdb [ATLAS.duckdb:SELECTION …]
"""

import argparse
from collections.abc import Iterator

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
    parser.add_argument("atlases", nargs="+")
    reports = [measured(name) for name in parser.parse_args().atlases]
    print(
        "| model, position | facts | neurons |", *(f"{name} |" for name in GROUPS.values()), end=""
    )
    print(" own prompts, random neurons |\n|" + "---|" * (4 + len(GROUPS)))
    for report in reports:
        cells = [cell(effect(report, "own", group)) for group in GROUPS]
        random = cell(effect(report, "random", "own"))
        size = f"{effect(report, 'own', 'own').facts} | {report.neurons:.1f}"
        print(f"| {heading(report)} | {size} | {' | '.join(cells)} | {random} |")
    heads = ["model, position", "neurons", *LABELS, "no partner"]
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for report in reports:
        shares = [f"{share:.0%}" for share in labels(report)]
        neurons = sum(layer.neurons for layer in report.labels)
        print(f"| {heading(report)} | {neurons:,} | {' | '.join(shares)} |")


def measured(name: str) -> SpecificityReport:
    """What an atlas says of a selection, its default if none is named."""
    path, _, selection = name.partition(":")
    return atlas.open(path).specificity(selection=selection or None, progress=True)


def heading(report: SpecificityReport) -> str:
    """Model and position."""
    assert report.selection is not None
    return f"{report.selection.model}, {report.position}"


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
    text = f"{found.relative_dp:+.1%}"
    if found.relative_dp_low is not None and found.relative_dp_high is not None:
        text += f" [{found.relative_dp_low:+.1%}, {found.relative_dp_high:+.1%}]"
    return f"{text}, n = {found.facts}".replace("-", "−").replace("%", " %")


def labels(report: SpecificityReport) -> Iterator[float]:
    """The share of each label in all layers, and of those that want a partner."""
    neurons = sum(layer.neurons for layer in report.labels)
    for name in (*LABELS, "no_partner"):
        yield sum(getattr(layer, name) * layer.neurons for layer in report.labels) / neurons


if __name__ == "__main__":
    main()
