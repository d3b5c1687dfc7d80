"""What was simulated is not simulated again; what is kept never changes a result."""

import numpy as np
import pytest

from neuron_descriptions.corpus.reading import Text
from neuron_descriptions.scores.predictions import NoPredictions, Predictions
from neuron_descriptions.simulators.simulating import Task

TEXTS = [Text("a", [1, 2, 3, 4], 1), Text("b", [1, 7, 8], 1), Text("c", [1, 5], 2)]
WHERE = (7, "positive", "candidate", "valid")


class Lengths:
    """Predicts from a description's length and the token ids: float32 numbers, as simulators' are."""

    tokens = 0

    def __init__(self):
        self.asked = []

    def simulate(self, tasks):
        self.asked += [(task.description, task.text.source) for task in tasks]
        return [[float(np.float32(len(t.description) / i)) for i in t.text.evidence] for t in tasks]


def tasks(*descriptions):
    return [Task(d, text) for d in descriptions for text in TEXTS]


def same(a, b):
    return len(a) == len(b) and all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(a, b))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "layer-3/chunk-0.bin"


def run(file, *descriptions, where=WHERE, made_by="a"):
    """(predictions, what had to be simulated), by a job of its own."""
    simulator = Lengths()
    found = Predictions(str(file), made_by).simulate(simulator, tasks(*descriptions), where)
    assert same(found, NoPredictions().simulate(Lengths(), tasks(*descriptions), where))
    return simulator.asked


def test_only_what_is_new_is_simulated(file):
    assert len(run(file, "months", "years")) == 6
    assert run(file, "months", "years") == run(file, "years") == []
    assert run(file, "months", "days", "years") == [("days", "a"), ("days", "b"), ("days", "c")]
    assert run(file, "days") == []


def test_another_purpose_or_maker_has_predictions_of_its_own(file):
    run(file, "months")
    assert len(run(file, "months", where=(7, "positive", "null", "valid"))) == 3
    assert run(file, "months") == []
    assert len(run(file, "months", made_by="b")) == 3
    assert len(run(file, "months")) == 3  # of a simulator that is not asked for, none are kept


def test_a_killed_or_damaged_write_is_simulated_again(file):
    run(file, "months", "years")
    whole = file.read_bytes()
    for size in (0, 10, 32, 40, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert 0 < len(run(file, "months", "years")) <= 6
        assert run(file, "months", "years") == []
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    file.write_bytes(flipped)
    assert 0 < len(run(file, "months", "years")) < 6
    assert run(file, "months", "years") == []


def test_numbers_that_need_eight_bytes_have_them(file):
    class Thirds(Lengths):
        def simulate(self, tasks):
            return [[1 / 3, float("nan")] for _ in tasks]

    kept = [Predictions(str(file), "a").simulate(Thirds(), tasks("x"), WHERE) for _ in range(2)]
    assert same(*kept) and kept[1][0][0] == 1 / 3
