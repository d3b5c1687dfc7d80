"""Of `make truth`: how every score that the workflow ships falls as true descriptions are corrupted step by step.

Each score is made by the workflow's own class. What a model does there (simulate, judge, write texts) is done by the
description itself, executed: so a score that does not fall here is at fault, and not its model.

F features, S steps of corruption, K texts, T tokens of a sequence.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

import truth_scores
from conftest import ROOT

STEPS = 5  # of corruption: none of a rule's words to all of them replaced
CONFIDENCE = 0.95
# Of all that a score falls by, the part that a step's rise may have for it to count as monotone.
TOLERATED = 0.1
POSITIVE = "positive"
# What a score is by chance, where that is not 0: what is undefined counts as that.
CHANCE = {
    "sequence_auc": 0.5, "discrimination": 50.0, "detection_balanced_accuracy": 0.5, "detection_auc": 0.5,
    "detection_average_precision": 0.5, "fuzzing_balanced_accuracy": 0.5, "fuzzing_average_precision": 0.5,
    "fuzzing_auc": 0.5, "simulated_average_precision": 0.5, "simulated_auc": 0.5,
    "simulated_fuzzing_average_precision": 0.5, "simulated_fuzzing_auc": 0.5,
    "generated_auc": 0.5, "generated_purity": 0.5,
}  # fmt: skip
OF_SIMULATION = ("spearman", "average_precision", "published_score", "r2", "abs_dev_explained")
OF_JUDGES = ("average_precision", "auc", "balanced_accuracy", "f1")
OF_ORDER = ("average_precision", "auc")
OF_TEXTS = ("auc", "responsiveness", "purity")

Falls = dict[str, NDArray[np.float64]]  # score -> (F, S)


# --- corruption --------------------------------------------------------------------------------------


def corruptions(planting: Any) -> dict[int, list[list[list[str]]]]:
    """Of each feature that names four words or more, by number and step, its words as they are replaced, a quarter at a
    time, by others that are as frequent: the most frequent first, and the rarest first."""
    frequency = truth_scores.frequencies(planting.strings["test"])
    shares = [step / (STEPS - 1) for step in range(STEPS)]
    return {
        number: [
            [truth_scores.replaced(feature.words, s, frequency, rarest) for rarest in (False, True)] for s in shares
        ]
        for number, feature in planting.features.items()
        if len(feature.words) >= STEPS - 1
    }


def told(words: list[str]) -> Any:
    """A description that names some words, as a list of concepts."""
    from neuron_descriptions.concepts.execution import ConceptList
    from neuron_descriptions.concepts.predicates import Predicate
    from neuron_descriptions.concepts.wording import Part

    return ConceptList(tuple(Part(Predicate("word", word)) for word in words))


def corrupted(planting: Any, steps: dict[int, list[list[list[str]]]]) -> Falls:
    """Every score of the features' descriptions at each step of corruption, the mean of what the orders give; NaN
    throughout of a feature that a score is not defined for, whatever its description says."""
    shipped = Shipped(planting, {number: of_feature[0][0] for number, of_feature in steps.items()})
    found: dict[int, list[list[dict[str, float | None]]]] = {}
    for number, of_feature in steps.items():
        # The true words are the same in either order.
        distinct = [list({frozenset(words): words for words in of_step}.values()) for of_step in of_feature]
        found[number] = [[shipped.scores(number, told(words)) for words in of_step] for of_step in distinct]
    falls = {
        name: np.array([_known(name, [[one[name] for one in of_step] for of_step in f]) for f in found.values()])
        for name in next(iter(found.values()))[0][0]
    }
    return {name: values for name, values in falls.items() if not np.isnan(values).all()}


def _known(name: str, values: list[list[float | None]]) -> list[float]:
    """The mean of each step's values."""
    finite = [[value is not None and np.isfinite(value) for value in of_step] for of_step in values]
    none = CHANCE.get(name, 0.0) if any(map(any, finite)) else float("nan")
    return [
        float(np.mean([value if known else none for value, known in zip(of_step, of_finite)]))
        for of_step, of_finite in zip(values, finite)
    ]


# --- what the figures are ----------------------------------------------------------------------------


