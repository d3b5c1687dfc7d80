"""Fuzzing read from the simulator's predictions for each token, at no further cost: marks are as right as the
predictions at the marked tokens are strong.

T tokens of a sequence.
"""

from typing import ClassVar

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.signs import one_side
from neuron_descriptions.common.storage import Row
from neuron_descriptions.scores.columns import Column
from neuron_descriptions.scores.marks import active_tokens, usual_count, wrong_marks
from neuron_descriptions.scores.opening import Described
from neuron_descriptions.scores.simulated import AUC, SimulatedScorer


class SimulatedFuzzingScorer(SimulatedScorer):
    """Takes the active test sequences of the simulation, each with right and with wrong marks, those of `fuzzing`."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("average_precision", pa.float64(), "average precision", "How well the mean prediction at the marked"
                    " tokens tells right marks from wrong ones in the same test sequences. 1 is perfect."),
        Column("average_precision_low", pa.float64(), "interval from", "Lower end of the average precision's"
                    " interval (bootstrap over marked sequences)."),
        Column("average_precision_high", pa.float64(), "interval to", "Upper end of that interval."),
        *AUC,
        Column("n_active", pa.int16(), "right marks", "Sequences whose active tokens are marked."),
        Column("n_silent", pa.int16(), "wrong marks", "The same sequences with other tokens marked."),
    )  # fmt: skip

    def read(self, described: Described, rows: list[Row]) -> Row:
        """See SimulatedScorer."""
        true = [one_side(np.array(r["activations"], float), described.sign) for r in rows]
        kept = [i for i, acts_T in enumerate(true) if rows[i]["kind"] != "random" and acts_T.max(initial=0.0) > 0]
        if not kept:
            return {"status": "no_positive"}
        right = [active_tokens(true[i], self.job.section.threshold) for i in kept]
        who = described.layer, described.neuron, described.sign, "test"
        drawn = [
            wrong_marks(marks_T, usual_count(right), self.job.seed, *who, rows[i]["seq_id"])
            for i, marks_T in zip(kept, right)
        ]
        wrong = [(i, marks_T) for i, marks_T in zip(kept, drawn) if marks_T is not None]
        if not wrong:
            return {"status": "no_negative"}
        marked = [*zip(kept, right), *wrong]
        strength_P = np.array([np.asarray(rows[i]["simulated"], float)[marks_T].mean() for i, marks_T in marked])
        right_P = np.arange(len(marked)) < len(right)
        return self.figures(strength_P, right_P, "simulated fuzzing", *who)
