"""What any score must do, on the exemplars of a real run: see right, wrong, chance, too much and too little apart."""

import numpy as np
import pytest

from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.harvest.exemplars import KINDS
from neuron_descriptions.scores.evidence import Evidence
from neuron_descriptions.scores.formulas import correlation, linear_fit, match
from neuron_descriptions.scores.sampling import Bootstrap

PLACES = [(layer, neuron, sign) for layer in (1, 3) for neuron in (5, 699) for sign in SIGNS]


@pytest.fixture(scope="module")
def evidence(finished):
    """Layer -> exemplars of the finished run."""
    corpus = {split: str(finished.file(f"corpus/{split}.parquet")) for split in SPLITS}

    def tables(layer, name):
        return [str(finished.file(f"exemplars/layer-{layer}/{name}-0.parquet"))]

    return {
        layer: Evidence(tables(layer, "chunk"), tables(layer, "statistics-chunk"), corpus, [5, 699]) for layer in (1, 3)
    }


@pytest.fixture(scope="module")
def cases(evidence):
    """(layer, neuron, sign) -> (sequences of test, their activations on that side, activation of an active token)."""
    found = {}
    for layer, neuron, sign in PLACES:
        sequences = evidence[layer].scored("test", neuron, sign, top=5, middle=4, random=3)
        assert {s.kind for s in sequences} == set(KINDS)
        assert len({s.seq_id for s in sequences}) == len(sequences)
        truth = [s.one_side(sign) for s in sequences]
        found[layer, neuron, sign] = sequences, truth, evidence[layer].active(neuron, sign)
    return found


def compare(predicted, truth, active=float("inf"), confidence=0.95, seed=0):
    return match(predicted, truth, Bootstrap(400, confidence, np.random.default_rng(seed)), active=active)


def test_middle_sequences_lie_between_the_random_ones_and_the_top(cases):
    means = {kind: [] for kind in KINDS}
    for sequences, truth, _ in cases.values():
        for kind in KINDS:
            peaks = [t.max() for s, t in zip(sequences, truth) if s.kind == kind]
            means[kind].append(np.mean(peaks) / max(t.max() for t in truth))
    assert np.mean(means["random"]) < np.mean(means["middle"]) < np.mean(means["top"])


@pytest.mark.parametrize("place", PLACES)
def test_the_truth_scores_one_and_its_opposite_minus_one(cases, place):
    _, truth, active = cases[place]
    right, wrong = (compare([sign * t for t in truth], truth, active) for sign in (1, -1))
    assert (right.correlation, right.spearman, right.low) == pytest.approx((1, 1, 1))
    assert (wrong.correlation, wrong.spearman, wrong.high) == pytest.approx((-1, -1, -1))
    assert wrong.published_score == pytest.approx(1)  # the published score cannot tell the two apart
    if np.isfinite(right.average_precision):
        assert right.average_precision == pytest.approx(1)
        assert wrong.average_precision < 0.2
    p, t = np.concatenate(truth), np.concatenate(truth)
    fitted = match([p], [t], Bootstrap(10, 0.95, np.random.default_rng(0)), linear_fit(p, t))
    assert (fitted.r2, fitted.abs_dev_explained) == pytest.approx((1, 1))


def test_shuffled_tokens_score_nothing_within_their_interval(cases):
    """The truth with its tokens in another order: its interval holds 0 about as often as it says."""
    scores, covered = [], []
    for trial in range(40):
        random = np.random.default_rng(trial)
        for _, truth, _ in cases.values():
            predicted = np.split(random.permutation(np.concatenate(truth)), np.cumsum([len(t) for t in truth])[:-1])
            found = compare(predicted, truth, seed=trial)
            scores.append(found.correlation)
            covered.append(found.low <= 0 <= found.high)
    assert abs(np.mean(scores)) < 0.02
    assert 0.75 < np.mean(covered) <= 1  # over 12 sequences the percentile bootstrap is somewhat too narrow


def test_another_neurons_tokens_score_below_its_own(evidence, cases, finished):
    """Descriptions of what drives a neuron, at their plainest: the mean train activation of each token."""
    n_train = corpus_facts(str(finished.file("corpus/train.parquet"))).sequences
    baselines = {place: evidence[place[0]].token_baseline(*place[1:], n_train) for place in PLACES}
    own, others = {}, {}
    for place, (sequences, truth, _) in cases.items():
        found = {
            source: correlation(
                np.concatenate([baseline.predict(s.text.evidence) for s in sequences]), np.concatenate(truth)
            )
            for source, baseline in baselines.items()
        }
        own[place] = found.pop(place)
        others[place] = np.mean(list(found.values()))
    assert np.mean(list(own.values())) > np.mean(list(others.values())) + 0.1
    assert sum(own[place] > others[place] for place in PLACES) >= 7


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_extra_and_missing_labels_both_lower_the_score(cases, share):
    """Labels: 10 on every token at least half as strong as the strongest, else 0."""
    for place, (_, truth, _) in cases.items():
        threshold = max(t.max() for t in truth) / 2
        labels = [np.where(t >= threshold, 10.0, 0.0) for t in truth]
        exact = compare(labels, truth, threshold)
        assert exact.average_precision == pytest.approx(1)
        lower = {"extra": [], "missing": []}
        for trial in range(20):
            random = np.random.default_rng(trial)
            more = [np.where((row == 0) & (random.uniform(size=len(row)) < share / 5), 10.0, row) for row in labels]
            less = [np.where(random.uniform(size=len(row)) < share, 0.0, row) for row in labels]
            for kind, changed in (("extra", more), ("missing", less)):
                if any((a != b).any() for a, b in zip(changed, labels)):
                    found = compare(changed, truth, threshold)
                    score = 0.0 if np.isnan(found.correlation) else found.correlation
                    lower[kind].append((exact.correlation - score, exact.average_precision - found.average_precision))
        for kind, differences in lower.items():
            assert len(differences) >= 2, place
            assert np.mean(differences, 0).min() > 0.02, (place, kind)
