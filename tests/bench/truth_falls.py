"""Of `make truth`: how every score that the workflow ships falls as true descriptions are corrupted step by step.

Each score is made by the workflow's own class. What a model does there (simulate, judge, write texts) is done by the
description itself, executed: so a score that does not fall here is at fault, and not its model.

F features, S steps of corruption, K texts, T tokens of a sequence.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

import truth_scores
from conftest import ROOT

STEPS = 5  # of corruption: none of a rule's words to all of them replaced
NUMBERS = {"top": 10, "middle": 0, "random": 10}
CONFIDENCE = 0.95
POSITIVE = "positive"
# What a score is by chance, where that is not 0: what is undefined counts as that.
CHANCE = {
    "sequence_auc": 0.5, "discrimination": 50.0, "detection_balanced_accuracy": 0.5,
    "detection_average_precision": 0.5, "fuzzing_balanced_accuracy": 0.5, "fuzzing_average_precision": 0.5,
    "simulated_average_precision": 0.5, "simulated_fuzzing_average_precision": 0.5,
    "generated_auc": 0.5, "generated_purity": 0.5,
}  # fmt: skip
OF_SIMULATION = ("spearman", "average_precision", "published_score", "r2", "abs_dev_explained")
OF_JUDGES = ("average_precision", "balanced_accuracy", "f1")
OF_TEXTS = ("auc", "responsiveness", "purity")

Falls = dict[str, NDArray[np.float64]]  # score -> (F, S)


# --- corruption --------------------------------------------------------------------------------------


def corruptions(planting: Any) -> dict[int, list[list[str]]]:
    """Of each feature that names four words or more, by number, its words as they are replaced, a quarter at a time, by
    others that are as frequent."""
    frequency = truth_scores.frequencies(planting.strings["test"])
    return {
        number: [truth_scores.replaced(feature.words, step / (STEPS - 1), frequency) for step in range(STEPS)]
        for number, feature in enumerate(planting.features)
        if len(feature.words) >= STEPS - 1
    }


def told(words: list[str]) -> Any:
    """A description that names some words, as a list of concepts."""
    from neuron_descriptions.concepts.execution import ConceptList
    from neuron_descriptions.concepts.predicates import Predicate
    from neuron_descriptions.concepts.wording import Part

    return ConceptList(tuple(Part(Predicate("word", word)) for word in words))


def corrupted(planting: Any, steps: dict[int, list[list[str]]], subject: str) -> Falls:
    """Every score of the features' descriptions at each step of corruption; NaN throughout of a feature that a score is
    not defined for, whatever its description says."""
    shipped = Shipped(planting, subject, steps)
    found = [[shipped.scores(number, told(words)) for words in of_feature] for number, of_feature in steps.items()]
    falls = {
        name: np.array([_known(name, [one[name] for one in of_feature]) for of_feature in found])
        for name in found[0][0]
    }  # fmt: skip
    return {name: values for name, values in falls.items() if not np.isnan(values).all()}


def _known(name: str, values: list[float | None]) -> list[float]:
    known = [value for value in values if value is not None and np.isfinite(value)]
    none = CHANCE.get(name, 0.0) if known else float("nan")
    return [none if value is None or not np.isfinite(value) else float(value) for value in values]


# --- what the figures are ----------------------------------------------------------------------------


class Fall(NamedTuple):
    """How a score falls: features that it is defined for; mean rank correlation, over these, with what is left of the
    true description; its mean at each step; the change from one step to the next that comes nearest to a rise, with its
    interval; and whether the mean never rises by more than its interval."""

    features: int
    spearman: float
    means: list[float]
    rise: float
    low: float
    high: float

    @property
    def monotone(self) -> bool:
        """Whether no rise is shown."""
        return self.low <= 0


def fall(values_S: Any) -> float:
    """Rank correlation of a score with what is left of the true description; 0 of one that does not change."""
    from neuron_descriptions.scores.formulas import spearman

    found = spearman(np.arange(len(values_S))[::-1], values_S)
    return found if np.isfinite(found) else 0.0


def fallen(values_FS: NDArray[np.float64]) -> Fall:
    """How a score falls over several features. Intervals of rises: Student's t, over features."""
    values_FS = values_FS[~np.isnan(values_FS).any(1)]
    rises = np.diff(values_FS, axis=1)
    mean, F = rises.mean(0), len(rises)
    error = rises.std(0, ddof=1) / F**0.5 if F > 1 else np.full(len(mean), np.inf)
    half = error * stats.t.ppf((1 + CONFIDENCE) / 2, max(F - 1, 1))
    worst = int(np.argmax(mean - half)) if np.isfinite(half).all() else int(np.argmax(mean))
    low, high = (float(mean[worst] + sign * half[worst]) for sign in (-1, 1))
    rank = float(np.mean([fall(v) for v in values_FS]))
    return Fall(F, rank, values_FS.mean(0).tolist(), float(mean[worst]), low, high)


