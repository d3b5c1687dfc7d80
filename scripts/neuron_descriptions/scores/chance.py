"""What chance gives: descriptions that are not of a neuron, to be tried on its own sequences.

They are of three kinds. *Other*: the run's own descriptions of other neurons, so that they have its explainer's manner.
*Tokens*: where another neuron peaks, named without a model, since some simulators follow any list of words. *Empty*: no
description at all, so that a simulator which does not need one is seen.

The first two come from a pool. Its neurons are those of the selection with the smallest random numbers of their own:
neither chunks nor, mostly, further neurons change which they are. Where the pool has too few (a neuron alone, before
any run), a file's descriptions take their place.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

import numpy as np

from neuron_descriptions.common.storage import Row, read_table
from neuron_descriptions.common.streams import generator, key, uniforms
from neuron_descriptions.common.user_files import read_yaml
from neuron_descriptions.scores.tables import NULL_POOL

OTHER, TOKENS, EMPTY = NULL_KINDS = "other", "tokens", "empty"
# Of four nulls of a neuron and sign. The kinds cost what a description costs, so none is added to `scores.nulls`.
_MIX = (OTHER, OTHER, TOKENS, EMPTY)


@dataclass(slots=True, frozen=True)
class Null:
    """A description of something else, or of nothing; origin: "layer/neuron/sign" that it was written for, "file", or
    None of the empty one."""

    kind: str
    origin: str | None
    description: str


def pool_neurons(selected: dict[int, list[int]], n: int, seed: int) -> dict[int, list[int]]:
    """Layer -> the neurons, in order, whose descriptions form the pool: at most n of all that are selected."""
    drawn = [
        (number, layer, neuron)
        for layer, neurons in selected.items()
        for number, neuron in zip(uniforms(np.array(neurons), 1, seed, "null pool", layer)[:, 0], neurons)
    ]
    chosen: dict[int, list[int]] = {}
    for layer, neuron in sorted((layer, neuron) for _, layer, neuron in sorted(drawn)[:n]):
        chosen.setdefault(layer, []).append(neuron)
    return chosen


class Nulls:
    """Draws a neuron's nulls: the same ones whatever else is in the run."""

    def __init__(self, pool: str | None, file: str, n: int, seed: int):
        """pool: table, where there is one; n: nulls per neuron and sign. Raises ValueError where the file is bad."""
        self.pool = read_table(pool, NULL_POOL).to_pylist() if pool else []
        self.file, self.n, self.seed = read_null_descriptions(file, n), n, seed

    def draw(self, layer: int, neuron: int, sign: str) -> list[Null]:
        """n nulls, no description twice, by kind. The first is another neuron's; of each four, in an order of the
        neuron's own, one is a list of tokens and one empty, the latter once; where the pool has no list, others take
        its place."""
        shuffled = generator(self.seed, "null kinds", layer, neuron, sign)
        kinds = [_MIX[i] for _ in range(ceil(self.n / len(_MIX))) for i in shuffled.permutation(len(_MIX))]
        if kinds:
            kinds.insert(0, kinds.pop(kinds.index(OTHER)))
        kinds = kinds[: self.n]
        lists = _distinct(_as_null(row) for row in self._of_pool(TOKENS, layer, neuron, sign))
        apart = [*lists[: kinds.count(TOKENS)], *([Null(EMPTY, None, "")] if EMPTY in kinds else [])]
        said = {null.description for null in apart}
        others = [null for null in self._others(layer, neuron, sign) if null.description not in said]
        return others[: self.n - len(apart)] + apart

    def others(self, layer: int, neuron: int, sign: str) -> list[Null]:
        """n descriptions of other neurons, none twice: of the pool, then, where that has too few, of the file."""
        return self._others(layer, neuron, sign)[: self.n]

    def _others(self, layer: int, neuron: int, sign: str) -> list[Null]:
        found = [_as_null(row) for row in self._of_pool(OTHER, layer, neuron, sign)]
        random = generator(self.seed, "null", layer, neuron, sign)
        return _distinct([*found, *(Null(OTHER, "file", self.file[i]) for i in random.permutation(len(self.file)))])

    def _of_pool(self, kind: str, layer: int, neuron: int, sign: str) -> list[Row]:
        """Rows of a kind that are not of this neuron, in an order of its own."""
        who = self.seed, "null", layer, neuron, sign
        rows = [r for r in self.pool if r["kind"] == kind and (r["layer"], r["neuron"]) != (layer, neuron)]
        return sorted(rows, key=lambda r: key(*who, r["layer"], r["neuron"], r["sign"]))


def _as_null(row: Row) -> Null:
    return Null(row["kind"], f"{row['layer']}/{row['neuron']}/{row['sign']}", row["description"])


def _distinct(nulls: Iterable[Null]) -> list[Null]:
    """The first of those that say the same."""
    found: dict[str, Null] = {}
    for null in nulls:
        found.setdefault(null.description, null)
    return list(found.values())


def read_null_descriptions(path: str, wanted: int) -> list[str]:
    """The file's descriptions. Raises ValueError where they are fewer than wanted."""
    content = read_yaml(path, "scores.null_descriptions")
    found = content.get("descriptions") if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(d, str) for d in found) or len(set(found)) < wanted:
        raise ValueError(f"{path} is not a list of at least {wanted} texts under `descriptions`")
    return found
