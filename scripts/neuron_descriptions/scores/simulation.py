"""Scores of a chunk: simulate the candidates and the nulls on valid, the chosen one and the nulls on test, compare."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.sides import by_side
from neuron_descriptions.common.storage import Row, read_table, write_table
from neuron_descriptions.common.streams import generator
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.exemplars import KINDS, Exemplar
from neuron_descriptions.scores.chance import Nulls
from neuron_descriptions.scores.evidence import Corpus, Evidence, split_sizes
from neuron_descriptions.scores.formulas import (
    FIRST,
    GROWTH,
    Match,
    Sequences,
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


class Scorer:
    """Scores the candidates of one neuron and sign after another; nothing carries over between them."""

    def __init__(
        self,
        simulator: Simulator,
        name: str,
        evidence: Evidence,
        nulls: Nulls,
        settings: Scores,
        sizes: Mapping[str, int],
        seed: int,
        kept: Predictions | None = None,
    ):
        """name: of the simulator; sizes: sequences of each split; kept: predictions of
        an earlier run of the same part."""
        self.simulator, self.name, self.evidence, self.nulls = simulator, name, evidence, nulls
        self.settings, self.sizes, self.seed = settings, sizes, seed
        self.kept = kept or NoPredictions()

    def score(
        self,
        layer: int,
        neuron: int,
        sign: str,
        candidates: list[Row],
        screened: Iterable[Row] = (),
        every: bool = False,
    ) -> tuple[list[Row], list[Row]]:
        """(rows of SCORES, rows of SIMULATIONS); none where valid or test keep no sequence of this side.
        Nulls of a lone candidate have no row of valid.

        candidates: rows of DESCRIPTIONS; screened: of SCREENED; every: score all of them on test, after a full search.
        """
        who = {"layer": layer, "neuron": neuron, "sign": sign}
        counts = {kind: getattr(self.settings, kind) for kind in KINDS}
        sequences = {split: self.evidence.scored(split, neuron, sign, **counts) for split in ("valid", "test")}
        if not all(sequences.values()):  # a latent has no negative side, and may not fire in a split
            return [], []
        out = {row["candidate"]: row for row in screened if not row["kept"]}
        described = {
            c["candidate"]: c["description"] for c in candidates if c["status"] == "ok" and c["candidate"] not in out
        }
        texts = list(dict.fromkeys(described.values()))
        race_from = self.settings.race_from
        race = race_from is not None and len(texts) >= race_from and not every
        if race:  # the most telling first
            sequences["valid"].sort(key=lambda q: -float((q.one_side(sign) ** 2).sum()))
        truth = {s: [q.one_side(sign) for q in found] for s, found in sequences.items()}
        active = self.evidence.active(neuron, sign)
        rows: list[Row] = []

        def record(
            kind: str, number: int, text: str | None, split: str, predicted: Sequences, *what: object, **more: Any
        ) -> Match:
            """Compare predictions of the first of a split's sequences with the truth, and keep the row."""
            random = generator(self.seed, "bootstrap", layer, neuron, sign, split, *what)
            shown = sequences[split][: len(predicted)]
            result = match(
                predicted, truth[split][: len(predicted)],
                Bootstrap(self.settings.bootstrap, self.settings.confidence, random),
                more.pop("fit", None), active, [s.kind != "middle" for s in shown],
                [KINDS.index(s.kind) for s in shown], whole_of(shown, self.sizes[split]),
            )  # fmt: skip
            row = {**who, "candidate": number, "kind": kind, "description": text, "split": split}
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
        # Nulls are chosen on valid as the candidate was: where that was one of one, there is nothing to choose.
        chosen_nulls = others if len(candidates) > 1 else []
        null_valid = self._simulate(chosen_nulls, sequences["valid"], (neuron, sign, "null", "valid"))
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
            line = fit(null_valid[text]) if chosen_nulls else None
            about = {"origin": null.origin, "null_kind": null.kind}
            if chosen_nulls:
                record("null", -1, text, "valid", null_valid[text], "null", number, **about)
            record("null", -1, text, "test", null_test[text], "null", number, fit=line, **about)
        simulations = [
            {**who, "candidate": best, "split": split, "kind": q.kind, "rank": q.rank, "seq_id": q.seq_id}
            | {"activations": q.activations.tolist(), "simulated": predicted.tolist()}
            for split, simulated in (("valid", valid), ("test", test))
            for q, predicted in zip(sequences[split], simulated[described[best]])
        ]
        return rows, simulations

    def _search(
        self, texts: list[str], sequences: list[Exemplar], truth: Sequences, race: bool, where: tuple[object, ...]
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

    def _simulate(
        self, descriptions: list[str], sequences: list[Exemplar], where: tuple[object, ...]
    ) -> dict[str, Sequences]:
        """Description -> predictions; each one simulated once, however many candidates say the same. where: neuron,
        sign and purpose, for those that are kept."""
        distinct = list(dict.fromkeys(descriptions))
        tasks = [Task(d, q.text) for d in distinct for q in sequences]
        predicted = self.kept.simulate(self.simulator, tasks, where)
        n = len(sequences)
        return {d: predicted[i * n : (i + 1) * n] for i, d in enumerate(distinct)}


def whole_of(shown: list[Exemplar], size: int) -> Sample:
    """What scored sequences stand for in a split of `size` sequences: the first of the top ones for themselves, random
    ones for all the others, those of the middle for no known number, so for none."""
    kinds = [KINDS.index(sequence.kind) for sequence in shown]
    top = kinds.count(KINDS.index("top"))
    return Sample(np.array(kinds, np.int64), np.array([top, 0.0, size - top]))


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


@dataclass(slots=True, frozen=True)
class Chunk:
    """Neurons of a layer that a job scores."""

    layer: int
    neurons: list[int]
    seed: int
    every: bool = False
    """Whether all candidates are scored on test, as descriptions from elsewhere are."""


def score_chunk(
    chunk: Chunk, tables: dict[str, Any], simulator: Job, settings: Scores, outputs: dict[str, str],
    kept: dict[str, str],
) -> None:  # fmt: skip
    """Score a chunk's descriptions and write its two tables.

    tables: train, valid and test (the corpus, or that of the parts), exemplars and statistics (lists of files that hold
    the neurons), descriptions, screened, where they were, nulls (file), and pool, where there is one; outputs: scores
    and simulations; kept: `path` of predictions that outlive the job, and `made_by`, what they depend on beyond the
    simulator.
    """
    others = Nulls(tables.get("pool") or None, tables["nulls"], settings.nulls, chunk.seed)
    only: list[tuple[str, str, object]] = [("neuron", "in", chunk.neurons)]
    candidates = by_side(read_table(tables["descriptions"], DESCRIPTIONS, only))
    screened = by_side(read_table(tables["screened"], SCREENED, only)) if tables.get("screened") else {}
    corpus: Corpus = {str(split): tables[split] for split in SPLITS}
    evidence = Evidence(tables["exemplars"], tables["statistics"], corpus, chunk.neurons)
    loaded, predictions = load_simulator(simulator), kept_predictions(kept, simulator)
    name, sizes = simulator.settings.model, split_sizes(corpus)
    scorer = Scorer(loaded, name, evidence, others, settings, sizes, chunk.seed, predictions)
    places = [(neuron, sign) for neuron in chunk.neurons for sign in SIGNS if (neuron, sign) in candidates]
    score_rows, simulation_rows = [], []
    for place in progress(iter(places), len(places), "neuron signs"):
        found = scorer.score(chunk.layer, *place, candidates[place], screened.get(place, ()), chunk.every)
        score_rows += found[0]
        simulation_rows += found[1]
    logger.info("%d tokens simulated, and %d of what they share", loaded.tokens, loaded.shared_tokens)
    write_table(pa.Table.from_pylist(simulation_rows, schema=SIMULATIONS), outputs["simulations"])
    write_table(pa.Table.from_pylist(score_rows, schema=SCORES), outputs["scores"])
