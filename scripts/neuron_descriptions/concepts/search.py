"""Short lists of concepts that say where a feature fires: found greedily on its exemplars, and put into a sentence.

A list is read from above: the first part that is true of a token decides (after Compositional Explanations of Neurons,
Mu and Andreas 2020). N tokens of a feature's exemplars.
"""

from dataclasses import dataclass

import numpy as np

from neuron_descriptions.concepts.predicates import CONTEXTS, Predicate

SHRINK = 3.0  # tokens of the average that a part's mean is drawn towards
LEAST = {"mentioned": 30, "in": 12, "after": 4, "ending": 6, "beginning": 6, "rule": 4, "place": 6}  # tokens; others 3
DISTINCT = 3  # words that an ending or a beginning must be seen with, or it is a word in disguise
GAIN = 0.02  # share of the variance that a part must explain
NARROWER = 1.25  # a part is narrowed down where that explains so many times as much
NARROWED_LEAST = 4  # tokens of a part that is narrowed down
TRIED = 4  # parts that are tried narrowed down


@dataclass(slots=True, frozen=True)
class Part:
    """What fires, and what narrows it down, if anything does."""

    head: Predicate
    narrowed: Predicate | None = None

    @property
    def phrase(self) -> str:
        """It in plain words."""
        return self.head.phrase if self.narrowed is None else f"{self.head.phrase} {self.narrowed.narrowing}"


