"""Progress: how far, how fast, how long still."""

import logging
import os
import re
import subprocess
import sys

import pytest

from neuron_descriptions.common import logs
from neuron_descriptions.common.logs import Progress, progress


@pytest.fixture
def said(monkeypatch, caplog):
    """(messages, a clock to set)."""
    clock = {"now": 100.0}
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(logs.logger, "propagate", True)
    caplog.set_level(logging.INFO, logger="neuron_descriptions")
    return caplog, clock


def test_progress_has_rate_note_and_time_left(said):
    caplog, clock = said
    shown = Progress(1000, "answers", every=10.0)
    for _ in range(5):
        clock["now"] += 4.0
        shown.advance(20, "1,000 + 50 tokens, $0.10")
    assert caplog.messages == ["60/1000 answers, 5.0 answers/s, 1,000 + 50 tokens, $0.10, 3 min 08 s left"]


def test_what_took_no_time_says_nothing_about_the_rate(said):
    caplog, clock = said
    shown = Progress(1000, "answers", every=10.0)
    shown.advance(900, free=True)
    clock["now"] += 10.0
    shown.advance(10)
    assert caplog.messages == ["910/1000 answers, 1.0 answers/s, 1 min 30 s left"]


def test_end_is_always_said(said):
    caplog, _ = said
    assert list(progress(range(3), 3, "chunks")) == [0, 1, 2]
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith("3/3 chunks")


def test_no_log_is_empty_and_each_says_what_the_job_took(tmp_path, capsys):
    before = sum(os.times()[:4])
    with logs.job_log(str(tmp_path / "logs/quiet.log"), "quiet"):
        subprocess.run([sys.executable, "-c", "sum(range(10**6))"], check=True)
    said = re.search(r"quiet  done in [\d.]+ s, ([\d.]+) s of processor\n", (tmp_path / "logs/quiet.log").read_text())
    assert said and before < float(said[1]) + 0.05 <= sum(os.times()[:4]) + 0.1
    assert capsys.readouterr().err == ""
