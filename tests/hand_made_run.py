"""A small run made by hand: two layers of three neurons on the real corpus, in chunks of any size."""

import numpy as np
import pyarrow as pa

from neuron_descriptions.atlas.building import build_atlas
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.vocabulary import SIGNS, TAILS, quantile_column
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS, gate_column
from neuron_descriptions.output_side.tables import OUTPUT_SIDE
from neuron_descriptions.scores.tables import SCORES

LAYERS, NEURONS, TOP, RANDOM = (1, 3), (5, 7, 9), 4, 3


def exemplars_of(texts, layer, neuron, sign, rng):
    """Rows of EXEMPLARS: strong is large on the positive side, small on the negative one."""
    turn = 1 if sign == "positive" else -1
    rows = []
    for kind, count in (("top", TOP), ("random", RANDOM)):
        for rank in range(count):
            text = texts[int(rng.integers(len(texts)))]
            length = len(text["input_ids"]) - text["prefix_len"]
            values = (turn * rng.normal(0.3 if kind == "top" else -0.5, 1, length)).astype(np.float32)
            peak = values.max() if turn > 0 else values.min()
            rows.append({"split": "train", "layer": layer, "neuron": neuron, "sign": sign, "kind": kind, "rank": rank,
                         "seq_id": text["seq_id"], "peak": peak, "activations": values.tolist(),
                         "gate": rank - 1.5})  # fmt: skip
    return rows


def tables_of(texts, layer, neuron, rng):
    """Rows of a neuron, by table."""
    found = {"descriptions": [], "scores": [], "exemplars": [], "statistics": [], "output_side": []}
    ends = {
        f"{end}_{name}": values
        for end, turn in (("top", 1), ("bottom", -1))
        for name, values in (
            ("token_ids", [5, 6]),
            ("tokens", [f"{end} {neuron}", " x"]),
            ("effects", [turn * 0.5, turn * 0.25]),
        )
    }
    found["output_side"].append({"layer": layer, "neuron": neuron, **ends, "std": 0.1, "skew": 0.0, "kurtosis": 1.0})
    # One that is not known, as of imported exemplars, and others from 10 to 13.
    quantiles = {quantile_column(tail, sign): None if tail == 1e-8 else turn * (6 - np.log10(tail))
                 for sign, turn in zip(SIGNS, (1, -1)) for tail in TAILS}  # fmt: skip
    found["statistics"].append({"split": "train", "layer": layer, "neuron": neuron, "tokens": 10**6, "mean": 0.0,
                                "std": 1.0, "min": -9.0 - neuron, "max": 8.0 + neuron, **quantiles,
                                **dict(zip(map(gate_column, SIGNS), (0.5, 0.25)))})  # fmt: skip
    for sign in SIGNS:
        place = {"layer": layer, "neuron": neuron, "sign": sign}
        described = (neuron, sign) != (9, "negative")
        for candidate, explainer in enumerate(("an explainer", "tokens")):
            found["descriptions"].append({
                **place, "candidate": candidate, "explainer": explainer, "exemplar_ranks": [1, 0],
                "description": f'says "{layer}, {neuron}"\n{sign} {candidate}' if described else None,
                "prompt_sha256": f"{layer}{neuron}{sign}" if candidate == 0 else None, "prompt_tokens": 9,
                "completion_tokens": 3, "attempts": 1, "status": "ok" if described else "refused",
            })  # fmt: skip
            for split in ("valid", "test") if described else ():
                value = 0.1 + 0.02 * neuron + 0.05 * candidate * (1 if neuron == 7 else -1)
                found["scores"].append({
                    **place, "candidate": candidate, "kind": "candidate", "split": split, "simulator": "a simulator",
                    "description": found["descriptions"][-1]["description"], "correlation": value,
                    "natural": value - 0.01, "natural_low": value - 0.2, "natural_high": value + 0.2,
                    "correlation_low": value - 0.05, "correlation_high": value + 0.05, "published_score": value,
                    "n_sequences": 7, "n_tokens": 99, "n_top": 5, "n_middle": 1, "n_random": 1,
                    "chosen": (candidate == 1) == (neuron == 7),
                })  # fmt: skip
        found["exemplars"] += exemplars_of(texts, layer, neuron, sign, rng)
    return found


def hand_made(folder, corpus, subject, size=2, kept=3):
    """Write the run into a folder: its files by name, chunks of `size` neurons, exemplars in chunks of `kept`.

    corpus: table of the train text; subject: a folder with its tokenizer.
    """
    texts = read_table(corpus, CORPUS).to_pylist()
    rng = np.random.default_rng(0)
    rows = {(layer, neuron): tables_of(texts, layer, neuron, rng) for layer in LAYERS for neuron in NEURONS}
    schemas = {"descriptions": DESCRIPTIONS, "scores": SCORES, "exemplars": EXEMPLARS, "statistics": STATISTICS,
               "output_side": OUTPUT_SIDE}  # fmt: skip
    files = {name: [] for name in schemas}
    for name, schema in schemas.items():
        step = size if name in ("descriptions", "scores") else kept if name != "output_side" else len(NEURONS)
        for layer in LAYERS:
            for first in range(0, len(NEURONS), step):
                chunk = [row for n in NEURONS[first : first + step] for row in rows[layer, n][name]]
                path = folder / f"{name}/layer-{layer}/chunk-{first // step}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_table(pa.Table.from_pylist(chunk, schema=schema), path)
                files[name].append(str(path))
    files |= {"atlas": str(folder / "atlas.parquet"), "train": corpus, "subject": subject}
    build_atlas(files, files["atlas"])
    return files