def figures(falls: Falls) -> dict[str, float]:
    """What the bench keeps."""
    found = {name: fallen(values) for name, values in falls.items()}
    kept: dict[str, float] = {f"monotone_spearman_{name}": one.spearman for name, one in found.items()}
    kept["corrupted_features"] = len(next(iter(falls.values()), ()))
    kept["scores_that_rise"] = sum(not one.monotone for one in found.values())
    return kept | {"least_monotone_spearman": min((one.spearman for one in found.values()), default=float("nan"))}


def table(falls: Falls) -> list[str]:
    """Lines of the report: each score, those that fall best first."""
    found = sorted(((name, fallen(values)) for name, values in falls.items()), key=lambda one: -one[1].spearman)
    lines = ["| score | features | Spearman | mean at each step | nearest to a rise | monotone |", "|" + " --- |" * 6]
    for name, one in found:
        means = ", ".join(f"{mean:.3g}" for mean in one.means)
        rise = f"{one.rise:.2g} [{one.low:.2g}, {one.high:.2g}]"
        lines.append(
            f"| {name} | {one.features} | {one.spearman:.2f} | {means} | {rise} | {'yes' if one.monotone else 'no'} |"
        )
    return lines


# --- the scores --------------------------------------------------------------------------------------


class ExecutedJudge:
    """Says yes as far as a list of concepts, executed, predicts something: anywhere in a passage, or at its marks."""

    def __init__(self, lists: Mapping[str, Any], reader: Any):
        self.lists, self.reader = lists, reader
        self.shown: dict[str, tuple[list[str], NDArray[np.bool_] | None]] = {}

    def judge(self, questions: list[Any], group: int) -> list[list[float]]:
        """See Judge."""
        return [[self._chance(self.lists[q.description], *self.shown[p]) for p in q.passages] for q in questions]

    def _chance(self, description: Any, tokens: list[str], marks_T: NDArray[np.bool_] | None) -> float:
        predicted_T = description.predict(tokens, self.reader)
        return float(predicted_T.max(initial=0.0) if marks_T is None else predicted_T[marks_T].mean())


class ExecutedWriter:
    """Its texts are train sequences: those in which a list of concepts fires fit, others do not."""

    def __init__(self, planting: Any, reader: Any, texts: int, fewest: int):
        from neuron_descriptions.scores.generated_tables import fingerprint

        self.acts, self.texts, self.fewest = planting.acts["train"], texts, fewest
        self.held = [reader.held(tokens) for tokens in planting.strings["train"]]
        self.said = ["".join(tokens) for tokens in planting.strings["train"]]
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
        ends = {
            "highest": [float(a.max()) for a in self.acts[number]],
            "lowest": [float(a.min()) for a in self.acts[number]],
        }
        return {"layer": 0, "neuron": number, "text": self.numbers, **ends}


