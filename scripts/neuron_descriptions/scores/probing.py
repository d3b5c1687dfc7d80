"""A probe before the scoring: does the simulator listen to descriptions at all?

Rules of text, known exactly, take the place of neurons: each is told to the simulator as it is, and in the words of
other rules, on real text. A simulator that predicts the same whatever it is told cannot tell the true descriptions from
the wrong ones, and scores made with it would be worth nothing.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.storage import read_table, whole
from neuron_descriptions.common.streams import generator
from neuron_descriptions.concepts.rules_of_text import Rule, read_rules, table
from neuron_descriptions.corpus.reading import Text
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.models.loading import load_tokenizer, token_strings
from neuron_descriptions.scores.formulas import correlation
from neuron_descriptions.scores.sampling import Array
from neuron_descriptions.simulators.opening import Job, load_simulator
from neuron_descriptions.simulators.simulating import Simulator, Task

RULES, WRONG, SEQUENCES = 12, 2, 2  # rules; other rules' words for each; sequences of each
READ = 400  # sequences of the split that are looked through
RARE, COMMON = 0.02, 0.5  # a rule holds for a share of its sequences' tokens between these
APART = 0.1  # largest correlation of a rule with one whose words are wrong for it


@dataclass(slots=True, frozen=True)
class Trial:
    """A rule on sequences of its own: the true description, wrong ones, and where it holds (0 or 1 per token)."""

    true: str
    wrong: list[str]
    texts: list[Text]
    holds: list[Array]


def draw_trials(rules: list[Rule], texts: list[Text], tokens: list[list[str]], seed: int) -> list[Trial]:
    """At most RULES rules that hold in SEQUENCES of the texts or more, in an order drawn at random, with the words of
    rules that hold elsewhere. tokens: of each text's evidence."""
    some, found = table(rules, tokens), []  # (rules, texts)
    for which in generator(seed, "probe").permutation(len(rules)).tolist():
        draw = generator(seed, "probe", which)
        places = draw.permutation(np.flatnonzero(some[which]))[:SEQUENCES].tolist()
        holds = [np.array(rules[which].holds(tokens[i]), float) for i in places]
        if len(places) < SEQUENCES or not RARE <= np.concatenate(holds).mean() <= COMMON:
            continue
        wrong: list[str] = []
        for other in draw.permutation(len(rules)).tolist():
            if len(wrong) < WRONG and some[other].any():
                theirs = np.concatenate([np.array(rules[other].holds(tokens[i]), float) for i in places])
                r = correlation(theirs, np.concatenate(holds))
                if other != which and not r > APART:  # NaN: it holds nowhere here
                    wrong.append(rules[other].say[0])
        if len(wrong) == WRONG:
            found.append(Trial(rules[which].say[0], wrong, [texts[i] for i in places], holds))
        if len(found) == RULES:
            break
    return found


def run_trials(simulator: Simulator, trials: list[Trial]) -> list[dict[str, Any]]:
    """Per trial: description, score (correlation with where the rule holds; 0 where predictions do not vary), and
    wrong: the same of the wrong ones."""
    rows = []
    for trial in progress(iter(trials), len(trials), "rules"):
        said = [trial.true, *trial.wrong]
        predicted = simulator.simulate([Task(description, text) for description in said for text in trial.texts])
        n, truth = len(trial.texts), np.concatenate(trial.holds)
        scores = [
            float(np.nan_to_num(correlation(np.concatenate(predicted[i * n : (i + 1) * n]), truth)))
            for i in range(len(said))
        ]
        found = [{"description": description, "score": score} for description, score in zip(said, scores)]
        rows.append({**found[0], "wrong": found[1:]})
    return rows


def judge(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over rules of true and wrong descriptions' scores, their difference with its 95 % interval (Student's t,
    over rules), and whether the simulator listens: the interval lies above 0."""
    true = np.array([row["score"] for row in rows])
    wrong = np.array([np.mean([other["score"] for other in row["wrong"]]) for row in rows])
    apart = true - wrong
    half = stdtrit(len(rows) - 1, 0.975) * apart.std(ddof=1) / len(rows) ** 0.5
    low, high = float(apart.mean() - half), float(apart.mean() + half)
    return {
        "n": len(rows),
        "true": float(true.mean()),
        "wrong": float(wrong.mean()),
        "difference": float(apart.mean()),
        "low": low,
        "high": high,
        "listens": low > 0,
    }


def probe(job: Job, corpus: str | list[str], rules: str, setting: str, seed: int, output: str) -> None:
    """Probe the simulator and write what came out as JSON. setting: the config's `scores.probe`.

    job: the simulator's; corpus: table (or tables) whose text is used; rules: file of words that belong together.
    Raises ValueError, where `setting` is "stop", if the simulator does not listen.
    """
    found: dict[str, Any] = {"probe": setting}
    if setting != "off":
        trials = draw_trials(read_rules(rules), *_texts(corpus, job.subject_folder), seed)
        if len(trials) < 4:
            logger.warning("the text is too short for a probe of the simulator: rules of text hardly hold in it")
        else:
            rows = run_trials(load_simulator(job), trials)
            found |= {"simulator": job.settings.model, "kind": job.settings.kind, **judge(rows), "rules": rows}
            _say(found, setting)
    with whole(output) as part:
        part.write_text(json.dumps(found, indent=1) + "\n")


def _texts(corpus: str | list[str], subject: str) -> tuple[list[Text], list[list[str]]]:
    """The first READ sequences, and the tokens of their evidence."""
    path = corpus if isinstance(corpus, str) else corpus[0]
    found = read_table(path, CORPUS, [("seq_id", "<", READ)])
    # Imported sequences have no numbers from 0 on, and parts that are small.
    rows = (found if len(found) else read_table(path, CORPUS).slice(0, READ)).to_pylist()
    texts = [Text(row["source"], row["input_ids"], row["prefix_len"]) for row in rows]
    tokenizer = load_tokenizer(subject)
    return texts, [token_strings(tokenizer, text.evidence) for text in texts]


def _say(found: dict[str, Any], setting: str) -> None:
    """Log what came out. Raises ValueError where the simulator does not listen and setting is "stop"."""
    numbers = (
        f"on {found['n']} rules of text, true descriptions score {found['true']:.2f}, wrong ones {found['wrong']:.2f}"
        f" (difference {found['difference']:.2f} [{found['low']:.2f}, {found['high']:.2f}])"
    )
    if found["listens"]:
        logger.info("the simulator listens: %s", numbers)
        return
    deaf = (
        f"scores.simulator: {found['simulator']} ({found['kind']}) does not tell true descriptions from wrong ones:"
        f" {numbers}. Scores made with it would say nothing about descriptions. Set scores.simulator to one that was"
        " trained for it (kind: finetuned; docs/how-to/train-a-simulator.md) or to a larger model"
    )
    if setting == "stop":
        raise ValueError(f"{deaf}; `scores.probe: warn` scores all the same")
    logger.warning("%s", deaf)
