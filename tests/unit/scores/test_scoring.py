"""Scores against independent computations."""

import itertools
import math
import statistics

import numpy as np
import pytest
import torch
from scipy import stats

from neuron_descriptions.corpus.reading import read_texts
from neuron_descriptions.scores.formulas import (
    SURE,
    TokenBaseline,
    average_precision,
    best_of_weights,
    bootstrap_interval,
    choose,
    correlation,
    linear_fit,
    match,
    published_score,
    share_below,
    spearman,
    still_racing,
)
from neuron_descriptions.scores.sampling import Bootstrap

NAN = float("nan")


@pytest.fixture
def random():
    return np.random.default_rng(0)


def noisy(random, n=200, slope=1.0, noise=1.0):
    """(predicted, true) with a linear relation."""
    p = random.uniform(0, 10, n)
    return p, slope * p + noise * random.normal(size=n)


def sequences(random, n, length, between=1.0, within=1.0, rho=0.6):
    """(predicted, true) whose tokens share their sequence's level, correlated by rho on both levels."""
    mix = np.linalg.cholesky([[1, rho], [rho, 1]])
    level = between * random.normal(size=(n, 2)) @ mix.T
    tokens = level[:, None] + within * random.normal(size=(n, length, 2)) @ mix.T
    return list(tokens[:, :, 0]), list(tokens[:, :, 1])


# --- correlation and the published score -------------------------------------------------------------


def test_negated_prediction_gives_minus_one(random):
    t = random.normal(size=50)
    assert correlation(t, t) == pytest.approx(1)
    assert correlation(-t, t) == pytest.approx(-1)
    assert correlation(7 - 3 * t, t) == pytest.approx(-1)


def test_anti_correlated_description_does_not_score_like_a_good_one(random):
    p, t = noisy(random)
    halves = lambda values: np.split(values, 2)  # noqa: E731
    good, bad = (match(halves(q), halves(t), Bootstrap(100, 0.95, np.random.default_rng(0))) for q in (p, -p))
    assert good.correlation > 0.9
    assert bad.correlation == pytest.approx(-good.correlation)
    assert bad.high < 0 < good.low
    assert bad.published_score == pytest.approx(good.published_score) == pytest.approx(good.correlation)


@pytest.mark.parametrize(("slope", "noise"), [(1, 1), (-2, 5), (0.1, 3), (0, 1)])
def test_published_score_is_the_correlation_after_an_in_sample_fit(random, slope, noise):
    p, t = noisy(random, slope=slope, noise=noise)
    fitted = np.polyval(np.polyfit(p, t, 1), p)
    assert published_score(p, t) == pytest.approx(np.corrcoef(fitted, t)[0, 1], abs=1e-9)
    assert published_score(p, t) == pytest.approx(abs(correlation(p, t)), abs=1e-9)


@pytest.mark.parametrize(
    ("predicted", "true"),
    [([0.1] * 7, [0, 1, 2, 3, 4, 5, 6]), ([0, 1, 2, 3], [0, 0, 0, 0]), ([2.5, 2.5], [1, 1]), ([1], [1]), ([], [])],
)
def test_constants_have_no_correlation(predicted, true):
    assert math.isnan(correlation(predicted, true))
    if len(true):
        assert math.isnan(published_score(predicted, true))
        found = match(
            [np.array(predicted, float)], [np.array(true, float)], Bootstrap(10, 0.95, np.random.default_rng(0))
        )
        assert all(map(math.isnan, (found.correlation, found.low, found.high, found.published_score, found.r2)))
        assert (found.n_sequences, found.n_tokens) == (1, len(true))


# --- ranks and active tokens -------------------------------------------------------------------------


def slow_ranks(values):
    """Each value's mean place among the sorted values."""
    ordered = sorted(values)
    return [ordered.index(v) + (ordered.count(v) - 1) / 2 for v in values]


@pytest.mark.parametrize("levels", [None, 4])
def test_spearman_is_the_correlation_of_mean_ranks(random, levels):
    p, t = noisy(random, 60, noise=6)
    if levels:  # with ties
        p, t = np.round(p * levels / 10), np.maximum(np.round(t), 3)
    assert spearman(p, t) == pytest.approx(np.corrcoef(slow_ranks(list(p)), slow_ranks(list(t)))[0, 1])


def test_spearman_sees_the_order_alone(random):
    t = random.gamma(0.3, size=80)
    assert spearman(np.exp(t), t) == pytest.approx(1)
    assert spearman(-np.sqrt(t), t) == pytest.approx(-1)
    assert math.isnan(spearman(np.ones(80), t))


