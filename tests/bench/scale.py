"""How long questions take on an atlas of a million facts: builds one, asks it, prints a table.

    python tests/bench/scale.py --facts 1000000 --dir /var/tmp/scale

Facts lie in forty relations and have eight prompts each, a prompt has ten stored scores, neurons
are as many as bert-base has and about as unevenly popular as its published knowledge neurons (the
first hub serves a fifth of all facts). Rows are made by SQL from a seeded hash, in the real tables,
and selected by `atlas.selection.select` relation by relation, as the indexer does. Every question
is a whole process, from Python's start to its exit.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from atlas.atlas import Atlas, open_atlas
from atlas.indexing import records
from atlas.selection.select import Thresholds, select

RELATIONS, TEMPLATES, PER_PROMPT = 40, 8, 10
LAYERS, WIDTH = 12, 3072
SEED = 20220415
THRESHOLDS = Thresholds(preset="fixed", sharing=0.5)  # leaves a fact about ten neurons
MAIN = "from atlas_cli.main import main; main()"

MODEL = records.ModelRecord(
    name="synthetic-base",
    revision=None,
    architecture="bert",
    objective="masked",
    layers=LAYERS,
    neurons_per_layer=WIDTH,
    weights_sha256="ab" * 32,
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--facts", type=int, default=1_000_000)
    options.add_argument("--dir", type=Path, help="keep the atlas here, or ask the one that is")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--limit", type=float, default=3.0, help="seconds a question may take")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = chosen.dir or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"scale-{chosen.facts}.duckdb"
        if not path.exists():
            build(path, chosen.facts)
        print(f"{path.name}: {path.stat().st_size / 1e9:.2f} GB")
        slow = ask(path, chosen.facts, chosen.repeats, chosen.limit)
    sys.exit(1 if slow else 0)


def build(path: Path, facts: int) -> None:
    """Make the atlas, under another name until it is whole; prints how long each part took."""
    unfinished = path.with_suffix(".building")
    unfinished.unlink(missing_ok=True)
    started = time.monotonic()
    atlas = open_atlas(unfinished, create=True)
    run = records.RunRecord(
        model_id=MODEL.model_id,
        method="integrated-gradients",
        rule="adaptive",
        points=None,
        tolerance=0.01,
        dtype="float32",
        device="cpu",
        score_floor=0.05,
        dataset="synthetic",
        dataset_digest=f"{facts:012d}",
        atlas_version="0",
        settings={"seed": SEED},
    )
    with atlas.writing() as connection:
        records.record_model(connection, MODEL)
        records.record_run(connection, run)
        connection.execute(
            f"""
            INSERT INTO relations
            SELECT 'P' || range, 'relation ' || range
            FROM range({RELATIONS})
            """
        )
        connection.execute(
            f"""
            INSERT INTO templates
            SELECT 'P' || r.range || '-' || t.range, 'P' || r.range,
                   'Template ' || t.range || ' of [X] is [Y].'
            FROM range({RELATIONS}) AS r, range({TEMPLATES}) AS t
            """
        )
    selecting = 0.0
    for relation in range(RELATIONS):
        selecting += _fill(atlas, run.run_id, relation, facts // RELATIONS)
    with atlas.writing() as connection:
        records.finish_run(connection, run.run_id, "finished")
    unfinished.rename(path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"built in {time.monotonic() - started:.0f} s, "
        f"{selecting / RELATIONS:.2f} s of them for each relation's selection, "
        f"peak memory {peak:.1f} GiB"
    )


def _fill(atlas: Atlas, run_id: str, relation: int, facts: int) -> float:
    """Facts, prompts, scores and selection of one relation; the seconds that selecting took."""
    with atlas.writing() as connection:
        connection.execute("SET memory_limit = '4GB'")
        _insert(connection, run_id, relation, facts)
    started = time.monotonic()
    with atlas.writing() as connection:
        connection.execute("SET memory_limit = '4GB'")
        select(connection, run_id, THRESHOLDS, [f"P{relation}"])
    return time.monotonic() - started


def _insert(connection: duckdb.DuckDBPyConnection, run_id: str, relation: int, facts: int) -> None:
    connection.execute(
        f"""
        CREATE TEMPORARY TABLE made AS
        SELECT range AS number,
               md5(range::VARCHAR)::UUID::VARCHAR AS fact_id
        FROM range({relation * facts}, {(relation + 1) * facts});

        INSERT INTO facts (fact_id, relation_id, subject, object)
        SELECT fact_id,
               'P{relation}',
               'Subject ' || number % ({facts} * 3),
               'Object ' || hash(number, {SEED}) % 1000
        FROM made
        ORDER BY number;

        CREATE TEMPORARY TABLE asked AS
        SELECT m.number,
               m.fact_id,
               t.range AS template,
               (hash(m.fact_id, t.range) >> 1)::BIGINT AS prompt_id
        FROM made AS m, range({TEMPLATES}) AS t;

        INSERT INTO prompts (prompt_id, fact_id, template_id, text)
        SELECT prompt_id,
               fact_id,
               'P{relation}-' || template,
               'Template ' || template || ' of Subject ' || number % ({facts} * 3) || ' is [Y].'
        FROM asked
        ORDER BY number, template;

        CREATE TEMPORARY TABLE scored AS
        WITH drawn AS (
            SELECT a.number,
                   a.template,
                   a.prompt_id,
                   k.range AS k,
                   hash(a.number, a.template, k.range, {SEED}) / 18446744073709551616 AS chance,
                   hash(a.number, k.range, {SEED}) / 18446744073709551616 AS own,
                   hash(a.number, a.template, k.range) / 18446744073709551616 AS noise
            FROM asked AS a, range({PER_PROMPT}) AS k
        ),
        placed AS (
            SELECT number,
                   template,
                   prompt_id,
                   chance,
                   (
                       -- one prompt in ten of a neuron's prompts has another neuron in its place
                       floor({LAYERS * WIDTH} * CASE WHEN chance < 0.1 THEN noise
                                                     ELSE own ** 4 END)::BIGINT * 7919
                       + CASE WHEN k % 2 = 1 THEN {relation * 911} ELSE 0 END
                   ) % {LAYERS * WIDTH} AS place
            FROM drawn
        )
        SELECT number,
               template,
               prompt_id,
               (place // {WIDTH})::SMALLINT AS layer,
               (place % {WIDTH})::INTEGER AS neuron,
               max(0.01 + 0.03 * chance)::REAL AS score
        FROM placed
        GROUP BY number, template, prompt_id, place;

        INSERT INTO attributions (run_id, prompt_id, layer, neuron, score, activation)
        SELECT '{run_id}', prompt_id, layer, neuron, score, score * 20
        FROM scored
        ORDER BY number, template, layer, neuron;

        INSERT INTO prompt_results (
            run_id, prompt_id, p_answer, answer_rank, predicted, p_predicted, answer_tokens,
            max_score, layer_effect, completeness_gap, over_tolerance, gradient_evaluations
        )
        SELECT '{run_id}', prompt_id, 0.5, 1, 'Object', 0.5, 1,
               max(score), 0.1, 0.0001, false, 60
        FROM scored
        GROUP BY number, template, prompt_id
        ORDER BY number, template;

        DROP TABLE made;
        DROP TABLE asked;
        DROP TABLE scored;
        """
    )


def ask(path: Path, facts: int, repeats: int, limit: float) -> list[str]:
    """Print what each question takes (median and worst of the repeats); returns those too slow."""
    with open_atlas(path).reading() as connection:
        rows = connection.execute(
            """
            SELECT layer, neuron
            FROM neuron_degrees
            ORDER BY facts DESC, layer, neuron
            """
        ).fetchall()
        neurons = connection.execute("SELECT count(*) FROM knowledge_neurons").fetchall()[0][0]
        scores = connection.execute("SELECT count(*) FROM attributions").fetchall()[0][0]
        some = connection.execute(
            """
            SELECT fact_id
            FROM facts
            WHERE subject IN ('Subject 77', 'Subject 78')
            ORDER BY fact_id
            LIMIT 2
            """
        ).fetchall()
    one, other = (fact_id for (fact_id,) in some)
    print(
        f"{facts:,} facts, {scores:,} scores, {neurons:,} knowledge neurons, {len(rows):,} distinct"
    )
    hub, middling = (f"{layer}:{neuron}" for layer, neuron in (rows[0], rows[len(rows) // 2]))
    questions = {
        "neuron, the first hub": ["query", "--neuron", hub, "--limit", "20"],
        "neuron, the median one": ["query", "--neuron", middling],
        "fact": ["query", "--fact", one],
        "fact by subject": ["query", "--fact", "Subject 77"],
        "relation": ["query", "--relation", "P7"],
        "hubs": ["query", "--hubs"],
        "hubs by relations": ["query", "--hubs", "--by", "relations"],
        "shared": ["query", "--shared", one, other],
        "neighbours": ["query", "--neighbours", one],
        "interference": ["query", "--interference", one],
        "overlap by relation": ["overlap"],
        "overlap by layer": ["overlap", "--by", "layer"],
        "overlap by object": ["overlap", "--by", "object"],
        "overlap by subject": ["overlap", "--by", "subject"],
        "info": ["info"],
    }
    slow = []
    for name, arguments in questions.items():
        before = _processor_seconds()
        times = [_seconds(path, arguments) for _ in range(repeats)]
        processor = (_processor_seconds() - before) / repeats
        median = statistics.median(times)
        print(
            f"{name:<24} {median:6.2f} s   worst {max(times):6.2f} s   "
            f"processor {processor:6.2f} s",
            flush=True,
        )
        if median > limit:
            slow.append(name)
    print(f"over {limit:g} s: {', '.join(slow) or 'none'}")
    return slow


def _processor_seconds() -> float:
    """Of all processes that have been asked so far; what other programs take is not in it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _seconds(path: Path, arguments: list[str]) -> float:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        env=os.environ | {"ATLAS_DB": str(path)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"atlas {' '.join(arguments)}: {done.stderr}")
    return time.monotonic() - started


if __name__ == "__main__":
    main()
