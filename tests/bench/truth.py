"""`make truth`: features whose rules are known exactly are described blind, and what is found is held against the rule.

The workflow itself runs on them, from the harvest to the atlas (config/demo/truth.yaml); here its tables are read. True
descriptions are then corrupted step by step, and every score that the workflow ships should fall with them
(truth_falls.py). What is not covered: explainers and simulators.

T tokens of a sequence, N tokens of a split, I features.
"""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

import truth_falls
import truth_scores
from conftest import ROOT
from truth_scores import LISTS

SETUP = ("config/demo.yaml", "config/demo/truth.yaml")
LEAST = 10  # train sequences that a rule has to hold in, for its feature to be counted
RECOVERED = 0.8  # correlation of a description's predictions with its rule, on held-out text


@dataclass
class Planting:
    """A finished run on planted features, of layer 0."""

    features: dict[int, Any]  # those that are counted, by number
    strings: dict[str, list[list[str]]]  # split -> tokens of each sequence
    truth_NI: np.ndarray  # what the rules say of the test split, of all features
    found: dict[tuple[int, str], dict]  # feature and sign -> row of its list of concepts, with its direct scores
    rows: dict[tuple[int, str], dict]  # feature and sign -> row of the atlas
    paths: dict[str, Any]  # of the tables
    numbers: dict[str, int]  # of exemplars that are scored, by kind
    subject: str  # folder of the model


def measure(scratch: Path) -> dict[str, float]:
    """Figures of all rules that hold in LEAST train sequences or more, and of features without a rule."""
    from snakemake.utils import update_config

    from neuron_descriptions.config.sections import load_config
    from neuron_descriptions.config.sources import spec_key

    subprocess.run(["make", "demo", f"CONFIG={' '.join(SETUP)}"], cwd=ROOT, check=True)
    said: dict[str, Any] = {}
    for file in SETUP:
        update_config(said, yaml.safe_load((ROOT / file).read_text()))
    config = load_config(said)
    name = config.subject.model
    folder = ROOT / f"resources/models/{name}-{spec_key(config.models[name])}"
    planting = read(ROOT / "results" / config.run, config, str(folder))
    rows = held_against(planting)
    falls, covers = judged(planting)
    (ROOT / "results/truth/report.md").write_text(report(rows, falls, covers))
    return figures(rows, falls) | covers


def judged(planting: Planting, draws: int = truth_scores.DRAWS) -> tuple[truth_falls.Falls, dict[str, float]]:
    """(how scores fall, how often intervals cover); draws: samples for each description."""
    from neuron_descriptions.concepts.execution import read_list
    from neuron_descriptions.concepts.predicates import Reader
    from neuron_descriptions.concepts.vocabulary import read_vocabulary

    falls = truth_falls.corrupted(planting, truth_falls.corruptions(planting))
    said = {i: read_list(planting.found[i, "positive"]["parts"]) for i in planting.features}
    return falls, truth_scores.coverage(planting, said, Reader(read_vocabulary(LISTS)), draws)


def read(results: Path, config: Any, subject: str) -> Planting:
    """A finished run. Rules that hold in fewer than LEAST train sequences are left out."""
    from neuron_descriptions.common.storage import read_table
    from neuron_descriptions.common.vocabulary import SPLITS
    from neuron_descriptions.corpus.tables import CORPUS
    from neuron_descriptions.features.opening import SourceJob, open_source
    from neuron_descriptions.harvest.subject import strings_of
    from neuron_descriptions.panel.tables import PANELS

    source: Any = open_source(SourceJob(config.features, 1, 1, strings=strings_of(subject)))
    paths: dict[str, Any] = {text: str(results / f"corpus/{text}.parquet") for text in (*SPLITS, *PANELS)}
    paths |= {f"{panel}_acts": str(results / f"panel/{panel}/layer-0.safetensors") for panel in PANELS}
    for name, pattern in (("exemplars", "chunk-*"), ("statistics", "statistics-chunk-*")):
        paths[name] = sorted(map(str, results.glob(f"exemplars/layer-0/{pattern}.parquet")))
    texts = {split: read_table(paths[split], CORPUS).to_pylist() for split in SPLITS}
    texts = {split: [(row["input_ids"], row["prefix_len"]) for row in rows] for split, rows in texts.items()}
    tokens = {split: [source.strings(ids)[prefix:] for ids, prefix in rows] for split, rows in texts.items()}
    truth = {split: [source.truth(ids)[prefix:] for ids, prefix in texts[split]] for split in ("train", "test")}
    holds_I = sum(truth_TI.any(0) for truth_TI in truth["train"])

    found = by_feature(results.glob("concepts/layer-0/chunk-*.parquet"))
    planted = {i: source.planted[i] for i in sorted({number for number, _ in found})}
    return Planting(
        features={i: f for i, f in planted.items() if f.strength is None or holds_I[i] >= LEAST},
        strings=tokens,
        truth_NI=np.concatenate(truth["test"]),
        found=found,
        rows=by_feature([results / "atlas/atlas.parquet"]),
        paths=paths,
        numbers={name: getattr(config.scores, name) for name in ("top", "middle", "random")},
        subject=subject,
    )