def slow_average_precision(predicted, active):
    """Area under the steps of precision over recall, threshold after threshold."""
    area, recall = 0.0, 0.0
    for threshold in sorted(set(predicted), reverse=True):
        found = [a for p, a in zip(predicted, active) if p >= threshold]
        area += (sum(found) / sum(active) - recall) * sum(found) / len(found)
        recall = sum(found) / sum(active)
    return area


@pytest.mark.parametrize("levels", [None, 3])
def test_average_precision_is_the_area_under_the_steps(random, levels):
    p, t = noisy(random, 90, noise=5)
    p = np.round(p * levels / 10) if levels else p
    active = t > 8
    assert 0 < active.sum() < 90
    assert average_precision(p, active) == pytest.approx(slow_average_precision(list(p), list(active)))


def test_average_precision_of_perfect_constant_and_worst_predictions():
    active = np.array([False, True, True, False, False, False, False, True])
    assert average_precision(active.astype(float), active) == 1
    assert average_precision(np.ones(8), active) == pytest.approx(3 / 8)  # chance: the share of active tokens
    assert average_precision(-active.astype(float), active) == pytest.approx(3 / 8)
    for none in (np.zeros(8, bool), np.ones(8, bool)):
        assert math.isnan(average_precision(np.arange(8.0), none))


def test_a_match_counts_a_token_active_from_the_given_activation_on(random):
    p, t = noisy(random, noise=6)
    for threshold in (2.0, 8.0, -5.0):
        found = match([p], [t], Bootstrap(10, 0.95, random), active=threshold).average_precision
        assert found == pytest.approx(slow_average_precision(list(p), list((t >= threshold) & (t > 0))))
    assert math.isnan(match([p], [t], Bootstrap(10, 0.95, random), active=1e9).average_precision)


def test_published_score_leaves_out_sequences_of_other_kinds(random):
    (p, t), (q, u), (r, v) = noisy(random, 40), noisy(random, 30, slope=-3), noisy(random, 20)
    found = match([p, q, r], [t, u, v], Bootstrap(10, 0.95, random), published=[True, False, True])
    assert found.published_score == pytest.approx(published_score(np.append(p, r), np.append(t, v)))
    assert found.correlation == pytest.approx(correlation(np.concatenate([p, q, r]), np.concatenate([t, u, v])))
    assert math.isnan(match([p], [t], Bootstrap(10, 0.95, random), published=[False]).published_score)


# --- chance ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("valid", [[0.3, 0.1, NAN, 0.3, -0.2], [NAN, NAN], [0.5]])
def test_best_of_n_weights_are_those_of_all_draws(valid, n):
    draws = list(itertools.combinations(range(len(valid)), min(n, len(valid))))
    counts = np.zeros(len(valid))
    for drawn in draws:
        best = choose({i: valid[i] for i in drawn})
        counts[drawn[0] if best is None else best] += 1
    assert best_of_weights(valid, n) == pytest.approx(counts / len(draws))


def test_share_below_counts_ties_half_and_numberless_nulls_as_below():
    assert share_below(0.2, [0.1, 0.2, 0.3, NAN]) == pytest.approx(2.5 / 4)
    assert share_below(0.2, [0.1, 0.2, 0.3], [0, 1, 3]) == pytest.approx(0.5 / 4)
    assert math.isnan(share_below(0.2, []))


def test_the_best_of_n_must_beat_the_best_of_n_nulls(random):
    """Candidates that are nulls themselves: their best lies uniformly in the best-of-n null, far above the plain one.

    Selection and report share noise here, as valid and test share what makes one description fit better."""
    n, plain, best_of = 8, [], []
    for _ in range(300):
        skill = random.normal(size=n + 40)
        valid, test = (skill + 0.5 * random.normal(size=n + 40) for _ in range(2))
        chosen = choose(dict(enumerate(valid[:n])))
        plain.append(share_below(test[chosen], test[n:]))
        best_of.append(share_below(test[chosen], test[n:], best_of_weights(valid[n:], n)))
    assert np.mean(plain) > 0.75
    assert 0.44 < np.mean(best_of) < 0.56
    # So few nulls let about n / (N + n) = 1 in 6 pass at 0.95: as one in N + 1 passes a plain null.
    assert np.mean(np.array(best_of) > 0.95) < 0.2
    assert np.mean(np.array(plain) > 0.95) > np.mean(np.array(best_of) > 0.95) + 0.05


