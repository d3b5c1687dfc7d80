"""How texts go through a subject, where all of a layer's activations are held at once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice


@dataclass(slots=True, frozen=True)
class Passes:
    """No result depends on any of these."""

    batch_size: int
    """Sequences at a time."""
    layers: int
    """Layers that are read in one pass: their activations are held in memory until it ends."""
    threads: int = 1

    def over(self, layers: Iterable[int]) -> Iterator[list[int]]:
        """The layers of each pass, in order."""
        rest = iter(layers)
        while some := list(islice(rest, self.layers)):
            yield some
