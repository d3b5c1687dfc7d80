"""`make bench-gpu`: its rehearsal gives every figure, a failure leaves the others', and its counts are true."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests/bench"))

from gpu import __main__ as command
from gpu.counting import Counted
from gpu.harvest import entering

RATES = ("tokens_per_second", "bare_tokens_per_second", "rate_to_bare", "peak_gb")
FIGURES = {
    "counts": {"operators_per_layer_and_batch", "waits_per_layer_and_batch", "state_gb_meta", "state_gb_formula",
               "weights_gb_meta", "peak_gb_formula", "tokens_per_call_harvest", "tokens_per_call_score_finetuned",
               "tokens_per_call_score_prompted", "tokens_per_call_describe_reading"},
    "exactness": {"state_tensors_that_differ", "sums_difference", "sides_not_brute_force", "run_tensors_that_differ",
                  "predictions_that_differ_twice", "prediction_difference", "answers_that_differ_twice"},
    "harvest": {*(f"{name}_batch{size}" for name in RATES for size in (4, 8)), "start_seconds", "hours_of_a_split",
                "shared_prefix_speedup"},
    "score": {f"{kind}_{name}" for kind in ("finetuned", "prompted") for name in ("tokens_per_second", "rate_to_bare")},
    "describe": {"tokens_read_per_second", "tokens_generated_per_second", "share_of_time_to_read", "peak_gb"},
    "train": {"seconds_per_step", "tokens_per_second", "forward_passes_per_step", "loss", "peak_gb"},
    "spread": {"layers_spilled", "speed_over_whole", "tensors_that_differ"},
}  # fmt: skip


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """(folder of the figures, the finished process)."""
    folder = tmp_path_factory.mktemp("bench-gpu")
    paths = os.pathsep.join(str(ROOT / path) for path in ("scripts", "tests/bench"))
    call = [sys.executable, "-m", "gpu", "--rehearse", "--output", str(folder)]
    return folder, subprocess.run(call, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)


def test_the_rehearsal_gives_every_figure(rehearsed):
    folder, done = rehearsed
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    results = json.loads((folder / "bench-gpu.json").read_text())
    assert {"gpu", "cpu", "date", "torch"} <= results["machine"].keys()
    assert list(results["sections"]) == list(FIGURES)
    for section, names in FIGURES.items():
        found = results["sections"][section]
        assert names <= found.keys(), names - found.keys()
        numbers = {name: value for name, value in found.items() if name != "vllm"}
        assert all(math.isfinite(value) and value >= 0 for value in numbers.values()), numbers
        assert all(found[name] > 0 for name in names if "per_second" in name or name.endswith("_gb"))


def test_the_row_fits_the_table_of_the_docs(rehearsed):
    head, rule, row = (rehearsed[0] / "bench-gpu.md").read_text().splitlines()
    assert head.count("|") == rule.count("|") == row.count("|")
    assert "not measured" not in row
    assert head in (ROOT / "docs/benchmarks.md").read_text()


def test_what_is_said_of_the_middle_of_a_split_is_what_is_found_there(rehearsed):
    found = json.loads((rehearsed[0] / "bench-gpu.json").read_text())["sections"]["harvest"]
    for size in (4, 8):  # bounds are quantiles of 128 peaks, and few enter: within a factor of three
        assert 1 / 3 < found[f"entered_over_expected_batch{size}"] < 3
        assert 1 / 3 < found[f"counted_over_expected_batch{size}"] < 3


def test_a_failing_section_is_told_and_leaves_the_others(monkeypatch, tmp_path, capsys):
    def breaks(shape, scratch):
        yield {"first": 1.0}
        raise RuntimeError("out of memory")

    monkeypatch.setattr("gpu.harvest.measure", breaks)
    monkeypatch.setattr("gpu.score.measure", lambda shape, scratch: iter([{"second": 2.0}]))
    monkeypatch.setattr(sys, "argv", ["gpu", "--rehearse", "--output", str(tmp_path), "harvest", "score"])
    assert command.main() == 1
    sections = json.loads((tmp_path / "bench-gpu.json").read_text())["sections"]
    assert sections["harvest"]["first"] == 1
    assert sections["harvest"]["failed"] == "RuntimeError: out of memory"
    assert sections["score"]["second"] == 2
    assert "MISSED: harvest failed: RuntimeError: out of memory" in capsys.readouterr().err


@pytest.mark.parametrize("value", [0.84, math.nan])
def test_a_missed_target_is_told(value):
    results = {"seconds": 60.0, "sections": {"harvest": {"rate_to_bare_batch128": value}}}
    assert len(command.missed(results, rehearsed=False)) == 1
    results["sections"]["harvest"]["rate_to_bare_batch128"] = 0.86
    assert command.missed(results, rehearsed=False) == []
    assert command.missed(results | {"seconds": 481.0}, rehearsed=False)


def test_waits_kernels_and_bytes_are_counted():
    values = torch.arange(1000.0)
    with Counted() as counted:
        moved = values.to(torch.device("cpu"))  # 1: up to the device
        moved.to(torch.device("cpu"))  # it is there
        values.to(torch.device("cpu"), non_blocking=True)
        assert moved.is_cuda
        big = moved[moved > 500]  # 2: a mask
        moved[moved > 500] = 0.0  # one number is filled in without looking
        big.sum().item()  # 3
        assert bool((big > 0).all())  # 4
        big.view(-1)
    assert counted.waits == 4, counted.where
    with Counted() as counted:
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b.view(10, 100) * 2
        del b, c
    assert counted.kernels == 3
    assert counted.peak == 8000
    assert counted.alive == 0


def test_share_that_enters_is_that_of_random_orders():
    random = torch.Generator().manual_seed(0)
    n, k, orders = 400, 5, 200
    ranks = torch.stack([torch.randperm(n, generator=random) for _ in range(orders)])
    entered = sum(int((row[: i + 1] >= row[i]).sum() <= k) for row in ranks for i in range(n))
    assert entered / n / orders == pytest.approx(entering(k, n), rel=0.05)
