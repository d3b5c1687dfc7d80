"""A run as SAEDashboard writes features for Neuronpedia: <layer>-<set>/batch-<n>.json.

Fields are those of its class `NeuronpediaDashboardBatch` (sae_dashboard/neuronpedia/neuronpedia_dashboard.py, version
0.8.0), which takes no others: what it has no field for stands in rows-<n>.jsonl beside, a line for each feature in the
same order. Fields about a dictionary's decoder are empty.
"""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.exports.neuronpedia import logits, model_id, source_set
from neuron_descriptions.exports.reading import Described, FinishedRun, blocks

BATCH = 64  # neurons and signs of a file
EMPTY = (
    "neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1", "correlated_neurons_indices",
    "correlated_neurons_l1", "correlated_neurons_pearson", "correlated_features_indices", "correlated_features_l1",
    "correlated_features_pearson", "logits_hist_data_bar_heights", "logits_hist_data_bar_values",
    "decoder_weights_dist", "vector",
)  # fmt: skip


class FeatureJson:
    """A folder for every layer and sign; the negative side is turned."""

    def write(self, run: FinishedRun, folder: Path) -> None:
        """Write the folders."""
        for layer, features in groupby(run.features(), key=lambda feature: feature.layer):
            for number, block in enumerate(blocks(features, 2 * BATCH)):
                for sign in SIGNS:
                    of_sign = [feature for feature in block if feature.sign == sign]
                    name = source_set(run.about["run"], sign)
                    batch = {
                        "model_id": model_id(run.about["subject"]["name"]),
                        "layer": layer,
                        "sae_set": name,
                        "sae_id_suffix": None,
                        "features": [_feature(feature) for feature in of_sign],
                    }
                    place = folder / f"{layer}-{name}"
                    place.mkdir(exist_ok=True)
                    (place / f"batch-{number}.json").write_text(json.dumps(batch, separators=(",", ":")))
                    rows = "".join(json.dumps(feature.row) + "\n" for feature in of_sign)
                    (place / f"rows-{number}.jsonl").write_text(rows)


def _feature(feature: Described) -> dict[str, Any]:
    edges = feature.edges()
    top = [example for example in feature.examples if example.kind == "top"]
    return {
        "feature_index": feature.neuron,
        **{name: [] for name in EMPTY},
        **logits(feature),
        "frac_nonzero": feature.density or 0.0,
        "freq_hist_data_bar_heights": [float(count) for count in feature.histogram],
        "freq_hist_data_bar_values": ((edges[1:] + edges[:-1]) / 2).tolist() if feature.histogram else [],
        "n_prompts_total": len(top),
        "n_tokens_in_prompt": max((len(example.tokens) for example in top), default=0),
        "dataset": ", ".join(sorted({example.source for example in top})),
        "activations": [
            {
                "bin_min": -1,
                "bin_max": feature.peak,
                "bin_contains": -1,
                "tokens": example.tokens,
                "values": (values := example.rounded()),
                "qualifying_token_index": values.index(max(values)),
            }
            for example in top
        ],
    }
