"""Reading the fields of an entry, with every one that is missing or malformed noted."""

from collections.abc import Mapping
from typing import Any

from atlas.benchmarks.case import Question


class Entry:
    """An entry of a benchmark file; `lacks` says what was looked for and not found."""

    def __init__(self, fields: Mapping[str, Any], place: int) -> None:
        self.fields, self.place = fields, place
        self.lacks: list[str] = []

    @property
    def number(self) -> int:
        """The entry's `case_id`, or else its place."""
        own = self.fields.get("case_id")
        return (
            own if isinstance(own, int) and not isinstance(own, bool) and own >= 0 else self.place
        )

    def text(self, name: str) -> str:
        """The text at the dotted name; an empty one is noted."""
        found = self.text_if_there(name)
        if found is None:
            self.lacks.append(f'"{name}"')
        return found or ""

    def text_if_there(self, name: str) -> str | None:
        """The text at the dotted name; None where it is missing or blank."""
        value = self.value(name)
        if value is not None and not isinstance(value, str):
            self.lacks.append(f'text in "{name}" (it holds {type(value).__name__})')
        return value.strip() or None if isinstance(value, str) else None

    def texts(self, name: str) -> tuple[str, ...]:
        """The texts of a list, or the one that stands in its place; none where it is missing."""
        return answers_in(self.value(name))

    def value(self, name: str) -> Any:
        """What stands at the dotted name; None for nothing."""
        value: Any = self.fields
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def question(self, name: str, answers: str, kind: str) -> tuple[Question, ...]:
        """The one question at `name` with its answers at another name; none where it is missing."""
        text, own = self.text_if_there(name), self.texts(answers)
        if text and not own:
            self.lacks.append(f'"{answers}"')
        return (Question(text, own, kind),) if text and own else ()

    def questions(self, name: str) -> tuple[Question, ...]:
        """Questions by kind: an object of lists of {"prompt", "ground_truth"}, or of one such."""
        found = []
        kinds = self.value(name)
        for kind, listed in kinds.items() if isinstance(kinds, Mapping) else ():
            for one in listed if isinstance(listed, list) else [listed]:
                fields = one if isinstance(one, Mapping) else {}
                prompts, answers = answers_in(fields.get("prompt")), fields.get("ground_truth")
                if not prompts or not answers_in(answers):
                    self.lacks.append(f'"prompt" and "ground_truth" in "{name}.{kind}"')
                    continue
                # EasyEdit's own form has lists of prompts beside lists of their answers
                several = answers if len(prompts) > 1 and isinstance(answers, list) else None
                for place, prompt in enumerate(prompts):
                    own = answers_in(answers if several is None else several[place : place + 1])
                    found.append(Question(prompt, own, str(kind)))
        return tuple(found)


def answers_in(value: Any) -> tuple[str, ...]:
    """The texts in a text, in a list of texts, or in a list of lists of aliases, in their order."""
    if isinstance(value, str):
        return (value.strip(),) if value.strip() else ()
    if isinstance(value, list):
        return tuple(dict.fromkeys(text for item in value for text in answers_in(item)))
    return ()