class Fall(NamedTuple):
    """How a score falls: features that it is defined for; mean rank correlation, over these, with what is left of the
    true description; its mean at each step; what it falls by in all, and at least; the most that it may rise by from
    one step to the next; and steps at which it is shown to fall. Bounds are of 95 % confidence, those of the steps
    together."""

    features: int
    spearman: float
    means: list[float]
    whole: float
    least: float
    rise: float
    falling: int

    @property
    def monotone(self) -> bool:
        """Whether it is shown to fall in all, and at no step to rise by more than is tolerated: a score that varies too
        much to tell is not."""
        return self.least > 0 and self.rise <= TOLERATED * self.whole


def fall(values_S: Any) -> float:
    """Rank correlation of a score with what is left of the true description; 0 of one that does not change."""
    from neuron_descriptions.scores.formulas import spearman

    found = spearman(np.arange(len(values_S))[::-1], values_S)
    return found if np.isfinite(found) else 0.0


def fallen(values_FS: NDArray[np.float64]) -> Fall:
    """How a score falls over several features. Bounds: Student's t, over features, one-sided; those of the steps each
    at a share of what may be wrong (Bonferroni)."""
    values_FS = values_FS[~np.isnan(values_FS).any(1)]
    F, steps = len(values_FS), values_FS.shape[1] - 1
    highest_S = _bound(np.diff(values_FS, axis=1), 1 - (1 - CONFIDENCE) / steps)
    whole_F1 = values_FS[:, :1] - values_FS[:, -1:]
    return Fall(
        features=F,
        spearman=float(np.mean([fall(v) for v in values_FS])),
        means=values_FS.mean(0).tolist(),
        whole=float(whole_F1.mean()),
        least=-float(_bound(-whole_F1, CONFIDENCE)[0]),
        rise=float(highest_S.max()),
        falling=int((highest_S < 0).sum()),
    )


