"""The words that every stage shares: splits, signs, documents, tails, and the columns that name a feature."""

from typing import Literal, get_args

import pyarrow as pa

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Sign = Literal["positive", "negative"]
SIGNS: tuple[Sign, ...] = ("positive", "negative")

Message = dict[str, str]  # role, content
Document = str | list[Message]

# Tails of the token distribution whose quantiles are kept, strictest first: the highlight ladder.
TAILS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4)


def quantile_column(tail: float, sign: Sign) -> str:
    """Column of the quantile that a share `tail` of the tokens lies beyond, on one side."""
    return f"{'upper' if sign == 'positive' else 'lower'}_{tail:.0e}".replace("e-0", "e-")


def tail_rank(tokens: int, tail: float) -> int:
    """Rank from the extreme end (1 is the extreme) of the quantile that a share `tail` of tokens lies beyond."""
    return int(tail * tokens * (1 + 1e-12)) + 1


# What all sequences of a batch begin with is read once, where it is one in so many of their tokens or more.
LEAST_SHARED = 8

# Columns that name a feature, and a candidate description of one of its signs.
NEURON = [("layer", pa.int16()), ("neuron", pa.int32())]
CANDIDATE = [*NEURON, ("sign", pa.string()), ("candidate", pa.int16())]
