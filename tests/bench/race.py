"""The race of candidates beside the full search, on the demo's neurons with its simulator: what the one has simulated
is not simulated again for the other. Half of the candidates are the explainer's, half name tokens.
"""

from itertools import product
from pathlib import Path

import numpy as np
import torch

from conftest import ROOT, Project, changed, demo_config
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.config.sources import spec_key
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.models.loading import load_model, load_tokenizer
from neuron_descriptions.scores.chance import Nulls
from neuron_descriptions.scores.evidence import Evidence
from neuron_descriptions.scores.simulation import Scorer
from neuron_descriptions.simulators.simulating import FinetunedSimulator

LAYERS, CANDIDATES = (15, 25), 32
SEQUENCES = {"top": 20, "middle": 10, "random": 10}
SIZES = {"train": 1280, "valid": 512, "test": 512}  # of the demo


class Recorded:
    """Makes each prediction once."""

    def __init__(self, simulator: FinetunedSimulator):
        self.simulator, self.found = simulator, {}

    def simulate(self, tasks):
        """Predictions, from the record where they stand in it."""
        new = [task for task in tasks if self._key(task) not in self.found]
        self.found |= {self._key(task): values for task, values in zip(new, self.simulator.simulate(new))}
        return [self.found[self._key(task)] for task in tasks]

    @staticmethod
    def _key(task):
        return task.description, tuple(task.text.input_ids)


def described(scratch: Path) -> Project:
    """The demo's neurons of LAYERS, described by its explainer and by their tokens."""
    project = Project(scratch / "project")
    lines = (ROOT / demo_config()["neurons"]["file"]).read_text().split()
    mine = [lines[0], *(line for line in lines[1:] if int(line.split(",")[0]) in LAYERS)]
    (project.folder / "neurons.csv").write_text("\n".join(mine))
    half = CANDIDATES // 2
    config = changed(
        demo_config(), run="tiny", neurons={"file": "neurons.csv"}, descriptions__candidates=half,
        descriptions__token_candidates=half,
    )  # fmt: skip
    project.run(config, "--until", "describe", "merge_adapter", "--cores", str(torch.get_num_threads()))
    return project


def measure(scratch: Path) -> dict[str, float]:
    """The cost is that of the candidates' simulated sequences."""
    project = described(scratch)
    name = demo_config()["scores"]["simulator"]["model"]
    folder = ROOT / f"resources/models/{name}-{spec_key(load_config(demo_config()).models[name])}"
    model = load_model(str(folder), "bfloat16", head=True, threads=torch.get_num_threads())
    simulator = Recorded(FinetunedSimulator(model, load_tokenizer(str(folder)), 8192))
    nulls = Nulls(None, str(ROOT / "config/null-descriptions.yaml"), 0, 0)
    same, lost, seen = [], [], {None: 0, CANDIDATES: 0}
    for layer in LAYERS:
        rows = read_table(project.file(f"descriptions/layer-{layer}/chunk-0.parquet"), DESCRIPTIONS).to_pylist()
        neurons = sorted({row["neuron"] for row in rows})
        evidence = Evidence(
            *([str(project.file(f"exemplars/layer-{layer}/{kind}chunk-0.parquet"))] for kind in ("", "statistics-")),
            {split: str(project.file(f"corpus/{split}.parquet")) for split in SPLITS},
            neurons,
        )
        for neuron, sign in product(neurons, SIGNS):
            mine = [row for row in rows if (row["neuron"], row["sign"]) == (neuron, sign)]
            chosen = {}
            for race_from in seen:
                settings = Scores(simulator=None, **SEQUENCES, race_from=race_from and 2, bootstrap=10)
                scorer = Scorer(simulator, name, evidence, nulls, settings, SIZES, 0)
                found, _ = scorer.score(layer, neuron, sign, mine)
                valid = [r for r in found if r["kind"] == "candidate" and r["split"] == "valid"]
                seen[race_from] += sum({r["description"]: r["n_sequences"] for r in valid}.values())
                chosen[race_from] = next((r for r in valid if r["chosen"]), None)
            full, raced = chosen.values()
            if full is not None:
                same.append(raced["description"] == full["description"])
                lost.append(full["correlation"] - raced["correlation"])
    return {
        "rows": len(same),
        "candidates": CANDIDATES,
        "same_choice": float(np.mean(same)),
        "share_of_the_full_search": seen[CANDIDATES] / seen[None],
        "mean_correlation_lost": float(np.mean(lost)),
        "largest_correlation_lost": max(lost),
    }
