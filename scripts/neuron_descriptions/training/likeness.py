"""How like its teacher a student is, and where it is deaf: rows of held-out neurons, and rules of text.

A row is a description of a held-out neuron and sign, applied to a few of its sequences of the valid split; its score is
the correlation of what is predicted there with the real activations. T evidence tokens of a text, N strengths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.common.streams import key
from neuron_descriptions.concepts.rules import held_out, rules_by_group
from neuron_descriptions.concepts.rules_of_text import table
from neuron_descriptions.corpus.reading import Text
from neuron_descriptions.harvest.exemplars import ExemplarStore
from neuron_descriptions.models.loading import token_strings
from neuron_descriptions.scores.formulas import choose, correlation, spearman
from neuron_descriptions.simulators.simulating import OUTPUTS, LogitSimulator, Task
from neuron_descriptions.training.fine_tuning import is_held_out
from neuron_descriptions.training.teaching import Lesson

DEAF = 0.3  # correlation below which a rule counts as not heard
RULES, TEXTS = 16, 3  # rules of a group that it is told at most, and texts of each, which it holds in
# Words that have a grammatical role rather than a meaning: articles, pronouns, prepositions, conjunctions, auxiliaries.
FUNCTION_WORDS = {
    "a", "an", "the", "this", "that", "these", "those", "i", "me", "my", "we", "us", "our", "you", "your", "he",
    "him", "his", "she", "her", "it", "its", "they", "them", "their", "who", "whom", "whose", "which", "what", "of",
    "to", "in", "on", "at", "by", "for", "from", "with", "about", "into", "over", "under", "between", "through",
    "after", "before", "during", "and", "or", "but", "nor", "so", "yet", "if", "because", "as", "than", "while",
    "although", "is", "are", "was", "were", "be", "been", "being", "am", "do", "does", "did", "have", "has", "had",
    "will", "would", "shall", "should", "can", "could", "may", "might", "must", "not", "no", "there", "here",
}  # fmt: skip


@dataclass(slots=True, frozen=True)
class JudgedRow:
    """A description of a held-out feature, with the teacher's lessons on it."""

    lessons: list[Lesson]
    true: list[NDArray[np.float64]]
    """Real activations (T) of each, turned so that strong is large."""
    peak: str
    """Kind of the token where they are strongest."""

    def score(self, predicted: list[NDArray[np.float64]]) -> float:
        """NaN where the predictions do not vary."""
        return correlation(np.concatenate(predicted), np.concatenate(self.true))

    @property
    def teachers(self) -> float:
        """The teacher's."""
        return self.score([lesson.expected for lesson in self.lessons])


