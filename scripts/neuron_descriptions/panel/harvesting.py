"""Dense activations: every kept feature's at every token of a panel, one file per layer.

B sequences of a batch, T tokens, D whatever a tap sees, I features, N a panel's evidence tokens in order.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from neuron_descriptions.common.checksums import SUFFIX, row_checksums
from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.provenance import file_digest
from neuron_descriptions.common.storage import read_table, whole
from neuron_descriptions.corpus.reading import corpus_facts, evidence_lengths
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.features.neurons import FeatureSource
from neuron_descriptions.harvest.batches import Batch, read_batches
from neuron_descriptions.harvest.forward import check_architecture, not_finite, run_layers, try_out
from neuron_descriptions.harvest.passes import Passes
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.run.fingerprints import model_fingerprint

ACTS, NEURONS, MADE_OF = "acts", "neurons", "made_of"
CHECKSUMS = ACTS + SUFFIX


def about(layer: int, corpus: str) -> str:
    """What the checksums of a layer's rows cover besides their bytes; corpus: digest of the panel's table."""
    return f"{corpus} {layer}.{ACTS}"


@dataclass(slots=True)
class Dense:
    """Activations of some layers' features at all tokens: the place of each is given, so that batches may come in any
    order and from any shard."""

    source: FeatureSource
    neurons: dict[int, list[int]]  # by layer
    start_B: np.ndarray  # of every sequence and the end: the place of its first token, int64
    dtype: str
    acts_IN: dict[int, Tensor] = field(default_factory=dict)  # by layer

    def take(self, layer: int, seen_BTD: Tensor, batch: Batch) -> None:
        """Take in what a layer's tap saw of a batch. Raises ValueError where an activation is not finite."""
        acts_BTI = self.source.features(layer, seen_BTD)
        here = batch.to(acts_BTI.device)
        places_N = here.evidence_N if here.valid_V is None else here.evidence_N[here.valid_V]
        acts_NI = acts_BTI.flatten(0, 1).index_select(0, places_N)
        if len(self.neurons[layer]) < acts_NI.shape[1]:
            acts_NI = acts_NI.index_select(1, torch.tensor(self.neurons[layer], device=acts_NI.device))
        if not torch.stack(acts_NI.aminmax()).isfinite().all():  # a NaN is both
            raise ValueError(not_finite(layer, self.dtype))
        if layer not in self.acts_IN:
            shape = len(self.neurons[layer]), int(self.start_B[-1])
            self.acts_IN[layer] = torch.zeros(shape, dtype=getattr(torch, self.dtype))
        first, last = self.start_B[batch.first], self.start_B[batch.first + len(batch.input_ids_BT)]
        self.acts_IN[layer][:, first:last] = acts_NI.T.cpu()


