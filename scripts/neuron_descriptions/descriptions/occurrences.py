"""Everything that was read of a feature and sign, not its strongest exemplars alone: which tokens carry its activation,
where the same tokens leave it silent, and texts that leave it silent altogether.

N tokens of the panel.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.common.signs import turned
from neuron_descriptions.common.vocabulary import SIGNS, Sign
from neuron_descriptions.concepts.vocabulary import is_debris
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.descriptions.excerpts import Contribution, Excerpt, Window
from neuron_descriptions.harvest.exemplars import Exemplar, ExemplarStore, Filters
from neuron_descriptions.models.loading import token_strings
from neuron_descriptions.panel.reading import Panel

SILENT = 0.1  # of the strongest activation: below it, a token counts as silent
LISTED = 12  # tokens of a list
SHOWN = 5  # close negatives, and silent texts
FROM = 5  # tokens of the list that close negatives are sought for


def listed(string: str) -> str:
    """A token as a list names it: without white space around it. White space alone and special tokens, which a
    description must not hold, stand in square brackets: [line], [space], [im_end]."""
    word = string.strip()
    if not word:
        return "[line]" if "\n" in string else "[space]" if string else ""
    return re.sub(r"^<\|(\w+)\|>$", r"[\1]", word)


@dataclass(frozen=True, slots=True)
class Read:
    """A sequence: texts of its tokens, activations of this side upwards, how many train sequences it stands for."""

    strings: list[str]
    acts: NDArray[np.float64]
    weight: float


class Occurrences:
    """What was read of one feature and sign."""

    def __init__(self, sequences: list[Read]):
        self.sequences = sequences
        self.peak = max((float(s.acts.max()) for s in sequences if len(s.acts)), default=0.0)
        self.floor = SILENT * self.peak

    def contributions(self) -> tuple[Contribution, ...]:
        """The tokens that carry most of the activation, the first LISTED. A sum over the train tokens is estimated from
        the sequences, each as often as it stands for (Horvitz and Thompson 1952); what cannot be said, as half a
        character, is not listed."""
        totals: dict[str, float] = {}
        active, seen = Counter[str](), Counter[str]()
        if self.peak > 0:
            for s in self.sequences:
                for place in np.flatnonzero(s.acts >= self.floor).tolist():
                    word = listed(s.strings[place])
                    totals[word] = totals.get(word, 0.0) + s.weight * float(s.acts[place])
                    active[word] += 1
                seen.update(listed(string) for string in s.strings)
        whole = sum(totals.values())
        largest = sorted((w for w in totals if w and not is_debris(w)), key=lambda w: (-totals[w], w))[:LISTED]
        return tuple(Contribution(w, 100 * totals[w] / whole, active[w], seen[w]) for w in largest if whole)

    def silent(self, random: np.random.Generator, window: Window) -> tuple[Excerpt, ...]:
        """Close negatives: SHOWN occurrences of the tokens that carry most, at which the feature is silent; one of a
        sequence, drawn at random, every token's turn in its order."""
        words = [c.token for c in self.contributions()[:FROM]]
        places: dict[str, list[tuple[int, int]]] = {word: [] for word in words}
        for number, s in enumerate(self.sequences):
            for place, string in enumerate(s.strings):
                if s.acts[place] < self.floor and listed(string) in places:
                    places[listed(string)].append((number, place))
        turns = [iter([places[w][i] for i in random.permutation(len(places[w]))]) for w in words]
        taken: dict[int, int] = {}
        while turns and len(taken) < SHOWN:
            turn = turns.pop(0)
            for number, place in turn:
                if number not in taken:
                    taken[number] = place
                    turns.append(turn)
                    break
        return tuple(self._excerpt(number, place, window) for number, place in taken.items())

    def quiet(self, random: np.random.Generator) -> tuple[Excerpt, ...]:
        """SHOWN whole sequences in which the feature is silent at every token, drawn at random."""
        found = [i for i, s in enumerate(self.sequences) if len(s.acts) and s.acts.max() < self.floor]
        drawn = [found[i] for i in random.permutation(len(found))[:SHOWN]]
        return tuple(self._excerpt(number, None, Window()) for number in drawn)

    def _excerpt(self, number: int, place: int | None, window: Window) -> Excerpt:
        s = self.sequences[number]
        marked = np.zeros(len(s.acts), bool)
        if place is not None:
            marked[place] = True
        factor = 1.0 if window.scale is None else window.scale / self.peak
        return window.excerpt(s.strings, s.acts, marked, factor)


class OccurrenceReader:
    """Reads the occurrences of a part's features: train exemplars, top ones of the sign for themselves, random ones and
    the panel for all other train sequences."""

    def __init__(
        self, neurons: list[int], corpus: str | list[str], exemplars: list[str], tokenizer: Any,
        panel: tuple[Panel, int] | None = None,
    ):  # fmt: skip
        """corpus: train sequences; tokenizer: the subject's; panel: with the layer of the neurons."""
        only: Filters = [("neuron", "in", neurons), ("kind", "in", ["top", "random"])]
        store = ExemplarStore(exemplars, {"train": corpus}, only)
        self.exemplars: dict[int, list[Exemplar]] = {}
        for found in store:
            self.exemplars.setdefault(found.neuron, []).append(found)
        self.strings = {i: token_strings(tokenizer, text.evidence) for i, text in store.texts["train"].items()}
        self.train = corpus_facts(corpus if isinstance(corpus, str) else corpus[0]).sequences
        self.panel = panel
        self.panel_strings = [token_strings(tokenizer, t.evidence) for t in panel[0].sequences] if panel else []

    def of(self, neuron: int) -> Iterator[tuple[Sign, Occurrences]]:
        """Those of each sign."""
        stored = self.exemplars.get(neuron, [])
        drawn = {e.seq_id: e.turned(SIGNS[0]) for e in stored if e.kind == "random"}  # of both signs the same ones
        others = [(seq_id, self.strings[seq_id], acts) for seq_id, acts in drawn.items()]
        if self.panel is not None:
            panel, layer = self.panel
            acts_N = panel.acts(layer, [neuron])[0].astype(float)
            parts = np.split(acts_N, np.cumsum(panel.lengths)[:-1])
            others += [(-1, strings, acts) for strings, acts in zip(self.panel_strings, parts)]  # none of train
        for sign in SIGNS:
            top = {e.seq_id: e.turned() for e in stored if e.kind == "top" and e.sign == sign}
            rest = [(strings, acts) for seq_id, strings, acts in others if seq_id not in top]
            weight = max(self.train - len(top), 0) / len(rest) if rest else 0.0
            yield (
                sign,
                Occurrences(
                    [Read(self.strings[i], acts, 1.0) for i, acts in top.items()]
                    + [Read(strings, turned(acts, sign), weight) for strings, acts in rest]
                ),
            )
