"""Estimates of a whole text from some of its sequences, against the whole text itself."""

from dataclasses import replace

import numpy as np
import pytest

from neuron_descriptions.scores.natural import draw, strongest
from neuron_descriptions.scores.sampling import (
    WIDER,
    Bootstrap,
    Rest,
    Sample,
    assisted,
    correlation,
    estimate,
    moments,
    partial_correlation,
    weighted_auc,
)
from neuron_descriptions.scores.unsimulated import Text, by_token, unsimulated


def text(random, n, tokens=30):
    """Sequences of predicted and true activations, rare and strong, and of a look-up."""
    found = []
    for _ in range(n):
        strength = random.exponential() ** 2
        true = strength * random.exponential(size=tokens) * (random.random(tokens) < 0.2)
        look_up = 0.5 * true + random.exponential(size=tokens) * (random.random(tokens) < 0.1)
        predicted = 0.4 * true + 0.3 * look_up + 0.5 * random.exponential(size=tokens) * (random.random(tokens) < 0.1)
        found.append((predicted, true, look_up))
    return [list(side) for side in zip(*found)]


@pytest.fixture
def random():
    return np.random.default_rng(3)


def test_a_sequence_counts_as_often_as_it_stands_for_others(random):
    predicted, true, _ = text(random, 5)
    sample = Sample(np.array([0, 0, 1, 1, 1]), np.array([2.0, 12.0]))
    repeated = [i for i, times in enumerate((1, 1, 4, 4, 4)) for _ in range(times)]
    slow = np.corrcoef(np.concatenate([predicted[i] for i in repeated]), np.concatenate([true[i] for i in repeated]))
    found = estimate(correlation, moments(predicted, true), sample, Bootstrap(50, 0.95, random))
    assert found.value == pytest.approx(slow[0, 1])
    assert found.low < found.value < found.high


def test_nothing_is_estimated_where_all_is_simulated(random):
    predicted, true, _ = text(random, 6)
    sample = Sample(np.array([0, 0, 1, 1, 1, 1]), np.array([2.0, 4.0]))
    found = estimate(correlation, moments(predicted, true), sample, Bootstrap(50, 0.95, random))
    exact = np.corrcoef(np.concatenate(predicted), np.concatenate(true))[0, 1]
    assert (found.value, found.low, found.high) == pytest.approx((exact,) * 3)


def test_partial_correlation_is_that_of_the_residuals(random):
    predicted, true, look_up = text(random, 20)
    twice = [2 * values + 1 for values in look_up]  # says nothing more
    constant = [np.full(30, 7.0)] * 20
    p, t, c = (np.concatenate(side) for side in (predicted, true, look_up))
    design = np.stack([np.ones(len(c)), c], 1)
    left = [side - design @ np.linalg.lstsq(design, side, rcond=None)[0] for side in (p, t)]
    found = partial_correlation(moments(predicted, true, look_up, twice, constant).sum(0))
    assert found == pytest.approx(np.corrcoef(*left)[0, 1])
    assert np.isnan(partial_correlation(moments(look_up, true, twice).sum(0)))  # it leaves nothing of the first
    assert partial_correlation(moments(predicted, true).sum(0)) == pytest.approx(np.corrcoef(p, t)[0, 1])


@pytest.mark.parametrize("flat", ["predicted", "true"])
def test_what_does_not_vary_has_no_correlation(random, flat):
    predicted, true, _ = text(random, 4)
    constant = [np.full(30, 0.1)] * 4
    sides = (constant, true) if flat == "predicted" else (predicted, constant)
    assert np.isnan(correlation(moments(*sides).sum(0)))
    found = estimate(
        correlation, moments(*sides), Sample(np.zeros(4, int), np.array([9.0])), Bootstrap(20, 0.95, random)
    )
    assert np.isnan([found.value, found.low, found.high]).all()


@pytest.mark.parametrize(("strata", "population"), [([0, 0, 0], [3.0, 9.0]), ([], [0.0, 9.0]), ([0, 0, 1], [2.0, 9.0])])
def test_there_is_no_interval_of_what_nothing_or_one_sequence_stands_for(random, strata, population):
    predicted, true, _ = text(random, len(strata)) if strata else ([], [], [])
    sample = Sample(np.array(strata, int), np.array(population))
    found = estimate(correlation, moments(predicted, true), sample, Bootstrap(20, 0.95, random))
    assert np.isnan([found.low, found.high]).all()
    assert np.isfinite(found.value) == (strata == [0, 0, 1])


