"""Keys that sort: a value and the position of its sequence in one integer."""

import torch
from torch import Tensor

ABSENT = torch.iinfo(torch.int64).min  # below any key, and below any empty slot
_LOW = 0xFFFFFFFF


def encode_keys(values: Tensor, seq_ids: Tensor | int) -> Tensor:
    """int64 keys that sort by value, then by position (the earlier sequence is the greater key).

    values: any float dtype up to 32 bits; seq_ids: int64 in 0..2**32-1, of a shape that broadcasts, or one number.
    """
    bits = (values.float() + 0.0).view(torch.int32)  # + 0.0 makes -0.0 equal 0.0
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    return (ordered << 32) | (_LOW - seq_ids)


def decode_keys(keys: Tensor) -> tuple[Tensor, Tensor]:
    """(values float32, seq_ids int64) of encoded keys."""
    ordered = (keys >> 32).int()
    bits = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered)
    return bits.view(torch.float32), _LOW - (keys & _LOW)