class Evidence:
    """A feature's exemplars as the search wants them: which predicates hold at which tokens."""

    def __init__(self, held: list[list[list[Predicate]]], acts: list[np.ndarray]):
        """held: for each sequence, predicates of each token; acts: for each sequence (T,), large where the feature is
        strong; what is below 0 counts as 0."""
        flat = [predicates for sequence in held for predicates in sequence]
        self.known = sorted({p for predicates in flat for p in predicates})
        index = {p: i for i, p in enumerate(self.known)}
        self.acts_N = np.maximum(np.concatenate(acts), 0).astype(np.float64) if acts else np.zeros(0)
        self.holding = np.array([index[p] for predicates in flat for p in predicates], dtype=np.int64)
        self.token = np.repeat(np.arange(len(flat)), [len(predicates) for predicates in flat])
        halves = [i % 2 for i, sequence in enumerate(held) for _ in sequence]
        self.half_N = np.array(halves, dtype=bool)
        self.least = np.array([LEAST.get(p.kind, 3) for p in self.known])
        self.context = np.array([p.kind in CONTEXTS for p in self.known], dtype=bool)
        self.words = [next((p.value for p in predicates if p.kind == "word"), "") for predicates in flat]
        order = np.argsort(self.holding, kind="stable")
        self.tokens_by_predicate = self.token[order]
        self.bounds = np.searchsorted(self.holding[order], np.arange(len(self.known) + 1))

    def at(self, number: int) -> np.ndarray:
        """Tokens at which a predicate holds."""
        return self.tokens_by_predicate[self.bounds[number] : self.bounds[number + 1]]

    def gains(self, open_N: np.ndarray, inside_N: np.ndarray | None = None, least: int | None = None) -> np.ndarray:
        """For each predicate, the sum of squares that a part of it would explain among the open tokens; 0 where it is
        too rare, weaker than the rest, or does not hold up in each half of the sequences.

        inside_N: the part is narrowed down to these tokens; least: tokens that are not too rare, instead of LEAST.
        """
        n_open, total = int(open_N.sum()), float(self.acts_N[open_N].sum())
        if n_open < 2:
            return np.zeros(len(self.known))
        mean = total / n_open
        used = (open_N if inside_N is None else open_N & inside_N)[self.token]
        ok = np.ones(len(self.known), dtype=bool)
        for half in (False, True):
            count, summed = self._sums(used & (self.half_N[self.token] == half))
            ok &= summed > count * mean
        count, summed = self._sums(used)
        shrunk = (summed + SHRINK * mean) / (count + SHRINK)
        gains = count * (shrunk - mean) ** 2 * n_open / np.maximum(n_open - count, 1)
        return np.where(ok & (count >= (self.least if least is None else least)) & (shrunk > mean), gains, 0.0)

    def _sums(self, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = len(self.known)
        holding = self.holding[used]
        return np.bincount(holding, minlength=size), np.bincount(
            holding, weights=self.acts_N[self.token[used]], minlength=size
        )

    def is_word_in_disguise(self, number: int, open_N: np.ndarray) -> bool:
        """Whether an ending or a beginning is seen with fewer than DISTINCT words."""
        if self.known[number].kind not in ("ending", "beginning"):
            return False
        return len({self.words[t] for t in self.at(number) if open_N[t]}) < DISTINCT


def find_parts(evidence: Evidence, most: int) -> list[Part]:
    """The list, at most so many parts; empty where no concept explains a share of GAIN of the variance."""
    acts_N = evidence.acts_N
    if not len(acts_N):
        return []
    whole = float(((acts_N - acts_N.mean()) ** 2).sum())
    open_N = np.ones(len(acts_N), dtype=bool)
    parts: list[Part] = []
    while len(parts) < most and whole > 0:
        gains = evidence.gains(open_N)
        best = _best(evidence, gains, open_N)
        if best is None or best[0] < GAIN * whole:
            break
        _, part, tokens = best
        parts.append(part)
        open_N[tokens] = False
    return parts


def _best(evidence: Evidence, gains: np.ndarray, open_N: np.ndarray) -> tuple[float, Part, np.ndarray] | None:
    """Gain, part and its tokens: the best predicate, narrowed down where that explains much more."""
    heads = []
    # Equal gains: the simpler kind, then the alphabet; `known` is sorted, so chunks and shards change nothing.
    order = np.flatnonzero(gains).tolist()
    for number in sorted(order, key=lambda i: (-round(float(gains[i]), 9), _rank(evidence.known[i]))):
        stands_alone = not evidence.context[number] or evidence.known[number].kind == "after"
        if stands_alone and not evidence.is_word_in_disguise(number, open_N):
            heads.append(number)
        if len(heads) == TRIED:
            break
    best = None
    for number in heads:
        tokens = evidence.at(number)
        found = (float(gains[number]), Part(evidence.known[number]), tokens)
        inside_N = np.zeros_like(open_N)
        inside_N[tokens] = True
        narrowed = np.where(evidence.context, evidence.gains(open_N, inside_N, NARROWED_LEAST), 0.0)
        other = int(narrowed.argmax())
        if narrowed[other] > NARROWER * found[0] and other != number:
            both = np.intersect1d(tokens, evidence.at(other))
            found = (float(narrowed[other]), Part(evidence.known[number], evidence.known[other]), both)
        if best is None or found[0] > best[0]:
            best = found
    return best


_KINDS = ("word", "rule", "place", "mark", "ending", "beginning", "after", "piece", "in", "mentioned")


def _rank(predicate: Predicate) -> tuple[int, Predicate]:
    return _KINDS.index(predicate.kind), predicate


def sentence(parts: list[Part]) -> str | None:
    """The list in plain words: words together, what follows a word together, then the rest in their order. None where
    there is no part."""
    plain = [p for p in parts if p.narrowed is None]
    words = [f'"{p.head.value}"' for p in plain if p.head.kind == "word"]
    after = [f'"{p.head.value}"' for p in plain if p.head.kind == "after"]
    said: list[str] = []
    for part in parts:
        if part.narrowed is None and part.head.kind == "word":
            phrase = f"the word {words[0]}" if len(words) == 1 else f"the words {_joined(words, 'and')}"
        elif part.narrowed is None and part.head.kind == "after":
            phrase = f"the word after {_joined(after, 'or')}"
        else:
            phrase = part.phrase
        if phrase not in said:
            said.append(phrase)
    return ("; ".join(said) if any(" and " in s or "," in s for s in said) else _joined(said, "and")) if said else None


def _joined(phrases: list[str], last: str) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} {last} {phrases[-1]}"
