"""`make truth`: features whose rules are known exactly are described blind, and what is found is held against the rule.

Planted over the subject's real tokens: evidence as the harvest's tables have it, then the search for concepts, its
direct scores, as the workflow's own rules compute them. True descriptions are then corrupted step by step, and every
score that the workflow ships should fall with them (truth_falls.py). What is not covered: the harvest's selection (here
a sort), explainers and simulators.

T tokens of a sequence, N tokens of a split.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

import truth_falls
import truth_scores
from common import build
from conftest import ROOT
from truth_scores import LISTS

# Of each split: neighbours may be of one document, which tells nothing of a rule.
SEQUENCES = {"train": 800, "valid": 240, "test": 240}
NO_RULE, TOP, RANDOM, LEAST, PANEL = 40, 20, 20, 10, 400
RECOVERED = 0.8  # correlation of a description's predictions with its rule, on held-out text


@dataclass
class Planting:
    """Features over texts: split -> the tokens of each sequence, and each feature's activations (T,) there."""

    features: list[Any]
    strings: dict[str, list[list[str]]]
    acts: dict[str, list[list[np.ndarray]]]  # split -> feature -> sequence
    paths: dict[str, Any]  # of the tables


def measure(scratch: Path) -> dict[str, float]:
    """Figures of all rules that hold in LEAST train sequences or more, and of NO_RULE features without a rule."""
    from neuron_descriptions.common.storage import read_table
    from neuron_descriptions.concepts.execution import read_list
    from neuron_descriptions.concepts.planted import rules, without_rule
    from neuron_descriptions.concepts.predicates import Reader
    from neuron_descriptions.concepts.vocabulary import read_vocabulary
    from neuron_descriptions.corpus.tables import CORPUS
    from neuron_descriptions.models.loading import load_tokenizer, token_strings

    folder, corpus = build(scratch, seq_len=64, train=sum(SEQUENCES.values()))
    corpus = cut(corpus["train"], scratch)
    tokenizer = load_tokenizer(folder)
    strings = {
        split: [token_strings(tokenizer, r["input_ids"][r["prefix_len"] :]) for r in read_table(p, CORPUS).to_pylist()]
        for split, p in corpus.items()
    }
    planting = plant(scratch, corpus, strings, [*rules(), *without_rule(NO_RULE)], folder)
    found = describe(planting, scratch, folder)
    rows = held_against(planting, found)
    falls = truth_falls.corrupted(planting, truth_falls.corruptions(planting), folder)
    said = {number: read_list(row["parts"]) for (number, sign), row in found.items() if sign == "positive"}
    covers = truth_scores.coverage(planting, said, Reader(read_vocabulary(LISTS)), folder)
    (ROOT / "results/truth").mkdir(parents=True, exist_ok=True)
    (ROOT / "results/truth/report.md").write_text(report(rows, falls, covers))
    return figures(rows, falls) | covers


def cut(corpus: str, folder: Path) -> dict[str, str]:
    """A corpus table in splits of SEQUENCES, drawn: split -> table."""
    from neuron_descriptions.common.storage import read_table, write_table
    from neuron_descriptions.common.streams import generator
    from neuron_descriptions.corpus.reading import corpus_facts
    from neuron_descriptions.corpus.tables import CORPUS

    table, tokenizer, first, found = read_table(corpus, CORPUS), corpus_facts(corpus).tokenizer, 0, {}
    order = generator(0, "truth").permutation(len(table))
    for split, count in SEQUENCES.items():
        rows = table.take(order[first : first + count]).to_pylist()
        rows = [row | {"seq_id": i} for i, row in enumerate(rows)]
        lengths = [len(row["input_ids"]) - row["prefix_len"] for row in rows]
        facts = {"tokens": str(sum(lengths)), "longest": str(max(lengths)), "tokenizer": tokenizer}
        found[split], first = str(folder / f"{split}-cut.parquet"), first + count
        write_table(pa.Table.from_pylist(rows, schema=CORPUS.with_metadata(facts)), found[split])
    return found


