"""The panel: what keeping every activation costs beside the bare forward pass, its size, and the time of look-ups."""

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common import Clock, build, fetched
from conftest import demo_config
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.corpus.building import Cut, Mixture
from neuron_descriptions.corpus.reading import corpus_facts, evidence_lengths
from neuron_descriptions.features.neurons import MlpNeurons
from neuron_descriptions.harvest.batches import Batch, read_batches
from neuron_descriptions.harvest.forward import run_layers
from neuron_descriptions.harvest.passes import Passes
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.models.loading import load_model
from neuron_descriptions.panel.harvesting import Dense, harvest_panel
from neuron_descriptions.panel.tables import PANELS
from neuron_descriptions.panel.texts import build_panel
from neuron_descriptions.panel.types import type_neurons

LAYERS, NEURONS, SEQ_LEN, BATCH, TOKENS = 30, 1536, 64, 32, 20_000
EVERYTHING = {layer: list(range(NEURONS)) for layer in range(LAYERS)}


def measure(scratch: Path) -> dict[str, float]:
    """The figures of this section; about 8 minutes on two cores."""
    folder, panels = text(scratch)
    figures = against_forward(folder, panels["panel"])
    print(f"  {figures}", flush=True)
    files = {panel: {layer: str(scratch / panel / f"{layer}.safetensors") for layer in EVERYTHING} for panel in PANELS}
    for panel in PANELS:
        subject = Subject(folder, LAYERS, NEURONS, None, "bfloat16")
        passes = Passes(BATCH, LAYERS, torch.get_num_threads())
        harvest_panel(subject, panels[panel], EVERYTHING, 0, passes, files[panel])
    size = sum(Path(file).stat().st_size for by_layer in files.values() for file in by_layer.values())
    start, clock = time.monotonic(), Clock()
    with clock:
        for layer in EVERYTHING:
            output = str(scratch / "types.parquet")
            type_neurons(panels, {panel: files[panel][layer] for panel in PANELS}, layer, output)
    return figures | {
        "bytes_per_neuron": size / (LAYERS * NEURONS),
        "tokens": sum(corpus_facts(panel).tokens for panel in panels.values()),
        "seconds_per_1000_neurons": 1000 * clock.seconds / (LAYERS * NEURONS),
        "lookup_minutes_of_all_layers": (time.monotonic() - start) / 60,
    }


def text(scratch: Path) -> tuple[str, dict[str, str]]:
    """(folder of the model, panel -> table) of what the demo's corpus leaves."""
    folder, corpora = build(scratch, SEQ_LEN, 1280)
    _, documents = fetched()
    ratios = {name: spec.ratio for name, spec in load_config(demo_config()).corpus.sources.items()}
    outputs = {panel: str(scratch / f"{panel}.parquet") for panel in PANELS}
    build_panel(Mixture(documents, ratios, folder, Cut(SEQ_LEN), 0), list(corpora.values()), TOKENS, outputs)
    return folder, outputs


def against_forward(folder: str, corpus: str, batches: int = 16) -> dict[str, float]:
    """Processor time of a pass that keeps all layers' activations, over that of a bare one: every batch is run both
    ways, one next to the other."""
    model = load_model(folder, "bfloat16", head=False, threads=torch.get_num_threads())
    source = MlpNeurons(LAYERS, NEURONS)
    taps = dict(enumerate(source.taps(model)))
    dense = Dense(source, EVERYTHING, np.concatenate([[0], evidence_lengths(corpus).cumsum()]), "bfloat16")
    facts = corpus_facts(corpus)
    wanted = list(read_batches(corpus, 0, min(facts.sequences, batches * BATCH), BATCH, facts.longest))

    def nothing(layer: int, seen_BTD: Tensor, batch: Batch) -> None:
        pass

    run_layers(model, taps, wanted[:1], dense.take)  # warm up
    kept, bare = Clock(), Clock()
    for i, batch in enumerate(wanted):
        for clock, take in ((kept, dense.take), (bare, nothing)) if i % 2 else ((bare, nothing), (kept, dense.take)):
            with clock:
                run_layers(model, taps, [batch], take)
    return {"harvest_ratio_with_panel": kept.seconds / bare.seconds}
