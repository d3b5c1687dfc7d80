"""What chance gives: descriptions written for other neurons, to be tried on a neuron's own sequences.

They come from a pool of the run's own descriptions, so that they have its explainer's manner. Pool neurons are those
of the selection with the smallest random numbers of their own: neither chunks nor, mostly, further neurons change
which they are. Where the pool has too few (a neuron alone, before any run), a file's descriptions take their place.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.storage import Row, read_table, write_table
from neuron_descriptions.common.streams import generator, key, uniforms
from neuron_descriptions.common.user_files import read_yaml
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.scores.tables import NULL_POOL


@dataclass(slots=True, frozen=True)
class Null:
    """A description of something else; origin: "layer/neuron/sign" that it was written for, or "file"."""

    origin: str
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


def gather_pool(descriptions: list[str], neurons: dict[int, list[int]], output: str) -> None:
    """Write the pool: of every given neuron and sign the first candidate that has a description, by layer and neuron.

    descriptions: tables that hold the neurons, and others.
    """
    rows: dict[tuple[int, int, str], Row] = {}
    for path in descriptions:
        wanted = [n for of_layer in neurons.values() for n in of_layer]
        for row in read_table(path, DESCRIPTIONS, [("status", "=", "ok"), ("neuron", "in", wanted)]).to_pylist():
            if row["neuron"] in neurons.get(row["layer"], ()):
                place = row["layer"], row["neuron"], row["sign"]
                if place not in rows or row["candidate"] < rows[place]["candidate"]:
                    rows[place] = row
    found = [{name: rows[place][name] for name in NULL_POOL.names} for place in sorted(rows)]
    write_table(pa.Table.from_pylist(found, schema=NULL_POOL), output)


class Nulls:
    """Draws a neuron's nulls: the same ones whatever else is in the run."""

    def __init__(self, pool: str | None, file: str, n: int, seed: int):
        """pool: table, where there is one; n: nulls per neuron and sign. Raises ValueError where the file is bad."""
        self.pool = read_table(pool, NULL_POOL).to_pylist() if pool else []
        self.file, self.n, self.seed = read_null_descriptions(file, n), n, seed

    def draw(self, layer: int, neuron: int, sign: str) -> list[Null]:
        """n nulls, no description twice: of other neurons, then, where the pool has too few, of the file."""
        who = self.seed, "null", layer, neuron, sign
        others = [r for r in self.pool if (r["layer"], r["neuron"]) != (layer, neuron)]
        others.sort(key=lambda r: key(*who, r["layer"], r["neuron"], r["sign"]))
        found = [Null(f"{r['layer']}/{r['neuron']}/{r['sign']}", r["description"]) for r in others]
        found += [Null("file", self.file[i]) for i in generator(*who).permutation(len(self.file))]
        distinct: dict[str, Null] = {}
        for null in found:
            distinct.setdefault(null.description, null)
        return list(distinct.values())[: self.n]


def read_null_descriptions(path: str, wanted: int) -> list[str]:
    """The file's descriptions. Raises ValueError where they are fewer than wanted."""
    content = read_yaml(path, "scores.null_descriptions")
    found = content.get("descriptions") if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(d, str) for d in found) or len(set(found)) < wanted:
        raise ValueError(f"{path} is not a list of at least {wanted} texts under `descriptions`")
    return found
