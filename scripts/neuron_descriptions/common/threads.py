"""Work in several threads, in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

# Items for each thread that are begun before the caller takes the first: enough that no thread waits for the caller.
WAITING = 16


def ahead(work: Callable[[A], B], items: Iterable[A], threads: int) -> Iterator[tuple[A, B]]:
    """Every item with what `work` makes of it, in their order. threads: that work ahead of the caller, who takes the
    items; 1: the caller's own. Worth it where `work` lets go of Python's lock, as tokenizers do. Raises what `work`
    raises, when it is that item's turn."""
    if threads == 1:
        for item in items:
            yield item, work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[A, Future[B]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) == WAITING * threads:
                item, made = waiting.popleft()
                yield item, made.result()
        for item, made in waiting:
            yield item, made.result()
