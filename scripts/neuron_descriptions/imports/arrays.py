"""Byte ranges of published .npy arrays: where values lie, and those of the wanted neurons alone.

I neurons of a part, C values of a neuron in one array.
"""

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neuron_descriptions.common.stores import Facts, Store
from neuron_descriptions.common.vocabulary import Sign

ENDS: dict[Sign, str] = {"positive": "max", "negative": "min"}
ARRAYS = {"seq_acts": "<f4", "seq_ids": "<i4", "dataset_ids": "<i4"}
REQUESTS = 16  # at once
REQUEST = 16 << 20  # bytes of one at most
FIRST = 128  # bytes that hold the header of every array of this layout


@dataclass(slots=True, frozen=True)
class Array:
    """A .npy file: where its values begin, its shape (neurons first), and which version it is; fortran: each place's
    values of all neurons lie together, not each neuron's of all places."""

    offset: int
    shape: tuple[int, ...]
    dtype: str
    facts: Facts
    fortran: bool = False

    @property
    def row(self) -> int:
        """Bytes per neuron."""
        return int(np.prod(self.shape[1:])) * np.dtype(self.dtype).itemsize


def array_key(split: str, kind: str, layer: int, sign: Sign, name: str) -> str:
    """An array's place in the layout."""
    return f"{split if kind == 'top' else f'random_{split}'}/layer{layer}/{ENDS[sign]}_{name}.npy"


def read_header(store: Store, place: str, dtype: str, shape: tuple[int, ...]) -> Array:
    """Read the head of a .npy file. Raises ValueError where it does not hold `shape` values of `dtype`, in full.

    Both orders are read: numpy saves a transposed view, as the published source numbers are, in Fortran order."""
    content, facts = store.head(place, FIRST)
    name = store.name(place)
    try:
        version = np.lib.format.read_magic(io.BytesIO(content))
        width = 2 if version == (1, 0) else 4
        offset = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
        if offset > len(content):
            content, facts = store.head(place, min(offset, 1 << 16))
        read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
        stream = io.BytesIO(content)
        stream.seek(8)
        found_shape, fortran, found = read(stream)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} is not a .npy array, or its beginning is damaged ({error}); fetch or export it anew"
        ) from None
    if found.hasobject:
        raise ValueError(f"{name} holds pickled Python objects, which are never loaded; export it as {dtype}")
    if found != np.dtype(dtype):
        raise ValueError(f"{name} holds {found.str} values, not {dtype}; export it anew")
    if found_shape != shape:
        raise ValueError(
            f"{name} has shape {found_shape}, not {shape}: correct subject.neurons_per_layer, exemplars.k,"
            " exemplars.random or exemplars.seq_len, whichever differs"
        )
    size = offset + int(np.prod(shape)) * found.itemsize
    if facts.size != size:
        raise ValueError(f"{name} has {facts.size} bytes, not {size}: it is truncated or damaged; fetch it anew")
    return Array(offset, shape, dtype, facts, fortran)


def ranges(neurons: list[int], row: int) -> Iterator[tuple[int, int, int]]:
    """(first byte in the array, first in the buffer, bytes) of requests for the given neurons, ascending, and for
    nothing else; neighbours share one."""
    start = 0
    for end in range(1, len(neurons) + 1):
        if end == len(neurons) or neurons[end] != neurons[end - 1] + 1:
            for at in range(start * row, end * row, REQUEST):
                yield neurons[start] * row + at - start * row, at, min(REQUEST, end * row - at)
            start = end


def fetch(store: Store, arrays: dict[str, Array], neurons: list[int]) -> dict[str, np.ndarray]:
    """The neurons' slices of all arrays: key -> (I, ...). Raises Changed where an array is another one by now."""
    found: dict[str, np.ndarray] = {}
    jobs: list[Callable[[], None]] = []
    for place, array in arrays.items():
        order: Literal["F", "C"] = "F" if array.fortran else "C"
        found[place] = np.empty((len(neurons), *array.shape[1:]), array.dtype, order)
        jobs += (_columns if array.fortran else _rows)(store, place, array, neurons, found[place])
    with ThreadPoolExecutor(REQUESTS) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {place: np.ascontiguousarray(values) for place, values in found.items()}


def _rows(
    store: Store, place: str, array: Array, neurons: list[int], values: np.ndarray
) -> Iterator[Callable[[], None]]:
    """What reads the neurons of an array in C order, and nothing else, into `values`."""
    buffer = memoryview(values).cast("B")  # type: ignore[arg-type]
    for first, at, size in ranges(neurons, array.row):
        yield partial(store.read_into, place, array.offset + first, buffer[at : at + size], array.facts)


def _columns(
    store: Store, place: str, array: Array, neurons: list[int], values: np.ndarray
) -> Iterator[Callable[[], None]]:
    """What reads the neurons of an array in Fortran order into `values`: columns of all neurons, several in one
    request, from the first wanted neuron to the last. What lies between is read too: a request for each wanted piece,
    of a few hundred bytes, would take longer (the published arrays of this order have 6 MB)."""
    values_CI = values.T.reshape(-1, len(neurons))  # a view: `values` is in Fortran order as well
    width, size = array.shape[0], np.dtype(array.dtype).itemsize
    first, last = neurons[0], neurons[-1] + 1
    step = max(1, REQUEST // (width * size))

    def read(begin: int, end: int) -> None:
        block = np.empty((end - begin, width), array.dtype)
        stretch = block.reshape(-1)[first : (end - begin - 1) * width + last]
        at = array.offset + (begin * width + first) * size
        store.read_into(place, at, memoryview(stretch).cast("B"), array.facts)  # type: ignore[arg-type]
        values_CI[begin:end] = block[:, neurons]

    for begin in range(0, len(values_CI), step):
        yield partial(read, begin, min(begin + step, len(values_CI)))


def read_listing(path: str) -> dict[str, Any]:
    """A listing with its arrays as Array."""
    listing: dict[str, Any] = json.loads(Path(path).read_text())
    listing["arrays"] = {
        place: Array(a["offset"], tuple(a["shape"]), a["dtype"], Facts(a["size"], a["tag"]), a["fortran"])
        for place, a in listing["arrays"].items()
    }
    return listing
