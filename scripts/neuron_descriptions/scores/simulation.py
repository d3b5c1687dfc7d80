"""Scores of a chunk: simulate the candidates and the nulls on valid, the chosen one and the nulls on test, compare."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.sides import by_side
from neuron_descriptions.common.storage import read_table, read_tables, write_table
from neuron_descriptions.common.streams import generator
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS, TAILS, quantile_column
from neuron_descriptions.corpus.reading import Text, corpus_facts, read_texts
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS
from neuron_descriptions.scores.chance import Nulls
from neuron_descriptions.scores.formulas import (
    FIRST,
    GROWTH,
    Array,
    Match,
    Sequences,
    TokenBaseline,
    choose,
    finite,
    linear_fit,
    match,
    still_racing,
)
from neuron_descriptions.scores.predictions import NoPredictions, Predictions, kept_predictions
from neuron_descriptions.scores.sampling import Bootstrap, Sample
from neuron_descriptions.scores.tables import SCORES, SCREENED, SIMULATIONS
from neuron_descriptions.simulators.opening import Job, load_simulator
from neuron_descriptions.simulators.simulating import Simulator, Task

KINDS = ("top", "middle", "random")
Tables = Mapping[str, str | list[str]]  # split -> corpus table, or those of several imported parts


@dataclass(slots=True, frozen=True)
class Sequence:
    """A stored sequence of a neuron and sign."""

    kind: str
    rank: int
    seq_id: int
    text: Text
    activations: Array  # signed, of the evidence tokens


class Evidence:
    """Exemplars of some neurons of a layer, joined with their corpus rows, and their statistics."""

    def __init__(self, exemplars: list[str], statistics: list[str], corpus: Tables, neurons: list[int]):
        """corpus: of the splits that are asked for."""
        only: list[tuple[str, str, object]] = [("neuron", "in", neurons)]
        rows = read_tables(exemplars, EXEMPLARS, [*only, ("split", "in", [*corpus])]).to_pylist()
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
        train = [*only, ("split", "=", "train")]
        self._train = {row["neuron"]: row for row in read_tables(statistics, STATISTICS, train).to_pylist()}

    def get(self, split: str, neuron: int, sign: str, kind: str) -> list[Sequence]:
        """Sequences by rank."""
        return sorted(self._sequences.get((split, neuron, sign, kind), []), key=lambda s: s.rank)

    def scored(self, split: str, neuron: int, sign: str, top: int, middle: int, random: int) -> list[Sequence]:
        """The sequences that a score is made on, each once: the first of the top ones, as many of the middle, spread
        over its range, and of the random ones."""
        chosen = self.get(split, neuron, sign, "top")[:top]
        for kind, count in (("middle", middle), ("random", random)):
            seen = {sequence.seq_id for sequence in chosen}
            others = [s for s in self.get(split, neuron, sign, kind) if s.seq_id not in seen]
            if kind == "random":
                others.sort(key=lambda s: s.seq_id)  # ranks are by peak: by seq_id is by chance
            elif len(others) > count:
                others = [others[int((i + 0.5) * len(others) / count)] for i in range(count)]
            chosen += others[:count]
        return chosen

    def active(self, neuron: int, sign: str) -> float:
        """Activation on this side from which a token counts as active: beyond it lies the loosest tail of the train
        tokens whose quantile is kept, 1 in 10,000; infinite where that is not on this side of zero, or not known, as of
        imported exemplars."""
        bound = self._train[neuron][quantile_column(TAILS[-1], sign)]  # type: ignore[arg-type]
        size = 0.0 if bound is None else bound if sign == "positive" else -bound
        return size if size > 0 else float("inf")

    def token_baseline(self, neuron: int, sign: str, n_train: int) -> TokenBaseline:
        """The baseline from what train holds of a neuron and sign. Sequences of the middle are left out: they stand
        for no known number of others."""
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
        nulls: Nulls,
        settings: dict[str, Any],
        sizes: Mapping[str, int],
        seed: int,
        kept: Predictions | None = None,
    ):
        """name: of the simulator; settings: the config's `scores`; sizes: sequences of each split; kept: predictions of
        an earlier run of the same part."""
        self.simulator, self.name, self.evidence, self.nulls = simulator, name, evidence, nulls
        self.settings, self.sizes, self.seed = settings, sizes, seed
        self.kept = kept or NoPredictions()

    def score(
        self, layer: int, neuron: int, sign: str, candidates: list[dict], screened: Iterable[dict] = ()
    ) -> tuple[list[dict], list[dict]]:
        """(rows of SCORES, rows of SIMULATIONS). candidates: rows of DESCRIPTIONS; screened: of SCREENED."""
        who = {"layer": layer, "neuron": neuron, "sign": sign}
        counts = {kind: self.settings[kind] for kind in KINDS}
        sequences = {split: self.evidence.scored(split, neuron, sign, **counts) for split in ("valid", "test")}
        every = self.settings.get("every", False)
        out = {row["candidate"]: row for row in screened if not row["kept"]}
        described = {
            c["candidate"]: c["description"] for c in candidates if c["status"] == "ok" and c["candidate"] not in out
        }
        texts = list(dict.fromkeys(described.values()))
        race_from = self.settings["race_from"]
        race = race_from is not None and len(texts) >= race_from and not every
        if race:  # the most telling first
            sequences["valid"].sort(key=lambda q: -float((one_side(q.activations, sign) ** 2).sum()))
        truth = {s: [one_side(q.activations, sign) for q in found] for s, found in sequences.items()}
        active = self.evidence.active(neuron, sign)
        rows: list[dict] = []

        def record(kind: str, number: int, text: str | None, split: str, predicted: Sequences, *what, **more) -> Match:
            """Compare predictions of the first of a split's sequences with the truth, and keep the row."""
            random = generator(self.seed, "bootstrap", layer, neuron, sign, split, *what)
            shown = sequences[split][: len(predicted)]
            result = match(
                predicted, truth[split][: len(predicted)],
                Bootstrap(self.settings["bootstrap"], self.settings["confidence"], random),
                more.pop("fit", None), active, [s.kind != "middle" for s in shown],
                [KINDS.index(s.kind) for s in shown], whole_of(shown, self.sizes[split]),
            )  # fmt: skip
            row = {**who, "candidate": number, "kind": kind, "description": text, "origin": None, "split": split}
            row["simulator"] = self.name if kind != "token_baseline" else None
            numbers = {f"n_{kind}": sum(s.kind == kind for s in shown) for kind in KINDS}
            rows.append(row | _columns(result) | numbers | {"chosen": False} | more)
            return result

        def fit(predicted: Sequences) -> Any:
            return linear_fit(np.concatenate(predicted), np.concatenate(truth["valid"]))

        baseline = self.evidence.token_baseline(neuron, sign, self.sizes["train"])
        expected = {s: [baseline.predict(q.text.evidence) for q in sequences[s]] for s in ("valid", "test")}
        record("token_baseline", -2, None, "valid", expected["valid"], "baseline")
        record("token_baseline", -2, None, "test", expected["test"], "baseline", fit=fit(expected["valid"]))
        for number, found_out in out.items():
            row = dict.fromkeys(SCORES.names) | who | {"candidate": number, "kind": "candidate", "split": "valid"}
            rows.append(row | {name: found_out[name] for name in ("description", "simulator")} | {"chosen": False})
        if not described:
            return rows, []
        nulls = self.nulls.draw(layer, neuron, sign)
        others = [null.description for null in nulls]
        n_valid = len(sequences["valid"])
        null_valid = self._simulate(others, sequences["valid"], (neuron, sign, "null", "valid"))
        valid = self._search(texts, sequences["valid"], truth["valid"], race, (neuron, sign, "candidate", "valid"))
        found = {
            number: record("candidate", number, text, "valid", valid[text], number)
            for number, text in described.items()
        }
        finalists = {number: result for number, result in found.items() if len(valid[described[number]]) == n_valid}
        best = choose({number: result.correlation for number, result in finalists.items()})
        if best is None:
            return rows, []
        # The published code would choose this one, and report it.
        published = choose({number: result.published_score for number, result in finalists.items()})
        reported = list(described) if every else [n for n in dict.fromkeys([best, published]) if n is not None]
        # Apart: how tokens are batched decides how they are rounded, and a neuron alone has other nulls.
        final = [described[number] for number in reported]
        test = self._simulate(final, sequences["test"], (neuron, sign, "candidate", "test"))
        null_test = self._simulate(others, sequences["test"], (neuron, sign, "null", "test"))
        for number in reported:
            text = described[number]
            record("candidate", number, text, "test", test[text], number, fit=fit(valid[text]))
        for row in rows:
            row["chosen"] = row["kind"] == "candidate" and row["candidate"] == best
        for number, (null, text) in enumerate(zip(nulls, others)):
            for split, predicted in (("valid", null_valid[text]), ("test", null_test[text])):
                line = fit(null_valid[text]) if split == "test" else None
                record("null", -1, text, split, predicted, "null", number, fit=line, origin=null.origin)
        simulations = [
            {**who, "candidate": best, "split": split, "kind": q.kind, "rank": q.rank, "seq_id": q.seq_id}
            | {"activations": q.activations.tolist(), "simulated": predicted.tolist()}
            for split, simulated in (("valid", valid), ("test", test))
            for q, predicted in zip(sequences[split], simulated[described[best]])
        ]
        return rows, simulations

    def _search(
        self, texts: list[str], sequences: list[Sequence], truth: Sequences, race: bool, where: tuple
    ) -> dict[str, Sequences]:
        """Description -> predictions of the first sequences: of all of them for those that could still be best.

        race: all are simulated on a few sequences, those that may still win on more, and so on."""
        found: dict[str, Sequences] = {text: [] for text in texts}
        kept, done, upto = texts, 0, min(FIRST, len(sequences)) if race else len(sequences)
        while True:
            for text, predicted in self._simulate(kept, sequences[done:upto], where).items():
                found[text] = found[text] + predicted
            if upto == len(sequences):
                return found
            racing = still_racing([found[text] for text in kept], truth[:upto], len(sequences))
            kept = [text for text, stays in zip(kept, racing) if stays]
            done, upto = upto, min(ceil(GROWTH * upto), len(sequences))

    def _simulate(self, descriptions: list[str], sequences: list[Sequence], where: tuple) -> dict[str, Sequences]:
        """Description -> predictions; each one simulated once, however many candidates say the same. where: neuron,
        sign and purpose, for those that are kept."""
        distinct = list(dict.fromkeys(descriptions))
        tasks = [Task(d, q.text) for d in distinct for q in sequences]
        predicted = self.kept.simulate(self.simulator, tasks, where)
        n = len(sequences)
        return {d: predicted[i * n : (i + 1) * n] for i, d in enumerate(distinct)}


