"""Detection read from the simulator's predictions for each token, at no further cost: a passage is as strong as its
strongest predicted token."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.sides import by_side
from neuron_descriptions.common.signs import one_side
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.common.streams import generator
from neuron_descriptions.scores.classification import detected, precision_interval
from neuron_descriptions.scores.columns import Column
from neuron_descriptions.scores.opening import Described, Details, Job, Row
from neuron_descriptions.scores.passages import SILENT
from neuron_descriptions.scores.tables import SIMULATIONS


class SimulatedDetectionScorer:
    """Takes the test sequences of the simulation: active ones are exemplars of the top and of the middle, silent ones
    random sequences whose peak lies below half of the weakest of those."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("average_precision", pa.float64(), "average precision", "How well the strongest token that the"
                    " simulator predicts picks out the test sequences in which the neuron is active. 1 is perfect."),
        Column("average_precision_low", pa.float64(), "interval from", "Lower end of the average precision's"
                    " interval (bootstrap over sequences)."),
        Column("average_precision_high", pa.float64(), "interval to", "Upper end of that interval."),
        Column("chance", pa.float64(), "chance", "What predictions that know nothing get: the share of active"
                    " sequences. Predictions for other neurons' descriptions are not kept."),
        Column("n_active", pa.int16(), "active sequences", "Sequences in which the neuron is active."),
        Column("n_silent", pa.int16(), "silent sequences", "Random sequences in which it is silent."),
    )  # fmt: skip
    details: ClassVar[Details] = ()

    def __init__(self, job: Job, simulations: pa.Table):
        """simulations: SIMULATIONS, of the test split."""
        self.job, self.rows = job, by_side(simulations)

    @classmethod
    @contextmanager
    def open(cls, job: Job) -> Iterator["SimulatedDetectionScorer"]:
        """See Scorer."""
        only: list[tuple[str, str, object]] = [("neuron", "in", list(job.neurons)), ("split", "=", "test")]
        yield cls(job, read_table(job.inputs["simulations"], SIMULATIONS, only))

    def score(self, described: Described) -> Row:
        """See Scorer."""
        rows = self.rows.get((described.neuron, described.sign), [])
        row: Row = {"candidate": described.chosen}
        if not rows or described.chosen is None:
            return row | {"status": "not_simulated"}
        peaks = [one_side(np.array(r["activations"]), described.sign).max(initial=0.0) for r in rows]
        active = [r["kind"] != "random" and peak > 0 for r, peak in zip(rows, peaks)]
        if not any(active):
            return row | {"status": "no_positive"}
        weakest = min(peak for peak, is_active in zip(peaks, active) if is_active)
        kept = [i for i, peak in enumerate(peaks) if active[i] or peak < SILENT * weakest]
        if all(active[i] for i in kept):
            return row | {"status": "no_negative"}
        strength_P = np.array([max(rows[i]["simulated"], default=0.0) for i in kept])
        active_P = np.array([active[i] for i in kept])
        random = generator(self.job.seed, "detection", described.layer, described.neuron, described.sign)
        numbers = self.job.numbers
        low, high = precision_interval(strength_P, active_P, numbers.bootstrap, numbers.confidence, random)
        return row | {
            "status": "ok",
            "average_precision": detected(strength_P, active_P)["average_precision"],
            "average_precision_low": low,
            "average_precision_high": high,
            "chance": float(active_P.mean()),
            "n_active": int(active_P.sum()),
            "n_silent": int((~active_P).sum()),
        }
