"""Python's garbage collector in a job: it looks through all objects again and again, and torch and transformers bring
half a million that stay as long as the process does."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Objects made since the last look, before the next one. Python's own 700 is too few while modules are imported, weights
# read and texts tokenized.
OFTEN_ENOUGH = 20_000


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Spare what is imported by now, look for garbage less often, and never when the process ends: there is nothing to
    gain then, and it would take half a second."""
    gc.freeze()
    often = gc.get_threshold()
    gc.set_threshold(OFTEN_ENOUGH, *often[1:])
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.set_threshold(*often)
