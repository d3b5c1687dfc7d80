"""Of `make truth`: whether intervals cover, and how descriptions are corrupted."""

from typing import Any

import numpy as np

DRAWS = 4  # samples drawn for each description, behind the coverage


def frequencies(texts: list[list[str]]) -> dict[str, int]:
    """How often each word of letters occurs, in lower case."""
    counts: dict[str, int] = {}
    for tokens in texts:
        for word in "".join(tokens).split():
            counts[word.lower()] = counts.get(word.lower(), 0) + 1
    return {word: n for word, n in sorted(counts.items()) if word.isalpha()}


def replaced(words: tuple[str, ...], share: float, frequency: dict[str, int]) -> list[str]:
    """The words, a share of them replaced: the most frequent first, each by the unused word that is as frequent."""
    order = sorted(words, key=lambda word: (-frequency.get(word, 0), word))
    kept, used = order[round(share * len(order)) :], set(words)
    for word in order[: round(share * len(order))]:
        times = frequency.get(word, 0)
        other = min((abs(n - times), w) for w, n in frequency.items() if w not in used)[1]
        used.add(other)
        kept.append(other)
    return kept


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


def coverage(planting: Any, said: dict[int, Any], reader: Any, subject: str) -> dict[str, float]:
    """How often the interval of a score on text as it comes holds the exact one over the whole test split: each
    description, executed, is scored DRAWS times by the workflow's own default sample. said: feature -> list of
    concepts. Left out: lists that never fire on that split, which have no score."""
    from neuron_descriptions.common.signs import one_side
    from neuron_descriptions.config.scores import Scores
    from neuron_descriptions.panel.reading import Panel
    from neuron_descriptions.scores.concepts import direct_score
    from neuron_descriptions.scores.natural import NaturalScorer

    panels = tuple(Panel(planting.paths[p], [planting.paths[f"{p}_acts"]], subject) for p in ("panel", "panel_test"))
    strings = {tuple(text.evidence): tokens for text, tokens in zip(panels[1].sequences, panels[1].strings)}
    executed = Executed({str(number): found for number, found in said.items()}, reader, strings)
    settings = Scores(simulator=None)
    held, wide, errors, exact = [], [], [], {}
    for number in said:
        true_N = one_side(panels[1].acts(0, [number])[0].astype(float), "positive")
        predicted = executed.simulate([_Task(str(number), text) for text in panels[1].sequences])
        if np.ptp(joined := np.concatenate(predicted)) > 0:
            exact[number] = direct_score(joined, true_N)
    for seed in range(DRAWS):
        scorer = NaturalScorer(executed, panels, settings, seed)  # type: ignore[arg-type]
        for number, true in exact.items():
            figures, _ = scorer.score(0, number, "positive", str(number))
            score, low, high = (figures[name] for name in ("score", "score_low", "score_high"))
            if None not in (score, low, high) and true is not None:
                held.append(low <= true <= high)
                wide.append((high - low) / 2)
                errors.append(score - true)
    return {
        "interval_coverage": float(np.mean(held)),
        "interval_half_width": float(np.mean(wide)),
        "interval_bias": float(np.mean(errors)),
        "interval_draws": len(held),
    }


class _Task:
    def __init__(self, description: str, text: Any):
        self.description, self.text = description, text
