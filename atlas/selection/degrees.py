"""Degrees, how many facts a neuron serves: the one SQL text that all questions count them by."""


def relation_degrees(among: str | None = None) -> str:
    """A query for `layer, neuron, relation_id, facts, score`, a row a neuron and relation.

    It counts the facts of selection `$selection_id` and sums their mean scores; with `among`, a
    table of the surrounding query, of the neurons in that alone.
    """
    only = f"SEMI JOIN {among} USING (layer, neuron)" if among else ""
    return f"""
            SELECT k.layer,
                   k.neuron,
                   f.relation_id,
                   count(*) AS facts,
                   sum(k.mean_score) AS score
            FROM knowledge_neurons AS k
            {only}
            JOIN facts AS f USING (fact_id)
            WHERE k.selection_id = $selection_id
            GROUP BY k.layer, k.neuron, f.relation_id
            """


def neuron_degrees(among: str | None = None) -> str:
    """A query for `layer, neuron, facts, relations`, a row a neuron; see `relation_degrees`."""
    return f"""
            SELECT layer,
                   neuron,
                   sum(facts)::BIGINT AS facts,
                   count(*) AS relations
            FROM (
                {relation_degrees(among)}
            )
            GROUP BY layer, neuron
            """