# --- planting ----------------------------------------------------------------------------------------


def plant(
    folder: Path, corpus: dict[str, str], strings: dict[str, list[list[str]]], features: list[Any], subject: str
) -> Planting:
    """Write a planting's tables: exemplars (the TOP strongest sequences and RANDOM others of each side), statistics,
    and as panels the first PANEL train sequences, for fitting, and the test split. Rules that hold in fewer than LEAST
    train sequences are left out."""
    kept = [f for f in features if f.strength is None or sum(f.truth(s).any() for s in strings["train"]) >= LEAST]
    acts = {split: [[f.acts(s, 0, number, split, i) for i, s in enumerate(texts)] for number, f in enumerate(kept)]
            for split, texts in strings.items()}  # fmt: skip
    planting = Planting(kept, strings, acts, dict(corpus))
    _write_exemplars(planting, folder)
    for panel, split, count in (("panel", "train", PANEL), ("panel_test", "test", len(strings["test"]))):
        _write_panel(planting, folder, panel, split, count, subject)
    return planting


def _write_exemplars(planting: Planting, folder: Path) -> None:
    from neuron_descriptions.common.storage import write_table
    from neuron_descriptions.common.streams import generator
    from neuron_descriptions.common.vocabulary import SIGNS, TAILS, quantile_column
    from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS

    rows, statistics = [], []
    for split, of_features in planting.acts.items():
        for number, acts in enumerate(of_features):
            joined = np.concatenate(acts)
            numbers = {name: getattr(joined, name)() for name in ("mean", "std", "min", "max")}
            numbers |= {quantile_column(TAILS[-1], sign): direction * _rarest(direction * joined)
                        for sign, direction in zip(SIGNS, (1, -1))}  # fmt: skip
            statistics.append({"split": split, "layer": 0, "neuron": number, "tokens": len(joined), **numbers})
            for sign, direction in zip(SIGNS, (1, -1)):
                peaks = np.array([(direction * a).max() for a in acts])
                drawn = generator(0, "random", split, number, sign).permutation(len(acts))[:RANDOM]
                for kind, chosen in (("top", np.argsort(-peaks, kind="stable")[:TOP]), ("random", drawn)):
                    rows += [{"split": split, "layer": 0, "neuron": number, "sign": sign, "kind": kind, "rank": rank,
                              "seq_id": int(i), "peak": direction * peaks[i], "activations": acts[i].tolist()}
                             for rank, i in enumerate(chosen)]  # fmt: skip
    for name, schema, table in (("exemplars", EXEMPLARS, rows), ("statistics", STATISTICS, statistics)):
        planting.paths[name] = [str(folder / f"{name}.parquet")]
        write_table(pa.Table.from_pylist(table, schema=schema), planting.paths[name][0])


def _rarest(acts_N: np.ndarray) -> float:
    """What the loosest tail that the workflow keeps lies beyond."""
    from neuron_descriptions.common.vocabulary import TAILS, tail_rank

    return float(np.sort(acts_N)[-tail_rank(len(acts_N), TAILS[-1])])


def _write_panel(planting: Planting, folder: Path, panel: str, split: str, count: int, subject: str) -> None:
    from neuron_descriptions.common.provenance import file_digest
    from neuron_descriptions.common.storage import read_table, write_table
    from neuron_descriptions.corpus.reading import corpus_facts
    from neuron_descriptions.corpus.tables import CORPUS
    from neuron_descriptions.panel.harvesting import write_layer
    from neuron_descriptions.run.fingerprints import model_fingerprint

    texts, facts = read_table(planting.paths[split], CORPUS).slice(0, count), corpus_facts(planting.paths[split])
    lengths = [len(tokens) for tokens in planting.strings[split][:count]]
    about = {"tokenizer": facts.tokenizer, "tokens": str(sum(lengths)), "longest": str(max(lengths)), "seed": "0"}
    table, file = folder / f"{panel}.parquet", folder / panel / "layer-0.safetensors"
    write_table(texts.cast(CORPUS.with_metadata(about)), table)
    acts = np.stack([np.concatenate(of_feature[:count]) for of_feature in planting.acts[split]]).astype(np.float32)
    made_of = {"corpus": file_digest(str(table)), "subject": model_fingerprint(subject), "seed": "0"}
    write_layer(0, torch.from_numpy(acts), list(range(len(planting.features))), made_of, str(file))
    planting.paths |= {panel: str(table), f"{panel}_acts": str(file)}


