"""What scorers share that are read from the simulator's predictions for each token, at no further cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from neuron_descriptions.common.sides import by_side
from neuron_descriptions.common.storage import Row, read_table
from neuron_descriptions.common.streams import generator
from neuron_descriptions.scores.classification import detected, intervals, precision_by_chance
from neuron_descriptions.scores.columns import Column
from neuron_descriptions.scores.opening import Described, Details, Job
from neuron_descriptions.scores.tables import SIMULATIONS

ORDERED = ("average_precision", "auc")
# What both kinds have beside their average precision.
AUC = (
    Column("auc", pa.float64(), "AUC", "How often an active sequence is predicted stronger than a silent one, or"
                " right marks than wrong ones, equal ones counted by half. By chance 0.5."),
    Column("auc_low", pa.float64(), "interval from", "Lower end of the AUC's interval."),
    Column("auc_high", pa.float64(), "interval to", "Upper end of that interval."),
    Column("chance", pa.float64(), "chance", "The average precision of these predictions if they know nothing: its mean"
                " over all orders of what is predicted. It is more than the share of active sequences (right marks),"
                " the more so the fewer there are. Predictions for other neurons' descriptions are not kept."),
)  # fmt: skip


class SimulatedScorer:
    """Tells things apart by predictions of the test split: `read` says what they are."""

    details: ClassVar[Details] = ()

    def __init__(self, job: Job, simulations: pa.Table):
        """simulations: SIMULATIONS, of the test split."""
        self.job, self.rows = job, by_side(simulations)

    @classmethod
    @contextmanager
    def open(cls, job: Job) -> Iterator[Self]:
        """See Scorer."""
        only: list[tuple[str, str, object]] = [("neuron", "in", list(job.neurons)), ("split", "=", "test")]
        yield cls(job, read_table(job.inputs["simulations"], SIMULATIONS, only))

    def score(self, described: Described) -> Row:
        """See Scorer."""
        rows = self.rows.get((described.neuron, described.sign), [])
        row: Row = {"candidate": described.chosen}
        if not rows or described.chosen is None:
            return row | {"status": "not_simulated"}
        return row | self.read(described, rows)

    def read(self, described: Described, rows: list[Row]) -> Row:
        """Status and figures of a side, from its rows of SIMULATIONS."""
        raise NotImplementedError

    def figures(self, strength_P: NDArray[np.float64], active_P: NDArray[np.bool_], *draw: object) -> Row:
        """How well strengths tell the active ones: status and figures; draw: what the interval's draw goes by."""
        numbers = self.job.numbers
        random = generator(self.job.seed, *draw)
        found = detected(strength_P, active_P)
        ends = intervals(strength_P, active_P, numbers.bootstrap, numbers.confidence, random)
        return {
            "status": "ok",
            **{name: found[name] for name in ORDERED},
            **{f"{name}_{end}": value for name in ORDERED for end, value in zip(("low", "high"), ends[name])},
            "chance": precision_by_chance(strength_P, active_P),
            "n_active": int(active_P.sum()),
            "n_silent": int((~active_P).sum()),
        }
