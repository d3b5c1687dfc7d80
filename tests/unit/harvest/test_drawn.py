"""Which sequences are drawn: at random, and for the strata of the middle."""

import itertools

import numpy as np

from neuron_descriptions.harvest.drawn import random_sequences
from neuron_descriptions.harvest.middle import middle_sequences


def test_random_sequences_are_distinct_and_cover_the_corpus():
    drawn = random_sequences(np.arange(5000), 37, 10, 0, "train", 3, "positive")
    assert all(len(set(row)) == 10 for row in drawn.tolist())
    counts = np.bincount(drawn.ravel(), minlength=37)
    assert len(counts) == 37 and counts.min() > 0.8 * counts.mean() and counts.max() < 1.4 * counts.mean()


def test_the_middles_strata_are_disjoint_and_reach_from_the_median_to_the_top():
    for n, strata, k in ((1_000_000, 10, 100), (1280, 10, 20), (40, 5, 12), (12, 10, 12), (5, 0, 2)):
        drawn = middle_sequences(n, strata, k, 0, "train")
        ids = np.concatenate([*drawn, np.zeros(0)])
        assert len(drawn) == strata and len(set(ids)) == len(ids) and all(ids >= 0) and all(ids < n)
    sizes = [len(stratum) for stratum in middle_sequences(1_000_000, 10, 100, 0, "train")]
    assert sizes[0] == 2 and sizes[-1] == 10_000
    assert all(2 < b / a < 3.5 for a, b in itertools.pairwise(sizes[1:]))
