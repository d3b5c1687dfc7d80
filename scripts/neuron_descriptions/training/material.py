"""What a simulator learns from: a run's exemplars, and examples drawn from them and from rules.

An example is a description and a sequence; what is learnt is how strong the feature is at every evidence token, 0..10
of its strongest train exemplar.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from neuron_descriptions.common.storage import read_table
from neuron_descriptions.common.streams import generator, key
from neuron_descriptions.concepts.rules_of_text import Rule, table
from neuron_descriptions.config.training import Training
from neuron_descriptions.corpus.reading import Text, corpus_facts
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.descriptions.tokens import Peak, describe_tokens, peak_of
from neuron_descriptions.harvest.exemplars import Exemplar, ExemplarStore
from neuron_descriptions.models.loading import token_strings, tokenizer_fingerprint
from neuron_descriptions.training.fine_tuning import is_held_out

DESCRIPTION = 40  # tokens of one, about
SEEN = 10  # the most exemplars that a description is made from, and validation scores half of that


@dataclass(slots=True, frozen=True)
class Taught:
    """Files that a simulator learns from."""

    exemplars: list[str]
    corpus: dict[str, str]
    """Tables of the splits `train` and `valid`."""
    rules: str
    """See rules_of_text."""
    descriptions: list[str] = field(default_factory=list)
    """Tables of the run's candidates, or none."""

    @property
    def files(self) -> list[str]:
        """All of them."""
        return [*self.exemplars, *self.descriptions, *self.corpus.values(), self.rules]


@dataclass(slots=True)
class Feature:
    """A neuron's sign: its exemplars in one split."""

    layer: int
    neuron: int
    sign: str
    rows: dict[str, list[Exemplar]] = field(default_factory=dict)  # by kind
    peaks: list[Peak] = field(default_factory=list)  # of the top ones
    candidates: list[str] = field(default_factory=list)  # the run's descriptions of it

    @property
    def place(self) -> tuple[int, int, str]:
        """Which it is."""
        return self.layer, self.neuron, self.sign

    @property
    def largest(self) -> float:
        """The strongest activation of its exemplars; 0 where none fires."""
        return float(self.rows["top"][0].turned().max()) if "top" in self.rows else 0.0

    @property
    def held_out(self) -> bool:
        """Whether it is for validation."""
        return is_held_out(self.layer, self.neuron)

    def descriptions(self, seed: int, count: int) -> list[str]:
        """So many ways to describe it: the run's, then what its tokens say in several words."""
        draws = (generator(seed, "candidate", *self.place, i) for i in range(count))
        others = (describe_tokens(self.peaks[:SEEN], draw) for draw in draws)
        return list(dict.fromkeys([*self.candidates, *filter(None, others)]))[:count]

    def strengths(self, exemplar: Exemplar) -> np.ndarray:
        """Those at each evidence token of one of its sequences."""
        return strengths_of(exemplar.turned().astype(np.float32), self.largest)

    def spread(self, count: int) -> list[Exemplar]:
        """So many of its sequences: best ones of each kind in turn."""
        turns = zip_longest(*self.rows.values())
        return [row for turn in turns for row in turn if row is not None][:count]


@dataclass(slots=True)
class Material:
    """A split's features and sequences."""

    features: list[Feature]
    texts: dict[int, Text]
    tokens: dict[int, list[str]]  # seq_id -> texts of the evidence tokens


def read_material(
    exemplars: list[str], corpus: str, split: str, tokenizer: Any, held_out: bool, descriptions: Iterable[str] = ()
) -> Material:
    """Read the features of a split that are held out, or all; descriptions: tables of what the run says of them. Signs
    that no token has are left out. Raises ValueError where the subject's tokenizer is another one."""
    subjects = corpus_facts(corpus).tokenizer
    if subjects != tokenizer_fingerprint(tokenizer):
        raise ValueError(
            "training.base: its tokenizer is not the subject's, whose tokens it would learn; name another model"
        )
    features = []
    store = ExemplarStore(exemplars, {split: corpus}, wanted=is_held_out if held_out else None)
    for place in store.places():
        feature = Feature(*place)
        for exemplar in store.of(*place):
            feature.rows.setdefault(exemplar.kind, []).append(exemplar)
        if feature.largest > 0:
            features.append(feature)
    said: dict[tuple[int, int, str], list[str]] = {}
    for path in descriptions:
        for row in read_table(path, DESCRIPTIONS, [("status", "==", "ok")]).to_pylist():
            said.setdefault((row["layer"], row["neuron"], row["sign"]), []).append(row["description"])
    texts = {e.seq_id: e.text for f in features for rows in f.rows.values() for e in rows}
    tokens = {seq_id: token_strings(tokenizer, text.evidence) for seq_id, text in texts.items()}
    for feature in features:
        feature.peaks = [peak_of(tokens[e.seq_id], e.turned()) for e in feature.rows["top"]]
        feature.candidates = said.get(feature.place, [])
    return Material([f for f in features if describe_tokens(f.peaks[:SEEN])], texts, tokens)


