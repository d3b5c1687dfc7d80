"""Latents of a large dictionary: bytes of the state, and the harvest's own part beside the bare forward pass.

B sequences of a batch, T tokens, D width, S latents, N tokens in a row.
"""

from dataclasses import fields, is_dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from common import Clock, build
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.features.dictionaries import BLOCK, About, Dictionary, DictionaryFeatures
from neuron_descriptions.harvest.batches import read_batches
from neuron_descriptions.harvest.forward import run_layers
from neuron_descriptions.harvest.shard import Harvest
from neuron_descriptions.harvest.state import LayerState, Split
from neuron_descriptions.models.loading import load_model
from neuron_descriptions.run.memory import Keep, state_bytes

LAYERS, NEURONS, LAYER, SEQ_LEN, BATCH, BATCHES = 30, 1536, 15, 95, 32, 4
LATENTS, K = 32_768, 32
PUBLISHED = Keep(100, 10, 20)
LARGE, MEASURED = 131_072, 4096


def measure(scratch: Path) -> dict[str, float]:
    """The figures of this section; about 2 processor minutes."""
    by_formula = state_bytes(LARGE, PUBLISHED, SEQ_LEN, "bfloat16", one_sided=True)
    split = Split("train", 10_000, 10_000 * SEQ_LEN, SEQ_LEN, 0)
    small = LayerState(0, list(range(MEASURED)), split, PUBLISHED, torch.bfloat16, torch.device("cpu"), True)
    held = sum(tensor.nbytes for tensor in tensors(small))
    figures = {
        f"state_gb_{LARGE}_latents": by_formula / 1e9,
        "state_measured_over_formula": held / state_bytes(MEASURED, PUBLISHED, SEQ_LEN, "bfloat16", one_sided=True),
    }
    return figures | beside_the_pass(*build(scratch, SEQ_LEN, BATCHES * BATCH))


def tensors(thing: object) -> list[Tensor]:
    """Tensors that an object of the harvest holds, at any depth, each once."""
    found: dict[int, Tensor] = {}
    todo = [thing]
    while todo:
        here = todo.pop()
        if isinstance(here, Tensor):
            found[here.data_ptr()] = here
        elif is_dataclass(here):
            todo += [getattr(here, field.name) for field in fields(here)]
        elif type(here).__module__.startswith("neuron_descriptions.harvest"):
            todo += list(vars(here).values())
    return list(found.values())


def beside_the_pass(folder: str, corpus: dict[str, str]) -> dict[str, float]:
    """Processor time over that of the bare pass through the whole model, bfloat16, of the harvest of one layer's top-k
    latents: what it takes apart from the encoder's matrix product, and that product. Latents begin as single tokens'
    vectors, as in training; the first batch, which fills what is kept, is left out."""
    model = load_model(folder, "bfloat16", head=False, threads=torch.get_num_threads())
    facts = corpus_facts(corpus["train"])
    batches = list(read_batches(corpus["train"], 0, BATCHES * BATCH, BATCH, facts.longest))
    clocks = {name: Clock() for name in ("pass", "harvest", "product")}
    source = DictionaryFeatures({}, LAYERS, NEURONS, "residual_out", None)
    tap = source.taps(model)[LAYER]
    seen: list[Tensor] = []
    run_layers(model, {LAYER: tap}, batches, lambda layer, seen_BTD, batch: seen.append(seen_BTD.clone()))
    source.dictionaries[LAYER] = dictionary(torch.cat([one_BTD.flatten(0, 1) for one_BTD in seen]).float())
    split = Split("train", facts.sequences, facts.tokens, facts.longest, 0)
    harvest = Harvest(source, {LAYER: list(range(LATENTS))}, split, PUBLISHED, "bfloat16")
    encoder_DS = source.dictionaries[LAYER].encoder_SD.T
    bias_S = source.dictionaries[LAYER].bias_S
    for number, (batch, seen_BTD) in enumerate(zip(batches, seen)):
        measured = {name: Clock() for name in clocks} if number == 0 else clocks
        with measured["pass"], torch.inference_mode():
            model(input_ids=batch.input_ids_BT, use_cache=False)
        with measured["harvest"], torch.inference_mode():
            harvest.take(LAYER, seen_BTD, batch)
        with measured["product"], torch.inference_mode():
            for part_ND in seen_BTD.flatten(0, 1).split(BLOCK // LATENTS):
                torch.addmm(bias_S, part_ND.float(), encoder_DS)
    own = clocks["harvest"].seconds - clocks["product"].seconds
    return {
        f"own_part_over_pass_{LATENTS}_latents": own / clocks["pass"].seconds,
        "encoder_product_over_pass": clocks["product"].seconds / clocks["pass"].seconds,
        "pass_tokens_per_cpu_second": sum(b.input_ids_BT.numel() for b in batches[1:]) / clocks["pass"].seconds,
    }


def dictionary(read_ND: Tensor) -> Dictionary:
    """A top-k autoencoder of LATENTS latents."""
    mean_D = read_ND.mean(0)
    random = torch.Generator().manual_seed(0)
    unit_SD = F.normalize(read_ND[torch.randint(len(read_ND), (LATENTS,), generator=random)] - mean_D, dim=1)
    # Fewer tokens than latents: a little noise makes each another one.
    encoder_SD = F.normalize(unit_SD + 0.02 * torch.randn(unit_SD.shape, generator=random), dim=1)
    return Dictionary(About("autoencoder", "topk", K), encoder_SD, torch.zeros(LATENTS), mean_D)
