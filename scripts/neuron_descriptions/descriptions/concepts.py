"""Descriptions made of concepts: short lists of predicates that say where a feature fires, found without a model.

T tokens of a sequence, N tokens of the panel.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.signs import turned
from neuron_descriptions.common.storage import Row, write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.concepts.evidence import Exemplars, TextTable, exemplars_of
from neuron_descriptions.concepts.execution import ConceptList
from neuron_descriptions.concepts.predicates import Reader
from neuron_descriptions.concepts.search import DEFAULTS, Settings, find_list
from neuron_descriptions.concepts.vocabulary import read_vocabulary
from neuron_descriptions.descriptions.tables import FOUND_CONCEPTS
from neuron_descriptions.harvest.exemplars import ExemplarStore
from neuron_descriptions.models.loading import load_tokenizer, token_strings
from neuron_descriptions.panel.reading import Panel

SHORTER = (2, 1)  # parts of the second candidate, and of the third
# Ids of valid's sequences follow those of train's, which are below this; of the panel's, those of valid's.
_STRIDE = 1 << 40


@dataclass(slots=True, frozen=True)
class Fit:
    """What lists are fitted on: what a token of the panel counts beside one of an exemplar, and what a list may be."""

    panel_weight: float
    settings: Settings


# Readers look at peaks, that is, at exemplars. Text as it comes has many weak causes: smaller parts of more kinds; and
# what a large panel shows is less in doubt where few sequences of valid show it weakly.
_NATURAL = replace(DEFAULTS, gain=0.0005, new_gain=0.001, groups=8, most=20, survivors=200, ahead=True, sure=0.2)
FITS = {
    "contrast": Fit(0.25, DEFAULTS),
    "natural": Fit(1.0, _NATURAL),
}


class ConceptFinder:
    """Finds lists for the features of a part, from all their exemplars of train and valid: top, middle and random ones.
    Where there is a panel, all of its text counts as well: so lists are fitted on the mixture that they are scored on,
    and on text as it comes."""

    def __init__(
        self,
        neurons: list[int],
        corpus: dict[str, str | list[str]],
        exemplars: list[str],
        tokenizer: Any,
        rules: str,
        panel: tuple[Panel, int] | None = None,
        fit: str = "contrast",
    ):
        """corpus: "train" and "valid", the tables that hold the exemplars' texts; tokenizer: the subject's; rules:
        file of word lists; panel: with the neurons' layer; fit: one of FITS. Raises ValueError where these are none."""
        self.fit = FITS[fit]
        self.offset = {"train": 0, "valid": _STRIDE}
        self.acts: dict[tuple[str, int, str], dict[int, np.ndarray]] = {}
        texts: dict[int, list[str]] = {}
        store = ExemplarStore(exemplars, corpus, [("neuron", "in", neurons)])
        for e in store:
            held = self.acts.setdefault((e.split, e.neuron, e.sign), {})
            held[self.offset[e.split] + e.seq_id] = e.turned()
        for split, found in store.texts.items():
            for seq_id, text in found.items():
                texts[self.offset[split] + seq_id] = token_strings(tokenizer, text.evidence)
        if panel is not None:
            self._add_panel(*panel, neurons, texts)
        self.table = TextTable(texts, Reader(read_vocabulary(rules)))

    def _add_panel(self, panel: Panel, layer: int, neurons: list[int], texts: dict[int, list[str]]) -> None:
        ids = [2 * _STRIDE + i for i in range(len(panel.sequences))]
        texts |= dict(zip(ids, panel.strings))
        ends = np.cumsum(panel.lengths)[:-1]
        for neuron, acts_N in zip(neurons, panel.acts(layer, neurons)):
            for sign in SIGNS:
                held = self.acts.setdefault(("train", neuron, sign), {})
                held |= dict(zip(ids, np.split(turned(acts_N, sign), ends)))

    def find(self, neuron: int, sign: str) -> ConceptList:
        """The list of a feature; without a part where no concept fits."""
        train, valid = (self._exemplars(split, neuron, sign) for split in self.offset)
        return find_list(self.table, train, valid, self.fit.settings)

    def _exemplars(self, split: str, neuron: int, sign: str) -> Exemplars:
        acts = self.acts.get((split, neuron, sign), {})
        return exemplars_of(self.table, acts, {i: self.fit.panel_weight for i in acts if i >= 2 * _STRIDE})


def find_concepts(
    neurons: list[int],
    layer: int,
    corpus: dict[str, str | list[str]],
    exemplars: list[str],
    models: dict[str, str],
    panel: dict[str, str],
    output: str,
    fit: str = "contrast",
) -> None:
    """Write a part's lists, as rows of FOUND_CONCEPTS: the best one, then its first parts alone where it has more. See
    ConceptFinder. models: subject, and rules, the file of word lists; panel: its corpus and acts; empty: none; fit: one
    of FITS."""
    subject = models["subject"]
    text = (Panel(panel["corpus"], [panel["acts"]], subject), layer) if panel else None
    finder = ConceptFinder(neurons, corpus, exemplars, load_tokenizer(subject), models["rules"], text, fit)
    logger.info("%d predicates of %d tokens", len(finder.table.known), finder.table.holds_AP.shape[0])
    rows: list[Row] = []
    for neuron in progress(neurons, len(neurons), "neurons"):
        for sign in SIGNS:
            whole = finder.find(neuron, sign)
            lists = [whole, *(whole.first(count) for count in SHORTER if count < len(whole.parts))]
            rows += [
                {"layer": layer, "neuron": neuron, "sign": sign, "candidate": number, "sentence": found.sentence,
                 "parts": found.write()}
                for number, found in enumerate(lists)
            ]  # fmt: skip
    write_table(pa.Table.from_pylist(rows, schema=FOUND_CONCEPTS), output)
