"""Predictions kept beside the scores: another confidence, more resamples, a null or a candidate more do not simulate
what was simulated, and a killed job goes on where it was.

A file per part, of records that are only ever appended: what a killed job left of one is cut off, and so is everything
after a damaged one. Only the part's own job opens it.
"""

import struct
import zlib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.common.provenance import file_digest
from neuron_descriptions.corpus.reading import Text
from neuron_descriptions.simulators.opening import Job
from neuron_descriptions.simulators.simulating import Simulator, Task

_HEAD = struct.Struct("<16sII")  # key, bytes of values, checksum of both


class NoPredictions:
    """Keeps none: every task is simulated."""

    def simulate(self, simulator: Simulator, tasks: list[Task], where: Sequence[Any]) -> list[NDArray[np.float64]]:
        """Per task, predicted activations of its evidence tokens."""
        return [np.array(p, float) for p in simulator.simulate(tasks)]


class Predictions:
    """Those of one part, by what was simulated and where it was asked for."""

    def __init__(self, path: str, made_by: str):
        """made_by: stands for simulator, prompt and code; what others have made is removed."""
        self.path, self.simulated = Path(path), 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.start = sha256(made_by.encode()).digest()
        self.found: dict[bytes, tuple[int, int]] = {}  # key -> place and length of its values in the file
        if not self.path.exists() or self._read_index() == 0:
            self.path.write_bytes(self.start)
            self.found.clear()

    def _read_index(self) -> int:
        """Find the whole records; cut off what follows them. Returns the bytes that are good."""
        with open(self.path, "r+b") as file:
            if file.read(len(self.start)) != self.start:
                return 0
            good = len(self.start)
            while len(head := file.read(_HEAD.size)) == _HEAD.size:
                key, length, checksum = _HEAD.unpack(head)
                values = file.read(length)
                if len(values) < length or zlib.crc32(key + values) != checksum:
                    break
                self.found[key] = good + _HEAD.size, length
                good += _HEAD.size + length
            file.truncate(good)
        return good

    def simulate(self, simulator: Simulator, tasks: list[Task], where: Sequence[Any]) -> list[NDArray[np.float64]]:
        """Per task, predicted activations of its evidence tokens: kept ones, else simulated now and kept.

        where: neuron, sign and purpose. It is part of the key, so that a task of one call is never found in another:
        how tasks are batched decides how they are rounded, and an unbroken run must batch as without this file.
        """
        keys = [_key(task.description, task.text, where) for task in tasks]
        missing = [i for i, key in enumerate(keys) if key not in self.found]
        fresh = simulator.simulate([tasks[i] for i in missing]) if missing else []
        made = {keys[i]: np.array(p, float) for i, p in zip(missing, fresh)}
        if made:
            self._append(made)
        self.simulated += len(missing)
        kept = [key for key in dict.fromkeys(keys) if key not in made]
        with open(self.path, "rb") as file:
            for key in kept:
                place, length = self.found[key]
                file.seek(place)
                made[key] = _unpack(file.read(length))
        return [made[key] for key in keys]

    def _append(self, made: dict[bytes, NDArray[np.float64]]) -> None:
        with open(self.path, "ab") as file:
            place = file.tell()
            for key, values in made.items():
                packed = _pack(values)
                file.write(_HEAD.pack(key, len(packed), zlib.crc32(key + packed)) + packed)
                self.found[key] = place + _HEAD.size, len(packed)
                place += _HEAD.size + len(packed)


def kept_predictions(kept: dict[str, str], simulator: Job) -> Predictions:
    """Predictions that outlive a job. kept: `path`, and `made_by`, what they depend on beyond the simulator."""
    folders = [Path(model).name for model in (simulator.subject_folder, simulator.folder) if model]
    prompted = file_digest(simulator.prompt) if simulator.prompt else None
    settings = sorted(simulator.settings.model_dump(exclude={"prompt"}).items())
    return Predictions(kept["path"], repr((kept["made_by"], settings, folders, prompted)))


def _key(description: str, text: Text, where: Sequence[Any]) -> bytes:
    return sha256(repr((description, text.input_ids, text.prefix_len, *where)).encode()).digest()[:16]


def _pack(values: NDArray[np.float64]) -> bytes:
    """Bytes that give the same numbers again: four each, where that loses nothing, as of what simulators predict."""
    single = values.astype("<f4")
    return b"4" + single.tobytes() if (single == values).all() else b"8" + values.astype("<f8").tobytes()


def _unpack(packed: bytes) -> NDArray[np.float64]:
    return np.frombuffer(packed[1:], "<f" + packed[:1].decode()).astype(float)
