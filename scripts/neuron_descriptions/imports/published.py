"""Published exemplars imported: byte ranges of .npy arrays in, the same tables as the harvest's out.

The layout is that of the exemplars that Transluce published in 2024: `exemplar_config.json`; per split (train, valid,
test, and random_<split>), layer and end (max, min) arrays of activations, left-padded token ids and source numbers.

I neurons of a part, N sequences kept per neuron (top or random), T positions of a padded window, R = I * N rows,
W windows that differ, P values, M TAILS, C values of a neuron in one array.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.storage import whole, write_table
from neuron_descriptions.common.stores import Changed, Facts, Missing, Store, open_store, read_json
from neuron_descriptions.common.streams import key
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS, TAILS, Sign, quantile_column, tail_rank
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.corpus.templates import Template
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS
from neuron_descriptions.models.loading import load_tokenizer, tokenizer_fingerprint

ENDS: dict[Sign, str] = {"positive": "max", "negative": "min"}
KINDS = ("top", "random")
ARRAYS = {"seq_acts": "<f4", "seq_ids": "<i4", "dataset_ids": "<i4"}
REQUESTS = 16  # at once
REQUEST = 16 << 20  # bytes of one at most
FIRST = 128  # bytes that hold the header of every array of this layout
# A shared beginning that goes this many tokens beyond the template's is another template's.
CHANCE = 4


# --- what there is -----------------------------------------------------------------------------------


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


def check_settings(name: str, found: Any, wanted: dict[str, Any], model: str | None) -> list[str]:
    """The sources' names, in the order of their numbers. Raises ValueError where the exemplars were made with other
    settings than the run's. wanted: the config's key -> (the layout's key, value); model: hub repository."""
    try:
        sources = sorted({source["hf_dataset_id"].rpartition("/")[2] for source in found["hf_dataset_configs"]})
        theirs = {ours: found[key] for ours, (key, _) in wanted.items()}
        kind, their_model = found.get("activation_type", "MLP"), found["hf_model_id"]
        numbers = [int(found[key]) for key in ("num_seqs", "batch_size")]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{name} is not an exemplar configuration: {type(error).__name__} {error}") from None
    if min(numbers) < 1:
        raise ValueError(f"{name}: num_seqs and batch_size are not positive")
    if kind != "MLP":
        raise ValueError(f"{name}: these are exemplars of {kind} features, not of MLP neurons; name another folder")
    if model is not None and _model_name(model) != _model_name(their_model):
        raise ValueError(
            f"{name}: the exemplars are those of {their_model}, the subject is {model}; name another folder or subject"
        )
    other = [
        f"{ours} is {value}, theirs {theirs[ours]}" for ours, (_, value) in wanted.items() if theirs[ours] != value
    ]
    if other:
        raise ValueError(f"{name}: made with other settings than this run's: {'; '.join(other)}; set theirs")
    return sources


def _model_name(repo: str) -> str:
    # The hub renamed Meta-Llama-3.1 to Llama-3.1 and leads from one name to the other.
    return repo.rpartition("/")[2].lower().removeprefix("meta-")


def list_exemplars(
    place: dict[str, Any],
    layer: int,
    n_neurons: int,
    model: str | None,
    k: int,
    n_random: int,
    seq_len: int,
    pad_id: int | None,
    subject_folder: str,
    output: str,
) -> None:
    """Check what is published of a layer against the run's settings, and write which versions of which arrays there
    are, as JSON: parts imported at different times then are parts of the same. With it stands what the parts need to
    know of the subject's tokenizer, so that each need not load it.

    place: see s3.open_store; n_random: 0 where random sequences are not wanted; pad_id: None for the tokenizer's.
    Raises ValueError that names the object that is missing or is not what it should be.
    """
    store = open_store(place)
    wanted: dict[str, Any] = {"exemplars.k": ("k", k), "exemplars.seq_len": ("seq_len", seq_len)}
    if n_random:
        wanted["exemplars.random"] = ("rand_seqs", n_random)
    try:
        config = read_json(store, "exemplar_config.json")
    except Missing as error:
        raise ValueError(f"{error}; correct the place under exemplars: a folder of exemplars has this file") from None
    sources = check_settings(store.name("exemplar_config.json"), config, wanted, model)
    shapes = {
        array_key(split, kind, layer, sign, name): (name, (n_neurons, n) + (seq_len,) * (name != "dataset_ids"))
        for split, (kind, n), sign, name in product(SPLITS, (("top", k), ("random", n_random)), SIGNS, ARRAYS)
        if n
    }

    def header(item: tuple[str, tuple[str, tuple[int, ...]]]) -> Array:
        place, (name, shape) = item
        try:
            return read_header(store, place, ARRAYS[name], shape)
        except Missing as error:
            advice = "fetch all splits of this layer"
            if place.startswith("random_"):
                advice += ", or set exemplars.random and scores.random to 0 to go without random sequences"
            raise ValueError(f"{error}; {advice}") from None

    with ThreadPoolExecutor(REQUESTS) as pool:
        arrays = dict(zip(shapes, pool.map(header, shapes.items())))
        splits = dict(zip(SPLITS, pool.map(lambda s: _split_size(store, s, layer, config), SPLITS)))
    listing = {
        "sources": sources,
        "tokenizer": _tokenizer_facts(subject_folder, pad_id),
        "splits": splits,
        "arrays": {
            place: {
                "offset": a.offset,
                "shape": a.shape,
                "dtype": a.dtype,
                "size": a.facts.size,
                "tag": a.facts.tag,
                "fortran": a.fortran,
            }
            for place, a in arrays.items()
        },
    }
    with whole(output) as part:
        part.write_text(json.dumps(listing, indent=1) + "\n")
    logger.info("layer %d: %d arrays in %s", layer, len(arrays), store.name(""))


def _tokenizer_facts(folder: str, pad_id: int | None) -> dict[str, Any]:
    tokenizer = load_tokenizer(folder)
    template = Template(tokenizer)
    pad = next((i for i in (pad_id, tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), None)
    if pad is None:
        raise ValueError(f"the tokenizer in {folder} has no padding token; set exemplars.pad_id")
    return {
        "folder": folder,
        "fingerprint": tokenizer_fingerprint(tokenizer),
        "vocabulary": len(tokenizer),
        "pad": pad,
        "prefix": template.prose_prefix,
        "prefixes": template.prefixes(),
    }


def _split_size(store: Store, split: str, layer: int, config: dict[str, Any]) -> dict[str, int]:
    """Sequences and tokens of a split. `step.txt` counts batches from 0, and names the batch that could not be filled
    where a source ran out; the token count of a resumed run counts some twice, so that the windows' size bounds it."""
    numbers = []
    for name in ("step.txt", "num_tokens_seen.txt"):
        place = f"{split}/layer{layer}/{name}"
        try:
            content, _ = store.head(place, 64)
            numbers.append(int(content))
        except Missing as error:
            raise ValueError(f"{error}; fetch all splits of this layer") from None
        except ValueError:
            raise ValueError(f"{store.name(place)} does not hold a number; fetch it anew") from None
    step, tokens = numbers
    full = config["num_seqs"] // config["batch_size"]
    sequences = (step + 1 if step + 1 >= full else step) * config["batch_size"]
    if sequences < 1 or tokens < 1:
        raise ValueError(
            f"{store.name(f'{split}/layer{layer}')}: step.txt or num_tokens_seen.txt says nothing was seen"
        )
    return {"sequences": sequences, "tokens": min(tokens, sequences * config["seq_len"])}


def read_listing(path: str) -> dict[str, Any]:
    """A listing with its arrays as Array."""
    listing = json.loads(Path(path).read_text())
    listing["arrays"] = {
        place: Array(a["offset"], tuple(a["shape"]), a["dtype"], Facts(a["size"], a["tag"]), a["fortran"])
        for place, a in listing["arrays"].items()
    }
    return listing


# --- the neurons' slices -----------------------------------------------------------------------------


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


# --- windows -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Windows:
    """Sequences of one split, sign and kind, per neuron, best first."""

    acts_INT: np.ndarray
    ids_INT: np.ndarray
    source_IN: np.ndarray
    start_IN: np.ndarray  # first position after the padding
    begin_IN: np.ndarray  # first position after the template's prefix
    seq_id_IN: np.ndarray
    peak_IN: np.ndarray  # of the evidence; signed


def evidence_of(values_XT: np.ndarray, begin_X: np.ndarray) -> np.ndarray:
    """Values from `begin` on, row after row, flat."""
    first = int(begin_X.min())
    tail = values_XT[..., first:]
    if (begin_X == first).all():
        return tail.reshape(-1)
    return tail[np.arange(first, values_XT.shape[-1]) >= begin_X[..., None]]


def peaks(acts_XT: np.ndarray, begin_X: np.ndarray, direction: int) -> np.ndarray:
    """The most extreme activation from `begin` on, per row; +0 for -0."""
    first = int(begin_X.min())
    extreme, least = (np.max, -np.inf) if direction > 0 else (np.min, np.inf)
    peak_X = extreme(acts_XT[..., first:], -1)
    late_X = begin_X > first
    if late_X.any():
        tail = acts_XT[late_X][:, first:]
        peak_X[late_X] = extreme(np.where(np.arange(tail.shape[1]) >= begin_X[late_X, None] - first, tail, least), -1)
    return peak_X + np.float32(0)


def starts(ids_RT: np.ndarray, pad: int) -> np.ndarray:
    """First position that is no padding, (R,); T where all is."""
    start_R = np.zeros(len(ids_RT), np.int64)
    padded = np.flatnonzero(ids_RT[:, 0] == pad)
    real = ids_RT[padded] != pad
    start_R[padded] = np.where(real.any(1), real.argmax(1), ids_RT.shape[1])
    return start_R


def prefix_lengths(ids_RT: np.ndarray, start_R: np.ndarray, prefixes: list[list[int]]) -> np.ndarray:
    """Tokens of the template's that each window begins with, (R,): the longest of `prefixes` that it has."""
    length_R = np.zeros(len(ids_RT), np.int64)
    for start in np.unique(start_R):
        rows = np.flatnonzero(start_R == start)
        for prefix in sorted(prefixes, key=len):
            if start + len(prefix) < ids_RT.shape[1]:  # else there would be no evidence
                has = (ids_RT[rows, start : start + len(prefix)] == prefix).all(1)
                length_R[rows[has]] = len(prefix)
    return length_R


def sequence_ids(ids_RT: np.ndarray, start_R: np.ndarray, salt_R: np.ndarray) -> np.ndarray:
    """53 bits (what JavaScript holds exactly) of a hash of each window's tokens and of its salt, int64 (R,): the same
    for the same sequence wherever it stands.

    Multilinear (Carter and Wegman 1979, "Universal classes of hash functions"): sum over the tokens of (id + 1) times
    a random 64-bit number that belongs to the place counted from the end.
    """
    numbers_T = np.array([key("sequence", place) for place in range(ids_RT.shape[1])], np.uint64)[::-1]
    hash_R = np.empty(len(ids_RT), np.uint64)
    step = 4096
    for at in range(0, len(ids_RT), step):
        block = ids_RT[at : at + step].astype(np.uint64) + np.uint64(1)
        if start_R[at : at + step].any():
            block *= np.arange(ids_RT.shape[1]) >= start_R[at : at + step, None]
        hash_R[at : at + step] = block @ numbers_T
    hash_R += salt_R
    hash_R ^= hash_R >> np.uint64(32)
    hash_R *= np.uint64(0x9E3779B97F4A7C15)  # so that the high bits depend on all
    return (hash_R >> np.uint64(11)).astype(np.int64)


class Reader:
    """Turns arrays into Windows."""

    def __init__(self, tokenizer: dict[str, Any], sources: list[str]):
        """tokenizer: its facts, of the listing."""
        self.folder, self.prefix, self.prefixes = (tokenizer[name] for name in ("folder", "prefix", "prefixes"))
        self.pad, self.vocabulary = tokenizer["pad"], tokenizer["vocabulary"]
        self.sources = sources
        self.salts = np.array([key("source", name) for name in sources], np.uint64)

    def windows(self, arrays: tuple[np.ndarray, ...], sign: Sign, names: tuple[str, ...]) -> Windows:
        """arrays, names: activations, token ids, source numbers. Raises ValueError that names the array that is not
        what it should be."""
        acts_INT, ids_INT, source_IN = arrays
        shape = source_IN.shape
        ids_RT = ids_INT.reshape(-1, ids_INT.shape[2])
        if ids_INT.min() < 0 or ids_INT.max() >= self.vocabulary:
            raise ValueError(
                f"{names[1]} has token ids from {ids_INT.min()} to {ids_INT.max()}, the subject's tokenizer has"
                f" 0..{self.vocabulary - 1}; name the subject that the exemplars are of"
            )
        if source_IN.min() < 0 or source_IN.max() >= len(self.sources):
            raise ValueError(
                f"{names[2]} has numbers from {source_IN.min()} to {source_IN.max()}, exemplar_config.json has"
                f" {len(self.sources)} data sets; fetch both anew"
            )
        start_R = starts(ids_RT, self.pad)
        if start_R.max() == ids_RT.shape[1]:
            raise ValueError(f"{names[1]} has a sequence that is all padding ({self.pad}); fetch it anew")
        begin_R = start_R + prefix_lengths(ids_RT, start_R, self.prefixes)
        seq_id_R = sequence_ids(ids_RT, start_R, self.salts[source_IN.reshape(-1)])
        begin_IN = begin_R.reshape(shape)
        direction = 1 if sign == "positive" else -1
        peak_IN, opposite_IN = (peaks(acts_INT, begin_IN, side) for side in (direction, -direction))
        if not (np.isfinite(peak_IN) & np.isfinite(opposite_IN)).all():
            raise ValueError(
                f"{names[0]} has activations that are not finite where tokens are. If the sequences' padding is another"
                f" token than {self.pad}, set exemplars.pad_id; else fetch it anew"
            )
        found = Windows(
            acts_INT, ids_INT, source_IN, start_R.reshape(shape), begin_IN, seq_id_R.reshape(shape), peak_IN
        )
        return _ranked(found, direction)

    def check_prefix(self, windows: Iterable[Windows]) -> None:
        """Raises ValueError where all windows begin alike beyond what the template accounts for."""
        windows = list(windows)
        shared = shared_beginning(windows)
        known = max(int((w.begin_IN - w.start_IN).max()) for w in windows)
        if shared >= known + CHANCE:
            raise ValueError(
                f"every window begins with the same {shared} tokens, the chat template of {self.folder} accounts for"
                f" {known} of them: the exemplars were made with another template. Put theirs into a copy of the"
                " subject's tokenizer, so that these tokens are not taken for evidence"
            )


def shared_beginning(windows: list[Windows]) -> int:
    """How many tokens all windows begin with alike."""
    like_T, shared = None, windows[0].ids_INT.shape[2]
    for group in windows:
        ids_RT, start_R = group.ids_INT.reshape(-1, group.ids_INT.shape[2]), group.start_IN.ravel()
        for start in np.unique(start_R):
            begin_RT = ids_RT[start_R == start, start : start + shared]
            like_T = begin_RT[0] if like_T is None else like_T
            same_T = (begin_RT == like_T[: begin_RT.shape[1]]).all(0)
            shared = len(same_T) if same_T.all() else int(same_T.argmin())
    return shared


def _ranked(windows: Windows, direction: int) -> Windows:
    """Windows by peak, the most extreme first; those with equal ones stay in order."""
    order_IN = np.argsort(-direction * windows.peak_IN, axis=1, kind="stable")
    rows = np.flatnonzero((order_IN != np.arange(order_IN.shape[1])).any(1))
    for name in Windows.__slots__ if len(rows) else ():
        values, order = getattr(windows, name), order_IN[rows]
        values[rows] = np.take_along_axis(values[rows], order[:, :, None] if values.ndim == 3 else order, 1)
    return windows


# --- tables ------------------------------------------------------------------------------------------


def _lists(lengths: np.ndarray, values: np.ndarray) -> pa.ListArray:
    return pa.ListArray.from_arrays(np.concatenate([[0], lengths.cumsum()]).astype(np.int32), values)


def _names(numbers: np.ndarray, names: Iterable[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int32()), pa.array(list(names))).cast(pa.string())


def corpus_table(windows: list[Windows], sources: list[str], metadata: dict[str, str]) -> pa.Table:
    """Every sequence of a split's windows once, by seq_id."""
    ids_RT = np.concatenate([w.ids_INT.reshape(-1, w.ids_INT.shape[2]) for w in windows])
    start_R, begin_R, source_R, seq_id_R = (
        np.concatenate([getattr(w, name).ravel() for w in windows])
        for name in ("start_IN", "begin_IN", "source_IN", "seq_id_IN")
    )
    seq_id_W, one_W, which_R = np.unique(seq_id_R, return_index=True, return_inverse=True)
    alike = (ids_RT == ids_RT[one_W[which_R]]).all() and (source_R == source_R[one_W[which_R]]).all()
    if not alike:
        raise ValueError(
            "two different sequences have the same seq_id; put them in different parts (neurons.chunk_size)"
        )
    ids_WT, start_W, begin_W = ids_RT[one_W], start_R[one_W], begin_R[one_W]
    longest = int((ids_RT.shape[1] - begin_W).max())
    return pa.table(
        {
            "seq_id": seq_id_W,
            "source": _names(source_R[one_W], sources),
            "document": pa.nulls(len(seq_id_W), pa.int64()),
            "prefix_len": (begin_W - start_W).astype(np.int16),
            "input_ids": _lists(ids_RT.shape[1] - start_W, evidence_of(ids_WT, start_W)),
        },
        schema=CORPUS.with_metadata(metadata | {"longest": str(longest)}),
    )


def exemplars_table(windows: dict[tuple[str, Sign, str], Windows], layer: int, neurons: list[int]) -> pa.Table:
    """Rows of EXEMPLARS: by neuron, then in the order of `windows` (split, sign, kind), then by rank."""
    groups = list(windows.values())
    widths = [w.peak_IN.shape[1] for w in groups]
    per_neuron, n = sum(widths), len(neurons)
    group_X = np.tile(np.repeat(np.arange(len(groups)), widths), n)
    ranks = np.concatenate([np.arange(width, dtype=np.int16) for width in widths])
    begin_X = np.concatenate([w.begin_IN for w in groups], 1)
    first = int(begin_X.min())
    acts_XT = np.concatenate([w.acts_INT[:, :, first:] for w in groups], 1)
    length_X = (groups[0].acts_INT.shape[2] - begin_X).ravel()
    split, sign, kind = (
        _names(np.array([values.index(name[part]) for name in windows])[group_X], values)
        for part, values in ((0, SPLITS), (1, SIGNS), (2, KINDS))
    )
    return pa.table(
        {
            "split": split,
            "layer": np.full(n * per_neuron, layer, np.int16),
            "neuron": np.repeat(np.array(neurons, np.int32), per_neuron),
            "sign": sign,
            "kind": kind,
            "rank": np.tile(ranks, n),
            "seq_id": np.concatenate([w.seq_id_IN for w in groups], 1).ravel(),
            "peak": np.concatenate([w.peak_IN for w in groups], 1).ravel(),
            "activations": _lists(length_X, evidence_of(acts_XT, begin_X - first)),
        },
        schema=EXEMPLARS,
    )


def exact_quantiles(windows: Windows, sign: Sign, tokens: int) -> np.ndarray:
    """Quantiles (I, 1 + M) of one side, float32: the extreme, then those of TAILS; NaN where they are not known.

    A token beyond the least of the kept sequences' own extremes (over the prefix too, as they were chosen) stands in
    one of these sequences: so the sequences tell every quantile that lies beyond it, exactly, and no other.
    """
    direction = 1 if sign == "positive" else -1
    up_INT = windows.acts_INT if direction > 0 else -windows.acts_INT
    least_I = peaks(up_INT, windows.start_IN, 1).min(1)
    known_INT = up_INT >= least_I[:, None, None]
    known_INT &= np.arange(up_INT.shape[2]) >= windows.begin_IN[:, :, None]
    neuron_P, value_P = known_INT.nonzero()[0], up_INT[known_INT]
    order_P = np.lexsort((-value_P, neuron_P))
    count_I = np.bincount(neuron_P, minlength=len(least_I))
    first_I = count_I.cumsum() - count_I
    quantiles = np.full((len(least_I), 1 + len(TAILS)), np.nan, np.float32)
    for column, rank in enumerate([1, *(tail_rank(tokens, tail) for tail in TAILS)]):
        has_I = count_I >= rank
        quantiles[has_I, column] = value_P[order_P[first_I[has_I] + rank - 1]]
        if rank > 1:  # as the harvest has it: 0 where fewer tokens than that are on this side
            quantiles[:, column] = np.minimum(np.maximum(quantiles[:, column], 0), quantiles[:, 0])
    return direction * quantiles + np.float32(0)


def statistics_table(top: dict[Sign, Windows], split: str, layer: int, neurons: list[int], tokens: int) -> pa.Table:
    """One row of STATISTICS per neuron: what the top sequences do not tell is null."""
    columns: dict[str, Any] = {
        "split": [split] * len(neurons),
        "layer": [layer] * len(neurons),
        "neuron": neurons,
        "tokens": [tokens] * len(neurons),
        "mean": pa.nulls(len(neurons), pa.float64()),
        "std": pa.nulls(len(neurons), pa.float64()),
    }
    for sign, extreme in (("negative", "min"), ("positive", "max")):
        found = exact_quantiles(top[sign], sign, tokens)  # type: ignore[index,arg-type]
        for name, column in zip((extreme, *(quantile_column(t, sign) for t in TAILS)), found.T):  # type: ignore[arg-type]
            columns[name] = pa.array(column, pa.float32(), mask=np.isnan(column))
    return pa.table({name: columns[name] for name in STATISTICS.names}, schema=STATISTICS)


def import_exemplars(
    place: dict[str, Any],
    listing: str,
    layer: int,
    neurons: list[int],
    corpus: dict[str, str],
    exemplars: str,
    statistics: str,
) -> None:
    """Fetch a part's neurons and write its tables: exemplars, statistics, and per split the sequences they stand in.

    listing: list_exemplars' file; corpus: split -> output. A neuron's rows are the same whichever others are in the
    part. Raises ValueError that names an array that is not what it should be, or has changed since it was listed.
    """
    listed = read_listing(listing)
    reader = Reader(listed["tokenizer"], listed["sources"])
    store = open_store(place)
    size = sum(array.row for array in listed["arrays"].values()) * len(neurons)
    logger.info("layer %d: fetching %.1f MB of %d neurons", layer, size / 1e6, len(neurons))
    try:
        arrays = fetch(store, listed["arrays"], neurons)
    except Changed as error:
        raise ValueError(f"{error}; delete {listing} and run again, which imports the layer anew") from None
    windows: dict[tuple[str, Sign, str], Windows] = {}
    for split, sign, kind in product(SPLITS, SIGNS, KINDS):
        places = [array_key(split, kind, layer, sign, name) for name in ARRAYS]
        if places[0] in arrays:
            found = tuple(arrays.pop(name) for name in places)
            windows[split, sign, kind] = reader.windows(found, sign, tuple(map(store.name, places)))
    reader.check_prefix(windows.values())
    statistics_tables = []
    seen = np.zeros(0, np.int64)  # what was published shares some sequences among splits
    for split in SPLITS:
        sequences, tokens = (listed["splits"][split][name] for name in ("sequences", "tokens"))
        tokens = max(1, tokens - sequences * len(reader.prefix))
        top: dict[Sign, Windows] = {sign: windows[split, sign, "top"] for sign in SIGNS}
        statistics_tables.append(statistics_table(top, split, layer, neurons, tokens))
        metadata = {"tokenizer": listed["tokenizer"]["fingerprint"], "tokens": str(tokens), "sequences": str(sequences)}
        of_split = [w for (s, _, _), w in windows.items() if s == split]
        table = corpus_table(of_split, listed["sources"], metadata)
        write_table(table, corpus[split])
        again = np.isin(table["seq_id"].to_numpy(), seen)
        seen = np.concatenate([seen, table["seq_id"].to_numpy()])
        if again.any():
            logger.info(
                "layer %d: %d of %s's %d sequences are another split's too", layer, again.sum(), split, len(again)
            )
    table = exemplars_table(windows, layer, neurons)
    write_table(table, exemplars)
    write_table(pa.concat_tables(statistics_tables).sort_by("neuron"), statistics)
    logger.info("layer %d: %d exemplars of %d neurons", layer, len(table), len(neurons))
