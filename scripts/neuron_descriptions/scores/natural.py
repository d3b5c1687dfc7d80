"""Scores on text as it comes: a chosen description, simulated on sequences of the panel that stand for all of it.

S sequences of panel_test, Q of them simulated, N its tokens.
"""

from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.signs import one_side
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.streams import generator
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.config.scores import Natural, Scores
from neuron_descriptions.panel.lookups import Lookups
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.panel.tables import PANELS
from neuron_descriptions.scores import sampling
from neuron_descriptions.scores.discrimination import Others
from neuron_descriptions.scores.formulas import Sequences, correlation, finite
from neuron_descriptions.scores.predictions import NoPredictions, Predictions, kept_predictions
from neuron_descriptions.scores.sampling import (
    WIDER,
    Array,
    Bootstrap,
    Estimate,
    Rest,
    Sample,
    assisted,
    weighted_auc,
)
from neuron_descriptions.scores.tables import NATURAL, SCORES, SHARED
from neuron_descriptions.scores.unsimulated import Places, Text, unsimulated
from neuron_descriptions.simulators.opening import Job, load_simulator
from neuron_descriptions.simulators.simulating import Simulator, Task

MORE = 1.5  # how much larger a sample gets where its interval is too wide
ACTIVE = 0.9  # quantile of a sequence's mean activation from which it counts as one that the feature is about
SHARE_FROM = 0.1  # look-ups below it are no ceiling to take a share of


def shared_order(sequences: int, seed: int) -> Places:
    """The random order (S,) that sequences of the panel are drawn in, the same for all features: a larger sample holds
    a smaller one."""
    return generator(seed, "panel sequences").permutation(sequences)


def strongest(true_S: Sequences, count: int) -> Places:
    """The sequences with the largest sums of squared activations (of equal ones the first), ascending."""
    energy_S = np.array([float(true @ true) for true in true_S])
    return np.sort(np.argsort(-energy_S, kind="stable")[:count])


def draw(certain_Q: Places, drawn_Q: Places, sequences: int) -> tuple[Places, Sample]:
    """Sequences that stand for a text of so many: the certain ones, then those of `drawn_Q`, a uniform draw, that are
    not among them."""
    rest_Q = drawn_Q[~np.isin(drawn_Q, certain_Q)]
    strata = np.repeat([0, 1], [len(certain_Q), len(rest_Q)])
    population = np.array([len(certain_Q), sequences - len(certain_Q)], float)
    return np.concatenate([certain_Q, rest_Q]), Sample(strata, population)


@dataclass(slots=True)
class Feature:
    """One side of a feature on panel_test."""

    true_S: Sequences
    token_S: Sequences
    bigram_S: Sequences
    predicted: dict[int, Array] = field(default_factory=dict)  # of the simulated sequences

    @property
    def known_VN(self) -> list[Array]:
        """What no simulation is needed for, at all tokens: true activations, and the look-ups."""
        return [np.concatenate(of) for of in (self.true_S, self.token_S, self.bigram_S)]