def test_resamples_keep_the_numbers_of_a_stratum(random):
    sample = Sample(np.array([0, 0, 1, 1, 1, 1, 2]), np.array([2.0, 40.0, 5.0]))
    weights_RQ = sample.resampled(4000, random)
    assert np.ptp(weights_RQ[:, :2], axis=0).max() == 0  # simulated whole
    assert np.ptp(weights_RQ[:, 6]) == 0  # alone
    assert weights_RQ[:, 2:6].sum(1) == pytest.approx(40)
    assert weights_RQ.mean(0) == pytest.approx(sample.weights_Q, rel=0.05)
    # The variance of a mean of n out of N, which is what it is for.
    values = np.array([1.0, 4.0, -2.0, 7.0])
    wanted = values.var(ddof=1) / 4 * (1 - 4 / 40)
    assert (weights_RQ[:, 2:6] @ values / 40).var() == pytest.approx(wanted, rel=0.1)


def test_estimates_are_unbiased_and_their_intervals_cover(random):
    errors, covered, mixtures = [], [], []
    tokens = Text(random.integers(0, 500, (300, 30)).tolist(), [])  # which tell nothing
    for trial in range(60):
        predicted, true, _ = text(random, 300)
        exact = np.corrcoef(np.concatenate(predicted), np.concatenate(true))[0, 1]
        for again in range(3):
            drawn = np.random.default_rng((trial, again)).permutation(300)[:48]
            places, sample = draw(strongest(true, 20), drawn, 300)
            told = {int(i): predicted[i] for i in places}
            seen, rest = unsimulated(tokens, told, [np.concatenate(true)], places, sample)
            found = assisted(correlation, seen, rest, Bootstrap(200, 0.95, random), WIDER)
            errors.append(found.value - exact)
            covered.append(found.low <= exact <= found.high)
        mixture = [np.concatenate([side[i] for i in places[:24]]) for side in (predicted, true)]
        mixtures.append(np.corrcoef(*mixture)[0, 1] - exact)
    assert abs(np.mean(errors)) < 0.01
    assert np.mean(covered) > 0.92
    # Taken as they are, the strongest sequences flatter.
    assert np.mean(mixtures) > 0.008


def test_a_draw_has_the_strongest_and_what_is_left_of_the_random_ones(random):
    _, true, _ = text(random, 12)
    energy = [float((t**2).sum()) for t in true]
    by_hand = sorted(sorted(range(12), key=lambda i: -energy[i])[:3])
    drawn = np.array([by_hand[0], *[i for i in range(12) if i not in by_hand][:4]])
    places, sample = draw(strongest(true, 3), drawn, 12)
    assert places.tolist() == [*by_hand, *drawn[1:].tolist()]
    assert sample.weights_Q == pytest.approx([1] * 3 + [9 / 4] * 4)


def test_sequences_are_expected_where_tokens_that_were_predicted_stand_or_are_named():
    strings = {1: " a", 2: " cat", 3: " dog", 4: " th", 5: "rush"}
    ids = [[1, 2, 1], [1, 1, 1], [2, 2, 1], [1, 3, 1], [4, 5, 1], [1, 2, 3], [1, 1, 1]]
    told = Text(ids, [[strings[i] for i in sequence] for sequence in ids])
    predicted = {0: np.array([0.0, 4.0, 0.0])}  # the cat alone
    assert told.likely("cats", predicted, 9).tolist() == [2, 5]
    assert told.likely("a Dog, or a thrush", predicted, 9).tolist() == [2, 3, 4, 5]  # words in no sequence seen yet
    assert told.likely("a Dog, or a thrush", predicted, 2).tolist() == [2, 5]
    assert told.likely("a", {1: np.zeros(3)}, 9).tolist() == []  # what was seen was not predicted
    assert Text(ids, []).likely("a Dog", predicted, 9).tolist() == [2, 5]


def test_what_is_expected_at_a_token_is_what_was_predicted_at_it_in_other_sequences(random):
    ids = random.integers(0, 6, (8, 5)).tolist()
    told, drawn = {0, 2, 3, 6}, {3, 6}
    predicted = random.exponential(size=(8, 5)) * np.isin(range(8), list(told))[:, None]
    sequence = np.repeat(np.arange(8), 5)
    told_N, drawn_N = (np.isin(sequence, list(places)) for places in (told, drawn))
    found = by_token(Text(ids, []), predicted.ravel(), told_N, drawn_N).reshape(8, 5)
    usual = predicted[sorted(drawn)].mean()
    for here in range(8):
        for place, token in enumerate(ids[here]):
            others = [predicted[i, j] for i in told - {here} for j in range(5) if ids[i][j] == token]
            assert found[here, place] == pytest.approx((sum(others) + usual) / (len(others) + 1))


