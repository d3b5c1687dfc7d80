"""Detection read from the simulator's predictions for each token, at no further cost: a passage is as strong as its
strongest predicted token."""

from typing import ClassVar

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.signs import one_side
from neuron_descriptions.common.storage import Row
from neuron_descriptions.scores.columns import Column
from neuron_descriptions.scores.opening import Described
from neuron_descriptions.scores.passages import SILENT
from neuron_descriptions.scores.simulated import AUC, SimulatedScorer


class SimulatedDetectionScorer(SimulatedScorer):
    """Takes the test sequences of the simulation: active ones are exemplars of the top and of the middle, silent ones
    random sequences whose peak lies below half of the weakest of those."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("average_precision", pa.float64(), "average precision", "How well the strongest token that the"
                    " simulator predicts picks out the test sequences in which the neuron is active. 1 is perfect."),
        Column("average_precision_low", pa.float64(), "interval from", "Lower end of the average precision's"
                    " interval (bootstrap over sequences)."),
        Column("average_precision_high", pa.float64(), "interval to", "Upper end of that interval."),
        *AUC,
        Column("n_active", pa.int16(), "active sequences", "Sequences in which the neuron is active."),
        Column("n_silent", pa.int16(), "silent sequences", "Random sequences in which it is silent."),
    )  # fmt: skip

    def read(self, described: Described, rows: list[Row]) -> Row:
        """See SimulatedScorer."""
        peaks = [one_side(np.array(r["activations"]), described.sign).max(initial=0.0) for r in rows]
        active = [r["kind"] != "random" and peak > 0 for r, peak in zip(rows, peaks)]
        if not any(active):
            return {"status": "no_positive"}
        weakest = min(peak for peak, is_active in zip(peaks, active) if is_active)
        kept = [i for i, peak in enumerate(peaks) if active[i] or peak < SILENT * weakest]
        if all(active[i] for i in kept):
            return {"status": "no_negative"}
        strength_P = np.array([max(rows[i]["simulated"], default=0.0) for i in kept])
        active_P = np.array([active[i] for i in kept])
        return self.figures(strength_P, active_P, "detection", described.layer, described.neuron, described.sign)