def whole_of(shown: list[Sequence], size: int) -> Sample:
    """What scored sequences stand for in a split of `size` sequences: the first of the top ones for themselves, random
    ones for all the others, those of the middle for no known number, so for none."""
    kinds = [KINDS.index(sequence.kind) for sequence in shown]
    top = kinds.count(KINDS.index("top"))
    return Sample(np.array(kinds, np.int64), np.array([top, 0.0, size - top]))


def split_sizes(corpus: Tables) -> dict[str, int]:
    """Sequences of each split."""
    first = {split: path if isinstance(path, str) else path[0] for split, path in corpus.items()}
    return {split: corpus_facts(path).sequences for split, path in first.items()}


def _columns(result: Match) -> dict[str, Any]:
    values = {
        "correlation": result.correlation,
        "correlation_low": result.low,
        "correlation_high": result.high,
        "natural": result.natural.value,
        "natural_low": result.natural.low,
        "natural_high": result.natural.high,
        "spearman": result.spearman,
        "average_precision": result.average_precision,
        "published_score": result.published_score,
        "r2": result.r2,
        "abs_dev_explained": result.abs_dev_explained,
    }
    numbers = {name: finite(value) for name, value in values.items()}
    return numbers | {"n_sequences": result.n_sequences, "n_tokens": result.n_tokens}


