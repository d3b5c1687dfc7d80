"""Passages that a description is tried on: some in which the neuron is active, some in which it is silent.

I neurons of a layer, N tokens of the panel.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.common.signs import one_side, other_side
from neuron_descriptions.common.streams import key
from neuron_descriptions.corpus.reading import Text
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.scores.evidence import Evidence
from neuron_descriptions.scores.sampling import Array

SILENT = 0.5  # share of the weakest active passage's peak below which a passage counts as silent
_BLOCK = 512  # neurons of the panel that are compared at a time


@dataclass(slots=True, frozen=True)
class Passage:
    """A sequence, what kind of passage it is ("active", "random", "close", "panel"), and the neuron's peak in it, on
    the side that is described."""

    kind: str
    split: str
    seq_id: int
    text: Text
    peak: float

    @property
    def active(self) -> bool:
        """Whether the neuron is active in it."""
        return self.kind == "active"


def spread(items: list[Any], count: int) -> list[Any]:
    """As many items, or all, at even distances."""
    return items if len(items) <= count else [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


class Passages:
    """Draws the passages of a neuron and sign: the same ones whatever else is in the job."""

    def __init__(self, evidence: Evidence, counts: dict[str, int], seed: int, layer: int, panel: Panel | None = None):
        """counts: top and middle, of the simulation's exemplars; positives, random, close, panel, of passages; panel:
        its activations tell in which of its sequences a neuron is silent."""
        self.evidence, self.counts, self.seed = evidence, counts, seed
        self.layer, self.panel = layer, panel

    def draw(self, split: str, neuron: int, sign: str) -> list[Passage]:
        """Active passages from the strongest on, then silent ones. No activation of a passage is guessed: all are of
        sequences whose activations are stored, or of the panel. On another split than test the panel is left out."""
        scored = self.evidence.scored(split, neuron, sign, self.counts["top"], self.counts["middle"], 0)
        held = [_of(split, "active", q.seq_id, q.text, q.one_side(sign)) for q in scored]
        held = sorted((p for p in held if p.peak > 0), key=lambda p: (-p.peak, p.seq_id))
        active = spread(held, self.counts["positives"])
        if not active:
            return []
        silent = SILENT * active[-1].peak
        stored = self._stored(split, neuron, sign, lambda p: p.peak < silent)
        panel = self._panel(neuron, sign, lambda p: p.peak < silent) if split == "test" else []
        found = [p for p in stored if p.kind == "random"][: self.counts["random"]]
        taken = {(p.split, p.seq_id) for p in found}
        others = [p for p in [*stored, *panel] if (p.split, p.seq_id) not in taken]
        close = self._close(neuron, sign, active, others, panel)
        taken |= {(p.split, p.seq_id) for p in close}
        rest = [p for p in panel if (p.split, p.seq_id) not in taken][: self.counts["panel"]]
        return [*active, *found, *close, *rest]

    def _stored(self, split: str, neuron: int, sign: str, wanted: Callable[[Passage], bool]) -> list[Passage]:
        """Silent ones of the stored sequences, each once: random ones by chance, then those of other kinds."""
        found: dict[int, Passage] = {}
        for kind in ("random", "middle", "top"):
            for side in (sign, other_side(sign)):
                for q in sorted(self.evidence.get(split, neuron, side, kind), key=lambda q: q.seq_id):
                    found.setdefault(q.seq_id, _of(split, kind, q.seq_id, q.text, q.one_side(sign)))
        return [p for p in found.values() if wanted(p)]

    def _panel(self, neuron: int, sign: str, wanted: Callable[[Passage], bool]) -> list[Passage]:
        """Silent ones of the panel, in an order drawn for the neuron."""
        if self.panel is None:
            return []
        acts = np.split(self.panel.acts(self.layer, [neuron])[0], np.cumsum(self.panel.lengths)[:-1])
        found = [
            _of("panel", "panel", i, text, one_side(np.asarray(a, float), sign))
            for i, (text, a) in enumerate(zip(self.panel.sequences, acts))
        ]
        return self._shuffled(neuron, sign, [p for p in found if wanted(p)])

    def _shuffled(self, neuron: int, sign: str, passages: Iterable[Passage]) -> list[Passage]:
        who = self.seed, "passages", self.layer, neuron, sign
        return sorted(passages, key=lambda p: key(*who, p.split, p.seq_id))

    def _close(
        self, neuron: int, sign: str, active: list[Passage], others: list[Passage], panel: list[Passage]
    ) -> list[Passage]:
        """Silent passages with a token at which the active ones peak; then those where its neighbour is strongest."""
        count = self.counts["close"]
        tokens = {self._peak_token(p, neuron, sign) for p in active}
        found = [p for p in self._shuffled(neuron, sign, others) if tokens & set(p.text.evidence)][:count]
        if len(found) < count and panel:
            taken = {(p.split, p.seq_id) for p in found}
            open_ones = {p.seq_id: p for p in panel if (p.split, p.seq_id) not in taken}
            found += [open_ones[i] for i in self._strongest_of_neighbour(neuron, sign) if i in open_ones][
                : count - len(found)
            ]
        return [Passage("close", p.split, p.seq_id, p.text, p.peak) for p in found]

    def _peak_token(self, passage: Passage, neuron: int, sign: str) -> int:
        for kind in ("top", "middle"):
            for q in self.evidence.get(passage.split, neuron, sign, kind):
                if q.seq_id == passage.seq_id:
                    return q.text.evidence[int(np.argmax(q.one_side(sign)))]
        raise AssertionError("an active passage is an exemplar")

    def _strongest_of_neighbour(self, neuron: int, sign: str) -> list[int]:
        """Sequences of the panel, from the one on in which the most similar neuron of the layer is strongest: similar
        by the size of their activations' correlation, and strong in its direction."""
        assert self.panel is not None
        own_N = _standard(self.panel.acts(self.layer, [neuron]))[0]
        best, similar = neuron, 0.0
        neurons = [n for n in self.panel.neurons(self.layer) if n != neuron]
        for i in range(0, len(neurons), _BLOCK):
            block = neurons[i : i + _BLOCK]
            r_I = _standard(self.panel.acts(self.layer, block)) @ own_N
            place = int(np.argmax(np.abs(r_I)))
            if abs(r_I[place]) > abs(similar):
                best, similar = block[place], float(r_I[place])
        if best == neuron:
            return []
        side = sign if similar > 0 else other_side(sign)
        acts = np.split(self.panel.acts(self.layer, [best])[0], np.cumsum(self.panel.lengths)[:-1])
        peaks = [one_side(np.asarray(a, float), side).max(initial=0.0) for a in acts]
        return sorted(range(len(peaks)), key=lambda i: (-peaks[i], i))


def _of(split: str, kind: str, seq_id: int, text: Text, acts_T: Array) -> Passage:
    return Passage(kind, split, seq_id, text, float(acts_T.max(initial=0.0)))


def _standard(acts_IN: NDArray[np.float32]) -> Array:
    """Rows of mean 0 and length 1; of zeros where a row does not vary."""
    centred = acts_IN.astype(float) - acts_IN.mean(1, keepdims=True)
    size = np.linalg.norm(centred, axis=1, keepdims=True)
    found: Array = np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)
    return found