def _bound(changes_FS: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
    """Upper bounds of the mean changes, (S,); infinite of a single feature."""
    F = len(changes_FS)
    if F < 2:
        return np.full(changes_FS.shape[1], np.inf)
    return changes_FS.mean(0) + changes_FS.std(0, ddof=1) / F**0.5 * stats.t.ppf(confidence, F - 1)


def figures(falls: Falls) -> dict[str, float]:
    """What the bench keeps."""
    found = {name: fallen(values) for name, values in falls.items()}
    kept: dict[str, float] = {f"monotone_spearman_{name}": one.spearman for name, one in found.items()}
    kept["corrupted_features"] = len(next(iter(falls.values()), ()))
    kept["scores"] = len(found)
    kept["scores_monotone"] = sum(one.monotone for one in found.values())
    return kept | {"least_monotone_spearman": min((one.spearman for one in found.values()), default=float("nan"))}


def table(falls: Falls) -> list[str]:
    """Lines of the report: each score, those that fall best first."""
    found = sorted(((name, fallen(values)) for name, values in falls.items()), key=lambda one: -one[1].spearman)
    heads = "score", "features", "Spearman", "mean at each step", "falls by, at least", "rises by at most", "falling"
    lines = [f"| {' | '.join(heads)} | monotone |", "|" + " --- |" * (len(heads) + 1)]
    for name, one in found:
        means = ", ".join(f"{mean:.3g}" for mean in one.means)
        part = f"{max(one.rise, 0) / one.whole:.1%}" if one.whole > 0 else "–"
        falls_by = f"{one.whole:.2g}, {one.least:.2g} | {part} | {one.falling} of {len(one.means) - 1}"
        said = "yes" if one.monotone else "no"
        lines.append(f"| {name} | {one.features} | {one.spearman:.2f} | {means} | {falls_by} | {said} |")
    return lines


# --- the scores --------------------------------------------------------------------------------------


class ExecutedJudge:
    """Says yes as far as a list of concepts, executed, predicts something: anywhere in a passage, or at its marks."""

    def __init__(self, lists: Mapping[str, Any]):
        self.lists = lists
        # Passage -> what is true of its tokens (see Reader.held), and its marks.
        self.shown: dict[str, tuple[list[Any], NDArray[np.bool_] | None]] = {}

    def judge(self, questions: list[Any], group: int) -> list[list[float]]:
        """See Judge."""
        return [[self._chance(self.lists[q.description], *self.shown[p]) for p in q.passages] for q in questions]

    def _chance(self, description: Any, held: list[Any], marks_T: NDArray[np.bool_] | None) -> float:
        predicted_T = description.predict_held(held)
        return float(predicted_T.max(initial=0.0) if marks_T is None else predicted_T[marks_T].mean())


class ExecutedWriter:
    """Its texts are sequences of panels: those in which a list of concepts fires fit, others do not."""

    def __init__(self, panels: Sequence[Any], reader: Any, texts: int, fewest: int):
        from neuron_descriptions.scores.generated_tables import fingerprint

        self.panels, self.texts, self.fewest = panels, texts, fewest
        tokens = [of_sequence for panel in panels for of_sequence in panel.strings]
        self.held = [reader.held(of_sequence) for of_sequence in tokens]
        self.said = ["".join(of_sequence) for of_sequence in tokens]
        self.numbers = [fingerprint(text) for text in self.said]

    def row(self, number: int, name: str, description: Any) -> dict[str, Any]:
        """A row of GENERATED."""
        from neuron_descriptions.common.streams import generator

        found: dict[bool, list[str]] = {True: [], False: []}
        for i in generator(0, "texts", number).permutation(len(self.held)):
            kind = bool(description.predict_held(self.held[i]).max(initial=0.0) > 0)
            if len(found[kind]) < self.texts:
                found[kind].append(self.said[i])
            elif min(map(len, found.values())) == self.texts:
                break
        status = "ok" if min(map(len, found.values())) >= self.fewest else "few_texts"
        who = {"layer": 0, "neuron": number, "sign": POSITIVE, "description": name, "status": status}
        return who | {"fits": found[True], "others": found[False]}

    def peaks(self, number: int) -> dict[str, Any]:
        """A row of PEAKS, on all texts there are."""
        starts = [np.concatenate([[0], panel.lengths.cumsum()[:-1]]) for panel in self.panels]
        acts = [panel.acts(0, [number])[0] for panel in self.panels]
        ends = {
            name: np.concatenate([end.reduceat(a, first) for a, first in zip(acts, starts)]).tolist()
            for name, end in (("highest", np.maximum), ("lowest", np.minimum))
        }
        return {"layer": 0, "neuron": number, "text": self.numbers, **ends}


class Shipped:
    """Every score of the workflow, by its own classes, of descriptions that are executed."""

    def __init__(self, planting: Any, true: dict[int, list[str]]):
        """true: words of the features that are described, by number."""
        from neuron_descriptions.concepts.predicates import Reader
        from neuron_descriptions.concepts.vocabulary import read_vocabulary
        from neuron_descriptions.config.explainers import TransformersExplainer
        from neuron_descriptions.config.scorers import Detection, Fuzzing, Generated
        from neuron_descriptions.config.scores import Scores
        from neuron_descriptions.models.loading import load_tokenizer
        from neuron_descriptions.scores.chance import Nulls
        from neuron_descriptions.scores.detection import DetectionScorer
        from neuron_descriptions.scores.evidence import Evidence, split_sizes
        from neuron_descriptions.scores.fuzzing import FuzzingScorer
        from neuron_descriptions.scores.passages import Passages
        from neuron_descriptions.scores.simulation import Scorer

        paths, self.planting = planting.paths, planting
        self.reader = Reader(read_vocabulary(truth_scores.LISTS))
        self.panel = truth_scores.OnPanel(planting, self.reader)
        self.panel.executed.strings |= truth_scores.strings_of(planting)
        self.lists = self.panel.executed.lists
        self.settings = Scores(simulator=None, nulls=0, bootstrap=20, **planting.numbers)
        corpus = {split: paths[split] for split in ("train", "valid", "test")}
        self.evidence = Evidence(paths["exemplars"], paths["statistics"], corpus, list(true))
        nulls = Nulls(None, str(ROOT / "config/null-descriptions.yaml"), 0, 0)
        self.simulation = Scorer(
            self.panel.executed, "executed", self.evidence, nulls, self.settings, split_sizes(corpus), 0
        )  # fmt: skip
        asked = TransformersExplainer(model="executed")
        self.judge, self.judged = ExecutedJudge(self.lists), {}
        self.held = cache(lambda seq_id: self.reader.held(planting.strings["test"][seq_id]))
        for name, kind, section in (
            ("detection", DetectionScorer, Detection(kind="detection", judge=asked)),
            ("fuzzing", FuzzingScorer, Fuzzing(kind="fuzzing", judge=asked)),
        ):
            counts = {name: getattr(section, name, 0) for name in ("positives", "random", "close", "panel")}
            passages = Passages(self.evidence, counts | {"top": planting.numbers["top"], "middle": 0}, 0, 0)
            tokenizer = load_tokenizer(planting.subject)
            self.judged[name] = kind(self._job(name, section), self.judge, passages, nulls, tokenizer)
        section = Generated(kind="generated", writer=asked)
        self.written = self._job("generated", section)
        self.writer = ExecutedWriter((self.panel.fit, self.panel.test), self.reader, section.texts, section.fewest)
        self.others = [self.writer.row(number, str(number), told(words)) for number, words in true.items()]

    def _job(self, name: str, section: Any) -> Any:
        from neuron_descriptions.scores.opening import Job

        return Job(name, section, self.settings, (), 0, {}, "", name, "", 0, 1)

    def scores(self, number: int, description: Any) -> dict[str, float | None]:
        """All scores of a list of concepts for the positive side of a feature."""
        from neuron_descriptions.scores.opening import Described

        self.lists["it"] = description
        candidate = {"candidate": 0, "status": "ok", "description": "it"}
        described = Described(0, number, POSITIVE, [candidate], 0)
        return (
            self.panel.scores(number, "it")
            | self._simulated(described)
            | {"direct_score": self.panel.exact(number, "it")}
            | self._judged(described)
            | self._generated(described, description)
        )

    def _simulated(self, described: Any) -> dict[str, float | None]:
        """Scores of the simulation, and what is read from its predictions. The contrast score by predictions that are
        executed is the direct one too."""
        from neuron_descriptions.config.scorers import SimulatedFuzzing
        from neuron_descriptions.scores.simulated_detection import SimulatedDetectionScorer
        from neuron_descriptions.scores.simulated_fuzzing import SimulatedFuzzingScorer
        from neuron_descriptions.scores.tables import SIMULATIONS

        rows, simulations = self.simulation.score(0, described.neuron, POSITIVE, described.candidates)
        by_split = {row["split"]: row for row in rows if row["kind"] == "candidate"}
        test, valid = (by_split.get(split, {}) for split in ("test", "valid"))
        kept = pa.Table.from_pylist([s for s in simulations if s["split"] == "test"], schema=SIMULATIONS)
        detected = SimulatedDetectionScorer(self._job("simulated", None), kept).score(described)
        marks = self._job("marks", SimulatedFuzzing(kind="simulated_fuzzing"))
        fuzzed = SimulatedFuzzingScorer(marks, kept).score(described)
        nothing = self._of_nothing(described.neuron) if not test else {}
        return {
            "score_contrast": test.get("correlation"),
            "selection_score": valid.get("correlation"),
            **{name: test.get(name, nothing.get(name)) for name in OF_SIMULATION},
            **{f"simulated_{name}": detected.get(name) for name in OF_ORDER},
            **{f"simulated_fuzzing_{name}": fuzzed.get(name) for name in OF_ORDER},
        }

    def _of_nothing(self, number: int) -> dict[str, float]:
        """What a fit to predictions that do not vary gets: it says the mean of valid."""
        from neuron_descriptions.scores.formulas import abs_dev_explained, r2

        sequences = (
            self.evidence.scored(split, number, POSITIVE, **self.planting.numbers) for split in ("valid", "test")
        )
        valid, test = (np.concatenate([q.one_side(POSITIVE) for q in found]) for found in sequences)
        mean = np.full(len(test), valid.mean())
        return {"r2": r2(mean, test), "abs_dev_explained": abs_dev_explained(mean, test)}

    def _judged(self, described: Any) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for name, scorer in self.judged.items():
            for passage in scorer.draw("test", described.neuron, POSITIVE):
                marks_T = getattr(passage, "marks_T", None)
                self.judge.shown[scorer.shown(passage)] = self.held(passage.seq_id), marks_T
            row = scorer.score(described)
            found |= {f"{name}_{figure}": row.get(figure) for figure in OF_JUDGES}
        return found

    def _generated(self, described: Any, description: Any) -> dict[str, float | None]:
        from neuron_descriptions.scores.generated import GeneratedScorer

        own, peaks = self.writer.row(described.neuron, "it", description), self.writer.peaks(described.neuron)
        others = [row for row in self.others if row["status"] == "ok"]
        row = GeneratedScorer(self.written, [own], others, [peaks]).score(described)
        return {f"generated_{figure}": row.get(figure) for figure in OF_TEXTS}
