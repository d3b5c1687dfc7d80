"""The start of a race by a smaller simulator: it ranks candidates, and the large one reads the best of them."""

from typing import Any

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.sides import by_side
from neuron_descriptions.common.storage import Row, read_table, write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.exemplars import KINDS
from neuron_descriptions.scores.evidence import Evidence
from neuron_descriptions.scores.formulas import correlation, finite
from neuron_descriptions.scores.predictions import NoPredictions, Predictions, kept_predictions
from neuron_descriptions.scores.tables import SCREENED
from neuron_descriptions.simulators.opening import Job, load_simulator
from neuron_descriptions.simulators.simulating import Simulator, Task


class Screener:
    """Ranks the candidates of one neuron and sign after another; nothing carries over between them."""

    def __init__(
        self,
        simulator: Simulator,
        name: str,
        evidence: Evidence,
        settings: Scores,
        kept: Predictions | NoPredictions | None = None,
    ):
        """name: of the simulator; settings: with a `screen`; kept: predictions of an
        earlier run of the same part."""
        self.simulator, self.name, self.evidence, self.settings = simulator, name, evidence, settings
        self.kept = kept or NoPredictions()

    def screen(self, layer: int, neuron: int, sign: str, candidates: list[Row]) -> list[Row]:
        """Rows of SCREENED, one for each candidate with a description; none where there are no more distinct ones than
        are kept. candidates: rows of DESCRIPTIONS. What is undefined comes last, of equals the first candidate wins."""
        described = {c["candidate"]: c["description"] for c in candidates if c["status"] == "ok"}
        texts = list(dict.fromkeys(described[number] for number in sorted(described)))
        assert self.settings.screen
        keep = self.settings.screen.keep
        if len(texts) <= keep:
            return []
        counts = {kind: getattr(self.settings, kind) for kind in KINDS}
        sequences = self.evidence.scored("valid", neuron, sign, **counts)
        true = np.concatenate([[], *(q.one_side(sign) for q in sequences)])
        tasks = [Task(text, q.text) for text in texts for q in sequences]
        predicted = self.kept.simulate(self.simulator, tasks, (neuron, sign, "screen"))
        n = len(sequences)
        r = {text: correlation(np.concatenate([[], *predicted[i * n : (i + 1) * n]]), true)
             for i, text in enumerate(texts)}  # fmt: skip
        best = set(sorted(texts, key=lambda text: -np.nan_to_num(r[text], nan=-2.0))[:keep])
        return [
            {"layer": layer, "neuron": neuron, "sign": sign, "candidate": number, "description": text}
            | {"simulator": self.name, "correlation": finite(r[text]), "kept": text in best}
            | {"n_sequences": n, "n_tokens": len(true)}
            for number, text in described.items()
        ]


def screen_chunk(
    neurons: list[int], layer: int, tables: dict[str, Any], job: Job, settings: Scores, kept: dict[str, str],
    output: str,
) -> None:  # fmt: skip
    """Screen a chunk's candidates and write a table of SCREENED.

    tables: valid (the corpus), exemplars and statistics (lists of files that hold the neurons), descriptions; job: of
    the smaller simulator; settings: with a `screen`; kept: see kept_predictions.
    """
    candidates = by_side(read_table(tables["descriptions"], DESCRIPTIONS, [("neuron", "in", neurons)]))
    evidence = Evidence(tables["exemplars"], tables["statistics"], {"valid": tables["valid"]}, neurons)
    loaded = load_simulator(job)
    predictions = kept_predictions(kept, job)
    screener = Screener(loaded, job.settings.model, evidence, settings, predictions)
    places = [(neuron, sign) for neuron in neurons for sign in SIGNS if (neuron, sign) in candidates]
    rows: list[Row] = []
    for neuron, sign in progress(iter(places), len(places), "neuron signs"):
        rows += screener.screen(layer, neuron, sign, candidates[neuron, sign])
    logger.info("%d tokens simulated, and %d of what they share", loaded.tokens, loaded.shared_tokens)
    write_table(pa.Table.from_pylist(rows, schema=SCREENED), output)