# --- choosing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ({0: 0.2, 1: 0.5, 2: 0.4}, 1),
        ({0: NAN, 1: -0.9, 2: NAN}, 1),
        ({0: 0.1, 1: NAN}, 0),
        ({3: 0.5, 1: 0.5, 2: 0.5, 0: 0.1}, 1),
        ({0: -0.5, 1: -0.2}, 1),
        ({0: NAN, 1: NAN}, None),
        ({}, None),
    ],
)
def test_best_is_a_number_and_the_lowest_of_equals(scores, best):
    assert choose(scores) == best


# --- intervals ---------------------------------------------------------------------------------------


def slow_interval(predicted, true, resamples, confidence, random):
    """The same draws, one resample after another: of n sequences n - 1, which the rescaled bootstrap counts alike."""
    n = len(true)
    found = []
    for drawn in random.integers(n, size=(resamples, n - 1)):
        p, t = (np.concatenate([side[i] for i in drawn]) for side in (predicted, true))
        if np.ptp(p) > 0 and np.ptp(t) > 0:
            found.append(np.corrcoef(p, t)[0, 1])
    t = stats.t.ppf((1 + confidence) / 2, n - 1)
    tail = 100 * stats.norm.sf(t * math.sqrt(n / (n - 1)))
    value = np.corrcoef(np.concatenate(predicted), np.concatenate(true))[0, 1]  # which the interval always holds
    return min(np.percentile(found, tail), value), max(np.percentile(found, 100 - tail), value)


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_interval_equals_a_slow_bootstrap_over_sequences(random, confidence):
    predicted, true = [], []
    for length in (3, 40, 7, 1, 22, 40):
        p, t = noisy(random, length, noise=4)
        predicted.append(p)
        true.append(np.maximum(t, 0))
    found = bootstrap_interval(predicted, true, Bootstrap(300, confidence, np.random.default_rng(5)))
    slow = slow_interval(predicted, true, 300, confidence, np.random.default_rng(5))
    assert found == pytest.approx(slow, abs=1e-9)
    assert slow[1] - slow[0] > 0.01


@pytest.mark.parametrize(("constant", "length"), [(0.0, 30), (2.0, 30), (0.1, 64), (3.3, 30)])
def test_constant_resamples_are_passed_over(random, constant, length):
    p, t = noisy(random, length)
    flat = [np.full(length, constant)] * 2
    moved = [random.uniform(size=length) for _ in flat]
    found = bootstrap_interval([p, *flat], [t, *moved], Bootstrap(400, 0.95, np.random.default_rng(1)))
    slow = slow_interval([p, *flat], [t, *moved], 400, 0.95, np.random.default_rng(1))
    assert found == pytest.approx(slow, abs=1e-9)


def test_interval_is_undefined_where_every_resample_is_constant():
    low, high = bootstrap_interval(
        [np.ones(4)] * 3, [np.arange(4.0)] * 3, Bootstrap(50, 0.95, np.random.default_rng(0))
    )
    assert math.isnan(low)
    assert math.isnan(high)


def test_interval_covers_the_truth_about_as_often_as_it_says(random):
    covered, token_wise = 0, 0
    for trial in range(300):
        predicted, true = sequences(random, 25, 30)
        low, high = bootstrap_interval(predicted, true, Bootstrap(200, 0.9, np.random.default_rng(trial)))
        covered += low <= 0.6 <= high
        # Tokens taken for independent: what the interval must not be.
        r = correlation(np.concatenate(predicted), np.concatenate(true))
        half = 1.645 * (1 - r**2) / np.sqrt(25 * 30)
        token_wise += r - half <= 0.6 <= r + half
    assert 0.86 < covered / 300 < 0.96
    assert token_wise / 300 < 0.65


def test_interval_of_few_sequences_with_few_active_tokens_covers_as_often_as_it_says(random):
    def sequence(tokens):
        active = lambda: random.exponential(size=tokens) * (random.random(tokens) < 0.2)  # noqa: E731
        true = active()
        return 0.6 * true + 0.5 * active(), true

    truth, covered = correlation(*sequence(400_000)), 0
    for trial in range(300):
        predicted, true = zip(*(sequence(40) for _ in range(9)))
        low, high = bootstrap_interval(predicted, true, Bootstrap(300, 0.95, np.random.default_rng(trial)))
        covered += low <= truth <= high
    assert covered / 300 > 0.91


