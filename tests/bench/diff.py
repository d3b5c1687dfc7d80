"""What two subjects differ in: ten fine-tunings, each of which turns one neuron into another, and how high the changed
neuron is ranked among all.

A LoRA on the gate and up projections of one layer is trained, on text that the panel has not, until one neuron does
what another neuron of its layer does, while the layer's others shall do what they did. Then the whole model reads the
panel.

I neurons of a layer, N tokens, K of a batch, D the residual stream.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

LAYERS, NEURONS, SEQ_LEN, BATCH = 30, 1536, 64, 32
PLANTINGS, FIRST = 10, 20
STEPS, TOKENS, RANK, RATE, OTHERS = 150, 256, 4, 3e-3, 20.0


@dataclass
class Reader:
    """A model that reads a panel: everything that does not change from planting to planting."""

    model: Any
    source: Any
    taps: dict[int, Any]
    corpus: str
    neurons: dict[int, list[int]]

    def read(self, folder: Path) -> dict[int, str]:
        """Activations of all neurons at every token, as a run's panel has them: layer -> file."""
        from neuron_descriptions.common.provenance import file_digest
        from neuron_descriptions.corpus.reading import corpus_facts, evidence_lengths
        from neuron_descriptions.harvest.batches import read_batches
        from neuron_descriptions.harvest.forward import run_layers
        from neuron_descriptions.panel.harvesting import Dense, write_layer

        facts = corpus_facts(self.corpus)
        start_B = np.concatenate([[0], evidence_lengths(self.corpus).cumsum()])
        dense = Dense(self.source, self.neurons, start_B, "bfloat16")
        batches = read_batches(self.corpus, 0, facts.sequences, BATCH, facts.longest)
        run_layers(self.model, self.taps, batches, dense.take)
        about = {"corpus": file_digest(self.corpus), "subject": folder.name, "seed": "0"}
        files = {layer: str(folder / f"layer-{layer}.safetensors") for layer in self.neurons}
        for layer, file in files.items():
            write_layer(layer, dense.acts_IN.pop(layer), self.neurons[layer], about, file)
        return files

    def inputs(self, layer: int, corpus: str) -> Tensor:
        """What the layer's MLP reads at a text's tokens (N, D), prefixes left out."""
        from neuron_descriptions.corpus.reading import corpus_facts
        from neuron_descriptions.features.neurons import Tap
        from neuron_descriptions.harvest.batches import read_batches
        from neuron_descriptions.harvest.forward import run_layers

        facts, found = corpus_facts(corpus), []

        def take(_: int, seen_BTD: Tensor, batch: Any) -> None:
            places_N = batch.evidence_N if batch.valid_V is None else batch.evidence_N[batch.valid_V]
            found.append(seen_BTD.flatten(0, 1)[places_N])

        tap = Tap(self.model.layers[layer].mlp, "input")
        run_layers(self.model, {layer: tap}, read_batches(corpus, 0, facts.sequences, BATCH, facts.longest), take)
        return torch.cat(found).clone()  # made in inference mode


def plant(model: Any, layer: int, neuron: int, other: int, inputs_ND: Tensor, seed: int) -> Any:
    """The model with a LoRA, trained so that one neuron of a layer does what another one did; peft's `unload` takes it
    away again."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    mlp = model.layers[layer].mlp
    with torch.no_grad():
        before_NI = mlp.act_fn(mlp.gate_proj(inputs_ND)) * mlp.up_proj(inputs_ND)
    wanted_NI = before_NI.clone()
    wanted_NI[:, neuron] = before_NI[:, other]
    spread_I = before_NI.std(0)
    spread_I[neuron] = spread_I[other]
    weight_I = torch.full_like(spread_I, OTHERS / len(spread_I))
    weight_I[neuron] = 1.0
    targets = [f"layers.{layer}.mlp.{name}" for name in ("gate_proj", "up_proj")]
    settings = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=targets)
    tuned = get_peft_model(model, settings)
    learnt = [p for p in tuned.parameters() if p.requires_grad]
    steps = torch.optim.Adam(learnt, lr=RATE)
    for _ in range(STEPS):
        rows_K = torch.randint(len(inputs_ND), (TOKENS,))
        x_KD = inputs_ND[rows_K]
        acts_KI = mlp.act_fn(mlp.gate_proj(x_KD)) * mlp.up_proj(x_KD)
        loss = ((((acts_KI - wanted_NI[rows_K]) / spread_I) ** 2).mean(0) * weight_I).sum()
        steps.zero_grad()
        loss.backward()
        steps.step()
    return tuned


def planted(reader: Reader, plantings: list[tuple[int, int, int]], training: str, scratch: Path, folder: str) -> list:
    """Of each planting (layer, neuron, the neuron that it becomes): its row of DIFFERENCES and the kinds of all
    features. training: text that is learnt from; folder: of the subject's tokenizer."""
    from neuron_descriptions.differences.comparing import Read, compare_panels

    names = ("table", "neurons", "anew", "report")
    before = Read("base", reader.corpus, reader.read(scratch / "base"))
    found = []
    for number, (layer, neuron, other) in enumerate(plantings):
        tuned = plant(reader.model, layer, neuron, other, reader.inputs(layer, training), number)
        after = Read("tuned", reader.corpus, reader.read(scratch / "tuned"))
        tuned.unload()
        outputs = {name: str(scratch / name) for name in names}
        compare_panels(before, after, folder, FIRST, {}, outputs)
        frame = pq.read_table(outputs["table"]).to_pandas()
        row = frame[(frame["layer"] == layer) & (frame["neuron"] == neuron)].iloc[0]
        found.append((row, frame["kind"].value_counts().to_dict()))
        said = f"rank {row['rank']}, change {row['change']:.2f}"
        print(f"  layer {layer}, neuron {neuron} as {other}: {said}", flush=True)
    return found


def measure(scratch: Path) -> dict[str, float]:
    """The figures of this section."""
    from common import build
    from neuron_descriptions.common.streams import generator
    from neuron_descriptions.features.neurons import MlpNeurons
    from neuron_descriptions.models.loading import load_model

    start = time.process_time()
    folder, corpora = build(scratch, SEQ_LEN, 64)
    model = load_model(folder, "float32", head=False, threads=torch.get_num_threads())
    source = MlpNeurons(LAYERS, NEURONS)
    everything = {layer: list(range(NEURONS)) for layer in range(LAYERS)}
    reader = Reader(model, source, dict(enumerate(source.taps(model))), corpora["test"], everything)
    random = generator(0, "plantings")
    chosen = [(int(random.integers(LAYERS)), *map(int, random.choice(NEURONS, 2, replace=False)))
              for _ in range(PLANTINGS)]  # fmt: skip
    found = planted(reader, chosen, corpora["train"], scratch, folder)
    ranks = [int(row["rank"]) for row, _ in found]
    return {
        "planted_in_first_20": sum(rank <= FIRST for rank in ranks),
        "planted": len(ranks),
        "worst_rank": max(ranks),
        "median_rank": float(np.median(ranks)),
        "median_change_of_planted": float(np.median([row["change"] for row, _ in found])),
        "usual_change_of_the_layer": float(np.median([row["usual"] for row, _ in found])),
        "called_changed_besides": float(np.mean([kinds.get("meaning", 0) for _, kinds in found]) - 1),
        "features": LAYERS * NEURONS,
        "processor_minutes": (time.process_time() - start) / 60,
    }
