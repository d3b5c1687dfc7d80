"""Keys sort by value, then by place."""

import torch

from neuron_descriptions.harvest.keys import decode_keys, encode_keys


def test_keys_sort_by_value_then_earlier_sequence():
    values = torch.tensor([-torch.inf, -3.5, -1e-38, -0.0, 0.0, 1e-38, 2.0, 2.0, torch.inf])
    seq_ids = torch.tensor([1, 2, 3, 9, 4, 5, 7, 6, 2**32 - 1])
    keys = encode_keys(values, seq_ids)
    assert keys.argsort().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    decoded = decode_keys(keys)
    assert torch.equal(decoded[0], values) and torch.equal(decoded[1], seq_ids)
