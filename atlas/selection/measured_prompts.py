"""Which prompts a selection goes by: the one SQL text that all who choose neurons read."""

# A query for `prompt_id, fact_id, relation_id, max_score, prompts`, a row a prompt; `prompts` are
# those of its fact. Parameters: $run_id, $relations, $known_only, $templates (NULL: all).
MEASURED_PROMPTS = """
            SELECT r.prompt_id,
                   p.fact_id,
                   f.relation_id,
                   r.max_score::DOUBLE AS max_score,
                   -- least passes over a NULL
                   least(count(*) OVER (PARTITION BY p.fact_id), $templates::BIGINT) AS prompts
            FROM prompt_results AS r
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            JOIN all_fact_knowledge AS k
              ON k.run_id = r.run_id
             AND k.fact_id = f.fact_id
            WHERE r.run_id = $run_id
              AND r.skipped_because IS NULL
              AND f.relation_id IN $relations
              AND (k.known OR NOT $known_only)
            QUALIFY $templates::BIGINT IS NULL
                 OR row_number() OVER (
                        PARTITION BY p.fact_id
                        ORDER BY p.template_id, r.prompt_id
                    ) <= $templates
"""
