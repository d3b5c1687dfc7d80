"""Nulls on the panel that no feature has for its description: the empty one, and lists of some features' tokens.

They are simulated once for the run, on the sequences that all descriptions are simulated on.
"""

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.storage import Row, read_table, write_table
from neuron_descriptions.common.streams import key
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.scores.chance import EMPTY, TOKENS
from neuron_descriptions.scores.natural import shared_order
from neuron_descriptions.scores.predictions import kept_predictions
from neuron_descriptions.scores.tables import NULL_POOL, SHARED_NULLS
from neuron_descriptions.simulators.opening import Job, load_simulator
from neuron_descriptions.simulators.simulating import Task


def panel_nulls(pool: str | None, lists: int, seed: int) -> list[Row]:
    """Rows of NULL_POOL: the empty description, of no neuron, and up to so many lists of tokens, none twice. pool:
    table, where there is one."""
    rows = read_table(pool, NULL_POOL, [("kind", "=", TOKENS)]).to_pylist() if pool and lists else []
    rows.sort(key=lambda r: key(seed, "panel null", r["layer"], r["neuron"], r["sign"]))
    distinct: dict[str, Row] = {}
    for row in rows:
        distinct.setdefault(row["description"], row)
    empty = dict.fromkeys(NULL_POOL.names) | {"kind": EMPTY, "description": ""}
    return [empty, *list(distinct.values())[:lists]]


def simulate_nulls(
    inputs: dict[str, str],
    simulator: Job,
    sequences: int,
    lists: int,
    seed: int,
    output: str,
    kept: dict[str, str],
) -> None:
    """Write SHARED_NULLS.

    inputs: panel_test, and pool, where there is one; sequences: how many are shared at most; lists: of tokens, at most;
    kept: as of `simulation.score_chunk`.
    """
    panel = Panel(inputs["panel_test"])
    shared = [panel.sequences[i] for i in shared_order(len(panel.sequences), seed)[:sequences]]
    rows = panel_nulls(inputs.get("pool"), lists, seed)
    loaded, predictions = load_simulator(simulator), kept_predictions(kept, simulator)
    tasks = [Task(row["description"], text) for row in rows for text in shared]
    predicted = predictions.simulate(loaded, tasks, ("nulls",))
    for i, row in enumerate(rows):
        row["simulated"] = np.concatenate(predicted[i * len(shared) : (i + 1) * len(shared)])
    logger.info("%d nulls", len(rows))
    logger.info("%d tokens simulated, and %d of what they share", loaded.tokens, loaded.shared_tokens)
    write_table(pa.Table.from_pylist(rows, schema=SHARED_NULLS), output)
