"""The search over candidates, on a real run's exemplars, with a simulator that follows descriptions to the letter."""

import numpy as np
import pytest

from conftest import ROOT
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.chance import Nulls
from neuron_descriptions.scores.evidence import Evidence
from neuron_descriptions.scores.simulation import Scorer

PLACES = [(layer, neuron, sign) for layer in (1, 3) for neuron in (5, 699) for sign in SIGNS]
SETTINGS = {"top": 10, "middle": 8, "random": 3, "bootstrap": 10, "simulator": None}
SIZES = dict.fromkeys(("train", "valid", "test"), 72)


class Literal:
    """Fires on the tokens that a description lists."""

    def __init__(self):
        self.tokens = 0

    def simulate(self, tasks):
        self.tokens += sum(len(task.text.evidence) for task in tasks)
        return [[10.0 * (f"|{token}|" in task.description) for token in task.text.evidence] for task in tasks]


@pytest.fixture(scope="module")
def evidence(finished):
    """Layer -> exemplars of the finished run."""
    corpus = {split: str(finished.file(f"corpus/{split}.parquet")) for split in SPLITS}
    return {
        layer: Evidence(
            [str(finished.file(f"exemplars/layer-{layer}/chunk-0.parquet"))],
            [str(finished.file(f"exemplars/layer-{layer}/statistics-chunk-0.parquet"))],
            corpus,
            [5, 699],
        )
        for layer in (1, 3)
    }


def candidates(evidence, place, n):
    """Descriptions of growing fidelity in an order drawn by chance: ever more of the tokens that drive the neuron, and
    ever fewer that do not."""
    _, neuron, sign = place
    totals = {}
    for sequence in evidence.get("train", neuron, sign, "top"):
        for token, value in zip(sequence.text.evidence, sequence.one_side(sign)):
            totals.setdefault(token, []).append(value)
    ranked = sorted(totals, key=lambda token: -np.mean(totals[token]))
    random = np.random.default_rng([place[0], neuron, len(sign)])
    texts = []
    for i in range(n):
        good, noise = ranked[: 1 + 4 * i], random.permutation(ranked)[: 4 * (n - i)].tolist()
        texts.append("".join(f"|{token}|" for token in dict.fromkeys([*good, *noise])))
    return [
        {"candidate": i, "description": texts[j], "status": "ok"} for i, j in enumerate(random.permutation(n).tolist())
    ]


def score(evidence, place, rows, **settings):
    """(rows of SCORES, tokens simulated)."""
    simulator = Literal()
    nulls = Nulls(None, str(ROOT / "config/null-descriptions.yaml"), settings.pop("nulls", 0), 0)
    every, wanted = settings.pop("every", False), Scores(**SETTINGS | {"race_from": None} | settings)
    scorer = Scorer(simulator, "literal", evidence, nulls, wanted, SIZES, 0)
    return scorer.score(*place, rows, every=every)[0], simulator.tokens


def on_valid(rows):
    return {r["candidate"]: r for r in rows if r["kind"] == "candidate" and r["split"] == "valid"}


def chosen(rows):
    return {r["candidate"] for r in rows if r["chosen"]}


def test_race_finds_nearly_the_best_for_about_half(evidence):
    """Descriptions that differ little, on few sequences: docs/benchmarks.md has real ones, which take less."""
    lost, spread, seen, whole = [], [], 0, 0
    for place in PLACES:
        texts = candidates(evidence[place[0]], place, 24)
        full, _ = score(evidence[place[0]], place, texts)
        raced, _ = score(evidence[place[0]], place, texts, race_from=24)
        every = {c: r["correlation"] for c, r in on_valid(full).items()}
        (best,), (found,) = chosen(full), chosen(raced)
        assert every[best] == max(every.values())
        lost.append(every[best] - every[found])
        spread.append(every[best] - np.median(list(every.values())))
        seen += sum(r["n_sequences"] for r in on_valid(raced).values())
        whole += sum(r["n_sequences"] for r in on_valid(full).values())
        # Whoever is chosen stands on all sequences, and its score is the full search's.
        assert on_valid(raced)[found]["n_sequences"] == on_valid(full)[found]["n_sequences"] >= 15
        assert on_valid(raced)[found]["correlation"] == pytest.approx(every[found])
    assert seen < 0.55 * whole
    assert np.mean(lost) < 0.1 * np.mean(spread)


