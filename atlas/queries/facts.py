"""A fact's prompts and its knowledge neurons, found by subject or id."""

from dataclasses import dataclass

import duckdb

from atlas.counted import counted
from atlas.errors import AmbiguousFact, NotFound
from atlas.facts import FactColumns, as_name
from atlas.queries.knowledge import NOT_MEASURED, fact_knowledge
from atlas.queries.near_misses import NearMiss, near_misses
from atlas.queries.unindexed import fact_to_index
from atlas.selection.chosen import ChosenSelection, OfSelection, measured_elsewhere
from atlas.selection.degrees import neuron_degrees
from atlas.selection.stability import StabilityTables, stability_tables
from atlas.store.near import near_matches
from atlas.store.rows import fetch, fetch_one


@dataclass(frozen=True)
class FactPrompt:
    """One prompt of a fact, as measured by the selection's run."""

    fact_id: str
    text: str  # subject filled in, the object still [Y]
    p_answer: float | None
    answer_rank: int | None  # 1 = the model's top answer
    predicted: str | None  # the model's top answer
    p_predicted: float | None
    completeness_gap: float | None  # the signed gap of the layer where it is largest
    over_tolerance: bool | None
    skipped_because: str | None  # None: measured


@dataclass(frozen=True)
class FactNeuron:
    """A knowledge neuron of a fact.

    What it is a neuron of, and the mean Δ log P that suppressing it alone costs which prompts, are
    known where `specificity` has measured them. Groups of prompts: `neuron_specificity`.
    """

    fact_id: str
    layer: int
    neuron: int
    mean_score: float | None  # over the fact's prompts in which the neuron passes the ratio
    prompt_share: float | None  # of the fact's measured prompts, those in which it passes
    facts: int  # that the neuron serves in this selection, this fact included
    relations: int  # of those facts
    label: str | None  # fact | subject | answer | relation | unclear
    own: float | None  # on the fact's own prompts
    same_relation_and_object: float | None
    same_relation: float | None  # other objects
    same_object: float | None  # other relations
    same_subject: float | None  # other relations
    unrelated: float | None
    selection_frequency: float | None  # how often other ratios and bootstraps of prompts choose it


@dataclass(frozen=True)
class FactReport(FactColumns, OfSelection, rows="neurons"):
    """A fact, what its run measured on its prompts, and the neurons that the selection chose."""

    known: bool | None  # the object is the top answer in at least half of its measured prompts
    right: int  # measured prompts whose top answer it is
    measured: int  # prompts; known is None where there is none
    skipped: int  # prompts that the model could not be asked
    unmeasured: int  # prompts in the atlas that the run has no result of (yet)
    elsewhere: str | None  # of a fact without any result: the selection of a run that measured it
    prompts: tuple[FactPrompt, ...]  # best known first, skipped ones last; at most the limit
    chosen: int  # knowledge neurons
    neurons: tuple[FactNeuron, ...]  # highest score first; at most the limit
    near_miss: NearMiss | None  # of a fact without any, though the selection considered it
    split_half_jaccard: float | None  # of what both halves of its prompts choose, mean over splits
    splits: int | None  # of 10, those in which either half chooses a neuron


@dataclass(frozen=True)
class FactsReport(OfSelection, rows="facts"):
    """Every fact that a name leads to."""

    facts: tuple[FactReport, ...]


@dataclass(frozen=True)
class NamedFact(FactColumns):
    """A fact that a name leads to."""

    prompts: int  # in the atlas, measured or not


