"""Candidates made of concepts: a short list of predicates that says where a feature fires, without a model.

T tokens of a sequence.
"""

from typing import Any

import numpy as np

from neuron_descriptions.common.storage import read_tables
from neuron_descriptions.concepts.predicates import Predicate, predicates_of
from neuron_descriptions.concepts.rules_of_text import read_rules
from neuron_descriptions.concepts.search import Evidence, find_parts, sentence
from neuron_descriptions.corpus.reading import read_texts
from neuron_descriptions.harvest.tables import EXEMPLARS
from neuron_descriptions.models.loading import token_strings

CONCEPTS = "concepts"  # the explainer that is no model
PARTS = (5, 2, 1)  # of the first candidate, the second, the third


class ConceptCandidates:
    """Sentences for the features of a part, from all their train exemplars: top, middle and random."""

    def __init__(self, neurons: list[int], exemplars: list[str], corpus: str | list[str], tokenizer: Any, rules: str):
        """exemplars, corpus: the files that hold the neurons; tokenizer: the subject's; rules: file of words that
        belong together. Raises ValueError where that is none."""
        self.rules = read_rules(rules)
        filters = [("split", "=", "train"), ("neuron", "in", neurons)]
        self.rows: dict[tuple[int, str], list[dict]] = {}
        for row in read_tables(exemplars, EXEMPLARS, filters).to_pylist():
            self.rows.setdefault((row["neuron"], row["sign"]), []).append(row)
        self.texts = read_texts(corpus, {row["seq_id"] for rows in self.rows.values() for row in rows})
        self.tokenizer = tokenizer
        self.held: dict[int, list[list[Predicate]]] = {}

    def sentences(self, neuron: int, sign: str, count: int) -> list[str | None]:
        """So many descriptions of a feature, the longest list first; None for one that would repeat another, and where
        no concept fits."""
        direction = 1 if sign == "positive" else -1
        rows: dict[int, dict] = {}  # a sequence can be a top and a random one
        for row in sorted(self.rows[neuron, sign], key=lambda row: row["seq_id"]):
            rows.setdefault(row["seq_id"], row)
        evidence = Evidence(
            [self._predicates(seq_id) for seq_id in rows],
            [direction * np.array(row["activations"]) for row in rows.values()],
        )
        parts = find_parts(evidence, PARTS[0])
        found: list[str | None] = []
        for most in PARTS[:count]:
            said = sentence(parts[:most])
            found.append(said if said not in found else None)
        return found

    def _predicates(self, seq_id: int) -> list[list[Predicate]]:
        if seq_id not in self.held:
            tokens = token_strings(self.tokenizer, self.texts[seq_id].evidence)
            self.held[seq_id] = predicates_of(tokens, self.rules)
        return self.held[seq_id]