def test_what_goes_by_tokens_alone_is_known_where_nothing_was_simulated(random):
    ids = random.integers(0, 20, (60, 30))
    told, truth = Text(ids.tolist(), []), random.exponential(size=ids.size) * (ids.ravel() < 5)
    strength = np.where(np.arange(20) < 4, 10.0, 0.0)
    for noise, error in ((0.0, 0.01), (3.0, 0.04)):
        predicted = strength[ids] + noise * random.random(ids.shape) * (random.random(ids.shape) < 0.2)
        exact = np.corrcoef(predicted.ravel(), truth)[0, 1]
        places, sample = draw(np.arange(3), np.arange(3, 20), 60)
        seen, rest = unsimulated(told, {int(i): predicted[i] for i in places}, [truth], places, sample)
        found = assisted(correlation, seen, rest, Bootstrap(300, 0.95, random), WIDER)
        assert found.value == pytest.approx(exact, abs=error)
        assert found.low <= exact <= found.high


def test_a_model_that_knows_all_but_a_shift_is_put_right_by_the_draw(random):
    # The expected moments are those of the text but for the same error in all sequences: one draw shows it.
    predicted, true, _ = text(random, 40)
    whole, wrong = moments(predicted, true), np.diag([0.0, 3.0, 0.0])
    rest = Rest((whole[5:] - wrong).sum(0), 35, np.array([wrong, wrong]), np.zeros((0, 3, 3)), 0.0)
    found = assisted(correlation, whole[:5].sum(0), rest, Bootstrap(50, 0.95, random))
    exact = np.corrcoef(np.concatenate(predicted), np.concatenate(true))[0, 1]
    assert (found.value, found.low, found.high) == pytest.approx((exact,) * 3)


def test_without_a_draw_nothing_is_said_of_the_rest(random):
    predicted, true, _ = text(random, 6)
    whole, none = moments(predicted, true), np.zeros((0, 3, 3))
    bootstrap = Bootstrap(50, 0.95, random)
    assert np.isnan(assisted(correlation, whole[:5].sum(0), Rest(none.sum(0), 1, none, none, 0.0), bootstrap).value)
    one = assisted(correlation, whole[:5].sum(0), Rest(none.sum(0), 1, whole[5:], none, 0.0), bootstrap)
    assert np.isfinite(one.value) and np.isnan(one.low)
    everything = assisted(correlation, whole.sum(0), Rest(none.sum(0), 0, none, none, 0.0), bootstrap)
    assert everything.value == everything.low == pytest.approx(one.value)


def test_what_no_draw_shows_is_reckoned_with(random):
    # Nothing is predicted in what was drawn: the drawn ones alone are sure.
    _, true, _ = text(random, 300)
    fires = {int(i) for i in strongest(true, 10)} | {50, 51}
    predicted = {i: t * (i in fires) for i, t in enumerate(true)}
    drawn = np.array([i for i in range(300) if i not in fires][:40])
    places, sample = draw(strongest(true, 10), drawn, 300)
    told = Text(random.integers(0, 50, (300, 30)).tolist(), [])
    seen, rest = unsimulated(told, predicted, [np.concatenate(true)], places, sample)
    assert rest.count == 250 and len(rest.missed_DVV) == 40 and len(rest.unseen_KVV) == 20 and rest.weight == 4
    sure = assisted(correlation, seen, replace(rest, weight=0.0), Bootstrap(400, 0.95, random))
    found = assisted(correlation, seen, rest, Bootstrap(400, 0.95, random))
    assert found.value == sure.value
    assert found.low < sure.low <= found.value < found.high


def test_the_interval_of_a_mean_has_its_variance(random):
    predicted, true, _ = text(random, 200)

    def mean(moments_VV):
        return moments_VV[..., 0, 2] / moments_VV[..., 0, 0] / 10  # within -1 and 1

    of_drawn = np.array([t.mean() / 10 for t in true[:60]])
    error = np.sqrt(of_drawn.var(ddof=1) / 60 * (1 - 60 / 200))
    whole, none = moments(predicted, true), np.zeros((0, 3, 3))
    rest = Rest(none.sum(0), 140, whole[:60], none, 0.0)  # nothing is expected, so all is missed
    found = assisted(mean, whole[:60].sum(0), rest, Bootstrap(4000, 0.95, random))
    assert found.value == pytest.approx(of_drawn.mean())
    assert (found.high - found.low) / (2 * 2.0 * error) == pytest.approx(1, abs=0.08)


def test_area_under_the_curve_counts_pairs(random):
    scores = random.integers(0, 4, 9).astype(float)
    positive, weights = random.random(9) < 0.4, random.integers(1, 4, 9).astype(float)
    pairs = [
        (weights[i] * weights[j], (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2)
        for i in range(9) if positive[i]
        for j in range(9) if not positive[j]
    ]  # fmt: skip
    slow = sum(w * value for w, value in pairs) / sum(w for w, _ in pairs)
    assert weighted_auc(scores, positive, weights) == pytest.approx(slow)
    assert np.isnan(weighted_auc(scores, np.zeros(9, bool), weights))
