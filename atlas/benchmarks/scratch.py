"""A copy of an atlas in which a benchmark's edits are made, a case at a time.

What is held out of an edit must not be among what it is made from. So facts that say what a case is
to change, and prompts that are asked to judge a case, leave the copy's run first; and a case's own
prompt is in it only while its edit is made.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb

from atlas.benchmarks.askable import cloze_of
from atlas.benchmarks.case import BenchmarkCase
from atlas.errors import EditError
from atlas.evidence.drawn import RunSettings
from atlas.facts import Dataset, Fact, Relation, Template, as_name
from atlas.indexing import records
from atlas.indexing.batches import relation_batches
from atlas.indexing.measuring import Attributing
from atlas.models.language_model import LanguageModel
from atlas.store import bulk
from atlas.store.atlas_file import AtlasFile

OF_PROMPTS = ("prompt_results", "attributions", "token_attributions", "prompt_activations")


def leave_out(scratch: AtlasFile, run_id: str, cases: Sequence[BenchmarkCase]) -> int:
    """Take from the copy's run what says what is edited or asks what is held out; how many prompts.

    That is every fact with a case's subject and its true object or its relation, and every prompt
    that a case asks as paraphrase, neighbourhood or portability, whatever stands behind the answer.
    """
    held_out = {
        as_name(text)
        for case in cases
        for text in (
            *case.paraphrases,
            *(q.text for q in case.neighbourhood),
            *(q.text for q in case.portability),
        )
    }
    about = {
        (as_name(case.subject), as_name(said))
        for case in cases
        if case.subject
        for said in (case.true_object, case.relation)
        if said
    }
    with scratch.writing() as connection:
        rows = connection.execute(
            """
            SELECT p.prompt_id, p.text, f.subject, f.object, f.relation_id
            FROM prompt_results AS m
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            WHERE m.run_id = $run_id
            """,
            {"run_id": run_id},
        ).fetchall()
        lost = [
            prompt_id
            for prompt_id, text, subject, object_, relation in rows
            if as_name(text.partition("[Y]")[0]) in held_out
            or {(as_name(subject), as_name(said)) for said in (object_, relation)} & about
        ]
        _forget(connection, run_id, lost)
    return len(lost)


@contextmanager
def measured_case(
    scratch: AtlasFile,
    lm: LanguageModel,
    run_id: str,
    how: RunSettings,
    case: BenchmarkCase,
    old_object: str,
) -> Iterator[str]:
    """The id of a fact that holds the case's edit prompt, measured in the copy's run.

    EditError if the model cannot be asked it as the run asks. The prompt leaves the run after it.
    """
    relation_id, subject = case.relation or f"case {case.number}", case.subject or case.prompt
    place = case.subject if case.subject and case.subject in case.prompt else None
    text = cloze_of(case.prompt.replace(place, "[X]", 1) if place else case.prompt)
    fact = Fact(f"case {case.number}", relation_id, subject, old_object)
    relation = Relation(relation_id, relation_id, (Template(relation_id, text),), (fact,))
    ((asked,),) = relation_batches(lm, relation, how.position)
    if asked.skipped_because is not None:
        raise EditError(f"the run cannot measure its prompt ({asked.skipped_because})")
    work = Attributing(how.method, how.integration, how.floor, None)
    results = work.measure(lm, [asked])
    try:
        with scratch.writing() as connection:
            records.record_dataset(connection, Dataset("benchmark", (relation,)))
            records.record_results(connection, run_id, results)
        yield fact.fact_id
    finally:
        with scratch.writing() as connection:
            _forget(connection, run_id, [asked.prompt_id])


def _forget(connection: duckdb.DuckDBPyConnection, run_id: str, prompt_ids: Sequence[int]) -> None:
    if not prompt_ids:
        return
    with bulk.offered(connection, {"prompt_id": list(prompt_ids)}):
        for table in OF_PROMPTS:
            connection.execute(
                f"""
                DELETE FROM {table}
                WHERE run_id = $run_id
                  AND prompt_id IN (SELECT prompt_id FROM {bulk.OFFERED})
                """,
                {"run_id": run_id},
            )
