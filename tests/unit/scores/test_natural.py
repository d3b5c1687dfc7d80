"""Scores on the panel: against the whole panel, computed token by token."""

import numpy as np
import pytest

from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.panel.tables import PANELS
from neuron_descriptions.scores.discrimination import Others, weighted_correlations
from neuron_descriptions.scores.natural import NaturalScorer, draw
from neuron_descriptions.scores.panel_chance import Comparison, chance
from planted_panels import VOCABULARY, two_panels

LAYER, FEATURES, SEQUENCES = 2, 6, 80


def plant(rows, random):
    """Feature i fires on the tokens 3 i to 3 i + 2, more in some sequences than in others; the last one never."""
    acts = []
    for prefix, ids in rows:
        strength = random.exponential() + 0.2
        own = np.array(ids[prefix:])
        acts.append([strength * (own // 3 == i) * (i < FEATURES - 1) + 0.01 * random.random(len(own)) * (i < 5)
                     for i in range(FEATURES)])  # fmt: skip
    return np.concatenate(acts, axis=1)


class Reader:
    """Predicts 10 on the tokens that a description lists, and a bit of the position, so that it is never sure."""

    tokens = shared_tokens = 0

    def __init__(self):
        self.seen = []

    def simulate(self, tasks):
        self.seen.append(len(tasks))
        listed = [{int(word) for word in task.description.split()} for task in tasks]
        return [
            [10.0 * (token in wanted) + 0.1 * (i % 3) for i, token in enumerate(task.text.evidence)]
            for task, wanted in zip(tasks, listed)
        ]


@pytest.fixture(scope="module")
def panels(tmp_path_factory):
    made = two_panels(tmp_path_factory.mktemp("panels"), plant, SEQUENCES)
    return tuple(Panel(made[panel][0], [made[panel][1]]) for panel in PANELS)


def scorer(panels, simulator=None, **natural):
    settings = restored(Scores, {"natural": natural, "bootstrap": 200}, simulator={"model": "m"})
    return NaturalScorer(simulator or Reader(), panels, settings, 0)


DESCRIPTION = "0 1 9"  # two of three tokens right, one wrong


def exact(panels, index, description):
    """(predicted, true) of the whole panel_test."""
    wanted = {int(word) for word in description.split()}
    predicted = np.concatenate(
        [[10.0 * (t in wanted) + 0.1 * (i % 3) for i, t in enumerate(s.evidence)] for s in panels[1].sequences]
    )
    return predicted, np.maximum(panels[1].acts(LAYER, [10 + index])[0], 0)


def test_of_the_whole_panel_it_is_the_correlation_itself(panels):
    found, shared = scorer(panels, sequences=SEQUENCES).score(LAYER, 10, "positive", DESCRIPTION)
    predicted, true = exact(panels, 0, DESCRIPTION)
    r = np.corrcoef(predicted, true)[0, 1]
    assert (found["score"], found["score_low"], found["score_high"]) == pytest.approx((r, r, r), abs=1e-6)
    assert found["n_sequences"] == SEQUENCES
    assert found["n_tokens"] == len(true) == len(shared)
    assert sorted(shared) == pytest.approx(sorted(predicted))


def test_of_some_sequences_it_is_near_and_says_how_near(panels):
    found, shared = scorer(panels, certain=10, likely=4, sequences=24).score(LAYER, 10, "positive", DESCRIPTION)
    r = np.corrcoef(*exact(panels, 0, DESCRIPTION))[0, 1]
    assert found["score_low"] < r < found["score_high"]
    assert found["score"] == pytest.approx(r, abs=0.1)
    assert 24 <= found["n_sequences"] <= 38
    assert found["n_certain"] == 14
    assert len(shared) < found["n_tokens"]


def test_look_ups_are_those_of_the_whole_panel(panels):
    found, _ = scorer(panels, sequences=8).score(LAYER, 11, "positive", "3 4")
    fit, test = panels
    acts = np.maximum(fit.acts(LAYER, [11])[0], 0).astype(float)
    mean = acts.mean()
    table = {t: (acts[fit.ids_N == t].sum() - mean * (n := (fit.ids_N == t).sum())) / (n + 1) + mean
             for t in range(VOCABULARY)}  # fmt: skip
    looked_up = [table[t] for t in test.ids_N]
    r = np.corrcoef(looked_up, np.maximum(test.acts(LAYER, [11])[0], 0))[0, 1]
    assert found["token_baseline_score"] == pytest.approx(r, abs=1e-5)
    assert found["share_of_baseline"] == pytest.approx(
        found["score"] / max(r, found["bigram_baseline_score"]), rel=1e-4
    )
    # Two of three tokens, and no strength: it says nothing that the look-up does not.
    assert abs(found["gain"]) < 0.3
    assert found["gain_low"] <= found["gain"] <= found["gain_high"]


def test_a_side_that_never_fires_has_no_score(panels):
    found, shared = scorer(panels, sequences=8).score(LAYER, 15, "negative", DESCRIPTION)
    assert {found[name] for name in ("score", "score_low", "gain", "token_baseline_score", "sequence_auc")} == {None}
    assert len(shared)


def test_the_passages_are_found_by_their_means(panels):
    told, _ = scorer(panels, sequences=SEQUENCES).score(LAYER, 12, "positive", "6 7 8")
    wrong, _ = scorer(panels, sequences=SEQUENCES).score(LAYER, 12, "positive", "40 41")
    assert told["sequence_auc"] > 0.6 > wrong["sequence_auc"]


def test_a_precision_takes_as_many_sequences_as_it_needs(panels):
    few, _ = scorer(panels, certain=5, likely=0, sequences=8).score(LAYER, 10, "positive", DESCRIPTION)
    precise, shared = scorer(panels, certain=5, likely=0, sequences=8, precision=0.04).score(
        LAYER, 10, "positive", DESCRIPTION
    )
    bounded, _ = scorer(panels, certain=5, likely=0, sequences=8, precision=0.001, most=20).score(
        LAYER, 10, "positive", DESCRIPTION
    )
    assert few["score_high"] - few["score_low"] > 0.08 >= precise["score_high"] - precise["score_low"]
    assert few["n_sequences"] < precise["n_sequences"] < SEQUENCES
    assert len(shared) < precise["n_tokens"]
    assert bounded["n_sequences"] <= 25


def test_nothing_carries_over_between_features(panels):
    together, alone = scorer(panels, sequences=12), scorer(panels, sequences=12)
    together.score(LAYER, 11, "positive", "3 4")
    first, last = (s.score(LAYER, 10, "positive", DESCRIPTION) for s in (together, alone))
    assert first[0] == last[0]
    assert first[1].tolist() == last[1].tolist()


def test_each_sequence_is_simulated_once(panels):
    reader = Reader()
    found, _ = scorer(panels, reader, certain=6, sequences=12).score(LAYER, 10, "positive", DESCRIPTION)
    assert sum(reader.seen) == found["n_sequences"]
    assert reader.seen[0] == 12


def test_other_descriptions_and_other_features_are_chance(panels):
    made = scorer(panels, sequences=30)
    rows = {
        index: made.score(LAYER, 10 + index, "positive", f"{3 * index} {3 * index + 1}")[1] for index in range(FEATURES)
    }
    nulls = [
        {"layer": LAYER, "neuron": 10 + i, "kind": "other", "simulated": values.tolist()} for i, values in rows.items()
    ]
    nulls += [{**row, "layer": 7, "neuron": 99} for row in nulls[3:4]]  # of another layer
    comparison = Comparison(panels[1], LAYER, 30, nulls, 0)
    own = comparison.row(11, "positive", rows[1].tolist(), 1)
    assert own["panel_score"] > 0.5 > own["panel_best_null_score"]
    assert own["n_panel_nulls"] == 6  # its own is none of them
    assert own["panel_null_percentile"] == 100
    another = comparison.row(11, "positive", rows[4].tolist(), 1)
    assert another["panel_null_percentile"] < 100
    # Independently: the mean of the nulls' correlations on those sequences.
    columns = comparison.columns_N
    true = np.maximum(panels[1].acts(LAYER, [11])[0][columns], 0)
    by_hand = [np.corrcoef(row["simulated"], true)[0, 1] for row in nulls if row["neuron"] != 11]
    assert own["panel_null_score"] == pytest.approx(np.mean(by_hand))
    assert own["panel_null_tokens_score"] is own["panel_null_empty_score"] is None
    # The hardest kind decides: the empty description gets what the description does, lists of tokens next to nothing.
    empty = {"layer": None, "neuron": None, "kind": "empty", "simulated": rows[1].tolist()}
    mine, lists = ({**nulls[i], "kind": "tokens"} for i in (1, 4))
    more = Comparison(panels[1], LAYER, 30, [*nulls, mine, lists, empty], 0).row(11, "positive", rows[1].tolist(), 3)
    assert more["panel_null_score"] == own["panel_null_score"]
    assert more["panel_null_empty_score"] == pytest.approx(more["panel_score"]) == pytest.approx(own["panel_score"])
    assert more["panel_best_null_score"] > 0.5 > more["panel_null_tokens_score"]  # a list of its own tokens is no null
    assert (more["panel_null_percentile"], more["n_panel_nulls"]) == (50, 8)


def test_a_description_is_told_from_other_features_on_all_that_was_simulated(panels):
    """Those it is not about are weighed as its own: the strongest sequences once, each of the others as often as it
    stands for some. A rare feature, whose description fires on those alone, is told apart all the same."""
    found, _ = scorer(panels, certain=10, sequences=24).score(LAYER, 11, "positive", "3 4")
    assert (found["discrimination"], found["n_discriminated"]) == (100, FEATURES - 1)
    other, _ = scorer(panels, certain=10, sequences=24).score(LAYER, 11, "positive", "0 1")
    assert other["discrimination"] < 100
    # Of all sequences it is the rank of the correlation itself, however they are drawn.
    everything, _ = scorer(panels, certain=10, sequences=SEQUENCES).score(LAYER, 11, "positive", "0 1 4")
    predicted, _ = exact(panels, 1, "0 1 4")
    true = np.maximum(panels[1].acts(LAYER), 0)
    r = [np.corrcoef(predicted, one)[0, 1] if np.ptp(one) else 0.0 for one in true]
    assert everything["discrimination"] == pytest.approx(100 * np.mean([r[1] > x for x in np.delete(r, 1)]))
    # What predicts nothing is as near to all; no other feature, nothing to be told from.
    places, sample = draw(np.array([0, 1]), np.arange(6), len(panels[1].lengths))
    nothing = [np.zeros(panels[1].lengths[i]) for i in places]
    assert Others(panels[1], 0).figures(LAYER, 11, "positive", nothing, places, sample)["discrimination"] == 50


def test_correlations_are_weighted_token_by_token():
    random = np.random.default_rng(0)
    predicted, true, times = random.normal(size=30), random.normal(size=(3, 30)), random.integers(1, 4, 30)
    true[2] = 1.0
    found = weighted_correlations(predicted, true, times.astype(float))
    by_hand = [np.corrcoef(np.repeat(predicted, times), np.repeat(one, times))[0, 1] for one in true[:2]]
    assert found == pytest.approx([*by_hand, 0.0])


def test_the_best_of_several_is_chosen_on_the_other_half():
    nulls_2G = np.array([[0.3, 0.1, 0.0], [0.0, 0.2, 0.4]])
    # Of 3 the best on the second half is the last, which has 0.0 on the first; of the first half the first: 0.0.
    assert chance(np.array([0.1, 0.1]), nulls_2G, 3) == (0.0, 100.0)
    single = chance(np.array([0.15, 0.3]), nulls_2G, 1)
    assert single == pytest.approx((np.mean([0.4 / 3, 0.2]), 100 * 2 / 3))
    assert chance(np.array([np.nan, np.nan]), nulls_2G, 1)[1] is None
