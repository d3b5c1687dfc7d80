"""Which neurons a run describes and keeps exemplars of, and whether a harvest job can hold them."""

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from neuron_descriptions.common.places import found
from neuron_descriptions.common.user_files import read_csv, whole_number
from neuron_descriptions.config.exemplars import HarvestedExemplars
from neuron_descriptions.config.sections import Config
from neuron_descriptions.run.memory import Keep, state_bytes


@dataclass(slots=True, frozen=True)
class Chunks:
    """Neurons in parts: layer -> neurons, ascending; so many in a chunk."""

    neurons: dict[int, list[int]]
    size: int

    def names(self, layer: int) -> list[str]:
        """A layer's chunks: chunk-0, chunk-1, ..."""
        return [f"chunk-{i}" for i in range(-(-len(self.neurons[layer]) // self.size))]

    def members(self, layer: int, number: int) -> list[int]:
        """Neurons of a chunk. Raises ValueError where there is none of that number."""
        found = self.neurons.get(layer, [])[number * self.size : (number + 1) * self.size]
        if not found:
            raise ValueError(f"layer {layer} has no chunk-{number} in this run")
        return found

    def holding(self, layer: int, neurons: Iterable[int]) -> list[str]:
        """Chunks that hold neurons; `neuron-<n>` for one that none holds."""
        mine = self.neurons.get(layer, [])
        parts: dict[str, None] = {}
        for neuron in neurons:
            place = bisect_left(mine, neuron)
            held = place < len(mine) and mine[place] == neuron
            parts[f"chunk-{place // self.size}" if held else f"neuron-{neuron}"] = None
        return list(parts)


def described_and_kept(config: Config, beside: str | Path = ".") -> tuple[Chunks, Chunks]:
    """Neurons that the run describes, and those that exemplars are kept of: the same, or more.

    beside: as in `select_neurons`. Raises ValueError as that does, and where a described neuron is not kept.
    """
    described = Chunks(select_neurons(config, beside=beside), config.neurons.chunk_size)
    if config.exemplars.neurons is None:
        return described, described
    kept = Chunks(select_neurons(config, "exemplars.neurons", beside), config.exemplars.neurons.chunk_size)
    for layer, neurons in described.neurons.items():
        if missing := set(neurons) - set(kept.neurons.get(layer, [])):
            raise ValueError(
                f"exemplars.neurons: layer {layer}, neuron {min(missing)} is to be described, but not among them"
            )
    return described, kept


def select_neurons(config: Config, section: str = "neurons", beside: str | Path = ".") -> dict[int, list[int]]:
    """Selected neurons of a section, `neurons` or `exemplars.neurons`: layer -> ascending indices.

    beside: folder of the Snakefile, where `file` is looked for when the working directory has none. Raises ValueError
    for indices out of range, duplicates, an unreadable or an empty file.
    """
    n_layers, n_neurons = config.subject.layers, config.features_per_layer
    wanted = config.neurons if section == "neurons" else config.exemplars.neurons
    assert wanted is not None
    if wanted.file is not None:
        where, pairs = f"{section}.file {wanted.file}", _read_pairs(wanted.file, section, beside)
    else:
        where = f"{section}.indices"
        indices = (
            range(n_neurons)
            if wanted.indices == "all"
            else [i for item in wanted.indices for i in _expand(item, n_neurons, section)]
        )
        layers = range(n_layers) if wanted.layers == "all" else wanted.layers
        pairs = [(layer, neuron) for layer in layers for neuron in indices]
    selected: dict[int, set[int]] = {}
    for layer, neuron in pairs:
        if not (0 <= layer < n_layers and 0 <= neuron < n_neurons):
            raise ValueError(
                f"{where}: layer {layer}, neuron {neuron} is out of range; the subject has layers"
                f" 0..{n_layers - 1} of neurons 0..{n_neurons - 1}"
            )
        if neuron in selected.setdefault(layer, set()):
            raise ValueError(f"{where}: layer {layer}, neuron {neuron} is named twice; name it once")
        selected[layer].add(neuron)
    if not selected:
        raise ValueError(f"{where}: no neuron is selected")
    return {layer: sorted(neurons) for layer, neurons in sorted(selected.items())}


def check_plan(config: Config, selected: dict[int, list[int]]) -> None:
    """Raises ValueError, with what to set, where a harvest job's state would pass `exemplars.state_gb`."""
    exemplars, corpus = config.exemplars, config.corpus
    if not isinstance(exemplars, HarvestedExemplars) or corpus is None:
        return
    neurons = [len(indices) for indices in selected.values()]  # jobs take layers in this order
    keep = Keep(exemplars.k, exemplars.middle, exemplars.random, exemplars.gates)
    one_sided = config.features.one_sided
    one_gb = state_bytes(1, keep, corpus.seq_len, config.subject.dtype, one_sided) / 1e9

    def largest_gb(layers: int) -> float:
        return max(sum(neurons[i : i + layers]) for i in range(0, len(neurons), layers)) * one_gb

    asked = min(exemplars.layers_per_job, len(neurons))
    if largest_gb(asked) <= exemplars.state_gb:
        return
    fits = next((layers for layers in range(asked, 0, -1) if largest_gb(layers) <= exemplars.state_gb), None)
    remedy = (
        f"lower exemplars.layers_per_job to {fits}" if fits else "lower exemplars.k or select fewer neurons of a layer"
    )
    raise ValueError(
        f"exemplars.state_gb: a harvest job of {asked} layers keeps {largest_gb(asked):.1f} GB, more than the"
        f" {exemplars.state_gb:g} allowed: {remedy}, or raise it where there is more memory"
    )


def _expand(item: int | str, n_neurons: int, section: str) -> range:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(item))
    if not match:
        raise ValueError(f'{section}.indices: {item!r} is neither an index nor a range such as "0-99"')
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise ValueError(f"{section}.indices: range {item!r} ends before it starts")
    if last >= n_neurons:
        raise ValueError(
            f"{section}.indices: {item!r} is out of range; the subject has neurons 0..{n_neurons - 1} in a layer"
        )
    return range(first, last + 1)


def _read_pairs(file: str, section: str, beside: str | Path) -> list[tuple[int, int]]:
    """Pairs (layer, neuron) of a .npy, .csv or .parquet file."""
    path = Path(found(file, f"{section}.file", beside))
    if path.suffix == ".csv":
        return [
            (whole_number(row, "layer", where), whole_number(row, "neuron", where))
            for where, row in read_csv(str(path), f"{section}.file", ("layer", "neuron"))
        ]
    try:
        if path.suffix == ".npy":
            import numpy as np

            array = np.load(path, allow_pickle=False)
            if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
                raise ValueError(f"shape {array.shape}, dtype {array.dtype} are not integer (n, 2)")
            rows = array.tolist()
        elif path.suffix == ".parquet":
            import pyarrow as pa

            from neuron_descriptions.common.storage import read_parquet

            table = read_parquet(path)
            for name in ("layer", "neuron"):
                if not pa.types.is_integer(table.schema.field(name).type):
                    raise ValueError(f"column {name} does not hold integers")
            columns = table.select(["layer", "neuron"]).to_pydict()
            rows = list(map(list, zip(columns["layer"], columns["neuron"])))
        else:
            raise ValueError("is neither .npy, .csv nor .parquet")
    except KeyError as error:
        missing = next(name for name in ("layer", "neuron") if name in str(error))
        raise ValueError(f"{section}.file {file}: no column {missing!r}") from None
    except Exception as error:
        raise ValueError(f"{section}.file {file}: {error}") from None
    return [(layer, neuron) for layer, neuron in rows]
