"""The synthetic atlas with a null beside its run, its objects shuffled: no model is asked."""

from dataclasses import dataclass, replace

from synthetic import Synthetic, synthetic_results

from atlas.indexing import records
from atlas.indexing.null_facts import Shuffled, shuffled
from atlas.indexing.null_run import null_run
from atlas.selection.nulls import select_null


@dataclass(frozen=True)
class SyntheticNull:
    """What `add_null` added."""

    shuffled: Shuffled
    run_id: str
    selection_id: str

    @property
    def fact_ids(self) -> list[str]:
        """Ids of the null facts."""
        return [f.fact_id for r in self.shuffled.dataset.relations for f in r.facts]


def add_null(made: Synthetic, *, fewer_neurons: bool = False) -> SyntheticNull:
    """Measure the null as the run was; with `fewer_neurons` each null fact lacks its own neuron."""
    null = shuffled(made.dataset, 0)
    run = null_run(made.run, null)
    with made.atlas.writing() as connection:
        records.record_dataset(connection, null.dataset)
        records.record_run(connection, run)
        for number in range(len(null.dataset.relations)):
            results = synthetic_results(null.dataset, number)
            if fewer_neurons and results.attributions is not None:
                kept = results.attributions.layer > 0
                columns = {
                    name: column[kept] for name, column in vars(results.attributions).items()
                }
                results = replace(results, attributions=records.Attributions(**columns))
            records.record_results(connection, run.run_id, results)
        records.finish_run(connection, run.run_id, "finished")
        selection_id = select_null(connection, made.selection_id, run.run_id)
    return SyntheticNull(null, run.run_id, selection_id)
