"""The harvest against the bare forward pass and against the published scheme; its size and its quantiles.

B sequences of a batch, T tokens, I neurons, K kept, N tokens.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from common import Clock, build, fetched
from neuron_descriptions.common.vocabulary import TAILS, tail_rank
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.features.neurons import MlpNeurons
from neuron_descriptions.harvest.batches import Batch, make_batch, read_batches
from neuron_descriptions.harvest.forward import run_layers
from neuron_descriptions.harvest.merging import Shard, merge, tail_quantiles
from neuron_descriptions.harvest.shard import Harvest, save
from neuron_descriptions.harvest.state import LayerState, Split
from neuron_descriptions.models.loading import load_model, load_tokenizer
from neuron_descriptions.run.memory import Keep

LAYERS, NEURONS, SEQ_LEN, BATCH = 30, 1536, 95, 32
BATCHES = 40
PUBLISHED_NEURONS = 458_752
QUANTILE_TOKENS = 10_000_000


def measure(scratch: Path) -> dict[str, float]:
    """The figures of this section; about 9 minutes on two cores."""
    folder, corpus = build(scratch, SEQ_LEN, BATCHES * BATCH)
    figures = {}
    for dtype in ("float32", "bfloat16"):
        ratios, kept, seconds = against_forward(folder, corpus["train"], dtype)
        figures |= ratios
        print(f"  {dtype}: {ratios}", flush=True)  # the rest takes minutes
        if dtype == "float32":
            per_layer = published_seconds(folder, corpus["train"])
            figures["speedup_over_per_layer"] = LAYERS * per_layer / seconds
    print(f"  over one pass per layer: {figures['speedup_over_per_layer']:.1f}", flush=True)
    figures |= size(kept, corpus["train"], scratch)
    for dtype, tokens in (("bfloat16", QUANTILE_TOKENS), ("float32", QUANTILE_TOKENS // 20)):
        figures |= quantiles(folder, dtype, tokens, scratch)
    return figures


def against_forward(folder: str, corpus: str, dtype: str) -> tuple[dict[str, float], Harvest, float]:
    """(ratios to the bare pass, the harvest with k = 100, seconds per batch of the one with k = 20).

    One pass carries both harvests, each on its own clock; every fourth batch is run bare too, next to it.
    """
    model = load_model(folder, dtype, head=False, threads=torch.get_num_threads())
    source = MlpNeurons(LAYERS, NEURONS)
    taps = dict(enumerate(source.taps(model)))
    facts = corpus_facts(corpus)
    split = Split("train", facts.sequences, facts.tokens, facts.longest, 0)
    everything = {layer: list(range(NEURONS)) for layer in range(LAYERS)}
    harvests = {k: Harvest(source, everything, split, Keep(k, 10, 10), dtype) for k in (20, 100)}
    clocks = {k: Clock() for k in harvests}
    passes, bare, beside = Clock(), Clock(), Clock()

    def take(layer: int, seen_BTD: Tensor, batch: Batch) -> None:
        for k, harvest in harvests.items():
            with clocks[k]:
                harvest.take(layer, seen_BTD, batch)

    batches = list(read_batches(corpus, 0, facts.sequences, BATCH, facts.longest))
    run_layers(model, taps, batches[:1], lambda *_: None)  # warm up
    for i, batch in enumerate(batches):
        before = passes.seconds - sum(clock.seconds for clock in clocks.values())
        with passes:
            run_layers(model, taps, [batch], take)
        if i % 4 == 3:
            beside.seconds += passes.seconds - sum(clock.seconds for clock in clocks.values()) - before
            with bare:
                run_layers(model, taps, [batch], lambda *_: None)
    forward = passes.seconds - sum(clock.seconds for clock in clocks.values())
    # What the harvest costs the forward pass beyond its own clock, such as caches that it fills.
    burden = max(beside.seconds / bare.seconds, 1)
    suffix = "" if dtype == "float32" else f"_{dtype}"
    ratios = {f"cpu_ratio_to_forward_k{k}{suffix}": burden + clocks[k].seconds / forward * burden for k in harvests}
    ratios[f"forward_tokens_per_cpu_second{suffix}"] = sum(b.input_ids_BT.numel() for b in batches) * burden / forward
    return ratios, harvests[100], (forward + clocks[20].seconds) / len(batches)


def published_seconds(folder: str, corpus: str, k: int = 20) -> float:
    """Processor seconds per layer and batch of the published scheme: the whole model with its head, the windows and
    int64 token ids of all that is kept concatenated with the batch's, and gathered."""
    model = load_model(folder, "float32", head=True, threads=torch.get_num_threads())
    facts = corpus_facts(corpus)
    batches = list(read_batches(corpus, 0, 3 * BATCH, BATCH, facts.longest))
    clock = Clock()
    for layer in (0, LAYERS // 2, LAYERS - 1):
        seen: list[Tensor] = []
        hook = model.model.layers[layer].mlp.down_proj.register_forward_pre_hook(
            lambda module, args, seen=seen: seen.append(args[0])
        )
        kept: dict[int, list[Tensor]] = {}
        for number, batch in enumerate(batches):
            measured = Clock() if number == 0 else clock  # the first fills what is kept
            with measured, torch.inference_mode():
                model(input_ids=batch.input_ids_BT, use_cache=False)
                acts_IBT = seen.pop().permute(2, 0, 1)
                ids_IBT = batch.input_ids_BT.expand(NEURONS, -1, -1)
                for sign in (1, -1):
                    peak_IB = (sign * acts_IBT).amax(2)
                    new = [peak_IB, acts_IBT, ids_IBT]
                    if sign in kept:
                        new = [torch.cat(pair, 1) for pair in zip(kept[sign], new)]
                    peak_IK, place_IK = new[0].topk(min(k, new[0].shape[1]), 1)
                    place_IKT = place_IK[:, :, None].expand(-1, -1, acts_IBT.shape[2])
                    kept[sign] = [peak_IK, new[1].gather(1, place_IKT), new[2].gather(1, place_IKT)]
        hook.remove()
    return clock.seconds / (3 * (len(batches) - 1))


def size(kept: Harvest, corpus: str, scratch: Path) -> dict[str, float]:
    """Bytes per neuron of what is kept of three splits: k = 100, 10 middle, 10 random sequences a sign; bfloat16."""
    state, tables = str(scratch / "state.safetensors"), [scratch / name for name in ("exemplars", "statistics")]
    neurons, layer = 448, LAYERS // 2
    kept.states = {layer: kept.states[layer]}
    kept.neurons = {layer: kept.neurons[layer]}
    save(kept, 0, kept.split.sequences, state)
    merge({"train": [state]}, {"train": corpus}, layer, list(range(neurons)), slice(0, neurons), 0, *map(str, tables))
    bytes_per_neuron = 3 * sum(table.stat().st_size for table in tables) / neurons
    rows = pq.read_table(tables[0], columns=["activations"])["activations"].combine_chunks()
    return {
        "bytes_per_neuron": bytes_per_neuron,
        "published_run_gb": bytes_per_neuron * PUBLISHED_NEURONS / 1e9,
        "tokens_per_exemplar": len(rows.values) / len(rows),
    }


def quantiles(folder: str, dtype: str, tokens: int, scratch: Path, shards: int = 3) -> dict[str, float]:
    """Rank error of the quantiles of 64 neurons of layer 0 over `tokens` real activations, as a share of the tokens:
    how far the rank of what is reported lies from the rank that is asked for. Merged from shards, and in one pass."""
    model = load_model(folder, dtype, head=False, threads=torch.get_num_threads())
    source, length, batch = MlpNeurons(LAYERS, NEURONS), 128, 64
    taps = {0: source.taps(model)[0]}
    neurons = list(range(0, NEURONS, NEURONS // 64))
    n_batches = -(-tokens // (length * batch))
    tokens = n_batches * length * batch
    split = Split("train", n_batches * batch, tokens, length, 0)
    states = [
        LayerState(0, neurons, split, Keep(20, 0, 1), getattr(torch, dtype), torch.device("cpu"))
        for _ in range(shards + 1)
    ]
    acts_NI = torch.empty(tokens, len(neurons), dtype=getattr(torch, dtype))

    def take(layer: int, seen_BTD: Tensor, current: Batch) -> None:
        here_NI = seen_BTD.flatten(0, 1)
        number = current.first // batch
        acts_NI[number * length * batch : (number + 1) * length * batch] = here_NI[:, neurons]
        for state in (states[0], states[1 + number * shards // n_batches]):
            state.update(here_NI, current)

    windows = itertools.islice(token_windows(folder, length), n_batches * batch)
    batches = (
        make_batch(i * batch, ids, np.zeros(len(ids), dtype=int), length)
        for i, ids in enumerate(iter(lambda: list(itertools.islice(windows, batch)), []))
    )
    run_layers(model, taps, batches, take)
    files = []
    for i, state in enumerate(states):
        kept = Harvest(source, {0: neurons}, split, Keep(20, 0, 1), dtype, {0: state})
        files.append(str(scratch / f"{dtype}-{i}.safetensors"))
        save(kept, 0, 0, files[-1])
    opened = [Shard(file, 0, slice(0, len(neurons))) for file in files]
    worst = 0.0
    for side, sign in enumerate((1, -1)):
        range_I2 = opened[0].neurons("range").numpy()
        extreme_I = range_I2[:, 1] if side == 0 else -range_I2[:, 0]
        one = tail_quantiles(opened[0].tail(side), extreme_I, tokens)
        merged = tail_quantiles(np.sum([shard.tail(side) for shard in opened[1:]], axis=0), extreme_I, tokens)
        assert np.array_equal(one, merged), "shards merged differ from one pass"
        for i in range(len(neurons)):
            ranked = np.sort(sign * acts_NI[:, i].float().numpy())
            for column, tail in enumerate(TAILS):
                first = tokens - np.searchsorted(ranked, one[i, column], "right") + 1
                last = tokens - np.searchsorted(ranked, one[i, column], "left")
                rank = tail_rank(tokens, tail)
                worst = max(worst, (first - rank) / tokens, (rank - last) / tokens)
    suffix = "" if dtype == "bfloat16" else f"_{dtype}"
    return {f"quantile_rank_error_max{suffix}": float(max(worst, 0)), f"quantile_tokens{suffix}": tokens}


def token_windows(folder: str, length: int) -> Iterator[list[int]]:
    """Windows of the demo's texts, and then windows that start halfway into those."""
    tokenizer = load_tokenizer(folder)
    _, documents = fetched()
    streams = []
    for path in documents.values():
        for row in pq.read_table(path).to_pylist():
            text = row["text"] or "\n".join(message["content"] for message in row["messages"])
            streams.append(np.array(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids, np.int32))
    stream = np.concatenate(streams)
    for offset in itertools.chain([0, length // 2], itertools.count(1)):
        for start in range(offset, len(stream) - length, length):
            yield stream[start : start + length].tolist()
