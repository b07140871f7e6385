"""PopQA (Mallen et al. 2023): facts with a question each, as TSV, CSV or JSON."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from atlas.datasets.rows import FactRow, Place, Problem, Row, TemplateRow, quoted, text_fields

PARTS = frozenset(("subj", "prop", "obj", "question"))
LIST = "possible_answers"  # the last column: a JSON list, which may come unquoted; not read


def popqa_rows(lines: Iterable[tuple[Place, Mapping[str, object]] | Problem]) -> Iterator[Row]:
    """The facts of PopQA, a relation a property, with the questions as templates.

    A question becomes "Q: What is the capital of [X]? A: [Y]", as its authors ask it. Of a
    relation's questions the commonest wording comes first; another counts where that one does not
    make the question. Aliases of subject and object are not read.
    """
    asked: dict[str, list[tuple[Place, str, str]]] = defaultdict(list)
    for line in lines:
        if isinstance(line, Problem):
            yield line
            continue
        place, record = line
        fields, problems = text_fields(record, place, sorted(PARTS))
        yield from problems
        if not problems:
            relation, subject = fields["prop"], fields["subj"]
            asked[relation].append((place, subject, fields["question"]))
            yield FactRow(place, relation, subject, fields["obj"], None)
    for relation, questions in asked.items():
        yield from _templates(relation, questions)


def _templates(relation: str, questions: list[tuple[Place, str, str]]) -> Iterator[Row]:
    wordings = Counter(
        wording for _, subject, question in questions for wording in _wordings(question, subject)
    )
    found: list[str] = []
    for place, subject, question in questions:
        own = _wordings(question, subject)
        if not own:
            yield place.problem(
                f"the question {quoted(question)} does not name its subject {quoted(subject)}: "
                "mend or remove the line"
            )
            continue
        wording = max(own, key=lambda text: wordings[text])
        if wording not in found:
            found.append(wording)
            yield TemplateRow(place, relation, f"Q: {wording} A: [Y]")


def _wordings(question: str, subject: str) -> list[str]:
    """The question with [X] in place of the subject, for every place where it stands."""
    pieces = question.split(subject)
    return [
        subject.join(pieces[:i]) + "[X]" + subject.join(pieces[i:]) for i in range(1, len(pieces))
    ]
