"""Every block of the tutorial runs, one after the other, on a finished run."""

import os
import re
import subprocess
import sys

import pandas as pd

from conftest import ROOT


def test_the_tutorial_runs(finished):
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/tutorial.md").read_text(), re.M | re.S))
    scored = pd.read_parquet(finished.file("atlas/atlas.parquet")).query("status == 'ok'").iloc[0]
    chosen = f"layer, neuron, sign = {scored.layer}, {scored.neuron}, {scored.sign!r}"
    code, changes = re.subn(r"^layer, neuron, sign = .*$", chosen, code, flags=re.M)
    assert changes == 1 and "results/demo" in code
    done = subprocess.run(
        [sys.executable, "-c", code.replace("results/demo", "results/tiny")],
        cwd=finished.folder,
        env=os.environ | {"PYTHONPATH": "scripts"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert scored.description in done.stdout
    assert f"{scored.score_contrast:.3f}, the atlas says {scored.score_contrast:.3f}" in done.stdout
