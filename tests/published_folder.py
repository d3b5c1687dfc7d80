"""Writes a folder in the layout of the published exemplars, from the exemplars of a harvested run."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from neuron_descriptions.corpus.reading import corpus_facts, read_texts

SPLITS = ("train", "valid", "test")
ENDS = {"positive": "max", "negative": "min"}


def save_as_published(place: Path, end: str, kind: str, acts: np.ndarray, ids: np.ndarray, numbers: np.ndarray) -> None:
    """Save the three arrays of one end the way the published code does. Of the top splits it keeps what it saves with
    the neurons last, and saves permuted views: numpy writes the two-dimensional one in Fortran order, the others, which
    are in neither order, in C order. Those of the random splits are slices of both ends' stacked arrays."""
    if kind == "top":
        acts, ids = (np.ascontiguousarray(a.transpose(1, 2, 0)).transpose(2, 0, 1) for a in (acts, ids))
        numbers = np.ascontiguousarray(numbers.T).T
    else:
        acts, ids, numbers = (np.stack([a, a], 1)[:, 0] for a in (acts, ids, numbers))
    for name, array in (("seq_acts", acts), ("seq_ids", ids), ("dataset_ids", numbers)):
        np.save(place / f"{end}_{name}.npy", array)


def write_large(folder: Path, layer: int, n_neurons: int, k: int, random: int, seq_len: int, prefix: list[int]) -> None:
    """Write one layer of made-up exemplars of the real ones' sizes: sequences begin with `prefix`, recur among neurons
    as in the published arrays, and a few are padded (with token 2); activations have bfloat16's precision."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    settings = {"num_seqs": 1_000_000, "seq_len": seq_len, "k": k, "batch_size": 512, "rand_seqs": random}
    names = {"hf_model_id": "owner/model", "hf_dataset_configs": [{"hf_dataset_id": f"owner/{n}"} for n in "ab"]}
    (folder / "exemplar_config.json").write_text(json.dumps(settings | names))
    n_texts = max(1, n_neurons * k // 2)
    for split in SPLITS:
        texts = (rng.zipf(1.2, (n_texts, seq_len)) % 49_000 + 3).astype(np.int32)
        texts[:, : len(prefix)] = prefix
        for row in range(0, n_texts, 20):
            short = rng.integers(1, seq_len // 3)
            texts[row] = np.concatenate([np.full(short, 2), texts[row, : seq_len - short]])
        for sign, end in ENDS.items():
            for name, n in ((split, k), (f"random_{split}", random)):
                place = folder / name / f"layer{layer}"
                place.mkdir(parents=True, exist_ok=True)
                which = rng.integers(n_texts, size=(n_neurons, n))
                acts = rng.standard_normal((n_neurons, n, seq_len), np.float32) * 0.1
                spikes = rng.integers(2 * seq_len // 3, seq_len, (n_neurons, n, 1))  # within the evidence
                height = np.sort(rng.exponential(1, (n_neurons, n, 1)).astype(np.float32) + 2, 1)[:, ::-1]
                np.put_along_axis(acts, spikes, height if sign == "positive" else -height, 2)
                acts = (acts.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
                kind = "top" if name == split else "random"
                save_as_published(place, end, kind, acts, texts[which], (which % 2).astype(np.int32))
        for name, number in (("step", 1_000_000 // 512 - 1), ("num_tokens_seen", 1_000_000 * seq_len)):
            (folder / split / f"layer{layer}" / f"{name}.txt").write_text(str(number))


def write_published(
    exemplars: list[Path],
    corpus: dict[str, Path],
    folder: Path,
    n_neurons: int,
    seq_len: int,
    pad_id: int,
    batch_size: int = 8,
    model: str = "HuggingFaceTB/SmolLM2-135M-Instruct",
) -> None:
    """Write what the given tables hold of their neurons; the other neurons' rows hold what no import may return.

    Prefixes are in, with activations of their own, and padding as in the published arrays: infinite in the top ones.
    batch_size must divide every split's sequences.
    """
    table = pq.ParquetDataset(exemplars).read().to_pandas()
    table = table[table.kind.isin(["top", "random"])]
    counts = table.groupby(["split", "layer", "neuron", "sign", "kind"]).size().groupby("kind").max()
    texts = {split: read_texts(str(path), set(table[table.split == split].seq_id)) for split, path in corpus.items()}
    facts = {split: corpus_facts(str(path)) for split, path in corpus.items()}
    sources = sorted({text.source for found in texts.values() for text in found.values()})
    folder.mkdir(parents=True)
    (folder / "exemplar_config.json").write_text(
        json.dumps(
            {
                "hf_model_id": model,
                "hf_dataset_configs": [{"hf_dataset_id": f"owner/{name}"} for name in reversed(sources)],
                "num_seqs": max(f.sequences for f in facts.values()),
                "seq_len": seq_len,
                "k": int(counts["top"]),
                "num_top_acts_to_save": 10_000,
                "batch_size": batch_size,
                "rand_seqs": int(counts["random"]),
                "activation_type": "MLP",
            }
        )
    )
    for (split, layer, sign, kind), rows in table.groupby(["split", "layer", "sign", "kind"]):
        place = folder / (split if kind == "top" else f"random_{split}") / f"layer{layer}"
        place.mkdir(parents=True, exist_ok=True)
        n = int(counts[kind])
        acts = np.full((n_neurons, n, seq_len), 12345.0, np.float32)
        ids = np.full((n_neurons, n, seq_len), 7, np.int32)
        numbers = np.zeros((n_neurons, n), np.int32)
        direction = 1 if sign == "positive" else -1
        for row in rows.itertuples():
            text = texts[split][row.seq_id]
            start = seq_len - len(text.input_ids)
            ids[row.neuron, row.rank] = [pad_id] * start + text.input_ids
            prefix = np.full(text.prefix_len, -direction * 0.25)
            padding = np.full(start, -direction * np.inf if kind == "top" else 3.0)
            acts[row.neuron, row.rank] = np.concatenate([padding, prefix, row.activations])
            numbers[row.neuron, row.rank] = sources.index(text.source)
        save_as_published(place, ENDS[sign], kind, acts, ids, numbers)
        if kind == "top":
            np.save(place / f"{ENDS[sign]}_acts.npy", np.zeros((5, n_neurons), np.float32).T)
            f = facts[split]
            full = max(f.sequences for f in facts.values()) // batch_size
            batches = f.sequences // batch_size
            (place / "step.txt").write_text(str(batches - 1 if batches == full else batches))
            assert f.sequences % batch_size == 0
            # All published windows begin with the user's header, ours also with the assistant's.
            prefix = min(text.prefix_len for text in texts[split].values())
            (place / "num_tokens_seen.txt").write_text(str(f.tokens + f.sequences * prefix))
