"""Work in several threads."""

import threading
import time

import pytest

from neuron_descriptions.common.threads import WAITING, ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_order_is_kept_and_items_are_taken_as_they_are_needed(threads):
    taken = []

    def items():
        for i in range(200):
            taken.append(i)
            yield i

    def slowest_first(i):
        time.sleep(0.002 * (i % 3 == 0))
        return i * i

    made = ahead(slowest_first, items(), threads)
    assert next(made) == (0, 0)
    assert len(taken) <= WAITING * threads
    assert list(made) == [(i, i * i) for i in range(1, 200)]


def test_items_are_worked_on_at_once():
    meet = threading.Barrier(3)
    assert [item for item, _ in ahead(lambda _: meet.wait(timeout=20), range(6), 3)] == list(range(6))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_comes_at_its_items_turn(threads):
    made = ahead(lambda i: 12 // i, [3, 2, 0, 1], threads)
    assert [next(made), next(made)] == [(3, 4), (2, 6)]
    with pytest.raises(ZeroDivisionError):
        next(made)
