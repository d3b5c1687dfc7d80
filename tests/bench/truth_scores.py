"""Of `make truth`: whether intervals cover, and how scores that a model makes fall as true descriptions are corrupted.

The trained simulator that is shipped, and detection by the subject itself as the judge: small models, on few sequences,
so that a laptop's processor does it in minutes. T tokens of a sequence, N tokens of the test split.
"""

from typing import Any

import numpy as np

SIMULATOR = "smollm2-135m-simulator"
DRAWS = 4  # samples drawn for each description, behind the coverage
SIMULATED = {"top": 5, "middle": 0, "random": 5}  # sequences that a corrupted description is simulated on
JUDGED, PASSAGES = 8, 5  # features that the judge is asked about; passages of each kind


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
    from neuron_descriptions.config.scores import Scores
    from neuron_descriptions.panel.reading import Panel
    from neuron_descriptions.scores.concepts import direct_score
    from neuron_descriptions.scores.natural import NaturalScorer
    from neuron_descriptions.scores.simulation import one_side

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


def by_simulator(told: dict[int, list[str]], planting: Any, evidence: Any, subject: str, simulator: str) -> dict:
    """Scores of each feature's descriptions, from the true one to the one of which nothing is left, by the simulator's
    predictions: name -> feature -> a value for each description, None where it is undefined."""
    from neuron_descriptions.scores.classification import detected
    from neuron_descriptions.scores.formulas import correlation, finite
    from neuron_descriptions.scores.simulation import one_side
    from neuron_descriptions.simulators.opening import Job, load_simulator
    from neuron_descriptions.simulators.simulating import Task

    loaded = load_simulator(
        Job({"kind": "finetuned", "model": SIMULATOR, "dtype": "bfloat16", "batch_tokens": 8192}, simulator, None,
            subject, 1)
    )  # fmt: skip
    found: dict[str, dict[int, list[float | None]]] = {"simulation": {}, "simulated_detection": {}}
    for number, descriptions in told.items():
        shown = evidence.scored("test", number, "positive", **SIMULATED)
        true = [one_side(q.activations, "positive") for q in shown]
        active = np.array([q.kind != "random" for q in shown])
        values: dict[str, list[float | None]] = {name: [] for name in found}
        for description in descriptions:
            predicted = loaded.simulate([Task(description, q.text) for q in shown])
            values["simulation"].append(finite(correlation(np.concatenate(predicted), np.concatenate(true))))
            peaks = np.array([max(p) for p in predicted])
            values["simulated_detection"].append(finite(detected(peaks, active)["average_precision"]))
        for name in found:
            found[name][number] = values[name]
    return found


def by_judge(told: dict[int, list[str]], passages: Any, strings: Any, subject: str, prompt: str) -> dict:
    """The same for detection by the subject as the judge, of the first JUDGED features. strings: the tokens of each
    test sequence."""
    from neuron_descriptions.models.loading import load_model, load_tokenizer
    from neuron_descriptions.scores.classification import detected
    from neuron_descriptions.scores.formulas import finite
    from neuron_descriptions.scores.judging import LogitJudge
    from neuron_descriptions.scores.questions import Question, read_judge_template

    judge = LogitJudge(
        load_model(subject, "bfloat16", head=True, threads=1), load_tokenizer(subject), read_judge_template(prompt),
        8192,
    )  # fmt: skip
    found: dict[int, list[float | None]] = {}
    for number, descriptions in list(told.items())[:JUDGED]:
        drawn = passages.draw("test", number, "positive")
        active = np.array([p.active for p in drawn])
        shown = tuple("".join(strings[p.seq_id]).strip() for p in drawn)
        answers = judge.judge([Question(d, shown, (number, i)) for i, d in enumerate(descriptions)], number)
        found[number] = [finite(detected(np.array(a, float), active)["average_precision"]) for a in answers]
    return {"detection_by_judge": found}
