"""Scores of a chunk: simulate the candidates on valid, the chosen one and the nulls on test, compare, write."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from .logs import progress
from .random_streams import generator
from .records import DESCRIPTIONS, EXEMPLARS, SCORES, SIGNS, SIMULATIONS
from .scoring import Array, Match, Sequences, TokenBaseline, choose, linear_fit, match
from .sequences import Text, corpus_facts, read_texts
from .simulating import Simulator, Task, load_simulator
from .storage import read_table, write_table


@dataclass(slots=True, frozen=True)
class Sequence:
    """A stored sequence of a neuron and sign."""

    kind: str
    rank: int
    seq_id: int
    text: Text
    activations: Array  # signed, of the evidence tokens


class Evidence:
    """A chunk's exemplars joined with their corpus rows."""

    def __init__(self, exemplars: str, corpus: dict[str, str], neurons: list[int]):
        table = read_table(exemplars, EXEMPLARS, [("neuron", "in", neurons)])
        rows = table.to_pylist()
        texts = {
            split: read_texts(path, {r["seq_id"] for r in rows if r["split"] == split})
            for split, path in corpus.items()
        }
        self._sequences: dict[tuple[str, int, str, str], list[Sequence]] = {}
        for row in rows:
            text = texts[row["split"]][row["seq_id"]]
            activations = np.array(row["activations"], float)
            sequence = Sequence(row["kind"], row["rank"], row["seq_id"], text, activations)
            place = row["split"], row["neuron"], row["sign"], row["kind"]
            self._sequences.setdefault(place, []).append(sequence)

    def get(self, split: str, neuron: int, sign: str, kind: str) -> list[Sequence]:
        """Sequences by rank."""
        return sorted(self._sequences.get((split, neuron, sign, kind), []), key=lambda s: s.rank)

    def scored(self, split: str, neuron: int, sign: str, top: int, random: int) -> list[Sequence]:
        """The sequences that a score is made on: the first of the top ones and of the random ones, each once."""
        chosen = self.get(split, neuron, sign, "top")[:top]
        seen = {sequence.seq_id for sequence in chosen}
        # Random ranks are by peak: by seq_id is by chance.
        others = sorted(self.get(split, neuron, sign, "random"), key=lambda s: s.seq_id)
        return chosen + [s for s in others if s.seq_id not in seen][:random]

    def token_baseline(self, neuron: int, sign: str, n_train: int) -> TokenBaseline:
        """The baseline from everything that train holds of a neuron and sign."""
        top = self.get("train", neuron, sign, "top")
        seen = {sequence.seq_id for sequence in top}
        others = {s.seq_id: s for either in SIGNS for s in self.get("train", neuron, either, "random")}
        side = [
            [(s.text.evidence, one_side(s.activations, sign)) for s in sequences]
            for sequences in (top, [s for s in others.values() if s.seq_id not in seen])
        ]
        return TokenBaseline(side[0], side[1], n_train)


def one_side(activations: Array, sign: str) -> Array:
    """The positive part, or the negative part's size."""
    return np.maximum(activations if sign == "positive" else -activations, 0)