@dataclass(slots=True, frozen=True)
class Example:
    """A description, a sequence, and the strength at each of its evidence tokens, 0..10."""

    description: str
    text: Text
    strengths: np.ndarray


class Examples:
    """Examples by number: a function of (seed, number) alone."""

    def __init__(self, material: Material, rules: list[Rule], settings: Training, seed: int):
        """settings: its shares count here."""
        self.features = [f for f in material.features if not f.held_out]
        self.material, self.settings, self.seed = material, settings, seed
        self.seq_ids = sorted(material.texts)
        holds = table(rules, [material.tokens[i] for i in self.seq_ids])
        # Of rules of code there is nothing to learn in text that has none.
        somewhere = np.flatnonzero(holds.any(1)) if holds.any() else np.arange(len(rules))
        self.rules, self.holds = [rules[i] for i in somewhere], holds[somewhere]

    def __getitem__(self, number: int) -> Example:
        draw = generator(self.seed, "training example", number)
        if draw.random() < self.settings.rules_share:
            return self._rule(draw)
        feature = self.features[int(draw.integers(len(self.features)))]
        if (share := self.settings.wrong_share) and draw.random() < share and (wrong := self._wrong(feature, draw)):
            return wrong
        return self._right(feature, draw) or self._rule(draw)

    def _rule(self, draw: np.random.Generator) -> Example:
        which = int(draw.integers(len(self.rules)))
        where = np.flatnonzero(self.holds[which])
        if len(where) == 0 or draw.random() < 0.3:
            where = np.arange(len(self.seq_ids))
        seq_id, rule = self.seq_ids[int(draw.choice(where))], self.rules[which]
        strengths = rule.strengths(self.material.tokens[seq_id])
        return Example(rule.say[int(draw.integers(len(rule.say)))], self.material.texts[seq_id], strengths)

    def _right(self, feature: Feature, draw: np.random.Generator) -> Example | None:
        """A description of a feature, and one of its sequences. None where its peaks have no text."""
        seen = np.sort(draw.choice(len(feature.peaks), min(len(feature.peaks), int(draw.integers(4, SEEN + 1))), False))
        description = self._describe(feature, seen, draw)
        kind = draw.choice(list(feature.rows))
        rows = feature.rows[kind]
        if kind == "top":  # not those that the description was made from
            rows = [row for i, row in enumerate(rows) if i not in seen] or rows
        exemplar = rows[int(draw.integers(len(rows)))]
        return Example(description, exemplar.text, feature.strengths(exemplar)) if description else None

    def _describe(self, feature: Feature, seen: np.ndarray, draw: np.random.Generator) -> str | None:
        share = self.settings.candidates_share
        if share and feature.candidates and draw.random() < share:
            return feature.candidates[int(draw.integers(len(feature.candidates)))]
        return describe_tokens([feature.peaks[i] for i in seen], draw)

    def _wrong(self, feature: Feature, draw: np.random.Generator) -> Example | None:
        """A description of a feature, and another one's sequence, without any of the words that the first peaks at: no
        token is strong. None where the sequence drawn has one."""
        other = self.features[int(draw.integers(len(self.features)))]
        exemplar = other.rows["top"][int(draw.integers(len(other.rows["top"])))]
        tokens = self.material.tokens[exemplar.seq_id]
        words = {word.strip().lower() for word in (*tokens, *"".join(tokens).split())}
        description = self._describe(feature, np.arange(min(len(feature.peaks), SEEN)), draw)
        if description is None or words & {peak.token.strip().lower() for peak in feature.peaks}:
            return None
        return Example(description, exemplar.text, np.zeros(len(exemplar.text.evidence), int))


class Ranked(Examples):
    """Examples of features that are described in the one way that a simulator predicts best from."""

    def __init__(self, examples: Examples, best: dict[tuple[int, int, str], str], sequences: int):
        """best: feature -> description; sequences: how many of each feature's are learnt from."""
        for name in ("material", "rules", "settings", "seq_ids", "holds"):
            setattr(self, name, getattr(examples, name))
        self.seed = key(examples.seed, "second stage")
        self.features = [f for f in examples.features if f.place in best]
        self.best, self.sequences = best, sequences

    def _right(self, feature: Feature, draw: np.random.Generator) -> Example:
        rows = feature.spread(self.sequences)
        exemplar = rows[int(draw.integers(len(rows)))]
        return Example(self.best[feature.place], exemplar.text, feature.strengths(exemplar))

    def _describe(self, feature: Feature, seen: np.ndarray, draw: np.random.Generator) -> str:
        return self.best[feature.place]


def strengths_of(acts: np.ndarray, largest: float) -> np.ndarray:
    """Activations as whole numbers 0..10 of the largest."""
    return np.rint(10 * np.clip(acts / largest, 0, 1)).astype(int)
