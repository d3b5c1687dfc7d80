"""Lists of concepts that execute: they predict an activation for every token of any text.

T tokens of a sequence.
"""

import json
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.concepts.predicates import Predicate, Reader
from neuron_descriptions.concepts.wording import Part, sentence


@dataclass(slots=True, frozen=True)
class ConceptList:
    """Parts, read from above, and the activation predicted where none of them is true (after Compositional
    Explanations of Neurons, Mu and Andreas 2020)."""

    parts: tuple[Part, ...] = ()
    base: float = 0.0
    peak: float = 0.0  # activation where the feature is strongest, beside which parts are said as strong or weak
    doubt: bool = False  # whether the list matches its feature but weakly
    spellings: dict[str, str] = field(default_factory=dict)  # of names and the like

    @property
    def sentence(self) -> str:
        """It in plain words."""
        return sentence(self.said, self.peak, self.doubt)

    @property
    def said(self) -> list[Part]:
        """Its parts, their words spelled as the texts spell them."""
        return [part.spelled(self.spellings) for part in self.parts]

    def first(self, count: int) -> "ConceptList":
        """The list of its first parts. Their weights stand; all else is that of the whole list."""
        return replace(self, parts=self.parts[:count])

    def predict(self, tokens: list[str], reader: Reader) -> NDArray[np.float64]:
        """Activation of each token, float64 (T,), in the units of the activations it was fitted on, turned so that
        strong is large. tokens: texts, as token_strings gives them."""
        return self.predict_held(reader.held(tokens))

    def predict_held(self, held: list[set[Predicate]]) -> NDArray[np.float64]:
        """The same, where it is known already what is true of each token (see Reader.held)."""
        weights = [*(part.weight for part in self.parts), self.base]  # the last one is of part -1
        return np.array([weights[part] for part in self.deciding(held)], float)

    def deciding(self, held: list[set[Predicate]]) -> list[int]:
        """Which part decides on each token: its place, from 0; -1 where none is true."""
        return [self._part_of(predicates) for predicates in held]

    def _part_of(self, predicates: set[Predicate]) -> int:
        for number, part in enumerate(self.parts):
            if part.head in predicates and (part.narrowed is None or part.narrowed in predicates):
                return number
        return -1

    def write(self) -> str:
        """It as JSON, which `read_list` reads back as the same list."""
        parts = [
            {
                "is": list(part.head),
                **({"where": list(part.narrowed)} if part.narrowed else {}),
                "weight": part.weight,
                **({"word": part.word} if part.word else {}),
            }
            for part in self.parts
        ]
        further = {"peak": self.peak, "doubt": self.doubt, "spellings": self.spellings}
        about = {name: value for name, value in further.items() if value}
        return json.dumps({"parts": parts, "base": self.base, **about}, ensure_ascii=False)


def read_list(text: str) -> ConceptList:
    """A list that `ConceptList.write` wrote. Raises ValueError where the text is none."""
    try:
        found = json.loads(text)
        parts = tuple(
            Part(
                _predicate(part["is"]),
                _predicate(part["where"]) if "where" in part else None,
                float(part["weight"]),
                part.get("word", ""),
            )
            for part in found["parts"]
        )
        peak, doubt, spellings = found.get("peak", 0.0), found.get("doubt", False), found.get("spellings", {})
        return ConceptList(parts, float(found["base"]), float(peak), bool(doubt), dict(spellings))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this is no list of concepts ({error}): {text[:200]}") from None


def _predicate(value: list[str]) -> Predicate:
    kind, which = value
    return Predicate(str(kind), str(which))