def harvest_panel(
    subject: Subject,
    corpus: str,
    neurons: dict[int, list[int]],
    seed: int,
    passes: Passes,
    outputs: dict[int, str],
) -> None:
    """Run a panel through the subject and write a file per layer: `acts` (I, N) in the subject's dtype, as computed,
    so that nothing is rounded and a feature is one row; `neurons` (I), which features these are; a CRC-32 of each row.

    neurons, outputs: by layer. Raises ValueError where the model is not what the config says, memory or disk cannot
    take the activations, the panel was made with another seed, or an activation is not finite.
    """
    facts = corpus_facts(corpus)
    check_architecture(subject.folder, subject.n_layers, subject.module)
    check_seed(corpus, seed)
    source = subject.source()
    width = getattr(torch, subject.dtype).itemsize
    of_layer = {layer: len(indices) * facts.tokens * width for layer, indices in neurons.items()}
    at_once = max(sum(of_layer[layer] for layer in part) for part in passes.over(neurons))
    check_room(at_once, sum(of_layer.values()), outputs)
    model = subject.load(passes.threads)
    taps = source.taps(model)
    example = read_table(corpus, CORPUS, [("seq_id", "=", 0)])["input_ids"][0].as_py()
    wanted = {layer: taps[layer] for layer in neurons}
    share = try_out(model, source, wanted, example, subject.dtype)
    start_B = np.concatenate([[0], evidence_lengths(corpus).cumsum()])
    metadata = {"corpus": file_digest(corpus), "subject": model_fingerprint(subject.folder), "seed": str(seed)}
    tokens = 0
    for part in passes.over(neurons):
        dense = Dense(source, {layer: neurons[layer] for layer in part}, start_B, subject.dtype)
        batches = progress(
            read_batches(corpus, 0, facts.sequences, passes.batch_size, facts.longest, share),
            facts.longest * facts.sequences,
            "tokens",
            size=lambda batch: batch.evidence_N.numel(),
        )
        tokens += run_layers(model, {layer: taps[layer] for layer in part}, batches, dense.take)
        for layer in part:
            write_layer(layer, dense.acts_IN.pop(layer), neurons[layer], metadata, outputs[layer])
    logger.info("%d tokens read", tokens)
    logger.info("%d neurons at %d tokens, %.2f GB", sum(map(len, neurons.values())), facts.tokens,
                sum(of_layer.values()) / 1e9)  # fmt: skip


def harvest_of_job(given: Any, params: Any, threads: int, outputs: Sequence[str]) -> None:
    """Harvest a panel as a rule says. given: its input, with model, corpus and dictionaries; params: Subject.of_job's,
    batch_size, layers_per_pass and seed; outputs: by layer, in the order of params.neurons. Raises as harvest_panel
    does."""
    harvest_panel(
        subject=Subject.of_job(given.model, params, given.dictionaries),
        corpus=given.corpus,
        neurons=params.neurons,
        seed=params.seed,
        passes=Passes(params.batch_size, params.layers_per_pass, threads),
        outputs=dict(zip(params.neurons, outputs)),
    )


def write_layer(layer: int, acts_IN: Tensor, neurons: list[int], metadata: dict[str, str], output: str) -> None:
    """Write a layer's activations. metadata: digest of the panel's table as `corpus`, fingerprint of the model as
    `subject`, `seed`."""
    tensors = {
        ACTS: acts_IN,
        NEURONS: torch.tensor(neurons, dtype=torch.int32),
        CHECKSUMS: row_checksums(acts_IN, 1, about(layer, metadata["corpus"])),
    }
    # In one piece, since the library writes several in an order that changes from time to time.
    made_of = json.dumps(metadata | {"layer": layer}, sort_keys=True)
    with whole(output) as part:
        save_file(tensors, part, metadata={MADE_OF: made_of})


def check_seed(corpus: str, seed: int) -> None:
    """Raises ValueError where a panel's table was made with another seed, or is no panel's."""
    found = (read_table(corpus, CORPUS, [("seq_id", "=", 0)]).schema.metadata or {}).get(b"seed", b"none").decode()
    if found != str(seed):
        raise ValueError(f"{corpus} was made with the seed {found}, not {seed}; delete it and run again")


def check_room(memory: int, disk: int, outputs: dict[int, str]) -> None:
    """Raises ValueError where fewer bytes of main memory, or of the disk that files go to, are free."""
    import psutil

    if memory > (free := psutil.virtual_memory().available):
        raise ValueError(
            f"the panel's activations take {memory / 1e9:.1f} GB, but only {free / 1e9:.1f} GB of main memory are free:"
            " lower exemplars.layers_per_job or panel.tokens"
        )
    folder = next(parent for parent in Path(next(iter(outputs.values()))).absolute().parents if parent.exists())
    if disk > (free := shutil.disk_usage(folder).free):
        raise ValueError(
            f"the panel's activations take {disk / 1e9:.1f} GB, but only {free / 1e9:.1f} GB of disk are free at"
            f" {outputs[next(iter(outputs))]}: make room, or lower panel.tokens"
        )
