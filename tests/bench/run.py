"""`make bench`: measures each section of this folder in turn (or those named), prints a table, and writes
results/bench/bench.json. Sections that were not run keep their last figures there; some are run only where named.

Speeds are ratios of processor time measured side by side in one run, so that a busy machine changes them little.
"""

import importlib
import json
import math
import os
import platform
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
APART = ("run", "common", "executed", "truth_falls", "truth_scores", "choosing_figures")  # what sections share
IF_NAMED = ("choosing",)  # three processor hours
RESULTS = ROOT / "results/bench/bench.json"


def sections() -> dict[str, str]:
    """Section -> module, by the module's SECTION or its name."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in APART)
    return {getattr(importlib.import_module(name), "SECTION", name): name for name in names}


def main(wanted: list[str]) -> None:
    """Measure the wanted sections, by default all but those of IF_NAMED."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # This folder first: the adapters in scripts/ have names of their own rules.
    sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests"), str(ROOT / "scripts")]
    known = sections()
    if unknown := set(wanted) - known.keys():
        sys.exit(f"no section {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for section in wanted or [name for name in known if name not in IF_NAMED]:
        print(f"\n{section}", flush=True)
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            figures = importlib.import_module(known[section]).measure(Path(scratch))
        figures["seconds"] = time.monotonic() - start
        for name, value in figures.items():
            print(f"  {name:45s} {shown(value)}", flush=True)
        kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        kept |= {section: figures, "machine": machine()}
        write(kept, RESULTS)
    print(f"\nWritten to {RESULTS.relative_to(ROOT)}")


def write(figures: dict[str, Any], path: Path) -> None:
    """Write figures as JSON, which knows no NaN and no infinity: what is undefined is null there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_defined(figures), indent=2, sort_keys=True, allow_nan=False) + "\n")


def _defined(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _defined(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shown(value: object) -> str:
    """A figure, as tables have it."""
    return (
        f"{value:,.4g}"
        if isinstance(value, float) and abs(value) < 10_000
        else f"{value:,.0f}"
        if isinstance(value, int | float)
        else str(value)
    )


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    import torch

    cpus = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in cpus.read_text().splitlines() if line.startswith("model name")]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": models[0] if models else platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),  # of one maker's name some have AVX2 alone
        "cores": os.cpu_count(),
        "gpu": gpu,
        "torch": torch.__version__,
        "date": str(date.today()),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
