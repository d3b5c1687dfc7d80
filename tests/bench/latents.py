"""Are latents easier to describe than neurons? Lists of concepts are found for both in one layer of the demo's subject;
how well their own predictions match needs no simulator: on the panel's held-out text, and on contrast sequences."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import SPLITS, fetched
from conftest import ROOT, snakemake
from neuron_descriptions.atlas.comparison import mean_over_neurons
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.common.streams import generator
from neuron_descriptions.config.features import AutoencoderFeatures
from neuron_descriptions.descriptions.concepts import find_concepts
from neuron_descriptions.features.converting import convert_dictionary
from neuron_descriptions.harvest.merging import merge
from neuron_descriptions.harvest.passes import Passes
from neuron_descriptions.harvest.shard import Shard, harvest
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.harvest.tables import STATISTICS
from neuron_descriptions.panel.harvesting import harvest_panel
from neuron_descriptions.panel.tables import PANELS
from neuron_descriptions.run.memory import Keep
from neuron_descriptions.scores.concepts import score_concepts
from neuron_descriptions.scores.tables import CONCEPT_SCORES

LAYERS, NEURONS, LAYER, BATCH, ROWS, SEED = 30, 1536, 15, 64, 400, 0
KEEP, NUMBERS = Keep(20, 10, 10), {"top": 5, "middle": 2, "random": 2}  # the demo's
RULES = str(ROOT / "config/concepts/lists.yaml")
DICTIONARY = AutoencoderFeatures(
    kind="autoencoder",
    path=str(ROOT / f"config/dictionaries/smollm2-135m/layers.{LAYER}"),
    count=2048,
    hook="residual_out",
)
SCORES = ("direct_score", "direct_score_contrast")


def measure(scratch: Path) -> dict[str, Any]:
    """The figures of this section; about 6 minutes on two cores."""
    folder, _ = fetched()
    names = [f"results/demo/corpus/{name}.parquet" for name in (*SPLITS, *PANELS)]
    snakemake(ROOT, "--configfile", "config/demo.yaml", "--nolock", "--quiet", "all", "--", *names)
    corpus = {Path(name).stem: str(ROOT / name) for name in names}
    convert_dictionary(DICTIONARY.path, LAYER, DICTIONARY, [], str(scratch / "dictionary"))
    model = str(folder), LAYERS, NEURONS, None, "bfloat16"
    subjects = {
        "latents": Subject(*model, features=DICTIONARY, dictionaries={LAYER: str(scratch / "dictionary")}),
        "neurons": Subject(*model),
    }
    figures: dict[str, Any] = {}
    for name, subject in subjects.items():
        harvested(name, subject, corpus, scratch)
        figures |= scored(name, folder, corpus, scratch)
    for score in SCORES:
        of = {name: np.array(figures.pop(f"{name}_{score}_draws")) for name in subjects}
        apart = of["latents"] - of["neurons"]
        figures[f"difference_{score}"] = [float(apart.mean()), *np.quantile(apart, (0.025, 0.975)).tolist()]
    return figures


def drawn(name: str) -> list[int]:
    """Features drawn at random: a latent is a row, a neuron two."""
    of, count = (DICTIONARY.count, ROWS) if name == "latents" else (NEURONS, ROWS // 2)
    return sorted(generator(SEED, name).permutation(of)[:count].tolist())


def harvested(name: str, subject: Subject, corpus: dict[str, str], scratch: Path) -> None:
    """Write exemplars and statistics of all splits, and activations on both panels, of the features that are drawn."""
    wanted, threads = {LAYER: drawn(name)}, torch.get_num_threads()
    states = {split: str(scratch / f"{name}-{split}") for split in SPLITS}
    for split, state in states.items():
        harvest(subject, corpus[split], Shard(split, 0, 1, BATCH, SEED), wanted, KEEP, threads, state)
    splits, files = {split: corpus[split] for split in SPLITS}, {split: [state] for split, state in states.items()}
    rows = slice(0, len(wanted[LAYER]))
    merge(files, splits, LAYER, wanted[LAYER], rows, SEED, *tables(name, scratch))
    for panel in PANELS:
        output = {LAYER: str(scratch / f"{name}-{panel}")}
        harvest_panel(subject, corpus[panel], wanted, SEED, Passes(BATCH, 1, threads), output)


def tables(name: str, scratch: Path) -> list[str]:
    """Exemplars and statistics."""
    return [str(scratch / f"{name}-{table}.parquet") for table in ("exemplars", "statistics")]


def scored(name: str, folder: str, corpus: dict[str, str], scratch: Path) -> dict[str, Any]:
    """Means of both scores over rows with 95 % intervals over features, of the list that is chosen first."""
    features, (exemplars, statistics) = drawn(name), tables(name, scratch)
    found, rated = str(scratch / f"{name}-found.parquet"), str(scratch / f"{name}-scores.parquet")
    panel = {"corpus": corpus["panel"], "acts": str(scratch / f"{name}-panel")}
    of_split = {split: corpus[split] for split in ("train", "valid")}
    find_concepts(features, LAYER, of_split, [exemplars], {"subject": folder, "rules": RULES}, panel, found)
    inputs: dict[str, Any] = {split: corpus[split] for split in SPLITS} | {
        "concepts": found, "exemplars": [exemplars], "statistics": [statistics], "subject": folder, "rules": RULES,
        "panel_test": corpus["panel_test"], "panel_test_acts": str(scratch / f"{name}-panel_test"),
    }  # fmt: skip
    score_concepts(features, LAYER, inputs, NUMBERS, rated)
    held = read_table(statistics, STATISTICS, [("split", "=", "train")]).to_pylist()
    rare = {row["neuron"] for row in held if row["firings"] is not None and row["firings"] < 10}
    rows = [row for row in read_table(rated, CONCEPT_SCORES).to_pylist() if row["candidate"] == 0]
    if name == "latents":
        rows = [row for row in rows if row["sign"] == "positive" and row["neuron"] not in rare]
    figures: dict[str, Any] = {f"{name}_rows": len(rows), f"{name}_few_firings": len(rare)}
    figures[f"{name}_without_a_list"] = sum(not row["sentence"] for row in rows)
    for score in SCORES:
        known = [row for row in rows if row[score] is not None]
        values, of = [row[score] for row in known], [(LAYER, row["neuron"]) for row in known]
        figures[f"{name}_{score}"] = list(mean_over_neurons(values, of))
        figures[f"{name}_{score}_rows"] = len(known)
        figures[f"{name}_{score}_median"] = float(np.median(values))
        figures[f"{name}_{score}_above_0.3"] = float(np.mean(np.array(values) > 0.3))
        figures[f"{name}_{score}_draws"] = draws(np.array(values), np.array([feature for _, feature in of]), name)
    return figures


def draws(values: np.ndarray, features: np.ndarray, name: str) -> np.ndarray:
    """Means over rows of features drawn with replacement (2,000 bootstrap draws)."""
    _, at = np.unique(features, return_inverse=True)
    weights = generator(SEED, "draws", name).multinomial(at.max() + 1, np.full(at.max() + 1, 1 / (at.max() + 1)), 2000)
    rows = weights[:, at]
    return (rows @ values) / rows.sum(1)