def test_few_candidates_do_not_race(evidence):
    texts = candidates(evidence[1], PLACES[0], 8)
    full, raced = (on_valid(score(evidence[1], PLACES[0], texts, race_from=n)[0]) for n in (None, 9))
    assert full == raced


def test_race_never_loses_a_candidate_that_stands_out(evidence):
    for place in PLACES:
        rows = candidates(evidence[place[0]], place, 8)
        good = max(rows, key=lambda row: row["description"].count("|"))["candidate"]
        for row in rows:
            if row["candidate"] != good:
                row["description"] = f"|{row['candidate'] + 3}|"
        assert chosen(score(evidence[place[0]], place, rows, race_from=2)[0]) == {good}


def test_equal_descriptions_are_simulated_once_and_the_first_is_chosen(evidence):
    place = PLACES[0]
    rows = candidates(evidence[1], place, 3)
    twice = [*rows, *({**row, "candidate": row["candidate"] + 3} for row in rows)]
    once, tokens = score(evidence[1], place, rows)
    again, same_tokens = score(evidence[1], place, twice)
    assert tokens == same_tokens
    assert chosen(again) == chosen(once)
    assert len(on_valid(again)) == 6


def test_a_null_that_says_what_a_candidate_says_is_scored_on_everything(evidence, tmp_path):
    place = PLACES[0]
    rows = candidates(evidence[1], place, 16)
    worst = on_valid(score(evidence[1], place, rows, race_from=2)[0])
    whole = {split: len(evidence[1].scored(split, 5, "positive", 10, 8, 3)) for split in ("valid", "test")}
    text = next(r["description"] for r in worst.values() if r["n_sequences"] < whole["valid"])
    (tmp_path / "nulls.yaml").write_text(f"descriptions: ['{text}']")
    scorer = Scorer(
        Literal(), "literal", evidence[1], Nulls(None, str(tmp_path / "nulls.yaml"), 1, 0),
        Scores(**SETTINGS, race_from=2), SIZES, 0,
    )  # fmt: skip
    nulls = [r for r in scorer.score(*place, rows)[0] if r["kind"] == "null"]
    assert [(r["split"], r["n_sequences"]) for r in nulls] == list(whole.items())


def test_nulls_of_a_lone_candidate_are_read_on_test_alone(evidence):
    """There is nothing to choose among on valid: one of one."""
    rows = candidates(evidence[1], PLACES[0], 2)
    alone, _ = score(evidence[1], PLACES[0], rows[:1], nulls=3)
    two, _ = score(evidence[1], PLACES[0], rows, nulls=3)
    assert [r["split"] for r in alone if r["kind"] == "null"] == ["test"] * 3

    def on_test(found):
        return [r["correlation"] for r in found if (r["kind"], r["split"]) == ("null", "test")]

    assert on_test(alone) == on_test(two)
    assert on_valid(alone)[0] == on_valid(two)[0] | {"chosen": True}


def test_with_every_candidate_each_is_reported_on_test(evidence):
    rows = candidates(evidence[1], PLACES[0], 8)
    found, _ = score(evidence[1], PLACES[0], rows, race_from=2, every=True)
    assert {r["candidate"] for r in found if r["kind"] == "candidate" and r["split"] == "test"} == set(range(8))
    assert len({r["n_sequences"] for r in on_valid(found).values()}) == 1
    assert all(r["r2"] is not None for r in found if r["split"] == "test")


def test_sequences_of_the_middle_are_spread_over_its_range(evidence):
    for layer, neuron, sign in PLACES:
        stored = evidence[layer].get("valid", neuron, sign, "middle")
        top = {s.seq_id for s in evidence[layer].get("valid", neuron, sign, "top")[:2]}
        free = [s for s in stored if s.seq_id not in top]
        shown = [s for s in evidence[layer].scored("valid", neuron, sign, 2, 3, 0) if s.kind == "middle"]
        assert len(shown) == min(3, len(free))
        ranks = [s.rank for s in shown]
        assert ranks == sorted(ranks)
        if len(free) >= 9:
            assert ranks[0] < 4 and ranks[-1] > 4