def score_chunk(
    neurons: list[int],
    layer: int,
    tables: dict[str, Any],
    simulator: Job,
    settings: dict[str, Any],
    seed: int,
    outputs: dict[str, str],
    kept: dict[str, Any],
) -> None:
    """Score a chunk's descriptions and write its two tables.

    tables: train, valid and test (the corpus, or that of the parts), exemplars and statistics (lists of files that hold
    the neurons), descriptions, screened, where they were, nulls (file), and pool, where there is one; settings: the
    config's `scores`, the rest of it; outputs: scores and simulations; kept: `path` of predictions that outlive the
    job, and `made_by`, what they depend on beyond the simulator.
    """
    others = Nulls(tables.get("pool") or None, tables["nulls"], settings["nulls"], seed)
    only: list[tuple[str, str, object]] = [("neuron", "in", neurons)]
    candidates = by_side(read_table(tables["descriptions"], DESCRIPTIONS, only))
    screened = by_side(read_table(tables["screened"], SCREENED, only)) if tables.get("screened") else {}
    corpus: Tables = {str(split): tables[split] for split in SPLITS}
    evidence = Evidence(tables["exemplars"], tables["statistics"], corpus, neurons)
    loaded, predictions = load_simulator(simulator), kept_predictions(kept, simulator)
    scorer = Scorer(
        loaded, simulator.settings["model"], evidence, others, settings, split_sizes(corpus), seed, predictions
    )
    places = [(neuron, sign) for neuron in neurons for sign in SIGNS if (neuron, sign) in candidates]
    score_rows, simulation_rows = [], []
    for neuron, sign in progress(iter(places), len(places), "neuron signs"):
        found = scorer.score(layer, neuron, sign, candidates[neuron, sign], screened.get((neuron, sign), ()))
        score_rows += found[0]
        simulation_rows += found[1]
    logger.info("%d tokens simulated, and %d of what they share", loaded.tokens, loaded.shared_tokens)
    write_table(pa.Table.from_pylist(simulation_rows, schema=SIMULATIONS), outputs["simulations"])
    write_table(pa.Table.from_pylist(score_rows, schema=SCORES), outputs["scores"])
