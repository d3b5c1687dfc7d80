"""Which sequences a shard runs."""

import itertools

from neuron_descriptions.harvest.batches import shard_range


def test_shards_are_whole_batches_and_cover_everything():
    for n, shards, batch in itertools.product((1, 7, 64, 65), (1, 2, 3, 9), (8, 16)):
        ranges = [shard_range(n, s, shards, batch) for s in range(shards)]
        assert ranges[0][0] == 0 and ranges[-1][1] == n
        assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))
        assert all(first % batch == 0 or first == n for first, _ in ranges)
