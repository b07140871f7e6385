"""Neurons at other thresholds, against counting them one by one."""

from collections import defaultdict
from pathlib import Path

import pytest
from synthetic import build
from tiny_index import rows

from atlas.evidence.experiments.grid import RATIOS, SHARINGS, at


def test_the_grid_is_what_counting_one_by_one_gives(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb", relations=2, facts=4)
    db = made.atlas
    db.reproduce("grid")
    ((run_id, floor),) = rows(
        db.path, "SELECT run_id, score_floor FROM runs JOIN selections USING (run_id) LIMIT 1"
    )
    prompts = rows(
        db.path,
        f"""
        SELECT f.relation_id, p.fact_id, p.template_id, p.prompt_id, m.max_score
        FROM prompt_results AS m
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f USING (fact_id)
        WHERE m.run_id = '{run_id}'
          AND m.skipped_because IS NULL
        """,
    )
    scores = defaultdict(dict)
    for prompt_id, layer, neuron, score in rows(
        db.path,
        f"SELECT prompt_id, layer, neuron, score FROM attributions WHERE run_id = '{run_id}'",
    ):
        scores[prompt_id][layer, neuron] = score
    templates = defaultdict(set)
    for relation, _, template, *_ in prompts:
        templates[relation].add(template)
    place = {r: {t: i % 2 for i, t in enumerate(sorted(some))} for r, some in templates.items()}
    of_facts = defaultdict(list)
    for relation, fact, template, prompt_id, largest in prompts:
        of_facts[relation, fact].append((place[relation][template], prompt_id, largest))

    def chosen(some: list[tuple[int, int, float]], ratio: float, sharing: float) -> set[object]:
        times: dict[object, int] = defaultdict(int)
        for _, prompt_id, largest in some:
            for neuron, score in scores[prompt_id].items():
                times[neuron] += score >= ratio * largest
        return {n for n, count in times.items() if count and count >= sharing * len(some)}

    expected = defaultdict(list)
    for (relation, _), some in of_facts.items():
        for ratio in (r for r in RATIOS if r >= floor):
            for sharing in SHARINGS:
                expected["neurons", relation, ratio, sharing].append(
                    len(chosen(some, ratio, sharing))
                )
                halves = [
                    chosen([p for p in some if p[0] == half], ratio, sharing) for half in (0, 1)
                ]
                if halves[0] | halves[1]:
                    expected["halves", relation, ratio, sharing].append(
                        len(halves[0] & halves[1]) / len(halves[0] | halves[1])
                    )
    for (measure, relation, ratio, sharing), values in expected.items():
        ((found,),) = rows(
            db.path,
            f"""
            SELECT value
            FROM experiment_rows
            WHERE measure = '{measure}'
              AND item = '{relation}'
              AND x = {ratio}
              AND series = '{at(sharing)}'
            """,
        )
        assert found == pytest.approx(sum(values) / len(values)), (measure, ratio, sharing)
