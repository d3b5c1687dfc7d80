"""A run as Neuronpedia imports it: its tables SourceRelease, Model, SourceSet, Source, Neuron, Activation, Explanation.

Layout (its importer, apps/webapp/app/api/admin/import/route.ts, August 2026): <model>/<layer>-<set>/ with release,
model, sourceset and source as .jsonl, and features/, activations/, explanations/ as batch-<n>.jsonl.gz. A line is a
row; the importer takes the columns that a file's first line names, so every line names the same. Neuronpedia has no
sign: the negative side is a source set of its own, whose activations are turned. An explanation has no place for a
score with an interval and its chance: these stand in `notes`, as JSON. No times are written: the database has defaults
for them.
"""

import gzip
import json
import re
from collections.abc import Iterator
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.config.exports import NO_CREATOR
from neuron_descriptions.exports.reading import Described, Example, FinishedRun, blocks

BATCH = 256  # neurons and signs of a file


def model_id(name: str) -> str:
    """A model's name as Neuronpedia allows it: lower-case letters, digits, dashes and underscores."""
    return re.sub(r"[^a-z0-9_-]", "-", name.lower())


def source_set(run: str, sign: str) -> str:
    """Name of the source set of a run's sign."""
    return model_id(run) + ("-mlp" if sign == "positive" else "-mlp-negative")


def source_id(run: str, layer: int, sign: str) -> str:
    """Id of a layer's source."""
    return f"{layer}-{source_set(run, sign)}"


def logits(feature: Described) -> dict[str, list[Any]]:
    """Neuronpedia's and SAEDashboard's columns of the tokens that a feature makes more and less likely."""
    ends = (("pos", feature.promoted), ("neg", feature.suppressed))
    return {
        **{f"{end}_str": [token for token, _ in tokens] for end, tokens in ends},
        **{f"{end}_values": [float(f"{effect:.5g}") for _, effect in tokens] for end, tokens in ends},
    }


def _id(*parts: object) -> str:
    """An id of the form of a cuid, always the same for the same row: importing twice makes no second one."""
    return "c" + sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]


class Neuronpedia:
    """<model>/<layer>-<set>/ for every layer and sign."""

    def __init__(self, creator: str | None):
        """creator: id of Neuronpedia's user whose the rows are. Raises ValueError without one."""
        if creator is None:
            raise ValueError(NO_CREATOR)
        self.creator = creator

    def write(self, run: FinishedRun, folder: Path) -> None:
        """Write the folders."""
        root = folder / model_id(run.about["subject"]["name"])
        for layer, features in groupby(run.features(), key=lambda feature: feature.layer):
            for sign in SIGNS:
                self._write_facts(run, root / source_id(run.about["run"], layer, sign), layer, sign)
            for number, block in enumerate(blocks(features, 2 * BATCH)):
                for sign in SIGNS:
                    of_sign = [feature for feature in block if feature.sign == sign]
                    self._write_batch(run, root / source_id(run.about["run"], layer, sign), of_sign, number)

    def _write_facts(self, run: FinishedRun, folder: Path, layer: int, sign: str) -> None:
        about, model = run.about, model_id(run.about["subject"]["name"])
        name, public = source_set(about["run"], sign), {"creatorId": self.creator, "visibility": "PRIVATE"}
        side = "" if sign == "positive" else ", negative side, turned"
        said = f"MLP neurons of {about['subject']['name']}{side}: run {about['run']} of neuron-descriptions"
        release = model_id(about["run"])
        tables: dict[str, dict[str, Any]] = {
            "release": {"name": release, "description": said, "descriptionShort": about["run"], "urls": [],
                        "creatorName": "neuron-descriptions", "creatorNameShort": "neuron-descriptions", **public},
            "model": {"id": model, "displayName": about["subject"]["name"], "displayNameShort": model, "owner": "",
                      "layers": about["layers"], "neuronsPerLayer": about["neurons_per_layer"],
                      "instruct": "instruct" in model, **public},
            "sourceset": {"modelId": model, "name": name, "description": said, "type": "neurons", "urls": [],
                          "creatorName": "neuron-descriptions", "releaseName": release, **public},
            "source": {"modelId": model, "id": source_id(about["run"], layer, sign), "setName": name,
                       "hasDashboards": True, "notes": json.dumps(about, sort_keys=True), **public},
        }  # fmt: skip
        folder.mkdir(parents=True)
        for table, row in tables.items():
            (folder / f"{table}.jsonl").write_text(json.dumps(row) + "\n")

    def _write_batch(self, run: FinishedRun, folder: Path, features: list[Described], number: int) -> None:
        rows: dict[str, Iterator[dict[str, Any]]] = {
            "features": (self._neuron(run, f) for f in features),
            "activations": (self._activation(run, f, e) for f in features for e in f.examples if e.kind == "top"),
            "explanations": (self._explanation(run, f) for f in features if f.row["description"] is not None),
        }
        for table, lines in rows.items():
            text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
            if text:
                (folder / table).mkdir(exist_ok=True)
                data = gzip.compress(text.encode(), compresslevel=6, mtime=0)
                (folder / table / f"batch-{number}.jsonl.gz").write_bytes(data)

    def _place(self, run: FinishedRun, feature: Described) -> dict[str, Any]:
        return {
            "modelId": model_id(run.about["subject"]["name"]),
            "layer": source_id(run.about["run"], feature.layer, feature.sign),
            "index": str(feature.neuron),
        }

    def _neuron(self, run: FinishedRun, feature: Described) -> dict[str, Any]:
        edges = feature.edges()
        return {
            **self._place(run, feature),
            "sourceSetName": source_set(run.about["run"], feature.sign),
            "creatorId": self.creator,
            "maxActApprox": feature.peak,
            "hookName": f"blocks.{feature.layer}.mlp.hook_post",
            "frac_nonzero": feature.density or 0.0,
            **logits(feature),
            "freq_hist_data_bar_heights": [float(count) for count in feature.histogram],
            "freq_hist_data_bar_values": ((edges[1:] + edges[:-1]) / 2).tolist() if feature.histogram else [],
        }

    def _activation(self, run: FinishedRun, feature: Described, example: Example) -> dict[str, Any]:
        values = example.rounded()
        place = self._place(run, feature)
        return {
            "id": _id(*place.values(), example.seq_id),
            **place,
            "creatorId": self.creator,
            "tokens": example.tokens,
            "values": values,
            "maxValue": max(values),
            "maxValueTokenIndex": values.index(max(values)),
            "minValue": min(values),
            "dataSource": example.source,
            "dataIndex": str(example.seq_id),
            "binMin": -1.0,  # as SAEDashboard marks top activations
            "binMax": feature.peak,
            "binContains": None,  # a share, where there is one: its client refuses any other number
        }

    def _explanation(self, run: FinishedRun, feature: Described) -> dict[str, Any]:
        place = self._place(run, feature)
        return {
            "id": _id(*place.values(), feature.row["description"]),
            **place,
            "description": feature.row["description"],
            "authorId": self.creator,
            "notes": json.dumps(feature.row),
        }