def test_interval_is_reproducible_and_ordered(random):
    p, t = sequences(random, 10, 20)
    first, again, other = (bootstrap_interval(p, t, Bootstrap(100, 0.95, np.random.default_rng(s))) for s in (1, 1, 2))
    assert first == again != other
    assert -1 <= first[0] < correlation(np.concatenate(p), np.concatenate(t)) < first[1] <= 1


def test_interval_of_a_perfect_prediction_stays_within_one(random):
    t = [random.normal(size=20) for _ in range(5)]
    low, high = bootstrap_interval([3 * s + 1 for s in t], t, Bootstrap(200, 0.95, np.random.default_rng(0)))
    assert (low, high) == pytest.approx((1, 1))
    assert high <= 1


# --- fits made elsewhere -----------------------------------------------------------------------------


def r2_score(true, predicted):
    """As scikit-learn defines it, value by value."""
    mean = sum(true) / len(true)
    return 1 - sum((t - p) ** 2 for t, p in zip(true, predicted)) / sum((t - mean) ** 2 for t in true)


def d2_absolute_error_score(true, predicted):
    """As scikit-learn defines it, value by value."""
    median = statistics.median(true)
    return 1 - sum(abs(t - p) for t, p in zip(true, predicted)) / sum(abs(t - median) for t in true)


def test_r2_and_deviation_use_the_fit_made_elsewhere(random):
    valid_p, valid_t = noisy(random, slope=2)
    p, t = noisy(random, slope=1.5, noise=3)
    slope, offset = np.polyfit(valid_p, valid_t, 1)
    found = match([p[:80], p[80:]], [t[:80], t[80:]], Bootstrap(10, 0.95, random), linear_fit(valid_p, valid_t))
    assert found.r2 == pytest.approx(r2_score(t, offset + slope * p))
    assert found.abs_dev_explained == pytest.approx(d2_absolute_error_score(t, offset + slope * p))
    in_sample = r2_score(t, np.polyval(np.polyfit(p, t, 1), p))
    assert found.r2 < in_sample - 0.01


def test_r2_is_negative_where_the_fit_does_not_carry_over(random):
    valid_p, valid_t = noisy(random)
    p, t = noisy(random, slope=-1)
    found = match([p], [t], Bootstrap(10, 0.95, random), linear_fit(valid_p, valid_t))
    assert found.r2 < -1
    assert found.abs_dev_explained < 0
    assert found.published_score > 0.9


def test_r2_is_undefined_without_a_fit_or_a_varying_truth(random):
    p, t = noisy(random)
    assert math.isnan(match([p], [t], Bootstrap(10, 0.95, random)).r2)
    flat = match([p], [np.zeros_like(t)], Bootstrap(10, 0.95, random), linear_fit(p, t))
    assert math.isnan(flat.r2)
    assert math.isnan(flat.abs_dev_explained)


def test_fit_is_least_squares(random):
    p, t = noisy(random, slope=-0.7, noise=2)
    values = np.array([-3.0, 0.0, 12.0])
    assert linear_fit(p, t)(values) == pytest.approx(np.polyval(np.polyfit(p, t, 1), values))


@pytest.mark.parametrize(("constant", "n"), [(0.0, 40), (2.5, 7), (0.1, 7), (3.3, 333)])
def test_fit_to_constant_predictions_is_the_mean_everywhere(random, constant, n):
    t = random.gamma(0.3, size=n)
    assert linear_fit(np.full(n, constant), t)(np.array([0.0, 5.0, 10.0])) == pytest.approx(t.mean(), abs=1e-6)


# --- the token baseline ------------------------------------------------------------------------------


def test_baseline_of_a_worked_example():
    top = [([1, 2, 1], np.array([4.0, 0.0, 2.0]))]
    others = [([1, 3], np.array([0.0, 1.0])), ([2, 2], np.array([0.0, 3.0]))]
    # Each of the others stands for (11 - 1) / 2 = 5 sequences; one silent occurrence is added to every token.
    expected = {
        1: (4 + 2 + 5 * 0) / (2 + 5 + 1),
        2: (0 + 5 * (0 + 3)) / (1 + 5 * 2 + 1),
        3: 5 * 1 / (5 + 1),
        9: 0.0,  # never seen
    }
    baseline = TokenBaseline(top, others, sequences=11)
    assert baseline.predict([9, 1, 2, 3, 1]).tolist() == pytest.approx([expected[i] for i in (9, 1, 2, 3, 1)])