def one_fact(
    connection: duckdb.DuckDBPyConnection, wanted: str, relation: str | None = None
) -> NamedFact:
    """The fact that `wanted` names: an id, a subject, or `SUBJECT:RELATION`, in any case.

    Characters may be composed or not, here and in the atlas (NFC, NFD). With `relation` (an id or
    a label) only facts of it count. Raises NotFound with near matches, and AmbiguousFact, which
    lists what tells the candidates apart: relations, else ids.
    """
    facts = _named(connection, wanted)
    if not facts:
        raise NotFound(_not_found(connection, wanted))
    facts = [f for f in facts if f.fact_id.lower() == wanted.strip().lower()] or facts
    if relation is not None:
        of_relation = [f for f in facts if _is_called(f, relation)]
        if not of_relation:
            if to_index := fact_to_index(connection, f"{facts[0].subject}:{relation}"):
                raise NotFound(f"no fact '{wanted}' in {relation} in this atlas, but {to_index}")
            raise NotFound(
                f"no fact '{wanted}' in {relation}: the atlas has {facts[0].subject} "
                f"in {_relations(facts)}"
            )
        facts = of_relation
    facts = _as_written(facts, wanted)
    if len(facts) > 1:
        raise AmbiguousFact(_ambiguous(wanted, facts))
    return facts[0]


def fact_reports(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    wanted: str,
    limit: int | None = None,
) -> list[FactReport]:
    """Every fact that `wanted` names: an id, a subject, or `SUBJECT:RELATION`, in any case.

    `limit` bounds the prompts and the neurons of each. Raises NotFound, with near matches among
    the atlas's subjects.
    """
    facts = _named(connection, wanted)
    if not facts:
        raise NotFound(_not_found(connection, wanted))
    ids = [fact.fact_id for fact in facts]
    prompts = _prompts(connection, selection.run_id, ids)
    knowledge = fact_knowledge(connection, selection.run_id, ids)
    relations = list(dict.fromkeys(fact.relation_id for fact in facts))
    stability = stability_tables(connection, selection.selection_id, relations)
    neurons = _neurons(connection, selection.selection_id, ids, stability)
    agreed = _agreements(connection, selection.selection_id, ids, stability)
    without = [
        fact_id
        for fact_id in ids
        if all(n.fact_id != fact_id for n in neurons)
        and not knowledge.get(fact_id, NOT_MEASURED).left_out_of(selection)
        and selection.frequency is None  # else a neuron may pass, and be missing all the same
    ]
    near = {miss.fact_id: miss for miss in near_misses(connection, selection, without)}
    reports = []
    for fact in facts:
        own = tuple(prompt for prompt in prompts if prompt.fact_id == fact.fact_id)
        knows = knowledge.get(fact.fact_id, NOT_MEASURED)
        found = tuple(n for n in neurons if n.fact_id == fact.fact_id)
        jaccard, splits = agreed.get(fact.fact_id, (None, None))
        reports.append(
            FactReport(
                fact_id=fact.fact_id,
                relation_id=fact.relation_id,
                relation=fact.relation,
                subject=fact.subject,
                object=fact.object,
                known=knows.known,
                right=knows.right,
                measured=knows.measured,
                skipped=len(own) - knows.measured,
                unmeasured=fact.prompts - len(own),
                elsewhere=None if own else _elsewhere(connection, fact.fact_id, selection),
                prompts=own[:limit],
                chosen=len(found),
                neurons=found[:limit],
                near_miss=None if found else near.get(fact.fact_id),
                split_half_jaccard=jaccard,
                splits=splits,
            )
        )
    return reports


def require_measured(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, fact: FactColumns
) -> None:
    """NotFound unless the selection's run has measured a prompt of the fact; says whose has."""
    rows = connection.execute(
        """
        SELECT DISTINCT m.skipped_because
        FROM prompt_results AS m
        JOIN prompts AS p USING (prompt_id)
        WHERE m.run_id = $run_id
          AND p.fact_id = $fact_id
        ORDER BY m.skipped_because
        """,
        {"run_id": selection.run_id, "fact_id": fact.fact_id},
    ).fetchall()
    reasons = [reason for (reason,) in rows]
    if None in reasons:
        return
    of = f"run {selection.run_id} has measured no prompt of {fact.named}"
    if other := measured_elsewhere(connection, fact.fact_id, selection.run_id):
        raise NotFound(
            f"{of}, but run {other.run_id} of {other.model} has: name its selection "
            f"{other.selection_id}",
            parameters=["selection"],
        )
    if reasons:
        raise NotFound(f"{of}, because each was skipped ({reasons[0]}): name another fact")
    raise NotFound(f"{of}, nor has another: index relation {fact.relation_id} with all its facts")


