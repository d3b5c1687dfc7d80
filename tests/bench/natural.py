"""Scores on text as it comes: the workflow's own estimates, from some sequences of the panel, against the exact value
on all of it, by kind of prediction. Nothing is simulated: the predictions are known everywhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executed import LAYER, Rows, demo_rows, said, vocabulary
from neuron_descriptions.common.streams import generator
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.formulas import correlation
from neuron_descriptions.scores.natural import NaturalScorer

REPEATS, RESAMPLES = 2, 300
DRAWN = (48, 96, 10)  # sequences: the default's, twice as many, and those of `make table`, which has fewer certain ones
FEWER = {10: {"certain": 5, "likely": 3}}
STRONGEST, WRONG, RARE = 5, 5, 20  # tokens that are named; of no reason; occurrences of these at most
Predicted = NDArray[np.float64]


class Known:
    """A simulator whose predictions of the whole panel are given."""

    tokens = shared_tokens = 0

    def __init__(self, panel: Any):
        self.place = {tuple(text.input_ids): i for i, text in enumerate(panel.sequences)}
        self.ends = np.cumsum(panel.lengths)[:-1]
        self.predicted_S: list[Predicted] = []

    def give(self, predicted_N: Predicted) -> None:
        """What is predicted from now on."""
        self.predicted_S = np.split(predicted_N, self.ends)

    def simulate(self, tasks: list[Any]) -> list[list[float]]:
        """See Simulator."""
        return [self.predicted_S[self.place[tuple(task.text.input_ids)]].tolist() for task in tasks]


def predictions(rows: Rows, seed: int = 0) -> Iterator[tuple[str, dict[str, Any], str, Predicted]]:
    """(kind, row, description, predictions at each token of panel_test) for both signs of all neurons.

    lists: of concepts, executed; look-ups: of tokens; few: the strongest tokens, named; noisy: these, each at a random
    strength, and weak predictions at a tenth of all tokens; wrong: these, and as many rare tokens that are named too;
    bursts: ten tokens, at six of ten occurrences, and three per cent of the sequences for no reason.
    """
    fit, test, reader = rows.panel("panel"), rows.panel("panel_test"), vocabulary()
    held = [predicates for tokens in test.strings for predicates in reader.held(tokens)]
    size = 1 + int(max(fit.ids_N.max(), test.ids_N.max()))
    seen_V, there_V = np.bincount(fit.ids_N, minlength=size), np.bincount(test.ids_N, minlength=size)
    string = dict(zip(test.ids_N.tolist(), (token for tokens in test.strings for token in tokens)))
    string |= dict(zip(fit.ids_N.tolist(), (token for tokens in fit.strings for token in tokens)))
    n, ids = test.tokens, test.ids_N
    for row in rows.scores():
        random = generator(seed, "predictions", row["neuron"], row["sign"])
        true_N = rows.true(fit, row)
        mean_V = np.bincount(fit.ids_N, true_N, size) / (seen_V + 1)
        order_V = np.argsort(-mean_V, kind="stable")
        named = order_V[:STRONGEST]
        few_V, ten_V = np.zeros(size), np.zeros(size)
        few_V[named], ten_V[order_V[:10]] = 10, np.linspace(10, 2, 10)
        others = random.permutation(np.flatnonzero((there_V > 0) & (there_V <= RARE)))[:WRONG]
        wrong_V = few_V.copy()
        wrong_V[others] = 10

        def of(tokens: NDArray[np.int64]) -> str:
            return ", ".join(string[int(token)].strip() for token in tokens)

        if found := said(row):
            yield "lists", row, row["sentence"], found.predict_held(held)
        yield "look-ups", row, "", (mean_V + true_N.mean() / (seen_V + 1))[ids]
        yield "few", row, of(named), few_V[ids]
        weak_N = random.exponential(0.5, n) * (random.random(n) < 0.1)
        yield "noisy", row, of(named), few_V[ids] * random.random(n) + weak_N
        yield "wrong", row, of(np.concatenate([named, others])), wrong_V[ids]
        bursting_N = (random.random(len(test.sequences)) < 0.03)[test.sequence_N] * (random.random(n) < 0.3)
        yield "bursts", row, of(order_V[:10]), ten_V[ids] * (random.random(n) < 0.6) + 6 * bursting_N


def measure(scratch: Path) -> dict[str, float]:
    """Bias, error, width and coverage of the workflow's estimates on panel_test, by kind of prediction."""
    return estimates(demo_rows(scratch))


def estimates(rows: Rows, drawn: tuple[int, ...] = DRAWN) -> dict[str, float]:
    """The figures; drawn: `scores.natural.sequences`."""
    panels = rows.panel("panel"), rows.panel("panel_test")
    known = Known(panels[1])
    scorers = {}
    for count in drawn:
        natural = {"sequences": count} | FEWER.get(count, {})
        settings = restored(Scores, {"natural": natural, "bootstrap": RESAMPLES}, simulator={"model": "known"})
        scorers[count] = [NaturalScorer(known, panels, settings, seed) for seed in range(REPEATS)]
    found: dict[tuple[str, int], list[tuple]] = {}
    for kind, row, description, predicted_N in predictions(rows):
        exact = correlation(predicted_N, rows.true(panels[1], row))
        if not np.isfinite(exact):
            continue
        known.give(predicted_N)
        for count, of_seeds in scorers.items():
            for seed, scorer in enumerate(of_seeds):
                # In a run all rows share one draw; here each has its own: one unlucky draw is not in all of them.
                scorer.order_S = generator(seed, "draw", row["neuron"], row["sign"]).permutation(len(scorer.order_S))
                figures, _ = scorer.score(LAYER, row["neuron"], row["sign"], description)
                ends = [figures[name] for name in ("score", "score_low", "score_high")]
                found.setdefault((kind, count), []).append((*(np.nan if e is None else e for e in ends), exact,
                                                            figures["n_sequences"]))  # fmt: skip
    return {
        f"{kind}_{count}_{name}": value
        for (kind, count), values in sorted(found.items())
        for name, value in summary(np.array(values, float)).items()
    }


def summary(values: NDArray[np.float64]) -> dict[str, float]:
    """Figures of estimates: rows of value, low, high, exact value and sequences."""
    value, low, high, exact, sequences = values.T
    error, known = value - exact, np.isfinite(low)
    return {
        "neuron_signs": len(values) // REPEATS,
        "sequences": float(sequences.mean()),
        "bias": float(np.nanmean(error)),
        "root_mean_square_error": float(np.sqrt(np.nanmean(error**2))),
        "half_width": float(np.median((high - low)[known] / 2)),
        "half_width_90": float(np.quantile((high - low)[known] / 2, 0.9)),
        "coverage": float(((low <= exact) & (exact <= high))[known].mean()),
        "exact_above": float((exact > high)[known].mean()),
        "exact_below": float((exact < low)[known].mean()),
        "without_an_interval": float((~known).mean()),
    }
