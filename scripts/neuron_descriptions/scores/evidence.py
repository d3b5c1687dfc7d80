"""What a feature is scored on: its exemplars with their texts, and how strong it is elsewhere."""

from collections.abc import Mapping

from neuron_descriptions.common.signs import turned
from neuron_descriptions.common.storage import read_tables
from neuron_descriptions.common.vocabulary import SIGNS, TAILS, quantile_column
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.harvest.exemplars import Exemplar, ExemplarStore, Filters
from neuron_descriptions.harvest.tables import STATISTICS
from neuron_descriptions.scores.formulas import TokenBaseline

Corpus = Mapping[str, str | list[str]]  # split -> corpus table, or those of several imported parts


class Evidence:
    """Exemplars of some neurons of a layer, and their statistics."""

    def __init__(self, exemplars: list[str], statistics: list[str], corpus: Corpus, neurons: list[int]):
        """corpus: of the splits that are asked for."""
        only: Filters = [("neuron", "in", neurons)]
        self._exemplars: dict[tuple[str, int, str, str], list[Exemplar]] = {}
        for found in ExemplarStore(exemplars, corpus, only):
            self._exemplars.setdefault((found.split, found.neuron, found.sign, found.kind), []).append(found)
        rows = read_tables(statistics, STATISTICS, [*only, ("split", "=", "train")]).to_pylist()
        self._train = {row["neuron"]: row for row in rows}

    def get(self, split: str, neuron: int, sign: str, kind: str) -> list[Exemplar]:
        """Sequences by rank."""
        return sorted(self._exemplars.get((split, neuron, sign, kind), []), key=lambda e: e.rank)

    def scored(self, split: str, neuron: int, sign: str, top: int, middle: int, random: int) -> list[Exemplar]:
        """The sequences that a score is made on, each once: the first of the top ones, as many of the middle, spread
        over its range, and of the random ones."""
        chosen = self.get(split, neuron, sign, "top")[:top]
        for kind, count in (("middle", middle), ("random", random)):
            seen = {sequence.seq_id for sequence in chosen}
            others = [s for s in self.get(split, neuron, sign, kind) if s.seq_id not in seen]
            if kind == "random":
                others.sort(key=lambda s: s.seq_id)  # ranks are by peak: by seq_id is by chance
            elif len(others) > count:
                others = [others[int((i + 0.5) * len(others) / count)] for i in range(count)]
            chosen += others[:count]
        return chosen

    def active(self, neuron: int, sign: str) -> float:
        """Activation on this side from which a token counts as active: beyond it lies the loosest tail of the train
        tokens whose quantile is kept, 1 in 10,000; infinite where that is not on this side of zero, or not known, as of
        imported exemplars."""
        bound = self._train[neuron][quantile_column(TAILS[-1], sign)]  # type: ignore[arg-type]
        size = 0.0 if bound is None else turned(bound, sign)
        return size if size > 0 else float("inf")

    def token_baseline(self, neuron: int, sign: str, n_train: int) -> TokenBaseline:
        """The baseline from what train holds of a neuron and sign. Sequences of the middle are left out: they stand
        for no known number of others."""
        top = self.get("train", neuron, sign, "top")
        seen = {sequence.seq_id for sequence in top}
        others = {s.seq_id: s for either in SIGNS for s in self.get("train", neuron, either, "random")}
        side = [
            [(s.text.evidence, s.one_side(sign)) for s in sequences]
            for sequences in (top, [s for s in others.values() if s.seq_id not in seen])
        ]
        return TokenBaseline(side[0], side[1], n_train)


def split_sizes(corpus: Corpus) -> dict[str, int]:
    """Sequences of each split."""
    first = {split: path if isinstance(path, str) else path[0] for split, path in corpus.items()}
    return {split: corpus_facts(path).sequences for split, path in first.items()}
