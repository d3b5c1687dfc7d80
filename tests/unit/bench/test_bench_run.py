"""`make bench`: what it writes."""

import json
import sys

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests/bench"))

import run


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def test_what_is_undefined_is_null_in_the_figures(tmp_path):
    path = tmp_path / "new/bench.json"
    run.write({"race": {"lost": float("nan"), "ends": [float("-inf"), 0.5]}, "machine": {"cores": 2}}, path)
    kept = json.loads(path.read_text(), parse_constant=refuse)
    assert kept == {"race": {"lost": None, "ends": [None, 0.5]}, "machine": {"cores": 2}}
