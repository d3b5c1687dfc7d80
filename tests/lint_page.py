"""Lints the page's scripts as the page has them, one after the other in one scope: `python tests/lint_page.py`."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from neuron_descriptions.atlas.site import PAGES, SCRIPTS  # noqa: E402 (the path is set above)


def faults(pages: Path = PAGES) -> list[str]:
    """What oxlint finds, as `file:line:column: message`. Names that one file declares and another uses are found,
    since the files are joined first. Raises RuntimeError where it cannot run."""
    oxlint = shutil.which("oxlint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if oxlint is None:
        raise RuntimeError("oxlint is not installed; run `make .venv/ready`")
    places: list[tuple[str, int]] = []  # of each line of the joined file
    lines: list[str] = []
    for name in SCRIPTS:
        own = (pages / f"{name}.js").read_text().split("\n")
        places += [(f"{name}.js", number) for number in range(1, len(own) + 1)]
        lines += own
    with tempfile.TemporaryDirectory() as folder:
        joined = Path(folder, "page.js")
        joined.write_text("\n".join(lines))
        command = [oxlint, "--config", str(ROOT / ".oxlintrc.json"), "--format", "unix", str(joined)]
        done = subprocess.run(command, capture_output=True, text=True)
    found = re.findall(r"^\S*page\.js:(\d+):(\d+): (.*)$", done.stdout, re.MULTILINE)
    if done.returncode and not found:
        raise RuntimeError(f"oxlint failed: {done.stdout}{done.stderr}")
    return [f"{places[int(at) - 1][0]}:{places[int(at) - 1][1]}:{column}: {said}" for at, column, said in found]


if __name__ == "__main__":
    sys.exit("\n".join(faults()) or None)