class HeldOut:
    """What a student is judged on."""

    def __init__(self, rows: list[JudgedRow]):
        self.rows = rows
        self.teachers = np.array([row.teachers for row in rows])

    @classmethod
    def of(cls, lessons: list[Lesson], exemplars: list[str], corpus: str, tokenizer: Any) -> "HeldOut":
        """lessons: those of the valid split; tokenizer: the subject's. Raises ValueError where a table cannot be
        read."""
        store = ExemplarStore(exemplars, {"valid": corpus}, wanted=is_held_out)
        acts = {(p, e.seq_id): e.turned() for p in store.places() for e in store.of(*p)}
        rows: dict[tuple[Any, int | None], list[Lesson]] = {}
        for lesson in lessons:
            rows.setdefault((lesson.place, lesson.candidate), []).append(lesson)
        found = []
        for (place, _), of in rows.items():
            true = [acts[place, lesson.seq_id] for lesson in of]
            best = max(range(len(of)), key=lambda i, t=true: t[i].max())  # type: ignore[misc]
            tokens = token_strings(tokenizer, of[best].text.evidence)
            found.append(JudgedRow(of, true, kind_of(tokens, int(true[best].argmax()))))
        return cls(found)

    def first(self, features: int) -> "HeldOut":
        """The rows of so many features."""
        places = list(dict.fromkeys(row.lessons[0].place for row in self.rows))[:features]
        return HeldOut([row for row in self.rows if row.lessons[0].place in places])

    def shares(self, simulator: LogitSimulator) -> list[list[NDArray[np.float64]]]:
        """Per row and lesson, what a student says (T, N)."""
        tasks = [Task(lesson.description, lesson.text) for row in self.rows for lesson in row.lessons]
        said = (found.double().numpy() for found in simulator.distributions(tasks))
        return [[next(said) for _ in row.lessons] for row in self.rows]

    def measure(self, simulator: LogitSimulator) -> dict[str, float]:
        """loss: mean over tokens of the divergence of a student's shares from the teacher's, in nats; likeness: mean
        over rows of the correlation of what they expect; own and teachers: mean scores."""
        said = self.shares(simulator)
        tokens, lost, alike, own = 0, 0.0, [], []
        for row, shares in zip(self.rows, said):
            for lesson, q_TN in zip(row.lessons, shares):
                p_TN = lesson.shares.astype(np.float64)
                lost += float((p_TN * np.log(np.maximum(p_TN, 1e-9) / np.maximum(q_TN, 1e-9))).sum())
                tokens += len(p_TN)
            predicted = expected(shares)
            alike.append(correlation(np.concatenate(predicted), np.concatenate([x.expected for x in row.lessons])))
            own.append(row.score(predicted))
        return {
            "loss": lost / tokens,
            "likeness": float(np.mean(np.nan_to_num(alike))),
            "own": float(np.mean(np.nan_to_num(own))),
            "teachers": float(np.mean(np.nan_to_num(self.teachers))),
        }

    def compare(self, simulator: LogitSimulator) -> "Comparison":
        """All rows."""
        own = np.array([row.score(expected(shares)) for row, shares in zip(self.rows, self.shares(simulator))])
        return Comparison(self, own)


@dataclass(slots=True, frozen=True)
class Comparison:
    """A student's scores beside the teacher's, row by row; NaN counts as 0, but chooses nothing."""

    rows: HeldOut
    own: NDArray[np.float64]

    @property
    def rank_correlation(self) -> float:
        """Spearman's, of the rows' scores."""
        return spearman(np.nan_to_num(self.own), np.nan_to_num(self.rows.teachers))

    @property
    def choices(self) -> tuple[int, int]:
        """(features for which both choose the same description, features that have several)."""
        groups: dict[Any, list[int]] = {}
        for i, row in enumerate(self.rows.rows):
            groups.setdefault(row.lessons[0].place, []).append(i)
        several = [group for group in groups.values() if len(group) > 1]
        same = sum(
            choose({i: self.own[i] for i in group}) == choose({i: self.rows.teachers[i] for i in group})
            for group in several
        )
        return same, len(several)

    def by_peak(self) -> list[tuple[str, int, float, float]]:
        """(kind of the strongest token, rows, mean score of the teacher, of the student), the most frequent first."""
        kinds = [row.peak for row in self.rows.rows]
        found = []
        for kind in sorted(set(kinds), key=lambda k: (-kinds.count(k), k)):
            at = [i for i, other in enumerate(kinds) if other == kind]
            means = [float(np.mean(np.nan_to_num(scores[at]))) for scores in (self.rows.teachers, self.own)]
            found.append((kind, len(at), *means))
        return found  # type: ignore[return-value]