class Shipped:
    """Every score of the workflow, by its own classes, of descriptions that are executed."""

    def __init__(self, planting: Any, subject: str, steps: dict[int, list[list[str]]]):
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
        self.held = [self.reader.held(tokens) for tokens in planting.strings["test"]]
        self.panel = truth_scores.OnPanel(planting, self.reader, subject)
        self.panel.executed.strings |= truth_scores.strings_of(planting)
        self.lists = self.panel.executed.lists
        self.settings = Scores(simulator=None, nulls=0, bootstrap=20, **NUMBERS)
        corpus = {split: paths[split] for split in ("train", "valid", "test")}
        self.evidence = Evidence(paths["exemplars"], paths["statistics"], corpus, list(steps))
        nulls = Nulls(None, str(ROOT / "config/null-descriptions.yaml"), 0, 0)
        self.simulation = Scorer(
            self.panel.executed, "executed", self.evidence, nulls, self.settings, split_sizes(corpus), 0
        )  # fmt: skip
        asked = TransformersExplainer(model="executed")
        self.judge, self.judged = ExecutedJudge(self.lists, self.reader), {}
        for name, kind, section in (
            ("detection", DetectionScorer, Detection(kind="detection", judge=asked)),
            ("fuzzing", FuzzingScorer, Fuzzing(kind="fuzzing", judge=asked)),
        ):
            counts = {name: getattr(section, name, 0) for name in ("positives", "random", "close", "panel")}
            passages = Passages(self.evidence, counts | {"top": NUMBERS["top"], "middle": 0}, 0, 0)
            tokenizer = load_tokenizer(subject)
            self.judged[name] = kind(self._job(name, section), self.judge, passages, nulls, tokenizer)
        section = Generated(kind="generated", writer=asked)
        self.written = self._job("generated", section)
        self.writer = ExecutedWriter(planting, self.reader, section.texts, section.fewest)
        self.others = [self.writer.row(number, str(number), told(words[0])) for number, words in steps.items()]

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
            | self._direct(number, description)
            | self._judged(described)
            | self._generated(described, description)
        )

    def _direct(self, number: int, description: Any) -> dict[str, float | None]:
        from neuron_descriptions.common.signs import one_side
        from neuron_descriptions.scores.concepts import direct_score

        predicted = [description.predict_held(held) for held in self.held]
        true_N = one_side(np.concatenate(self.planting.acts["test"][number]), POSITIVE)
        return {"direct_score": direct_score(np.concatenate(predicted), true_N)}

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
        fuzzed = SimulatedFuzzingScorer(self._job("marks", SimulatedFuzzing(kind="simulated_fuzzing")), kept)
        nothing = self._of_nothing(described.neuron) if not test else {}
        return {
            "score_contrast": test.get("correlation"),
            "selection_score": valid.get("correlation"),
            **{name: test.get(name, nothing.get(name)) for name in OF_SIMULATION},
            "simulated_average_precision": detected.get("average_precision"),
            "simulated_fuzzing_average_precision": fuzzed.score(described).get("average_precision"),
        }

    def _of_nothing(self, number: int) -> dict[str, float]:
        """What a fit to predictions that do not vary gets: it says the mean of valid."""
        from neuron_descriptions.scores.formulas import abs_dev_explained, r2

        sequences = (self.evidence.scored(split, number, POSITIVE, **NUMBERS) for split in ("valid", "test"))
        valid, test = (np.concatenate([q.one_side(POSITIVE) for q in found]) for found in sequences)
        mean = np.full(len(test), valid.mean())
        return {"r2": r2(mean, test), "abs_dev_explained": abs_dev_explained(mean, test)}

    def _judged(self, described: Any) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for name, scorer in self.judged.items():
            for passage in scorer.draw("test", described.neuron, POSITIVE):
                tokens = self.planting.strings["test"][passage.seq_id]
                self.judge.shown[scorer.shown(passage)] = tokens, getattr(passage, "marks_T", None)
            row = scorer.score(described)
            found |= {f"{name}_{figure}": row.get(figure) for figure in OF_JUDGES}
        return found

    def _generated(self, described: Any, description: Any) -> dict[str, float | None]:
        from neuron_descriptions.scores.generated import GeneratedScorer

        own, peaks = self.writer.row(described.neuron, "it", description), self.writer.peaks(described.neuron)
        others = [row for row in self.others if row["status"] == "ok"]
        row = GeneratedScorer(self.written, [own], others, [peaks]).score(described)
        return {f"generated_{figure}": row.get(figure) for figure in OF_TEXTS}
