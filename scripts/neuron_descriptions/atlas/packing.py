"""The pages' data, packed: neurons of a few kilobytes in scripts, which a page unpacks without a server.

A packed file is gzip of: the length of a head (4 bytes, little-endian), the head (JSON), then the arrays that its
`arrays` names with their types, each from a multiple of 8 bytes on. pages/packed.js reads it.
"""

import json
import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

# Neurons of a page's part: what one click loads.
PART = 18
# Activations are kept in hundredths of their sequence's largest, predictions in steps of 0.05 of 10.
STEPS, PREDICTED = 100, 200
NO_PREDICTION = 255
_DIRECTIONS = {"positive": 1, "negative": -1}
# Of the 2^15 characters that stand for data; none of them needs an escape.
FIRST = 0x3400
TYPES = {"int8": "Int8Array", "uint8": "Uint8Array", "int16": "Int16Array", "uint16": "Uint16Array"}
TYPES |= {"uint32": "Uint32Array", "float32": "Float32Array"}


# --- files ---


def pack(head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Pack a head that JSON can say, and arrays of the dtypes in TYPES."""
    named = [[name, TYPES[array.dtype.name], len(array)] for name, array in arrays.items()]
    text = json.dumps({**head, "arrays": named}, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(4 + len(text)) % 8)
    pieces = [struct.pack("<I", len(text)), text]
    for array in arrays.values():
        data = array.astype(array.dtype.newbyteorder("<")).tobytes()
        pieces += [data, bytes(-len(data) % 8)]
    # Of mostly small numbers, of several kinds one after the other: short blocks, each with a code of its own.
    packer = zlib.compressobj(9, wbits=31, memLevel=7, strategy=zlib.Z_FILTERED)
    return packer.compress(b"".join(pieces)) + packer.flush()


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The head and the arrays of a packed file."""
    plain = zlib.decompress(data, wbits=31)
    at = 4 + int(struct.unpack("<I", plain[:4])[0])
    head, arrays = json.loads(plain[4:at]), {}
    names = {name: dtype for dtype, name in TYPES.items()}
    for name, kind, length in head.pop("arrays"):
        arrays[name] = np.frombuffer(plain, np.dtype(names[kind]).newbyteorder("<"), length, at)
        at += -(-arrays[name].nbytes // 8) * 8
    return head, arrays


def script(call: str, data: bytes) -> bytes:
    """A script that calls a function with packed data: UTF-16, 15 bits a character from U+3400 on. Its byte order mark
    goes before whatever a server says of its encoding, and it takes 1.07 bytes a byte, where base64 takes 1.33."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    groups = np.concatenate([bits, np.zeros(-len(bits) % 15, np.uint8)]).reshape(-1, 15)
    numbers = groups.astype(np.uint16) @ (1 << np.arange(14, -1, -1)).astype(np.uint16)
    text = (numbers + FIRST).astype("<u2").tobytes().decode("utf-16-le")
    return f'\ufeff{call}("{text}",{len(data)});\n'.encode("utf-16-le")


def read_script(path: str | Path) -> tuple[str, bytes]:
    """(function called, packed data) of such a script."""
    call, text, length = Path(path).read_bytes().decode("utf-16").split('"')
    numbers = np.frombuffer(text.encode("utf-16-le"), "<u2") - FIRST
    bits = np.unpackbits(numbers.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 1:].ravel()
    return call.removesuffix("("), np.packbits(bits).tobytes()[: int(length.strip(",);\n"))]


# --- neurons ---


def pack_neurons(neurons: Iterable[dict[str, Any]]) -> bytes:
    """Pack neurons as Details gives them. Texts and activations that several records share stand once; activations are
    rounded to 1/100 of the largest of their sequence, predictions to 1/200 of the larger of theirs and 10."""
    texts: dict[tuple[str, int], tuple[str, list[str]]] = {}
    places: dict[tuple[str, int], int] = {}
    lines: dict[tuple[Any, ...], tuple[str, int, list[float]]] = {}  # kind, text, activations
    fires: list[np.ndarray] = []
    predicted: list[np.ndarray] = []
    ranks: list[int] = []
    descriptions: list[str | None] = []  # of all candidates, since what is alike compresses best side by side

    def line(neuron: int, record: dict[str, Any]) -> tuple[Any, ...]:
        text = (record["split"], record["seq_id"])
        texts.setdefault(text, (record["source"], record["tokens"]))
        place = places.setdefault(text, len(places))
        key = (neuron, place, *record["activations"])
        lines.setdefault(key, (record["kind"], place, record["activations"]))
        if "fires" in record:
            held = np.zeros(len(record["tokens"]), np.uint8)
            for token, part in record["fires"]:
                held[token] = part + 1
            fires.append(held)
        return key

    def columns(number: int, records: list[dict[str, Any]], more: str, direction: int = 1) -> dict[str, list[Any]]:
        found = {name: [record[name] for record in records] for name in ("split", "kind", "rank")}
        found["line"] = [line(number, record) for record in records]
        if records and "gate" in records[0]:
            found["gate"] = [record["gate"] for record in records]
        if more == "peak":  # null: it is the largest of its line
            tops = (direction * _scale(record["activations"]) for record in records)
            return found | {"peak": [None if r["peak"] == top else r["peak"] for r, top in zip(records, tops)]}
        found["top"] = []
        for record in records:
            values = record["simulated"]
            top = max((value for value in values if value is not None), default=0.0)
            found["top"].append(10 if top <= 10 else top)
            steps = [NO_PREDICTION if v is None else round(max(v, 0) / found["top"][-1] * PREDICTED) for v in values]
            predicted.append(np.array(steps, np.uint8))
        return found

    packed = []
    for number, neuron in enumerate(neurons):
        signs = {}
        for name, sign in neuron["signs"].items():
            exemplars = columns(number, sign["exemplars"], "peak", _DIRECTIONS[name])
            simulated = columns(number, sign["simulated"], "top")
            candidates = []
            for candidate in sign["candidates"]:
                shown_ranks = candidate["exemplar_ranks"] or []
                ranks += shown_ranks
                others = {key: value for key, value in candidate.items() if key != "description"}
                candidates.append(others | {"exemplar_ranks": len(shown_ranks)})
                descriptions.append(candidate["description"])
            columns_of = {key: [one[key] for one in candidates] for key in candidates[0]} if candidates else {}
            signs[name] = {**sign, "candidates": columns_of, "exemplars": exemplars, "simulated": simulated}
        packed.append({**neuron, "signs": signs})
    # Lines of a kind stand together: those of random text are noise, those of strong exemplars mostly small numbers.
    order = sorted(lines, key=lambda key: lines[key][0])
    number_of = {key: i for i, key in enumerate(order)}
    places_of = list(places)
    shown = [places_of[place] for place in dict.fromkeys(lines[key][1] for key in order)]
    text_of = {places[text]: i for i, text in enumerate(shown)}
    for neuron in packed:
        for sign in neuron["signs"].values():
            for group in (sign["exemplars"], sign["simulated"]):
                group["line"] = [number_of[key] for key in group["line"]]
    strings, frequent, first, second = _coded([texts[text][1] for text in shown])
    scales = [_scale(lines[key][2]) for key in order]
    head = {
        "frequent": frequent,
        "texts": {
            "split": [split for split, _ in shown],
            "seq_id": [seq_id for _, seq_id in shown],
            "source": [texts[text][0] for text in shown],
            "length": [len(texts[text][1]) for text in shown],
        },
        "lines": {"text": [text_of[lines[key][1]] for key in order], "scale": scales},
        "descriptions": descriptions,
        "neurons": packed,
    }
    steps = [_steps(lines[key][2], scale) for key, scale in zip(order, scales)]
    text = b"\xff".join(string.encode() for string in strings)  # a byte that UTF-8 never has
    arrays = {"strings": np.frombuffer(text, np.uint8), "first": first, "second": second}
    for name, pieces in (("activations", steps), ("predicted", predicted), ("fires", fires)):
        arrays[name] = np.concatenate(pieces) if pieces else np.zeros(0, np.uint8)
    arrays["ranks"] = np.array(ranks, np.min_scalar_type(max(ranks, default=0)))
    return pack(head, arrays)


def unpack_neurons(data: bytes) -> list[dict[str, Any]]:
    """Neurons as Details gives them, their values rounded as they were packed; pages/packed.js does the same."""
    head, arrays = unpack(data)
    texts, lines = head["texts"], head["lines"]
    strings = [string.decode() for string in arrays["strings"].tobytes().split(b"\xff")]
    codes = iter(_decoded(head["frequent"], arrays["first"], arrays["second"]))
    tokens = [[strings[next(codes)] for _ in range(length)] for length in texts["length"]]
    ends = np.cumsum([texts["length"][text] for text in lines["text"]])
    values = [
        levels(steps, scale / STEPS)
        for steps, scale in zip(np.split(arrays["activations"].astype(int), ends[:-1]), lines["scale"])
    ]
    predicted, fires, ranks = (_Reader(arrays[name]) for name in ("predicted", "fires", "ranks"))

    def records(group: dict[str, list[Any]], listed: bool, direction: int) -> list[dict[str, Any]]:
        found = []
        for i, line in enumerate(group["line"]):
            text = lines["text"][line]
            record = {name: group[name][i] for name in ("split", "kind", "rank")}
            record |= {"seq_id": texts["seq_id"][text], "source": texts["source"][text], "tokens": tokens[text]}
            record["activations"] = values[line]
            if listed:
                held = fires.take(len(tokens[text]))
                record["fires"] = [[t, int(part) - 1] for t, part in enumerate(held) if part]
            if "gate" in group:
                record["gate"] = group["gate"][i]
            if "peak" in group:
                peak = group["peak"][i]
                record["peak"] = direction * lines["scale"][line] if peak is None else peak
            else:
                steps = predicted.take(len(tokens[text]))
                known = levels(steps, group["top"][i] / PREDICTED)
                record["simulated"] = [None if s == NO_PREDICTION else v for s, v in zip(steps, known)]
            found.append(record)
        return found

    descriptions = iter(head["descriptions"])
    neurons: list[dict[str, Any]] = head["neurons"]
    for neuron in neurons:
        for side, sign in neuron["signs"].items():
            columns = sign["candidates"]
            sign["candidates"] = [dict(zip(columns, values)) for values in zip(*columns.values())]
            for candidate in sign["candidates"]:
                candidate["description"] = next(descriptions)
                candidate["exemplar_ranks"] = ranks.take(candidate["exemplar_ranks"]).tolist()
            for name in ("exemplars", "simulated"):
                sign[name] = records(sign[name], sign["concepts"] is not None, _DIRECTIONS[side])
    return neurons


def levels(steps: Iterable[int], step: float) -> list[float]:
    """Values of so many steps, with the decimals that the step bears out."""
    if not step:
        return [0.0 for _ in steps]
    scale = 10.0 ** max(0, math.ceil(-math.log10(step)))
    return [math.floor(int(s) * step * scale + 0.5) / scale for s in steps]


def write_neurons(neurons: list[dict[str, Any]], folder: Path) -> None:
    """Write neurons in parts of PART to 0.js, 1.js ... of a folder that is not there yet."""
    folder.mkdir()
    for number, first in enumerate(range(0, len(neurons), PART)):
        data = pack_neurons(neurons[first : first + PART])
        (folder / f"{number}.js").write_bytes(script("atlasDetails", data))


def read_neurons(path: str | Path) -> list[dict[str, Any]]:
    """Neurons of one such file."""
    return unpack_neurons(read_script(path)[1])


# --- numbers ---


class _Reader:
    """An array that is read piece by piece."""

    def __init__(self, array: np.ndarray):
        self.array, self.at = array, 0

    def take(self, n: int) -> np.ndarray:
        self.at += n
        return self.array[self.at - n : self.at]


def _scale(values: list[float]) -> float:
    return max(map(abs, values), default=0.0)


def _steps(values: list[float], scale: float) -> np.ndarray:
    return np.round(np.array(values) / (scale or 1.0) * STEPS).astype(np.int8)


def _coded(texts: list[list[str]]) -> tuple[list[str], int, np.ndarray, np.ndarray]:
    """(the distinct tokens, the most frequent first; how many of them take one byte; of each token the first byte; of
    each that needs one, the second: 16 bits wide where there are very many). Bytes of a kind stand together since they
    compress better so."""
    counts = Counter(token for tokens in texts for token in tokens)
    strings = sorted(counts, key=lambda token: (-counts[token], token))
    base = 1 << (8 if len(strings) <= 1 << 16 else 16)
    frequent = min(256, (256 * base - len(strings)) // (base - 1))
    number_of = {token: i for i, token in enumerate(strings)}
    numbers = np.array([number_of[token] for tokens in texts for token in tokens], np.int64)
    rest = numbers - frequent
    first = np.where(rest < 0, numbers, frequent + rest // base)
    return strings, frequent, first.astype(np.uint8), (rest[rest >= 0] % base).astype(np.min_scalar_type(base - 1))


def _decoded(frequent: int, first: np.ndarray, second: np.ndarray) -> Iterable[int]:
    base, seconds = 1 << 8 * second.itemsize, iter(second.tolist())
    for number in first.tolist():
        yield number if number < frequent else frequent + base * (number - frequent) + next(seconds)
