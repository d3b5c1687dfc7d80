"""The probe, with simulators that hear all, nothing, or a little of what they are told."""

import json

import numpy as np
import pytest
from scipy import stats

from neuron_descriptions.concepts.rules_of_text import FORMS
from neuron_descriptions.config.scores import Simulator
from neuron_descriptions.corpus.reading import Text
from neuron_descriptions.scores import probing
from neuron_descriptions.simulators.opening import Job

WORDS = (
    "The war of 1812 ended , and in May the NATIONS were re-united ; nothing unlikely happened , they are at peace ."
)


def texts(n: int = 60) -> tuple[list[Text], list[list[str]]]:
    """Sequences of words in another order each; a token is a word, its id its place in WORDS."""
    random, words = np.random.default_rng(0), WORDS.split()
    orders = [random.permutation(len(words)).tolist() for _ in range(n)]
    return [Text("words", order, 0) for order in orders], [[" " + words[i] for i in order] for order in orders]


class Listener:
    """Predicts where the rule holds that it is told, times `hears`, and noise that is the same for all it is told."""

    tokens = 0

    def __init__(self, hears: float):
        self.hears = hears
        self.rules = {rule.say[0]: rule for rule in FORMS}

    def simulate(self, tasks):
        def one(task):
            tokens = [" " + WORDS.split()[i] for i in task.text.evidence]
            noise = np.random.default_rng(task.text.evidence).random(len(tokens))
            return (self.hears * np.array(self.rules[task.description].holds(tokens), float) + noise).tolist()

        return [one(task) for task in tasks]


@pytest.fixture(scope="module")
def trials():
    return probing.draw_trials(list(FORMS), *texts(), seed=0)


def test_true_descriptions_hold_where_they_say_and_wrong_ones_elsewhere(trials):
    rules, words = {rule.say[0]: rule for rule in FORMS}, WORDS.split()
    assert len(trials) == probing.RULES and len({trial.true for trial in trials}) == probing.RULES
    for trial in trials:
        tokens = [[" " + words[i] for i in text.evidence] for text in trial.texts]
        truth = np.concatenate(trial.holds)
        assert truth.tolist() == [bool(x) for row in tokens for x in rules[trial.true].holds(row)]
        assert 0 < truth.sum() < len(truth)
        assert len(set(trial.wrong)) == probing.WRONG and trial.true not in trial.wrong
        for wrong in trial.wrong:
            theirs = np.concatenate([np.array(rules[wrong].holds(row), float) for row in tokens])
            assert not stats.pearsonr(theirs, truth)[0] > probing.APART if theirs.any() else True


def test_a_listener_is_told_from_a_deaf_one(trials):
    heard, deaf, little = (probing.judge(probing.run_trials(Listener(h), trials)) for h in (9.0, 0.0, 0.3))
    assert heard["listens"] and heard["true"] > 0.9 and heard["wrong"] < 0.1
    assert not deaf["listens"] and deaf["difference"] == 0
    assert 0.1 < little["difference"] < heard["difference"]


def test_the_interval_is_students(trials):
    rows = probing.run_trials(Listener(0.3), trials)
    apart = [row["score"] - np.mean([w["score"] for w in row["wrong"]]) for row in rows]
    expected = stats.ttest_1samp(apart, 0).confidence_interval(0.95)
    found = probing.judge(rows)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("setting", "hears"), [("stop", 9.0), ("stop", 0.0), ("warn", 0.0), ("off", 0.0)])
def test_a_deaf_simulator_stops_the_run_unless_told_to_go_on(tmp_path, monkeypatch, setting, hears):
    monkeypatch.setattr(probing, "_texts", lambda *a: texts())
    monkeypatch.setattr(probing, "read_rules", lambda path: list(FORMS))
    monkeypatch.setattr(probing, "load_simulator", lambda *a: Listener(hears))
    said: list[str] = []
    for level in ("info", "warning"):
        monkeypatch.setattr(probing.logger, level, lambda form, *a: said.append(form % a))
    output = tmp_path / "probe.json"
    job = Job(Simulator(model="mine"), "", None, "", 1)

    def run():
        probing.probe(job, "", "", setting, 0, str(output))

    if setting == "stop" and not hears:
        with pytest.raises(ValueError, match=r"scores\.simulator: mine .*train-a-simulator.*`scores\.probe: warn`"):
            run()
        assert not output.exists()
        return
    run()
    found = json.loads(output.read_text())
    assert found["probe"] == setting and found.get("listens") == {"stop": True, "warn": False, "off": None}[setting]
    assert any("does not tell true descriptions" in line for line in said) == (setting == "warn")
    assert any("the simulator listens" in line for line in said) == (setting == "stop")
