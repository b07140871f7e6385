"""Facts, relations and templates: what is asked of a model."""

import hashlib
import json
import unicodedata
import uuid
from dataclasses import dataclass
from functools import cached_property

_FACT_NAMESPACE = uuid.UUID("5f0c7c1e-52f5-5a53-9a53-6c1f4c3b7f10")


@dataclass(frozen=True)
class Fact:
    """A triple (subject, relation, object), e.g. (Ireland, P36, Dublin)."""

    fact_id: str
    relation_id: str
    subject: str
    object: str
    null_of: str | None = None  # the fact whose object was replaced by a false one; None: real


@dataclass(frozen=True)
class FactColumns:
    """The columns by which every table names a fact; base of rows about one."""

    relation_id: str
    relation: str  # its label
    fact_id: str
    subject: str
    object: str

    @property
    def named(self) -> str:
        """How messages call it: `Ireland (P36 capital)`."""
        return f"{self.subject} ({self.relation_id} {self.relation})"


def as_name(text: str) -> str:
    """The text for comparing names: composed characters (NFC), whatever the case."""
    return unicodedata.normalize("NFC", text.strip()).casefold()


@dataclass(frozen=True)
class Template:
    """A cloze text with `[X]` for the subject and `[Y]` for the object, once each."""

    relation_id: str
    text: str

    @cached_property
    def template_id(self) -> str:
        """Twelve hex digits of SHA-256 over relation and text; changing this changes every id."""
        key = f"{self.relation_id}\0{self.text}".encode()
        return hashlib.sha256(key).hexdigest()[:12]


@dataclass(frozen=True)
class Relation:
    """A relation with its label ("capital"), templates and facts, in file order."""

    relation_id: str
    label: str
    templates: tuple[Template, ...]
    facts: tuple[Fact, ...]

    def __repr__(self) -> str:
        return (
            f"Relation({self.relation_id!r}, {self.label!r}, templates=<{len(self.templates)}>, "
            f"facts=<{len(self.facts)}>)"
        )


@dataclass(frozen=True)
class Dataset:
    """Relations under a name; `digest` identifies the content, whatever the name or order."""

    name: str
    relations: tuple[Relation, ...]

    def __repr__(self) -> str:
        facts = sum(len(relation.facts) for relation in self.relations)
        return f"Dataset({self.name!r}, relations=<{len(self.relations)}>, facts=<{facts}>)"

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits of SHA-256 over all templates and facts, sorted."""
        rows = sorted(
            [r.relation_id, "template", t.text] for r in self.relations for t in r.templates
        ) + sorted(
            [r.relation_id, f.fact_id, f.subject, f.object] for r in self.relations for f in r.facts
        )
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def derived_fact_id(relation_id: str, subject: str, object: str) -> str:
    """The id of a fact whose source gives none: a UUID that depends on the triple alone."""
    return str(uuid.uuid5(_FACT_NAMESPACE, json.dumps([relation_id, subject, object])))
