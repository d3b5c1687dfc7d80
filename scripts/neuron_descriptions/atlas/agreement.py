"""What a recheck compares, what is equal, and how it is said."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neuron_descriptions.common.storage import whole
from neuron_descriptions.common.streams import generator


@dataclass(slots=True, frozen=True)
class Difference:
    """What the run's files say of a row, and what was found instead; size: None where it is no matter of degree."""

    what: str
    layer: int
    neuron: int
    sign: str
    where: str
    stored: Any
    found: Any
    size: float | None = None


@dataclass(slots=True)
class Recheck:
    """Comparisons, counted by what was compared."""

    tolerances: dict[str, float] = field(default_factory=dict)
    compared: dict[str, int] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    def number(self, what: str, row: Mapping[str, Any], where: str, stored: Any, found: Any, tolerance: float) -> None:
        """Compare two numbers, either of which may be undefined (None or NaN)."""
        pair = [None if value is None or math.isnan(value) else float(value) for value in (stored, found)]
        size = abs(pair[0] - pair[1]) if pair[0] is not None and pair[1] is not None else None
        self._count(what, row, where, pair, size, tolerance, pair == [None, None])

    def arrays(
        self, what: str, row: Mapping[str, Any], where: str, both: tuple[Any, Any], scale: float, tolerance: float
    ) -> None:
        """Compare both, stored and found, numbers in a row: the largest difference over a scale."""
        stored, found = (np.asarray(numbers, float) for numbers in both)
        if len(stored) != len(found):
            return self.fact(what, row, where, f"{len(stored)} numbers", f"{len(found)} numbers")
        far = np.abs(stored - found)
        worst = int(np.argmax(np.nan_to_num(far, nan=np.inf))) if len(far) else 0
        pair = [float(numbers[worst]) if len(numbers) else None for numbers in (stored, found)]
        size = float(far[worst] / scale) if len(far) else 0.0
        if not math.isfinite(size):
            return self.fact(what, row, where, *map(str, pair))
        self._count(what, row, where, pair, size, tolerance, False)

    def fact(self, what: str, row: Mapping[str, Any], where: str, stored: Any, found: Any) -> None:
        """Compare what is equal or not."""
        self._count(what, row, where, [stored, found], None, None, stored == found)

    def _count(
        self, what: str, row: Mapping[str, Any], where: str, pair: list[Any], size: float | None,
        tolerance: float | None, equal: bool,
    ) -> None:  # fmt: skip
        self.compared[what] = self.compared.get(what, 0) + 1
        if tolerance is not None:
            self.tolerances[what] = tolerance
        if size is not None:
            self.largest[what] = max(self.largest.get(what, 0.0), size)
            equal = tolerance is not None and size <= tolerance
        if not equal:
            self.differences.append(
                Difference(what, row["layer"], row["neuron"], row["sign"], where, pair[0], pair[1], size)
            )

    def report(self, **about: Any) -> dict[str, Any]:
        """As plain data."""
        differ = [difference.what for difference in self.differences]
        return about | {
            "compared": {
                what: {
                    "n": n,
                    "equal": n - differ.count(what),
                    "largest_difference": self.largest.get(what),
                    "tolerance": self.tolerances.get(what),
                }
                for what, n in self.compared.items()
            },
            "differences": [asdict(difference) for difference in self.differences],
        }


def draw_neurons(selected: dict[int, list[int]], count: int, seed: int) -> dict[int, list[int]]:
    """Layer -> ascending neurons: `count` of all that a run describes, drawn at random, or all."""
    pairs = [(layer, neuron) for layer, neurons in selected.items() for neuron in neurons]
    places = generator(seed, "recheck").permutation(len(pairs))[:count]
    drawn: dict[int, list[int]] = {}
    for layer, neuron in sorted(pairs[place] for place in places):
        drawn.setdefault(layer, []).append(neuron)
    return drawn


# --- in words ---


def said(found: dict[str, Any]) -> str:
    """A recheck in words."""
    dtypes = found["dtypes"]
    simulator = f"simulator in {dtypes['simulator']}" if "simulator" in dtypes else "no simulator"
    lines = [
        f"Recheck of {found['run']}: {len(found['neurons'])} neurons drawn with seed {found['seed']}, both signs;"
        f" subject in {dtypes['subject']}, {simulator}.",
        "",
        f"{'compared':34} {'equal':>6} {'of':>6}  largest difference, tolerance",
    ]
    for what, row in found["compared"].items():
        size = "" if row["largest_difference"] is None else f"{row['largest_difference']:.2g}, {row['tolerance']:g}"
        lines.append(f"{what:34} {row['equal']:>6,} {row['n']:>6,}  {size}".rstrip())
    lines += ["", f"{len(found['differences'])} differences" + (":" if found["differences"] else ".")]
    for one in found["differences"]:
        size = "" if one["size"] is None else f" (apart by {one['size']:.3g})"
        lines.append(
            f"  layer {one['layer']}, neuron {one['neuron']}, {one['sign']}: {one['what']}, {one['where']}: stored"
            f" {one['stored']}, found {one['found']}{size}"
        )
    return "\n".join(lines) + "\n"


def pass_or_fail(path: str, output: str) -> None:
    """Raises ValueError where a recheck found differences; else says so in a file."""
    found = json.loads(Path(path).read_text())
    if found["differences"]:
        raise ValueError(f"the run does not agree with itself; {path} has all of it\n{said(found)}")
    with whole(output) as part:
        part.write_text(f"{sum(row['n'] for row in found['compared'].values()):,} comparisons, no difference\n")