def _elsewhere(
    connection: duckdb.DuckDBPyConnection, fact_id: str, selection: ChosenSelection
) -> str | None:
    found = measured_elsewhere(connection, fact_id, selection.run_id)
    return None if found is None else found.selection_id


def _named(connection: duckdb.DuckDBPyConnection, wanted: str) -> list[NamedFact]:
    subject, _, relation = (part.strip() for part in wanted.rpartition(":"))
    return fetch(
        connection,
        NamedFact,
        """
        SELECT f.fact_id,
               f.relation_id,
               r.label AS relation,
               f.subject,
               f.object,
               (SELECT count(*) FROM prompts AS p WHERE p.fact_id = f.fact_id) AS prompts
        FROM facts AS f
        JOIN relations AS r USING (relation_id)
        WHERE f.null_of IS NULL
          AND (lower(f.fact_id) = lower($wanted)
               OR lower(nfc_normalize(f.subject)) = lower(nfc_normalize($wanted))
               OR (lower(nfc_normalize(f.subject)) = lower(nfc_normalize($subject))
                   AND lower(nfc_normalize($relation)) IN (
                       lower(nfc_normalize(f.relation_id)),
                       lower(nfc_normalize(r.label))
                   )))
        ORDER BY length(f.relation_id), f.relation_id, f.subject, f.object, f.fact_id
        """,
        {"wanted": wanted.strip(), "subject": subject, "relation": relation},
    )


def _prompts(
    connection: duckdb.DuckDBPyConnection, run_id: str, ids: list[str]
) -> list[FactPrompt]:
    return fetch(
        connection,
        FactPrompt,
        """
        SELECT p.fact_id,
               p.text,
               m.p_answer,
               m.answer_rank,
               m.predicted,
               m.p_predicted,
               m.completeness_gap,
               m.over_tolerance,
               m.skipped_because
        FROM prompts AS p
        JOIN prompt_results AS m USING (prompt_id)
        WHERE m.run_id = $run_id
          AND p.fact_id IN $ids
        ORDER BY m.p_answer DESC NULLS LAST, p.text, p.prompt_id
        """,
        {"run_id": run_id, "ids": ids},
    )


def _neurons(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    ids: list[str],
    stability: StabilityTables,
) -> list[FactNeuron]:
    return fetch(
        connection,
        FactNeuron,
        f"""
        WITH own AS MATERIALIZED (
            SELECT fact_id, layer, neuron, mean_score, prompt_share
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
              AND fact_id IN $ids
        ),
        degrees AS (
            {neuron_degrees("own")}
        )
        SELECT o.fact_id,
               o.layer,
               o.neuron,
               o.mean_score,
               o.prompt_share,
               d.facts,
               d.relations,
               n.selection_frequency,
               s.label,
               s.own,
               s.same_relation_and_object,
               s.same_relation,
               s.same_object,
               s.same_subject,
               s.unrelated
        FROM own AS o
        JOIN degrees AS d USING (layer, neuron)
        LEFT JOIN {stability.neurons} AS n
          ON n.selection_id = $selection_id
         AND n.fact_id = o.fact_id
         AND n.layer = o.layer
         AND n.neuron = o.neuron
        LEFT JOIN neuron_specificity AS s
          ON s.selection_id = $selection_id
         AND s.fact_id = o.fact_id
         AND s.layer = o.layer
         AND s.neuron = o.neuron
        ORDER BY o.mean_score DESC, o.layer, o.neuron
        """,
        {"selection_id": selection_id, "ids": ids},
    )


