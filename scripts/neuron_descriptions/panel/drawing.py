"""Neurons of every type, drawn at random by a table of types: for a demonstration that shows what there is."""

import csv
import sys
from itertools import chain, zip_longest

from neuron_descriptions.common.storage import read_table, whole
from neuron_descriptions.common.streams import generator
from neuron_descriptions.common.user_files import check_output
from neuron_descriptions.panel.tables import NEURON_TYPES, TYPES


def draw_of_every_type(types: dict[int, str], count: int, *what: object) -> list[int]:
    """As many neurons of each type as there are, up to `count` in all, ascending: one of each type in turn. types: by
    neuron; what: what the draw is a function of. Raises ValueError where there are fewer neurons than `count`."""
    if len(types) < count:
        raise ValueError(f"{count} neurons are asked for, and the table has {len(types)}")
    shuffled = []
    for name in TYPES:
        neurons = sorted(neuron for neuron, of in types.items() if of == name)
        shuffled.append(generator(0, "of every type", name, *what).permutation(neurons).tolist())
    in_turn = (neuron for neuron in chain.from_iterable(zip_longest(*shuffled)) if neuron is not None)
    return sorted(int(neuron) for neuron, _ in zip(in_turn, range(count)))


def write_drawn(output: str, count: int, paths: list[str]) -> None:
    """Write a CSV of neurons, as `neurons.file` takes it: `count` of each table of types, a layer's each."""
    rows: list[tuple[int, int]] = []
    for path in paths:
        found = read_table(path, NEURON_TYPES, [("sign", "=", "positive")]).to_pylist()
        for layer in sorted({row["layer"] for row in found}):
            types = {row["neuron"]: row["type"] for row in found if row["layer"] == layer}
            rows += [(layer, neuron) for neuron in draw_of_every_type(types, count, layer)]
    check_output(output)
    with whole(output) as part, part.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("layer", "neuron"), *sorted(rows)])


if __name__ == "__main__":
    write_drawn(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
