"""Published exemplars imported: byte ranges of .npy arrays in, the same tables as the harvest's out.

The layout is that of the exemplars that Transluce published in 2024: `exemplar_config.json`; per split (train, valid,
test, and random_<split>), layer and end (max, min) arrays of activations, left-padded token ids and source numbers.

I neurons of a part, N sequences kept per neuron (top or random), T positions of a padded window, R = I * N rows,
W windows that differ, P values, M TAILS.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.signs import direction, turned
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.stores import BucketOrFolder, Changed, open_store
from neuron_descriptions.common.streams import key
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS, TAILS, Sign, quantile_column, tail_rank
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS
from neuron_descriptions.imports.arrays import ARRAYS, array_key, fetch, read_listing

KINDS = ("top", "random")
# A shared beginning that goes this many tokens beyond the template's is another template's.
CHANCE = 4


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
    if (late_X := begin_X > first).any():
        tail = acts_XT[late_X][:, first:]
        peak_X[late_X] = extreme(np.where(np.arange(tail.shape[1]) >= begin_X[late_X, None] - first, tail, least), -1)
    found_X: np.ndarray = peak_X + np.float32(0)
    return found_X


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
        up = direction(sign)
        peak_IN, opposite_IN = (peaks(acts_INT, begin_IN, side) for side in (up, -up))
        if not (np.isfinite(peak_IN) & np.isfinite(opposite_IN)).all():
            raise ValueError(
                f"{names[0]} has activations that are not finite where tokens are. If the sequences' padding is another"
                f" token than {self.pad}, set exemplars.pad_id; else fetch it anew"
            )
        found = Windows(
            acts_INT, ids_INT, source_IN, start_R.reshape(shape), begin_IN, seq_id_R.reshape(shape), peak_IN
        )
        return _ranked(found, up)

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
    like_T, shared = None, int(windows[0].ids_INT.shape[2])
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
            "gate": pa.nulls(n * per_neuron),  # not published
        },
        schema=EXEMPLARS,
    )


def exact_quantiles(windows: Windows, sign: Sign, tokens: int) -> np.ndarray:
    """Quantiles (I, 1 + M) of one side, float32: the extreme, then those of TAILS; NaN where they are not known.

    A token beyond the least of the kept sequences' own extremes (over the prefix too, as they were chosen) stands in
    one of these sequences: so the sequences tell every quantile that lies beyond it, exactly, and no other.
    """
    up_INT = turned(windows.acts_INT, sign)
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
    return turned(quantiles, sign) + np.float32(0)


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
    nothing = pa.nulls(len(neurons))  # what only a harvest counts
    return pa.table({name: columns.get(name, nothing) for name in STATISTICS.names}, schema=STATISTICS)


def import_exemplars(
    place: BucketOrFolder,
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