def by_feature(tables: Iterable[Path]) -> dict[tuple[int, str], dict]:
    """Rows of some tables, by feature and sign; of several candidates the first."""
    rows = [row for path in tables for row in pq.read_table(path).to_pylist()]
    return {(row["neuron"], row["sign"]): row for row in rows if not row.get("candidate")}


def held_against(planting: Planting) -> list[dict[str, Any]]:
    """For each feature, what the atlas says of its positive side and how well that predicts the rule itself on test,
    and whether anything is said of its negative side, where there is nothing."""
    from neuron_descriptions.concepts.execution import read_list
    from neuron_descriptions.concepts.predicates import Reader
    from neuron_descriptions.concepts.vocabulary import read_vocabulary
    from neuron_descriptions.scores.concepts import direct_score

    reader = Reader(read_vocabulary(LISTS))
    held = [predicates for tokens in planting.strings["test"] for predicates in reader.held(tokens)]
    rows = []
    for number, feature in planting.features.items():
        shown, list_of = planting.rows[number, "positive"], read_list(planting.found[number, "positive"]["parts"])
        rows.append({
            "kind": feature.kind, "rule": feature.said, "said": shown["description"],
            "agreement": direct_score(list_of.predict_held(held), planting.truth_NI[:, number]),
            "direct_score": shown["direct_score"],
            "claims": shown["description"] is not None,
            "claims_of_nothing": planting.rows[number, "negative"]["description"] is not None,
        })  # fmt: skip
    return rows


# --- the report --------------------------------------------------------------------------------------


def recovered(rows: list[dict[str, Any]]) -> float:
    """Share of rows whose description predicts the rule itself."""
    return float(np.mean([(row["agreement"] or 0.0) >= RECOVERED for row in rows])) if rows else float("nan")


def figures(rows: list[dict[str, Any]], falls: truth_falls.Falls) -> dict[str, float]:
    """What the bench keeps."""
    from neuron_descriptions.features.planted_rules import ONE_RULE

    by_kind = {kind: [r for r in rows if r["kind"] == kind] for kind in dict.fromkeys(r["kind"] for r in rows)}
    nothing = by_kind.pop("none", [])
    one_rule = [row for row in rows if row["kind"] in ONE_RULE]
    found = {"features": len(rows), "one_rule": len(one_rule), "no_rule": len(nothing)}
    found |= {"recovered": recovered(one_rule), "false_claims": float(np.mean([r["claims"] for r in nothing]))}
    found["false_claims_of_silent_sides"] = float(np.mean([r["claims_of_nothing"] for r in rows]))
    found |= {f"recovered_{kind.replace(' ', '_')}": recovered(of_kind) for kind, of_kind in by_kind.items()}
    return found | truth_falls.figures(falls)


def report(rows: list[dict[str, Any]], falls: truth_falls.Falls, covers: dict[str, float]) -> str:
    """Every feature, its rule, what was said, and how they agree. covers: see truth_scores.coverage."""
    numbers = figures(rows, falls) | covers
    lines = ["# Planted features", "", "| figure | |", "| --- | --- |"]
    lines += [f"| {name.replace('_', ' ')} | {value:.3g} |" for name, value in numbers.items()]
    lines += ["", "## Scores as descriptions are corrupted", "", *truth_falls.table(falls), "", "## Features"]
    lines += ["", "| kind | rule | said | agreement with the rule | direct score |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        shown = [f"{row[name]:.2f}" if row[name] is not None else "" for name in ("agreement", "direct_score")]
        lines.append(f"| {row['kind']} | {row['rule']} | {row['said'] or 'nothing'} | {' | '.join(shown)} |")
    return "\n".join([*lines, ""])