def expected(shares: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Strengths (T) that distributions (T, N) expect, per text."""
    return [share_TN @ np.arange(OUTPUTS) for share_TN in shares]


def kind_of(tokens: list[str], at: int) -> str:
    """The kind of a token of a text, for the card."""
    token, before = tokens[at], tokens[at - 1] if at else ""
    word = token.strip()
    if not word:
        return "whitespace"
    if not any(c.isalnum() for c in word):
        return "punctuation or a symbol"
    if any(c.isdigit() for c in word):
        return "a number"
    if token[:1].isalpha() and before[-1:].isalpha():
        return "a piece of a word"
    return "a function word" if word.lower() in FUNCTION_WORDS else "a word"


@dataclass(slots=True, frozen=True)
class Heard:
    """A rule that was not learnt, and how well it is heard."""

    group: str
    rule: str
    value: float
    """Correlation of what a student predicts from it with where it holds."""


def heard_rules(
    simulator: LogitSimulator, rules: str, texts: Mapping[int, Text], tokenizer: Any, seed: int
) -> list[Heard]:
    """Of each group some of the held-out rules that hold in these texts, drawn at random. rules: their file; tokenizer:
    the subject's."""
    seq_ids = sorted(texts)
    tokens = {i: token_strings(tokenizer, texts[i].evidence) for i in seq_ids}
    found = []
    for group, all_rules in rules_by_group(rules).items():
        known = held_out(all_rules)
        holds = table(known, [tokens[i] for i in seq_ids])
        told = [which for which, where in enumerate(holds) if where.any()]
        for which in sorted(told, key=lambda which: key(seed, "told", known[which].say[0]))[:RULES]:
            rule, where = known[which], np.flatnonzero(holds[which])
            chosen = [seq_ids[i] for i in sorted(where, key=lambda i: key(seed, "heard", rule.say[0], int(i)))[:TEXTS]]
            said = simulator.simulate([Task(rule.say[0], texts[i]) for i in chosen])
            truth = np.concatenate([np.array(rule.holds(tokens[i]), float) for i in chosen])
            value = float(np.nan_to_num(correlation(np.concatenate(said), truth)))
            found.append(Heard(group, rule.say[0], value))
    return found


def card(comparison: Comparison, heard: list[Heard], facts: dict[str, Any]) -> str:
    """What a student's README.md says."""
    rows, (same, several) = comparison.rows, comparison.choices
    own, teachers = (float(np.mean(np.nan_to_num(scores))) for scores in (comparison.own, rows.teachers))
    features = len({row.lessons[0].place for row in rows.rows})
    deaf = sorted((one for one in heard if one.value < DEAF), key=lambda one: one.value)
    said = ", ".join(f"{one.rule} ({one.value:.2f})" for one in deaf) or "none"
    return "\n".join(
        [
            f"# Simulator for the neurons of {facts['subject']}, an imitation of {facts['teacher']}",
            "",
            "Predicts, from a description and a text, how strongly a neuron fires at each token, as its teacher does."
            " It reads `## Neuron Description: <description>`, two line breaks, ` ## Input: ` and the text's tokens; at"
            " each of these its first 11 outputs are a distribution over the strengths 0..10. For `scores.simulator`,"
            f" kind `finetuned`; under `models`: `source: adapter`, `base: {facts['base']}`"
            + (f", `layers: {facts['layers']}`." if facts["layers"] else "."),
            "",
            *(f"* {name.replace('_', ' ')}: {value}" for name, value in facts.items()),
            "",
            f"On {len(rows.rows)} rows (descriptions) of {features} held-out neurons and signs, each scored on"
            f" {facts['judged_sequences']} sequences of the valid split: mean score {own:.3f}, the teacher's"
            f" {teachers:.3f}; Spearman correlation of the rows' scores with the teacher's"
            f" {comparison.rank_correlation:.3f}; both choose the same description for {same} of {several} neurons and"
            " signs.",
            "",
            "Mean scores by the token where the neuron is strongest:",
            "",
            "| strongest at | rows | teacher | this |",
            "| --- | --- | --- | --- |",
            *(f"| {kind} | {n} | {theirs:.2f} | {this:.2f} |" for kind, n, theirs, this in comparison.by_peak()),
            "",
            "Where it is deaf: rules of text that it was not taught, told in plain words (correlation with where they"
            f" hold, on {TEXTS} texts of the valid split each; its base may have learnt those of words and forms):",
            "",
            f"| rules of | told | mean | below {DEAF} |",
            "| --- | --- | --- | --- |",
            *(f"| {group} | {n} | {mean:.2f} | {few} |" for group, n, mean, few in by_group(heard)),
            "",
            f"Least heard: {said}.",
            "",
        ]
    )


def by_group(heard: list[Heard]) -> list[tuple[str, int, float, int]]:
    """(group, rules, mean of their values, how many are below DEAF)."""
    groups: dict[str, list[float]] = {}
    for one in heard:
        groups.setdefault(one.group, []).append(one.value)
    return [(group, len(v), float(np.mean(v)), sum(x < DEAF for x in v)) for group, v in groups.items()]
