"""Logs and progress of a job. Not part of a rule's digest: a reworded message reruns nothing."""

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO, TypeVar

from neuron_descriptions.common.garbage import seldom_collected
from neuron_descriptions.common.parents import end_with_snakemake

T = TypeVar("T")

logger = logging.getLogger("neuron_descriptions")


class _Tee:
    """Writes to the log file and to the terminal."""

    def __init__(self, *streams: TextIO):
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
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
    end_with_snakemake()
    terminal = sys.stderr
    with open(path, "w", buffering=1) as log:
        handler = logging.StreamHandler(_Tee(log, terminal))
        handler.setFormatter(logging.Formatter(f"%(asctime)s  {name}  %(message)s", "%H:%M:%S"))
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
        start = time.monotonic()
        with redirect_stdout(log), redirect_stderr(log), seldom_collected():
            try:
                yield
                # In the log alone: no log is empty, and the terminal has Snakemake's word for it.
                took = f"{time.monotonic() - start:.1f} s, {_processor_seconds():.1f} s of processor"
                print(f"{time.strftime('%H:%M:%S')}  {name}  done in {took}", file=log)
            except BaseException as error:
                traceback.print_exc(file=log)
                summary = f"{type(error).__name__}: {error}"
                print(
                    f"\n{name} failed. {summary}\n(log: {path})\n",
                    file=terminal,
                    flush=True,
                )
                raise SystemExit(1) from None


def _processor_seconds() -> float:
    """What this process and the children that it has waited for have taken: Snakemake's benchmark looks only every
    half minute, and misses what a job did since."""
    took = os.times()
    return took.user + took.system + took.children_user + took.children_system


class Progress:
    """Every few seconds logs how far a job is, the rate and the time left."""

    def __init__(self, total: int, unit: str, every: float):
        self.total, self.unit, self.every, self.done = total, unit, every, 0
        self.start = self.last = time.monotonic()
        self.free = 0

    def advance(self, count: int, note: str = "", free: bool = False) -> None:
        """`count` more are done; free: they took no time, and say nothing about the rate."""
        self.done += count
        self.free += count if free else 0
        now = time.monotonic()
        if now - self.last >= self.every or self.done >= self.total:
            self.last, rate = now, (self.done - self.free) / max(now - self.start, 1e-9)
            left = (self.total - self.done) / rate if rate else 0.0
            logger.info(
                "%d/%d %s, %.1f %s/s, %s%s left",
                self.done, self.total, self.unit, rate, self.unit, note and note + ", ", _span(left),
            )  # fmt: skip


def progress(
    items: Iterable[T],
    total: int,
    unit: str,
    size: Callable[[T], int] = lambda item: 1,
    every: float = 10.0,
) -> Iterator[T]:
    """Pass items through, with progress."""
    shown = Progress(total, unit, every)
    for item in items:
        yield item
        shown.advance(size(item))


def _span(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