class Scorer:
    """Scores the candidates of one neuron and sign after another; nothing carries over between them."""

    def __init__(
        self,
        simulator: Simulator,
        name: str,
        evidence: Evidence,
        nulls: list[str],
        settings: dict[str, Any],
        n_train: int,
        seed: int,
    ):
        """name: of the simulator; settings: the config's `scores`; n_train: sequences of the train split."""
        self.simulator, self.name, self.evidence, self.nulls = simulator, name, evidence, nulls
        self.settings, self.n_train, self.seed = settings, n_train, seed

    def score(self, layer: int, neuron: int, sign: str, candidates: list[dict]) -> tuple[list[dict], list[dict]]:
        """(rows of SCORES, rows of SIMULATIONS). candidates: rows of DESCRIPTIONS."""
        who = {"layer": layer, "neuron": neuron, "sign": sign}
        sequences = {
            split: self.evidence.scored(split, neuron, sign, self.settings["top"], self.settings["random"])
            for split in ("valid", "test")
        }
        truth = {s: [one_side(q.activations, sign) for q in found] for s, found in sequences.items()}
        described = {c["candidate"]: c["description"] for c in candidates if c["status"] == "ok"}
        scores: list[dict] = []

        def record(kind: str, number: int, description: str | None, split: str, result: Match) -> None:
            scores.append(
                {
                    **who,
                    "kind": kind,
                    "candidate": number,
                    "description": description,
                    "split": split,
                }
                | {
                    "simulator": self.name if kind != "token_baseline" else None,
                    "chosen": False,
                }
                | _columns(result)
            )

        def compare(predicted: Sequences, split: str, *what: object, fit: Any = None) -> Match:
            random = generator(self.seed, "bootstrap", layer, neuron, sign, split, *what)
            s = self.settings
            return match(predicted, truth[split], s["bootstrap"], s["confidence"], random, fit)

        baseline = self.evidence.token_baseline(neuron, sign, self.n_train)
        fits = {}
        for split in ("valid", "test"):
            predicted = [baseline.predict(q.text.evidence) for q in sequences[split]]
            fits[split] = linear_fit(np.concatenate(predicted), np.concatenate(truth[split]))
            fit = fits["valid"] if split == "test" else None
            record(
                "token_baseline",
                -2,
                None,
                split,
                compare(predicted, split, "baseline", fit=fit),
            )
        if not described:
            return scores, []
        valid = self._simulate(list(described.values()), sequences["valid"])
        correlations = {}
        for (number, description), predicted in zip(described.items(), valid):
            result = compare(predicted, "valid", number)
            correlations[number] = result.correlation
            record("candidate", number, description, "valid", result)
        best = choose(correlations)
        if best is None:
            return scores, []
        for row in scores:
            row["chosen"] = row["kind"] == "candidate" and row["candidate"] == best
        nulls = self._nulls(layer, neuron, sign)
        chosen, *others = self._simulate([described[best], *nulls], sequences["test"])
        on_valid = valid[list(described).index(best)]
        fit = linear_fit(np.concatenate(on_valid), np.concatenate(truth["valid"]))
        record(
            "candidate",
            best,
            described[best],
            "test",
            compare(chosen, "test", best, fit=fit),
        )
        scores[-1]["chosen"] = True
        for number, (description, predicted) in enumerate(zip(nulls, others)):
            record(
                "null",
                -1,
                description,
                "test",
                compare(predicted, "test", "null", number),
            )
        simulations = [
            {
                **who,
                "candidate": best,
                "split": split,
                "kind": q.kind,
                "rank": q.rank,
                "seq_id": q.seq_id,
            }
            | {"activations": q.activations.tolist(), "simulated": predicted.tolist()}
            for split, simulated in (("valid", on_valid), ("test", chosen))
            for q, predicted in zip(sequences[split], simulated)
        ]
        return scores, simulations

    def _simulate(self, descriptions: list[str], sequences: list[Sequence]) -> list[Sequences]:
        tasks = [Task(d, q.text) for d in descriptions for q in sequences]
        predicted = [np.array(p) for p in self.simulator.simulate(tasks)]
        n = len(sequences)
        return [predicted[i * n : (i + 1) * n] for i in range(len(descriptions))]

    def _nulls(self, layer: int, neuron: int, sign: str) -> list[str]:
        random = generator(self.seed, "null", layer, neuron, sign)
        return [self.nulls[i] for i in random.permutation(len(self.nulls))[: self.settings["nulls"]]]


def _columns(result: Match) -> dict[str, Any]:
    values = {
        "correlation": result.correlation,
        "correlation_low": result.low,
        "correlation_high": result.high,
        "published_score": result.published_score,
        "r2": result.r2,
        "abs_dev_explained": result.abs_dev_explained,
    }
    numbers = {name: value if np.isfinite(value) else None for name, value in values.items()}
    return numbers | {"n_sequences": result.n_sequences, "n_tokens": result.n_tokens}


def read_null_descriptions(path: str, wanted: int) -> list[str]:
    """The file's descriptions. Raises ValueError where they are fewer than wanted."""
    try:
        found = yaml.safe_load(Path(path).read_text())["descriptions"]
    except (yaml.YAMLError, TypeError, KeyError):
        found = None
    if not isinstance(found, list) or not all(isinstance(d, str) for d in found) or len(found) < wanted:
        raise ValueError(f"{path} is not a list of at least {wanted} texts under `descriptions`")
    return found


def score_chunk(
    neurons: list[int],
    layer: int,
    corpus: dict[str, str],
    exemplars: str,
    descriptions: str,
    null_descriptions: str,
    simulator_folder: str,
    simulator: dict[str, Any],
    prompt: str | None,
    settings: dict[str, Any],
    seed: int,
    threads: int,
    scores: str,
    simulations: str,
) -> None:
    """Score a chunk's descriptions and write its two tables. settings: the config's `scores`, the rest of it."""
    nulls = read_null_descriptions(null_descriptions, settings["nulls"])
    candidates: dict[tuple[int, str], list[dict]] = {}
    for row in read_table(descriptions, DESCRIPTIONS, [("neuron", "in", neurons)]).to_pylist():
        candidates.setdefault((row["neuron"], row["sign"]), []).append(row)
    evidence = Evidence(exemplars, corpus, neurons)
    train = corpus_facts(corpus["train"])
    loaded = load_simulator(simulator, simulator_folder, prompt, train.tokenizer, threads)
    scorer = Scorer(loaded, simulator["model"], evidence, nulls, settings, train.sequences, seed)
    todo: Iterator[tuple[int, str]] = ((neuron, sign) for neuron in neurons for sign in SIGNS)
    score_rows, simulation_rows = [], []
    for neuron, sign in progress(todo, len(neurons) * len(SIGNS), "neuron signs"):
        found = scorer.score(layer, neuron, sign, candidates[neuron, sign])
        score_rows += found[0]
        simulation_rows += found[1]
    write_table(pa.Table.from_pylist(simulation_rows, schema=SIMULATIONS), simulations)
    write_table(pa.Table.from_pylist(score_rows, schema=SCORES), scores)
