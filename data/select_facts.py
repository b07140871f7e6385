"""Choose the embedded facts from ParaRel: `python data/select_facts.py PARAREL_DIRECTORY`.

Rewrites the "facts" of every relations/P*.json beside this script and leaves its label and
templates alone. The choice depends on the seed and on ParaRel's content only, not on file order.

A relation gets 60 facts (all there are where ParaRel has fewer). Each subject occurs once in a
relation, so that no two facts of it contradict each other. Preferred, in this order: the pinned
facts; inverse pairs; subjects that do not spell out the object; short subjects; subjects that
other relations know too. No object takes more than four of the 60 unless there are too few.
"""

import hashlib
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

SEED = "atlas-1"
FACTS = 60
PAIRS = 24  # of a symmetric relation; each is two facts
INVERSE_FACTS = 42  # of P36, with their inverses in P1376
SHARE = 4

# Choices that no rule makes: facts to have or to leave out, and objects that read badly without
# "the", are slips of ParaRel's, or (where most of a relation's objects are such) the good ones.
CHOICES = json.loads((Path(__file__).resolve().parent / "choices.json").read_text("utf-8"))
PINNED = {tuple(triple) for triple in CHOICES["pinned"]}
UNFIT = {tuple(triple) for triple in CHOICES["unfit"]}

NEEDS_AN_ARTICLE = re.compile(
    r"^(United |Soviet|Netherlands|Philippines|Bahamas|Maldives|Gambia|Republic |Kingdom |"
    r"People's|European Union|Ivory Coast)|(Republic|Islands|Emirates|Empire|dynasty|District)$"
)
PLAIN = re.compile(r"[\w .'-]+")


@dataclass(frozen=True)
class Row:
    """One of ParaRel's facts."""

    relation: str
    uuid: str
    subject: str
    object: str

    @property
    def triple(self) -> tuple[str, str, str]:
        return self.relation, self.subject, self.object

    def spells_out_its_object(self) -> bool:
        stem = self.object.lower()[:5]
        return stem in self.subject.lower()


def read(facts: Path, relation: str) -> list[Row]:
    lines = (facts / f"{relation}.jsonl").read_text(encoding="utf-8").splitlines()
    fields = [json.loads(line) for line in lines if line]
    rows = [Row(relation, f["uuid"], f["sub_label"], f["obj_label"]) for f in fields]
    return sorted(rows, key=lambda row: row.uuid)


def readable(row: Row) -> bool:
    return (
        row.subject != row.object
        and row.triple not in UNFIT
        and PLAIN.fullmatch(row.subject) is not None
        and len(row.subject) <= 36
        and row.object not in CHOICES["unreadable_anywhere"]
        and row.object not in CHOICES["unreadable"].get(row.relation, ())
        and row.object in CHOICES["readable"].get(row.relation, [row.object])
    )


def rank(row: Row, known: Counter[str]) -> tuple[object, ...]:
    """Sort key of a fact, best first; `known` counts the relations that have a subject."""
    return (
        row.triple not in PINNED,
        NEEDS_AN_ARTICLE.search(row.subject) is not None,
        row.spells_out_its_object(),
        len(row.subject) > 24,
        -known[row.subject],
        hashlib.sha256(f"{SEED}:{row.uuid}".encode()).hexdigest(),
    )


def symmetric_pairs(rows: list[Row]) -> list[Row]:
    """Facts (A, B) and (B, A), each place in one pair only; `rows` best first."""
    by_places = {(row.subject, row.object): row for row in rows}
    taken: set[str] = set()
    chosen: list[Row] = []
    for row in rows:
        back = by_places.get((row.object, row.subject))
        if back and taken.isdisjoint({row.subject, row.object}) and len(chosen) < 2 * PAIRS:
            taken |= {row.subject, row.object}
            chosen += [row, back]
    return chosen


def inverse_facts(rows: list[Row], others: list[Row]) -> list[Row]:
    """Facts (A, B) of one relation whose inverse (B, A) the other has, one per A and per B."""
    backwards = {(row.object, row.subject) for row in others}
    seen: set[str] = set()
    chosen: list[Row] = []
    for row in rows:
        if (row.subject, row.object) in backwards and seen.isdisjoint({row.subject, row.object}):
            seen |= {row.subject, row.object}
            chosen.append(row)
    return chosen[:INVERSE_FACTS]


def fill(first: list[Row], rows: list[Row]) -> list[Row]:
    """`first`, then the best of `rows` up to 60: subjects once, objects at most `share` times."""
    chosen = list(first)
    for share in range(SHARE, FACTS + 1):
        subjects = {row.subject for row in chosen}
        objects = Counter(row.object for row in chosen)
        for row in rows:
            if len(chosen) == FACTS:
                return chosen
            if row.subject not in subjects and objects[row.object] < share:
                chosen.append(row)
                subjects.add(row.subject)
                objects[row.object] += 1
    raise SystemExit(f"{rows[0].relation}: only {len(chosen)} facts read well")


def select(facts: Path, relations: list[str]) -> dict[str, list[Row]]:
    everything = {relation: read(facts, relation) for relation in relations}
    known = Counter(
        subject for rows in everything.values() for subject in {row.subject for row in rows}
    )
    ranked = {
        relation: sorted(filter(readable, rows), key=lambda row: rank(row, known))
        for relation, rows in everything.items()
    }
    chosen: dict[str, list[Row]] = {}
    for relation, rows in ranked.items():
        if len(everything[relation]) <= FACTS:
            chosen[relation] = sorted(everything[relation], key=lambda row: rank(row, known))
            continue
        first = [row for row in rows if row.triple in PINNED]
        if relation == "P36":
            first = inverse_facts(rows, ranked["P1376"])
        elif relation == "P1376":
            forwards = {(row.object, row.subject) for row in chosen["P36"]}
            by_subject = {row.subject: row for row in rows if (row.subject, row.object) in forwards}
            first = list(by_subject.values())
        elif relation in ("P47", "P190", "P530"):
            first += symmetric_pairs([row for row in rows if row.triple not in PINNED])
        chosen[relation] = fill(first, rows)
    return chosen


def write(path: Path, rows: list[Row]) -> None:
    """One template and one fact per line, so that diffs and line numbers are of use."""
    relation = json.loads(path.read_text(encoding="utf-8"))
    templates = [json.dumps(template, ensure_ascii=False) for template in relation["templates"]]
    facts = [
        json.dumps(
            {"uuid": row.uuid, "subject": row.subject, "object": row.object}, ensure_ascii=False
        )
        for row in rows
    ]
    path.write_text(
        f'{{"relation": {json.dumps(relation["relation"])}, '
        f'"label": {json.dumps(relation["label"])},\n'
        ' "templates": [\n  ' + ",\n  ".join(templates) + "],\n"
        ' "facts": [\n  ' + ",\n  ".join(facts) + "]}\n",
        encoding="utf-8",
    )


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python data/select_facts.py PARAREL_DIRECTORY")
    files = Path(__file__).resolve().parent / "relations"
    relations = sorted((path.stem for path in files.glob("P*.json")), key=lambda r: int(r[1:]))
    for relation, rows in select(Path(sys.argv[1]) / "facts", relations).items():
        write(files / f"{relation}.json", rows)
        print(f"{relation}: {len(rows)} facts, {len({row.object for row in rows})} objects")


if __name__ == "__main__":
    main()