def _agreements(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    ids: list[str],
    stability: StabilityTables,
) -> dict[str, tuple[float | None, int]]:
    """How far halves of a fact's prompts choose the same neurons, and in how many splits any."""
    rows = connection.execute(
        f"""
        SELECT fact_id, split_half_jaccard, splits
        FROM {stability.facts}
        WHERE selection_id = $selection_id
          AND fact_id IN $ids
        """,
        {"selection_id": selection_id, "ids": ids},
    ).fetchall()
    return {fact_id: (jaccard, splits) for fact_id, jaccard, splits in rows}


def require_known_name(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """NotFound, with near matches, unless some fact has the name as its subject or object."""
    names = """
            SELECT subject AS name
            FROM facts
            WHERE null_of IS NULL
            UNION
            SELECT object
            FROM facts
            WHERE null_of IS NULL
            """
    (known,) = fetch_one(
        connection,
        f"""
        SELECT EXISTS (
            FROM ({names})
            WHERE lower(nfc_normalize(name)) = lower(nfc_normalize(trim($name)))
        )
        """,
        {"name": name},
    )
    if known:
        return
    near = near_matches(connection, name, names)
    asked = f"did you mean {' or '.join(near)}? If not, " if near else ""
    raise NotFound(
        f"no fact of this atlas has '{name}' as its subject or object: {asked}allow any object",
        parameters=["any_object"],
    )


def _not_found(connection: duckdb.DuckDBPyConnection, wanted: str) -> str:
    if to_index := fact_to_index(connection, wanted):
        return f"no fact '{wanted}' in this atlas, but {to_index}"
    subject = wanted.rpartition(":")[0].strip()
    elsewhere = _named(connection, subject) if subject else []
    if elsewhere:
        return (
            f"no fact '{wanted}': the atlas has {elsewhere[0].subject} in {_relations(elsewhere)}"
        )
    names = """
            SELECT DISTINCT subject AS name
            FROM facts
            """
    near = near_matches(connection, wanted, names) or near_matches(connection, subject, names)
    if near:
        return f"no fact with subject or id '{wanted}'; near: {', '.join(near)}"
    (subjects,) = fetch_one(connection, "SELECT count(DISTINCT subject) FROM facts")
    return (
        f"no fact with subject or id '{wanted}' among the {counted(subjects, 'subject')} of this "
        "atlas; "
        'list them with `atlas sql "SELECT DISTINCT subject FROM facts ORDER BY subject"`'
    )


def _ambiguous(wanted: str, facts: list[NamedFact]) -> str:
    first, last = facts[0], facts[-1]
    if first.relation_id != last.relation_id:  # sorted by relation
        return (
            f"'{wanted}' names {len(facts)} facts, in {_relations(facts)}: "
            f"write one of them, e.g. '{first.subject}:{first.relation_id}'"
        )
    ids = ", ".join(f"{f.fact_id} ({f.object})" for f in facts)
    return f"'{wanted}' names {len(facts)} facts of {first.relation_id}: write the id, one of {ids}"


def _as_written(facts: list[NamedFact], wanted: str) -> list[NamedFact]:
    """Of one fact that stands there in composed and in combining characters, the wanted spelling.

    Two datasets may spell it in two ways; each is asked as it is written.
    """
    if len({(f.relation_id, as_name(f.subject), as_name(f.object)) for f in facts}) > 1:
        return facts
    spellings = (wanted.strip(), wanted.rpartition(":")[0].strip())
    return [f for f in facts if f.subject in spellings] or facts


def _relations(facts: list[NamedFact]) -> str:
    return ", ".join(dict.fromkeys(f"{f.relation_id} ({f.relation})" for f in facts))


def _is_called(fact: NamedFact, relation: str) -> bool:
    return as_name(relation) in (as_name(fact.relation_id), as_name(fact.relation))
