"""Short lists of concepts that say where a feature fires: found greedily on all of its exemplars that no score is made
on, as long as a part explains more than chance would; a list that is in doubt must hold on valid when found on train.

N tokens of a feature's exemplars, P predicates, M of them that are worth a look (survivors). What a part explains is
the sum of squares that a step of two means explains among the tokens that no earlier part took (a regression tree's
gain, Breiman et al. 1984), with the part's mean drawn towards the others'.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.concepts.deciding import Deciding
from neuron_descriptions.concepts.evidence import Exemplars, Floats, TextTable, joined
from neuron_descriptions.concepts.execution import ConceptList
from neuron_descriptions.concepts.predicates import SUBJECT, Predicate
from neuron_descriptions.concepts.survivors import Survivors, find_survivors, gains_of, rounded
from neuron_descriptions.concepts.vocabulary import stem_of
from neuron_descriptions.concepts.wording import Part


@dataclass(slots=True, frozen=True)
class Settings:
    """What a search may do and what a sentence costs, in correlation."""

    most: int = 12  # parts
    groups: int = 5  # kinds of parts: further parts are said together with these, or there is none
    shrink: float = 2.0  # tokens of the others' mean that a part's mean is drawn towards
    gain: float = 0.003  # share of the variance that a part must explain
    new_gain: float = 0.006  # the same of a part that cannot be said together with those before it
    chance: float = 20.0  # a part must explain so many times one token's share: twice the log of 20,000 predicates
    narrower: float = 1.4  # a part is narrowed down where that explains so many times as much
    survivors: int = 160  # predicates that are worth a look
    contexts: int = 60  # of them that narrow others down
    tried: int = 4  # parts that are tried narrowed down
    ahead: bool = False  # whether a part may be put before those found so far, and decide on their tokens
    distinct: int = 3  # words that an ending or a beginning must be seen with; a list or a family: 2
    per_group: float = 0.012  # cost of a part of a new kind
    per_part: float = 0.005  # cost of a part said together with others
    sure: float = 0.35  # correlation with valid, which a list was found on too, from which it is not in doubt
    clear: float = 0.3  # the same below which a sentence says that it is weak
    least: float = 0.1  # correlation on valid below which there is no pattern


DEFAULTS = Settings()
EXAMPLES = 3  # words that a list about a subject is said with
STRONGEST = 20  # sequences


def find_list(
    table: TextTable, train: Exemplars, valid: Exemplars | None, settings: Settings = DEFAULTS
) -> ConceptList:
    """The list of a feature, found on train and valid together; without a part where no concept fits: where it does not
    match them well, and what train alone suggests does not hold on valid; in doubt where it matches them but weakly.
    valid: None: train alone."""
    if valid is None or not len(valid.acts_N):
        return _told(table, find_parts(table, train, settings), train)
    both = joined(train, valid)
    found = _told(table, find_parts(table, both, settings), both)
    if not found.parts:
        return found
    matched = _matched(table, found, valid)
    found = replace(found, doubt=matched < settings.clear)
    if matched >= settings.sure:
        return found
    alone = find_parts(table, train, settings)
    return found if cut(table, alone, valid, settings).parts else ConceptList()


def find_parts(table: TextTable, train: Exemplars, settings: Settings = DEFAULTS) -> ConceptList:
    """The list as these exemplars alone suggest it, at most settings.most parts."""
    acts_N, weight_N = train.acts_N, train.weight_N
    if len(acts_N) < 2 or np.ptp(acts_N) == 0:
        return ConceptList()
    mean = float(weight_N @ acts_N / weight_N.sum())
    whole = float(weight_N @ (acts_N - mean) ** 2)
    chance = settings.chance * float(weight_N @ weight_N) / float(weight_N.sum()) ** 2
    least, least_new = (max(chance, gain) * whole for gain in (settings.gain, settings.new_gain))
    found = find_survivors(table, train, settings.shrink, settings.survivors - settings.contexts, settings.contexts)
    deciding = Deciding(found, train, settings.shrink) if settings.ahead else None
    open_N = np.ones(len(acts_N), dtype=bool)
    parts: list[Part] = []
    while len(parts) < settings.most:
        groups = {part.group for part in parts}
        best = None
        if len(groups) < settings.groups:
            best = _best(table, found, train, open_N, None, settings)
        if best is None or (best.group not in groups and best.gain < (least_new if parts else least)):
            best = _best(table, found, train, open_N, groups, settings) if parts else None
        first = _first(table, found, train, deciding, groups, settings) if deciding and parts else None
        ahead = first is not None and first.gain > (best.gain if best else 0.0)
        best = first if ahead else best
        if best is None or best.gain < (least_new if ahead and best.group not in groups else least):
            break
        mean = _mean(train, open_N)
        weight = _shrunk(train, best.rows, mean, settings.shrink)
        part = Part(best.head, best.narrowed, weight, _name(table, train, best))
        if deciding:
            deciding.add(part, best.rows, ahead)
        parts.append(part)
        taken = best.rows[open_N[best.rows]]
        open_N[taken] = False
        found.sums_XM -= found.sums(train, taken)
    return ConceptList(tuple(deciding.parts() if deciding else parts), _mean(train, open_N) if open_N.any() else 0.0)


def _matched(table: TextTable, found: ConceptList, exemplars: Exemplars) -> float:
    """Correlation of what a list predicts with activations."""
    predicted_N = np.full(len(exemplars.acts_N), found.base)
    for part in reversed(found.parts):
        predicted_N[holding(table, part, exemplars.rows_N)] = part.weight
    return weighted_correlation(predicted_N, exemplars.acts_N, exemplars.weight_N)


def cut(table: TextTable, whole: ConceptList, valid: Exemplars, settings: Settings) -> ConceptList:
    """The first parts of a list: as many as have the highest correlation on valid, less what the sentence costs."""
    predicted_N = np.full(len(valid.acts_N), whole.base)
    open_N = np.ones(len(valid.acts_N), dtype=bool)
    cost, best, groups = 0.0, (settings.least, 0), set()
    for number, part in enumerate(whole.parts, start=1):
        holds_N = holding(table, part, valid.rows_N) & open_N
        predicted_N[holds_N] = part.weight
        open_N &= ~holds_N
        cost += settings.per_part if part.group in groups else settings.per_group
        groups.add(part.group)
        value = weighted_correlation(predicted_N, valid.acts_N, valid.weight_N) - cost
        if value > best[0] + 1e-9:
            best = value, number
    return whole.first(best[1])


def holding(table: TextTable, part: Part, rows_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    """At which rows of a table a part is true, bool (N,)."""
    marked = np.zeros(table.holds_AP.shape[0], dtype=bool)
    marked[table.at(part.head)] = True
    if part.narrowed is not None:
        other = np.zeros_like(marked)
        other[table.at(part.narrowed)] = True
        marked &= other
    return marked[rows_N]


def weighted_correlation(predicted_N: Floats, true_N: Floats, weight_N: Floats) -> float:
    """Signed correlation of weighted tokens; 0 where either is constant."""
    total = weight_N.sum()
    p, t = predicted_N - weight_N @ predicted_N / total, true_N - weight_N @ true_N / total
    spread = (weight_N @ p**2) * (weight_N @ t**2)
    return float(weight_N @ (p * t) / np.sqrt(spread)) if spread > 1e-24 else 0.0


@dataclass(slots=True, frozen=True)
class _Found:
    """A part that could come next: what it explains, and the open tokens that it is true of."""

    gain: float
    head: Predicate
    narrowed: Predicate | None
    rows: NDArray[np.int64]

    @property
    def group(self) -> tuple[str, ...]:
        """See Part.group."""
        return Part(self.head, self.narrowed).group


def _best(
    table: TextTable,
    found: Survivors,
    train: Exemplars,
    open_N: NDArray[np.bool_],
    groups: set[tuple[str, ...]] | None,
    settings: Settings,
) -> _Found | None:
    """The best predicate, narrowed down where that explains much more; groups: those that it must belong to; None:
    any."""
    weight, summed = (float((train.weight_N * values)[open_N].sum()) for values in (1.0, train.acts_N))
    if weight <= 0:
        return None

    def gains(sums_XM: Floats, least_M: Floats) -> Floats:
        tokens_M, count_M, summed_M = sums_XM
        gains_M = gains_of(count_M, summed_M, weight, summed, settings.shrink)
        return np.where(tokens_M > least_M - 0.5, gains_M, 0.0)

    gains_M = gains(found.sums_XM, found.least_M) * found.favour_M
    order = np.flatnonzero(rounded(gains_M))
    order = order[np.lexsort((found.rank_M[order], -rounded(gains_M)[order]))]
    best: _Found | None = None
    tried = 0
    for head in order.tolist():
        if groups is not None and Part(found.known[head]).group not in groups:
            continue
        rows = np.flatnonzero(open_N & found.holds_NM[:, head])
        if not _stands_alone(table, found.known[head], train, rows, settings):
            continue
        candidate = _Found(float(gains_M[head]), found.known[head], None, rows)
        tried += 1
        if groups is not None:  # a narrowed part would be a group of its own
            return candidate
        candidate = _narrowed(found, train, candidate, head, gains, settings)
        if best is None or candidate.gain > best.gain * (1 + 1e-9):
            best = candidate
        if tried == settings.tried:
            break
    return best


def _first(
    table: TextTable,
    found: Survivors,
    train: Exemplars,
    deciding: Deciding,
    groups: set[tuple[str, ...]],
    settings: Settings,
) -> _Found | None:
    """The best predicate that decides before all parts so far."""
    gains_M = deciding.gains()
    order = np.flatnonzero(rounded(gains_M))
    for head in order[np.lexsort((found.rank_M[order], -rounded(gains_M)[order]))].tolist():
        rows = np.flatnonzero(found.holds_NM[:, head])
        candidate = _Found(float(gains_M[head]), found.known[head], None, rows)
        if candidate.group not in groups and len(groups) >= settings.groups:
            continue
        if _stands_alone(table, candidate.head, train, rows, settings):
            return candidate
    return None


def _narrowed(
    found: Survivors,
    train: Exemplars,
    part: _Found,
    head: int,
    gains: Callable[[Floats, Floats], Floats],
    settings: Settings,
) -> _Found:
    """The part where a context holds, if that explains much more; else as it is. head: its place among survivors."""
    contexts = np.flatnonzero(found.context_M)
    if not len(contexts):
        return part
    sums_XC = found.sums(train, part.rows, contexts)
    gains_C = gains(sums_XC, np.minimum(found.least_M[contexts], 3.0))
    gains_C *= found.favour_M[head] * found.favour_M[contexts]
    best = int(rounded(gains_C).argmax())
    if gains_C[best] <= settings.narrower * part.gain or (other := int(contexts[best])) == head:
        return part
    inside = part.rows[found.holds_NM[part.rows, other]]
    return _Found(float(gains_C[best]), part.head, found.known[other], inside)


def _stands_alone(
    table: TextTable, predicate: Predicate, train: Exemplars, rows: NDArray[np.int64], settings: Settings
) -> bool:
    """Whether a predicate may head a part: it is no mere context, and it is seen in two sequences; a list, a family, an
    ending or a beginning with several words (a list with several families), or it is a word in disguise."""
    if predicate.kind in ("in", "about") or not len(rows):
        return False
    if train.sequence_N[rows[0]] == train.sequence_N[rows[-1]]:
        return False
    if predicate.kind not in ("list", "family", "ending", "beginning"):
        return True
    words = {table.word[row] for row in train.rows_N[rows].tolist()}
    if predicate.kind == "list":
        words = {stem_of(word) for word in words}
    return len(words) >= (2 if predicate.kind in ("list", "family") else settings.distinct)


def _told(table: TextTable, found: ConceptList, exemplars: Exemplars) -> ConceptList:
    """The list with what its sentence needs to know of the exemplars."""
    if not found.parts:
        return found
    words = set().union(*(part.words for part in found.parts))
    return replace(found, peak=_peak(exemplars), spellings=table.spellings(words, exemplars.rows_N))


def _peak(train: Exemplars) -> float:
    """Mean of the STRONGEST largest activations of single sequences."""
    firsts = np.flatnonzero(np.diff(train.sequence_N, prepend=train.sequence_N[0] - 1))
    return float(np.sort(np.maximum.reduceat(train.acts_N, firsts))[-STRONGEST:].mean())


def _mean(train: Exemplars, at_N: NDArray[np.bool_]) -> float:
    weights = train.weight_N[at_N]
    return float((weights * train.acts_N[at_N]).sum() / weights.sum())


def _shrunk(train: Exemplars, rows: NDArray[np.int64], mean: float, shrink: float) -> float:
    weights = train.weight_N[rows]
    return float(((weights * train.acts_N[rows]).sum() + shrink * mean) / (weights.sum() + shrink))


def _name(table: TextTable, train: Exemplars, best: _Found) -> str:
    """The word that a family is said by: its shortest one here; of a list about a subject the words that add most; of a
    scrap the one longer word that does."""
    rows, head, scrap = best.rows, best.head, Part(best.head).scrap
    of_rows: list[str] = [table.word[row] for row in train.rows_N[rows].tolist()]
    if head.kind == "family":
        return min(set(of_rows) - {""}, key=lambda word: (len(word), word))
    if not scrap and not (head.kind == "list" and head.value.startswith(SUBJECT)):
        return ""
    added: dict[str, float] = {}
    for word, much in zip(of_rows, (train.weight_N[rows] * train.acts_N[rows]).tolist()):
        if word and not (scrap and word == head.value):
            added[word] = added.get(word, 0.0) + much
    stems = {stem_of(word): word for word in sorted(added, key=lambda w: (added[w], w))}  # of a family the strongest
    return " ".join(sorted(stems.values(), key=lambda w: (-added[w], w))[: 1 if scrap else EXAMPLES])
