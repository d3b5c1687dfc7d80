"""The figures of section `nulls` by the demo's trained simulator, on fewer rows: some 30 processor minutes."""

from pathlib import Path
from typing import Any

import torch

from conftest import ROOT, demo_config, snakemake
from executed import demo_rows, said
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.config.sources import spec_key
from neuron_descriptions.models.loading import load_model, load_tokenizer
from neuron_descriptions.simulators.simulating import FinetunedSimulator, Task
from nulls import DESIGNS, decisions

ROWS = 40


class Remembering:
    """Simulates each task once: both designs have nulls in common."""

    def __init__(self, simulator: FinetunedSimulator):
        self.simulator, self.found = simulator, {}

    def simulate(self, tasks: list[Task]) -> list[list[float]]:
        """See Simulator."""
        keys = [(task.description, tuple(task.text.input_ids)) for task in tasks]
        new = {key: task for key, task in zip(keys, tasks) if key not in self.found}
        if new:
            self.found |= dict(zip(new, self.simulator.simulate(list(new.values()))))
        return [self.found[key] for key in keys]


def measure(scratch: Path) -> dict[str, Any]:
    """As `nulls.measure`."""
    rows, name = demo_rows(scratch), demo_config()["scores"]["simulator"]["model"]
    folder = f"resources/models/{name}-{spec_key(load_config(demo_config()).models[name])}"
    snakemake(ROOT, "--configfile", "config/demo.yaml", "--nolock", "--quiet", "all", "--", folder)
    model = load_model(str(ROOT / folder), "bfloat16", head=True, threads=torch.get_num_threads())
    simulator = Remembering(FinetunedSimulator(model, load_tokenizer(str(ROOT / folder)), 8192))
    scored = [row for row in rows.scores() if said(row)][:ROWS]
    designs = {name: DESIGNS[name] for name in ("own", "pooled")}
    return decisions(rows, simulator, scored, scratch, designs)
