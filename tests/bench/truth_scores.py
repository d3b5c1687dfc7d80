"""Of `make truth`: whether intervals cover, and how descriptions are corrupted."""

from functools import cached_property
from typing import Any

import numpy as np

from conftest import ROOT

LISTS = str(ROOT / "config/concepts/lists.yaml")
ON_PANEL = ("score", "gain", "sequence_auc", "discrimination")
DRAWS = 8  # samples drawn for each description, behind the coverage


def frequencies(texts: list[list[str]]) -> dict[str, int]:
    """How often each word of letters occurs, in lower case."""
    counts: dict[str, int] = {}
    for tokens in texts:
        for word in "".join(tokens).split():
            counts[word.lower()] = counts.get(word.lower(), 0) + 1
    return {word: n for word, n in sorted(counts.items()) if word.isalpha()}


def replaced(words: tuple[str, ...], share: float, frequency: dict[str, int], rarest: bool = False) -> list[str]:
    """The words, a share of them replaced: the most frequent first, or the rarest, each by the unused word that is as
    frequent."""
    order = sorted(words, key=lambda word: (-frequency.get(word, 0), word), reverse=rarest)
    kept, used = order[round(share * len(order)) :], set(words)
    for word in order[: round(share * len(order))]:
        times = frequency.get(word, 0)
        other = min((abs(n - times), w) for w, n in frequency.items() if w not in used)[1]
        used.add(other)
        kept.append(other)
    return kept


def strings_of(planting: Any) -> dict[tuple[int, ...], list[str]]:
    """Ids of the evidence of each sequence of all splits -> its tokens."""
    from neuron_descriptions.common.storage import read_table
    from neuron_descriptions.corpus.tables import CORPUS

    return {
        tuple(row["input_ids"][row["prefix_len"] :]): tokens
        for split, texts in planting.strings.items()
        for row, tokens in zip(read_table(planting.paths[split], CORPUS).to_pylist(), texts)
    }


class Executed:
    """A simulator whose predictions are those of lists of concepts: exact, and at no cost."""

    tokens = shared_tokens = 0

    def __init__(self, lists: dict[str, Any], reader: Any, strings: dict[tuple[int, ...], list[str]]):
        """lists: description -> list of concepts; strings: ids of a sequence's evidence -> its tokens."""
        self.lists, self.reader, self.strings = lists, reader, strings
        self.held: dict[tuple[int, ...], list] = {}

    def simulate(self, tasks: list[Any]) -> list[list[float]]:
        """See Simulator."""
        found = []
        for task in tasks:
            ids = tuple(task.text.evidence)
            if ids not in self.held:
                self.held[ids] = self.reader.held(self.strings[ids])
            found.append(self.lists[task.description].predict_held(self.held[ids]).tolist())
        return found


class OnPanel:
    """Scores on text as it comes of lists of concepts, executed, as the workflow makes them of a simulator's."""

    def __init__(self, planting: Any, reader: Any):
        from neuron_descriptions.config.scores import Scores
        from neuron_descriptions.panel.reading import Panel

        self.settings = Scores(simulator=None)
        panels = (
            Panel(planting.paths[p], [planting.paths[f"{p}_acts"]], planting.subject) for p in ("panel", "panel_test")
        )
        self.fit, self.test = panels
        strings = {tuple(text.evidence): tokens for text, tokens in zip(self.test.sequences, self.test.strings)}
        self.executed = Executed({}, reader, strings)

    def scorer(self, seed: int) -> Any:
        """The workflow's scorer, with its own default sample; seed: of the draw."""
        from neuron_descriptions.scores.natural import NaturalScorer

        return NaturalScorer(self.executed, (self.fit, self.test), self.settings, seed)

    @cached_property
    def own(self) -> Any:
        """That of a run."""
        return self.scorer(0)

    def predicted(self, description: str) -> np.ndarray:
        """Predictions at every token."""
        return np.concatenate(self.executed.simulate([_Task(description, text) for text in self.test.sequences]))

    def exact(self, number: int, name: str) -> float | None:
        """The direct score over the whole of it, for a feature, of the list of concepts of that name."""
        from neuron_descriptions.common.signs import one_side
        from neuron_descriptions.scores.concepts import direct_score

        return direct_score(self.predicted(name), one_side(self.test.acts(0, [number])[0].astype(float), "positive"))

    def scores(self, number: int, name: str) -> dict[str, float | None]:
        """Scores on the panel, for a feature, of the list of concepts of that name."""
        figures, _ = self.own.score(0, number, "positive", name)
        return {figure: figures[figure] for figure in ON_PANEL}


def coverage(planting: Any, said: dict[int, Any], reader: Any, draws: int = DRAWS) -> dict[str, float]:
    """How often the interval of a score on text as it comes holds the exact one over the whole test split: each
    description, executed, is scored `draws` times by the workflow's own default sample. said: feature -> list of
    concepts. Left out: lists that never fire on that split, which have no score."""
    panel = OnPanel(planting, reader)
    panel.executed.lists |= {str(number): found for number, found in said.items()}
    held, wide, errors, exact = [], [], [], {}
    for number in said:
        if np.ptp(panel.predicted(str(number))) > 0:
            exact[number] = panel.exact(number, str(number))
    for seed in range(draws):
        scorer = panel.scorer(seed)
        for number, true in exact.items():
            figures, _ = scorer.score(0, number, "positive", str(number))
            score, low, high = (figures[name] for name in ("score", "score_low", "score_high"))
            if None not in (score, low, high) and true is not None:
                held.append((number, low <= true <= high))
                wide.append((high - low) / 2)
                errors.append(score - true)
    # Draws of one feature are alike: the figure's own error is that of features.
    by_feature = [np.mean([h for n, h in held if n == number]) for number in exact if any(n == number for n, _ in held)]
    return {
        "interval_coverage": float(np.mean([h for _, h in held])),
        "interval_coverage_error": float(np.std(by_feature, ddof=1) / len(by_feature) ** 0.5),
        "interval_half_width": float(np.mean(wide)),
        "interval_bias": float(np.mean(errors)),
        "interval_draws": len(held),
    }


class _Task:
    def __init__(self, description: str, text: Any):
        self.description, self.text = description, text
