"""Logs and progress of a job. Not part of a rule's digest: a reworded message reruns nothing."""

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

logger = logging.getLogger("neuron_descriptions")


class _Tee:
    """Writes to the log file and to the terminal."""

    def __init__(self, *streams):
        self.streams = streams

    def write(self, text):
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self):
        for stream in self.streams:
            stream.flush()


@contextmanager
def job_log(path: str, name: str) -> Iterator[None]:
    """Send the job's output to its log file; messages and progress go to the terminal too.

    A ValueError or OSError (bad input, full disk) is shown there by its message, with the log's place;
    the log has the traceback. Exits with status 1 then.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    terminal = sys.stderr
    with open(path, "w", buffering=1) as log:
        handler = logging.StreamHandler(_Tee(log, terminal))
        handler.setFormatter(logging.Formatter(f"%(asctime)s  {name}  %(message)s", "%H:%M:%S"))
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
        with redirect_stdout(log), redirect_stderr(log):
            try:
                yield
            except BaseException as error:
                traceback.print_exc(file=log)
                summary = f"{type(error).__name__}: {error}"
                print(
                    f"\n{name} failed. {summary}\n(log: {path})\n",
                    file=terminal,
                    flush=True,
                )
                raise SystemExit(1) from None


def progress(
    items: Iterable[T],
    total: int,
    unit: str,
    size: Callable[[T], int] = lambda item: 1,
    every: float = 10.0,
) -> Iterator[T]:
    """Pass items through; every few seconds log how far it is, the rate and the time left."""
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += size(item)
        now = time.monotonic()
        if now - last >= every or done >= total:
            last, rate = now, done / max(now - start, 1e-9)
            left = (total - done) / rate if rate else 0.0
            logger.info(
                "%d/%d %s, %.1f %s/s, %s left",
                done,
                total,
                unit,
                rate,
                unit,
                _span(left),
            )


def _span(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
