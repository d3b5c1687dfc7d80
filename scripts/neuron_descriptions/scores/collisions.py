"""Collisions: do descriptions of other features of the layer say the same? Then one of them says too little, unless the
features are alike.

G descriptions of a layer, N tokens of the sequences that all of them were simulated on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.storage import Row, read_tables
from neuron_descriptions.scores.columns import Column
from neuron_descriptions.scores.formulas import finite
from neuron_descriptions.scores.opening import Described, Details, Job
from neuron_descriptions.scores.panel_chance import standardized
from neuron_descriptions.scores.sampling import Array
from neuron_descriptions.scores.tables import SHARED

NOT_SIMULATED = "not_simulated"


class CollisionsScorer:
    """Compares the chosen descriptions of a layer by their words, and by their predictions on shared text."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("same", pa.int32(), "same words", "Other features of the layer, or its other side, that have the very"
                    " same description."),
        Column("nearly_same", pa.int32(), "nearly the same", "Those whose descriptions predict nearly the same on"
                    " shared text: a correlation of at least the scorer's `threshold`. The same words are among them,"
                    " where these predict anything."),
        Column("nearest_r", pa.float64(), "nearest", "Correlation of the predictions with those of the description that"
                    " is most like it, of another feature."),
        Column("nearest", pa.string(), "nearest description", "Whose that is: neuron/sign."),
        Column("n_compared", pa.int32(), "compared", "Descriptions of the layer that it was compared with."),
    )  # fmt: skip
    details: ClassVar[Details] = (("nearest_description", pa.string()),)

    def __init__(self, job: Job, shared: pa.Table):
        """shared: SHARED, of the whole layer."""
        self.job = job
        self.who = list(zip(shared["neuron"].to_pylist(), shared["sign"].to_pylist()))
        self.said = shared["description"].to_pylist()
        values = shared["simulated"].combine_chunks().flatten().to_numpy().astype(float)
        self.predicted_GN: Array = standardized(values.reshape(len(shared), -1)) if len(shared) else np.zeros((0, 0))

    @classmethod
    @contextmanager
    def open(cls, job: Job) -> Iterator["CollisionsScorer"]:
        """See Scorer. inputs: shared, tables of all of the layer; a neuron alone, before any run, has none."""
        paths = job.inputs.get("shared") or []
        paths = [paths] if isinstance(paths, str) else list(paths)
        shared = read_tables(paths, SHARED) if paths else SHARED.empty_table()
        yield cls(job, shared.sort_by([("neuron", "ascending"), ("sign", "ascending")]))

    def score(self, described: Described) -> Row:
        """See Scorer."""
        row: Row = {"candidate": described.chosen}
        own = (described.neuron, described.sign)
        if described.chosen is None or own not in self.who:
            return row | {"status": NOT_SIMULATED}
        place = self.who.index(own)
        others = np.array([number for number in range(len(self.who)) if number != place], int)
        r_G = (self.predicted_GN[others] @ self.predicted_GN[place]).clip(-1.0, 1.0)  # NaN where one is constant
        same = np.array([self.said[number] == self.said[place] for number in others], bool)
        near = None if not np.isfinite(r_G).any() else int(np.nanargmax(r_G))
        return row | {
            "status": "ok",
            "same": int(same.sum()),
            "nearly_same": int((r_G >= self.job.section.threshold).sum()),
            "nearest_r": None if near is None else finite(float(r_G[near])),
            "nearest": None if near is None else "/".join(map(str, self.who[others[near]])),
            "nearest_description": None if near is None else self.said[others[near]],
            "n_compared": len(others),
        }