class NaturalScorer:
    """Scores one chosen description of a layer after another; nothing carries over between them."""

    def __init__(
        self,
        simulator: Simulator,
        panels: tuple[Panel, Panel],
        settings: Scores,
        seed: int,
        kept: Predictions | None = None,
    ):
        """panels: what look-ups are fitted on, what is scored on. Raises ValueError where they are not of the same
        subject, seed and features."""
        self.simulator, self.settings, self.seed = simulator, settings, seed
        self.wanted: Natural = settings.natural or Natural()
        self.fit, self.test = panels
        self.lookups, self.others = Lookups(self.fit, self.test), Others(self.test, seed)
        self.ends = np.cumsum(self.test.lengths)[:-1]
        self.order_S = shared_order(len(self.test.sequences), seed)
        self.text = Text(
            [text.evidence for text in self.test.sequences], self.test.strings if self.test.subject else []
        )
        self.kept = kept or NoPredictions()

    @property
    def shared_Q(self) -> Places:
        """The sequences that all descriptions are simulated on."""
        return self.order_S[: self.wanted.sequences]

    def score(self, layer: int, neuron: int, sign: str, description: str) -> tuple[dict[str, Any], Array]:
        """(figures of NATURAL, predicted activations of the shared sequences' tokens, in their order)."""
        feature = self._feature(layer, neuron, sign)
        self._simulate(feature, description, self.shared_Q, (neuron, sign))
        certain_Q = self._certain(feature, description, (neuron, sign))
        drawn, most = len(self.shared_Q), min(self.wanted.most, len(self.order_S))
        while True:
            places_Q, sample = draw(certain_Q, self.order_S[:drawn], len(self.order_S))
            self._simulate(feature, description, places_Q, (neuron, sign))
            known = unsimulated(self.text, feature.predicted, feature.known_VN, places_Q, sample)
            score = self._estimate(sampling.correlation, known, layer, neuron, sign)
            if self.wanted.precision is None or drawn >= most:
                break
            if np.isfinite(score.value) and score.high - score.low <= 2 * self.wanted.precision:
                break
            drawn = min(ceil(MORE * drawn), most)
        gain = self._estimate(sampling.partial_correlation, known, layer, neuron, sign)
        predicted = [feature.predicted[i] for i in places_Q]
        figures = {
            **_interval("score", score),
            **self._baselines(feature, score.value),
            **_interval("gain", gain),
            "sequence_auc": self._auc(feature, places_Q, sample),
            **self.others.figures(layer, neuron, sign, predicted, places_Q, sample),
            "n_sequences": len(places_Q),
            "n_certain": int(sample.counts_H[0]),
            "n_tokens": sum(map(len, predicted)),
        }
        return figures, np.concatenate([feature.predicted[i] for i in self.shared_Q])

    def _feature(self, layer: int, neuron: int, sign: str) -> Feature:
        fit_N, test_N = (one_side(p.acts(layer, [neuron])[0], sign) for p in (self.fit, self.test))
        found = self.lookups.predictions(fit_N[None].astype(np.float32))
        true, token, bigram = (
            np.split(v.astype(float), self.ends) for v in (test_N, found["token"][0], found["bigram"][0])
        )
        return Feature(true, token, bigram)

    def _certain(self, feature: Feature, description: str, where: tuple[object, ...]) -> Places:
        """The sequences where the feature is strongest, and those where the description will predict most."""
        strongest_Q = strongest(feature.true_S, self.wanted.certain)
        self._simulate(feature, description, strongest_Q, where)
        if not len(strongest_Q) or not self.wanted.likely:
            return strongest_Q
        seen = {int(i): feature.predicted[i] for i in strongest_Q}
        return np.sort(np.concatenate([strongest_Q, self.text.likely(description, seen, self.wanted.likely)]))

    def _simulate(self, feature: Feature, description: str, places_Q: Places, where: tuple[object, ...]) -> None:
        missing = [int(i) for i in places_Q if int(i) not in feature.predicted]
        if missing:
            tasks = [Task(description, self.test.sequences[i]) for i in missing]
            # A call is found again as a whole: how tasks are batched decides how they are rounded.
            predicted = self.kept.simulate(self.simulator, tasks, (*where, "natural", *missing))
            feature.predicted.update(zip(missing, predicted))

    def _estimate(self, statistic: sampling.Statistic, known: tuple[Array, Rest], *who: object) -> Estimate:
        random = generator(self.seed, "natural", *who)
        bootstrap = Bootstrap(self.settings.bootstrap, self.settings.confidence, random)
        return assisted(statistic, *known, bootstrap, WIDER)

    def _baselines(self, feature: Feature, score: float) -> dict[str, float | None]:
        """Of the whole panel_test, exactly."""
        true_N = np.concatenate(feature.true_S)
        found = {
            f"{name}_baseline_score": finite(correlation(np.concatenate(looked_up), true_N))
            for name, looked_up in (("token", feature.token_S), ("bigram", feature.bigram_S))
        }
        best = max((value for value in found.values() if value is not None), default=0.0)
        return found | {"share_of_baseline": finite(score / best) if best >= SHARE_FROM else None}

    def _auc(self, feature: Feature, places_Q: Places, sample: Sample) -> float | None:
        means_S = np.array([true.mean() for true in feature.true_S])
        active_Q = means_S[places_Q] > np.quantile(means_S, ACTIVE)
        predicted_Q = [feature.predicted[i].mean() for i in places_Q]
        return finite(weighted_auc(predicted_Q, active_Q, sample.weights_Q))


def _interval(name: str, found: Estimate) -> dict[str, float | None]:
    return {name: finite(found.value), f"{name}_low": finite(found.low), f"{name}_high": finite(found.high)}


def score_natural(
    neurons: list[int],
    layer: int,
    inputs: dict[str, str],
    simulator: Job,
    settings: Scores,
    seed: int,
    outputs: dict[str, str],
    kept: dict[str, str],
) -> None:
    """Score a chunk's chosen descriptions on the panel and write two tables: NATURAL, and SHARED predictions.

    inputs: scores (table of the chunk), panel and panel_test with panel_acts and panel_test_acts, and the folder
    subject; outputs: scores, shared; kept: as of `simulation.score_chunk`.
    """
    rows = read_table(inputs["scores"], SCORES, [("neuron", "in", neurons), ("kind", "=", "candidate")]).to_pylist()
    panels = tuple(Panel(inputs[p], [inputs[f"{p}_acts"]], inputs["subject"]) for p in PANELS)
    chosen = {(r["neuron"], r["sign"]): r for r in rows if r["chosen"] and r["split"] == "test"}
    tried: dict[tuple[int, str], set[str]] = {}
    for row in rows:
        tried.setdefault((row["neuron"], row["sign"]), set()).add(row["description"])
    loaded, predictions = load_simulator(simulator), kept_predictions(kept, simulator)
    scorer = NaturalScorer(loaded, panels, settings, seed, predictions)  # type: ignore[arg-type]
    places = [(neuron, sign) for neuron in neurons for sign in SIGNS if (neuron, sign) in chosen]
    found, shared = [], []
    for neuron, sign in progress(iter(places), len(places), "neuron signs"):
        row = chosen[neuron, sign]
        who = {name: row[name] for name in ("layer", "neuron", "sign")}
        figures, predicted = scorer.score(layer, neuron, sign, row["description"])
        about = {"description": row["description"], "simulator": simulator.settings.model}
        found.append(who | about | {"n_tried": len(tried[neuron, sign])} | figures)
        shared.append(who | {"description": row["description"], "simulated": predicted})
    logger.info("%d tokens simulated, and %d of what they share", loaded.tokens, loaded.shared_tokens)
    write_table(pa.Table.from_pylist(shared, schema=SHARED), outputs["shared"])
    write_table(pa.Table.from_pylist(found, schema=NATURAL), outputs["scores"])
