"""A run as circuit-tracer's pages read features: features/<scan>/<number>.json.

Fields are those of its class `Model` (circuit_tracer/frontend/feature_models.py, version 0.5.0); `number` pairs layer
and index as its graphs do (graph_models.py). A scan has one sign. What the class has no field for stands under
`neuron_descriptions`, which it passes over. Top and bottom logits are empty where the run has no output side.
"""

import json
from pathlib import Path
from typing import Any

from neuron_descriptions.exports.reading import Described, Example, FinishedRun

NAMES = {"top": "Top", "middle": "Between top and ordinary", "random": "Random"}


def pairing(layer: int, index: int) -> int:
    """Cantor's pairing of a layer and an index, by which circuit-tracer numbers features."""
    return (layer + index) * (layer + index + 1) // 2 + index


class CircuitTracer:
    """features/<run>/ has the positive side, features/<run>-negative/ the negative one, turned."""

    def write(self, run: FinishedRun, folder: Path) -> None:
        """Write a file for each neuron and sign."""
        for feature in run.features():
            scan = run.about["run"] + ("" if feature.sign == "positive" else "-negative")
            file = folder / "features" / scan / f"{pairing(feature.layer, feature.neuron)}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(_feature(scan, feature), separators=(",", ":")))


def _feature(scan: str, feature: Described) -> dict[str, Any]:
    examples = {kind: [_example(e) for e in feature.examples if e.kind == kind] for kind in NAMES}
    return {
        "transcoder_id": f"{scan}-layer-{feature.layer}",
        "index": feature.neuron,
        "examples_quantiles": [
            {"quantile_name": NAMES[kind], "examples": found} for kind, found in examples.items() if found
        ],
        "top_logits": [token for token, _ in feature.promoted],
        "bottom_logits": [token for token, _ in feature.suppressed],
        "act_min": 0.0,
        "act_max": feature.peak,
        "quantile_values": feature.quantiles,
        "histogram": [float(count) for count in feature.histogram],
        "activation_frequency": feature.density or 0.0,
        "neuron_descriptions": feature.row,
    }


def _example(example: Example) -> dict[str, Any]:
    values = example.rounded()
    return {
        "tokens": example.tokens,
        "tokens_acts_list": values,
        "train_token_ind": values.index(max(values)),
        "is_repeated_datapoint": False,
    }