# --- describing --------------------------------------------------------------------------------------


def describe(planting: Planting, folder: Path, subject: str) -> dict[tuple[int, str], dict]:
    """The list of concepts of each feature and sign with its direct scores, as the workflow finds and scores it."""
    from neuron_descriptions.common.storage import read_table
    from neuron_descriptions.descriptions.concepts import find_concepts
    from neuron_descriptions.scores.concepts import score_concepts
    from neuron_descriptions.scores.tables import CONCEPT_SCORES

    paths, neurons = planting.paths, list(range(len(planting.features)))
    found, scored = str(folder / "found.parquet"), str(folder / "scored.parquet")
    models = {"subject": subject, "rules": LISTS}
    corpus = {split: paths[split] for split in ("train", "valid")}
    find_concepts(neurons, 0, corpus, paths["exemplars"], models,
                  {"corpus": paths["panel"], "acts": paths["panel_acts"]}, found)  # fmt: skip
    given = {name: paths[name] for name in ("train", "valid", "test", "exemplars", "statistics", "panel_test",
             "panel_test_acts")}  # fmt: skip
    score_concepts(neurons, 0, given | models | {"concepts": found}, truth_falls.NUMBERS, scored)
    rows = read_table(scored, CONCEPT_SCORES).to_pylist()
    return {(row["neuron"], row["sign"]): row for row in rows if row["candidate"] == 0}


def held_against(planting: Planting, found: dict[tuple[int, str], dict]) -> list[dict[str, Any]]:
    """For each feature, what was said of its positive side and how well that predicts the rule itself on test, and
    whether anything was said of its negative side, where there is nothing."""
    from neuron_descriptions.concepts.execution import read_list
    from neuron_descriptions.concepts.predicates import Reader
    from neuron_descriptions.concepts.vocabulary import read_vocabulary
    from neuron_descriptions.concepts.wording import NO_PATTERN
    from neuron_descriptions.scores.concepts import direct_score

    reader = Reader(read_vocabulary(LISTS))
    held = [predicates for tokens in planting.strings["test"] for predicates in reader.held(tokens)]
    rows = []
    for number, feature in enumerate(planting.features):
        row = found[number, "positive"]
        truth_N = np.concatenate([feature.truth(tokens) for tokens in planting.strings["test"]])
        rows.append({
            "kind": feature.kind, "rule": feature.said, "said": row["sentence"],
            "agreement": direct_score(read_list(row["parts"]).predict_held(held), truth_N),
            "direct_score": row["direct_score"],
            "claims": row["sentence"] != NO_PATTERN,
            "claims_of_nothing": found[number, "negative"]["sentence"] != NO_PATTERN,
        })  # fmt: skip
    return rows


# --- the report --------------------------------------------------------------------------------------


def recovered(rows: list[dict[str, Any]]) -> float:
    """Share of rows whose description predicts the rule itself."""
    return float(np.mean([(row["agreement"] or 0.0) >= RECOVERED for row in rows])) if rows else float("nan")


def figures(rows: list[dict[str, Any]], falls: truth_falls.Falls) -> dict[str, float]:
    """What the bench keeps."""
    from neuron_descriptions.concepts.planted import ONE_RULE

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
        lines.append(f"| {row['kind']} | {row['rule']} | {row['said']} | {' | '.join(shown)} |")
    return "\n".join([*lines, ""])