def test_baseline_without_other_sequences():
    assert TokenBaseline([([5], np.array([3.0]))], [], sequences=10).predict([5, 6]).tolist() == [1.5, 0.0]


class _Enough(Exception):
    pass


@pytest.fixture(scope="module")
def real(model, corpus):
    """Neuron -> [(evidence ids, positive activations)] of the whole train split, for some of layer 1."""
    texts = read_texts(corpus["train"], set(range(72)))
    found = []

    def read(module, args):
        found.append(args[0][0].double().numpy())
        raise _Enough

    hook = model.model.layers[1].mlp.down_proj.register_forward_pre_hook(read)
    try:
        for text in texts.values():
            with torch.inference_mode(), pytest.raises(_Enough):
                model(torch.tensor([text.input_ids]))
    finally:
        hook.remove()
    return {
        neuron: [(t.evidence, np.maximum(a[t.prefix_len :, neuron], 0)) for t, a in zip(texts.values(), found)]
        for neuron in (5, 100, 699, 700)
    }


def frequent_means(rows, at_least=8):
    """Exact mean activation of each token that occurs so often."""
    by_token = {}
    for ids, activations in rows:
        for token, activation in zip(ids, activations):
            by_token.setdefault(token, []).append(activation)
    return {token: np.mean(found) for token, found in by_token.items() if len(found) >= at_least}


@pytest.mark.parametrize("neuron", [5, 699])
def test_baseline_that_saw_everything_is_the_full_mean(real, neuron):
    exact = frequent_means(real[neuron])
    means = np.array(list(exact.values()))
    found = TokenBaseline(real[neuron], [], sequences=len(real[neuron])).predict(list(exact))
    assert len(exact) >= 10
    assert means.max() > 0
    assert found == pytest.approx(means, rel=0.12)
    assert all(found <= means)


def test_baseline_weighs_random_sequences_up(real):
    """On average over the draws of random sequences it is nearer to the full mean than plain pooling is."""
    bias = {True: 0.0, False: 0.0}
    for rows in real.values():
        exact = frequent_means(rows)
        by_peak = sorted(rows, key=lambda row: -row[1].max())
        top, rest = by_peak[:12], by_peak[12:]
        for weighted in bias:
            found = []
            for trial in range(50):
                others = [rest[i] for i in np.random.default_rng(trial).permutation(len(rest))[:10]]
                n = len(rows) if weighted else len(top) + len(others)
                found.append(TokenBaseline(top, others, sequences=n).predict(list(exact)))
            means = np.array(list(exact.values()))
            bias[weighted] += np.abs(np.mean(found, 0) - means).mean() / means.mean()
    assert bias[True] < 0.75 * bias[False]


# --- the race of candidates ----------------------------------------------------------------------------


def racers(seed, n=6, sequences=8):
    """Predictions of several candidates, ever noisier, and the truth."""
    random = np.random.default_rng(seed)
    true = [random.exponential(size=12) * (random.random(12) < 0.3) for _ in range(sequences)]
    return [[t + random.normal(size=12) * 0.2 * (1 + i) for t in true] for i in range(n)], true


def test_race_is_the_jackknife_of_differences_written_out():
    for seed in range(20):
        predicted, true = racers(seed)
        scores = [np.corrcoef(np.concatenate(p), np.concatenate(true))[0, 1] for p in predicted]
        best = int(np.argmax(scores))
        stays = []
        for p, score in zip(predicted, scores):
            behind = []
            for left_out in range(8):
                kept = [i for i in range(8) if i != left_out]
                truth = np.concatenate([true[i] for i in kept])
                of = [np.corrcoef(np.concatenate([c[i] for i in kept]), truth)[0, 1] for c in (predicted[best], p)]
                behind.append(of[0] - of[1])
            error = np.sqrt(7 / 8 * sum((b - np.mean(behind)) ** 2 for b in behind) * (1 - 8 / 30))
            stays.append(scores[best] - score <= SURE * error)
        assert still_racing(predicted, true, 30).tolist() == stays
        assert sum(stays) > 0


def test_race_keeps_equals_and_drops_what_says_nothing():
    (good, *_), true = racers(0)
    silent = [np.zeros(12)] * 8
    assert still_racing([good, good, silent], true, 30).tolist() == [True, True, False]
    assert still_racing([silent, silent], true, 30).all()


def test_race_that_has_seen_everything_leaves_the_best():
    predicted, true = racers(1)
    assert still_racing(predicted, true, 8).sum() == 1
