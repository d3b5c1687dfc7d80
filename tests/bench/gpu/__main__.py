"""`make bench-gpu`: every section in turn (or those named), one JSON of figures, and a row for docs/benchmarks.md.

Without a GPU, or with --rehearse, the same code runs at a tiny shape: then only that it runs is shown. A section that
fails is told, leaves the others' figures alone, and makes the exit code 1; so does a figure that misses its target.
"""

import argparse
import importlib
import json
import math
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from gpu.shapes import PUBLISHED, ROOT, TINY, Shape, free
from run import machine, shown

SECTIONS = ("counts", "exactness", "harvest", "score", "describe", "train", "spread")
# Figures that a GPU is to reach, at the published shape.
TARGETS = {
    "harvest.rate_to_bare_batch128": 0.85,
    "score.finetuned_rate_to_bare": 0.7,
    "score.prompted_rate_to_bare": 0.7,
}
MINUTES = 8
# Columns of the row; {}: the published batch.
ROW = (
    ("GB at most", "harvest.peak_gb_batch{}"),
    ("harvest tokens/s", "harvest.tokens_per_second_batch{}"),
    ("of the bare pass", "harvest.rate_to_bare_batch{}"),
    ("finetuned score tokens/s", "score.finetuned_tokens_per_second"),
    ("of the bare pass", "score.finetuned_rate_to_bare"),
    ("prompted, of the bare pass", "score.prompted_rate_to_bare"),
    ("prompt tokens/s", "describe.tokens_read_per_second"),
    ("generated/s", "describe.tokens_generated_per_second"),
    ("s per training step", "train.seconds_per_step"),
)


def measured(section: str, shape: Shape) -> dict[str, Any]:
    """A section's figures, those before a failure included; `failed`: what was raised."""
    figures: dict[str, Any] = {}
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for found in importlib.import_module(f"gpu.{section}").measure(shape, Path(scratch)):
                figures |= found
                for name, value in found.items():
                    print(f"  {name:45s} {shown(value)}", flush=True)
    except Exception as error:
        traceback.print_exc()
        figures["failed"] = f"{type(error).__name__}: {str(error) or 'no more is said'}"[:500]
    free()
    return figures | {"seconds": time.monotonic() - start}


def missed(results: dict[str, Any], rehearsed: bool) -> list[str]:
    """What is not as it should be, in words."""
    flat = {f"{s}.{n}": v for s, figures in results["sections"].items() for n, v in figures.items()}
    found = [f"{name.removesuffix('.failed')} failed: {v}" for name, v in flat.items() if name.endswith(".failed")]
    found += [f"{name} is not a number" for name, v in flat.items() if isinstance(v, float) and not math.isfinite(v)]
    if not rehearsed:
        below = {name: flat[name] for name, least in TARGETS.items() if name in flat and flat[name] < least}
        found += [f"{name} is {value:.2f}, wanted at least {TARGETS[name]}" for name, value in below.items()]
        if results["seconds"] > 60 * MINUTES:
            found.append(f"it took {results['seconds'] / 60:.1f} minutes, wanted at most {MINUTES}")
    return found


def row(results: dict[str, Any], shape: Shape) -> str:
    """A table's head and one row of it, Markdown."""
    about = results["machine"]
    flat = {f"{s}.{n}": v for s, figures in results["sections"].items() for n, v in figures.items()}
    cells = [str(about["gpu"] or "rehearsal"), str(about["date"]), str(about["torch"])]
    names = [name.format(shape.published_batch) for _, name in ROW]
    cells += [shown(flat[name]) if name in flat else "not measured" for name in names]
    head = ["device", "date", "torch", *(label for label, _ in ROW)]
    lines = [head, ["---"] * len(head), cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main() -> int:
    """Measure; 1 where something failed or missed its target."""
    import torch

    parser = argparse.ArgumentParser(prog="make bench-gpu", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--rehearse", action="store_true", help="a tiny shape, whatever is here")
    parser.add_argument("--output", type=Path, default=ROOT / "results/bench", help="folder for the figures")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    os.environ["HF_HUB_OFFLINE"] = "1"
    rehearsed = arguments.rehearse or not torch.cuda.is_available()
    shape = TINY if rehearsed else PUBLISHED
    results: dict[str, Any] = {"machine": machine(), "shape": shape.name, "sections": {}}
    start = time.monotonic()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for section in arguments.sections or SECTIONS:
        print(f"\n{section}", flush=True)
        results["sections"][section] = measured(section, shape)
        results["seconds"] = time.monotonic() - start
        # After every section: a killed run leaves what it has.
        (arguments.output / "bench-gpu.json").write_text(json.dumps(results, indent=2) + "\n")
    (arguments.output / "bench-gpu.md").write_text(row(results, shape))
    print(f"\n{row(results, shape)}\nWritten to {arguments.output}: bench-gpu.json, bench-gpu.md")
    problems = missed(results, rehearsed)
    for problem in problems:
        print(f"MISSED: {problem}", file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
