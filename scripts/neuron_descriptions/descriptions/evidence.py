"""What candidates are made from: exemplars drawn for each, their excerpts, and the prompt that shows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuron_descriptions.clients.base import Prompt
from neuron_descriptions.common.signs import turned
from neuron_descriptions.common.storage import read_tables
from neuron_descriptions.common.streams import generator
from neuron_descriptions.common.vocabulary import SIGNS, TAILS, Sign, quantile_column
from neuron_descriptions.config.descriptions import Descriptions, FewShot
from neuron_descriptions.descriptions.candidates import FEW_FIRINGS, NO_ACTIVATION, TOKENS, Candidate
from neuron_descriptions.descriptions.excerpts import Beside, Excerpt, Highlights, Window, excerpts
from neuron_descriptions.descriptions.found import CONCEPTS, read_sentences
from neuron_descriptions.descriptions.occurrences import OccurrenceReader, Occurrences
from neuron_descriptions.descriptions.prompts import NOTHING, Example, ExplainerTemplate
from neuron_descriptions.descriptions.tokens import Peak, peak_of
from neuron_descriptions.harvest.exemplars import Exemplar, ExemplarStore
from neuron_descriptions.harvest.tables import STATISTICS
from neuron_descriptions.models.loading import token_strings
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.panel.tables import NEURON_TYPES

FIRING_SHARE = 0.3  # of the maximum of a feature that can be silent: from there on a token is highlighted


def draw_evidence(n_available: int, least: int, most: int, seed: int, *what: object) -> list[int]:
    """Ranks of the exemplars shown in one draw, in the order shown: between `least` and `most` of the
    first n_available, or all where there are fewer."""
    random = generator(seed, "evidence", *what)
    count = min(int(random.integers(least, most + 1)), n_available)
    ranks: list[int] = random.permutation(n_available)[:count].tolist()
    return ranks


def draw_examples(examples: tuple[Example, ...], few_shot: FewShot, seed: int, *what: object) -> list[Example]:
    """Solved examples of one draw's prompt, in their order."""
    if few_shot.place == "none":
        return []
    order = list(range(len(examples)))
    if few_shot.order == "permuted":
        order = generator(seed, "examples", *what).permutation(len(examples)).tolist()
    return [examples[i] for i in order[: few_shot.count]]


@dataclass(frozen=True, slots=True)
class EvidenceFiles:
    """The files that hold a part's neurons."""

    corpus: str | list[str]
    """Train sequences."""
    exemplars: list[str]
    statistics: list[str]
    concepts: list[str] | None = None
    """Lists that were found; needed for `concept_candidates`."""
    types: str | None = None
    """Types of the layer's neurons; without it, every neuron has the usual prompt."""
    panel: tuple[str, str] | None = None
    """The panel's text and the layer's activations on it: read where a prompt shows more than exemplars."""
    min_firings: int = 0
    """A feature that fires in fewer train tokens is not described, where that is known."""


@dataclass(slots=True, frozen=True)
class Prompting:
    """What prompts are made with."""

    tokenizer: Any
    """The subject's."""
    usual: ExplainerTemplate
    by_type: Mapping[str, ExplainerTemplate] = field(default_factory=dict)
    """Templates of some types of neurons, instead of the usual one."""


def prepare(
    neurons: list[int], layer: int, files: EvidenceFiles, prompting: Prompting, settings: Descriptions, seed: int
) -> list[Candidate]:
    """Every candidate of a chunk, with its evidence and prompt, sorted by neuron. A sign that no train token drives has
    candidates without a prompt, and so has a feature that fires too seldom."""
    chosen, tokenizer = _Templates(neurons, layer, files, prompting), prompting.tokenizer
    pool, ladders, few = _read(neurons, files, settings.pool)
    sentences = read_sentences(files.concepts) if files.concepts and settings.concept_candidates else {}
    found = []
    for neuron in neurons:
        beside = chosen.occurrences(neuron)
        for sign in SIGNS:
            template = chosen.of(neuron, sign)
            shown = [e for e in pool.of(layer, neuron, sign) if turned(e.peak, sign) > 0]
            rare = bool(shown) and neuron in few
            status = FEW_FIRINGS if rare else NO_ACTIVATION
            shown = [] if rare else shown
            highlights = Highlights(ladders[neuron, sign], settings.min_highlights, settings.near_misses)
            for number in range(settings.candidates + settings.token_candidates):
                candidate = Candidate(layer, neuron, sign, number, status=status)
                found.append(candidate)
                if not shown:
                    continue
                named = number - settings.candidates  # of those that name tokens
                draw = number // settings.samples if named < 0 else f"{TOKENS} {named}"
                who = layer, neuron, sign, draw
                if named < 0 and number % settings.samples:  # another sample of the draw before
                    candidate.ranks, candidate.prompt = found[-2].ranks, found[-2].prompt
                    continue
                candidate.ranks = draw_evidence(len(shown), settings.evidence_min, settings.evidence_max, seed, *who)
                drawn = [shown[rank] for rank in candidate.ranks]
                if named >= 0:
                    candidate.name_tokens(peaks_of(tokenizer, drawn), generator(seed, TOKENS, *who))
                    continue
                evidence = _excerpts(tokenizer, template, drawn, highlights)
                more = _beside(template, beside[sign], generator(seed, "beside", *who)) if template.wanted else NOTHING
                candidate.prompt = _prompt(template, (evidence, more), sign, settings.few_shot, (seed, *who))
            first = settings.candidates + settings.token_candidates
            said = sentences.get((neuron, sign), [])
            for number in range(settings.concept_candidates):
                candidate = Candidate(layer, neuron, sign, first + number, explainer=CONCEPTS, status=status)
                if shown:
                    candidate.description = said[number] if number < len(said) else None
                    candidate.status = "ok" if candidate.description else "unparsed"
                found.append(candidate)
    return found


Ladders = dict[tuple[int, str], list[float]]  # neuron, sign -> thresholds, this sign upwards, the strictest first


def _read(neurons: list[int], files: EvidenceFiles, pool: int) -> tuple[ExemplarStore, Ladders, set[int]]:
    """The first `pool` top train exemplars, thresholds of highlights, and which neurons fire too seldom: known of
    features that are never negative."""
    found = ExemplarStore(
        files.exemplars, {"train": files.corpus}, [("kind", "=", "top"), ("rank", "<", pool), ("neuron", "in", neurons)]
    )
    train = [("split", "=", "train"), ("neuron", "in", neurons)]
    ladders: Ladders = {}
    few = set()
    for row in read_tables(files.statistics, STATISTICS, train).to_pylist():
        if row["firings"] is not None and row["firings"] < files.min_firings:
            few.add(row["neuron"])
        for sign in SIGNS:
            ladders[row["neuron"], sign] = ladder(row, sign)
    return found, ladders, few


def ladder(row: dict[str, Any], sign: Sign) -> list[float]:
    """Thresholds of highlights, this sign upwards, the strictest first: quantiles of the tail; of a feature that can be
    silent a share of its maximum instead, since a quantile is 0 where it fires more rarely. row: of STATISTICS."""
    if row["firings"] is not None:
        return [FIRING_SHARE * row["max"]]
    quantiles = [row[quantile_column(tail, sign)] for tail in TAILS]
    return [turned(q, sign) for q in quantiles if q is not None]


def peaks_of(tokenizer: Any, exemplars: list[Exemplar]) -> list[Peak]:
    """Where exemplars of one sign are strongest, by rank."""
    ranked = sorted(exemplars, key=lambda e: e.rank)
    return [peak_of(token_strings(tokenizer, e.text.evidence), e.turned()) for e in ranked]


class _Templates:
    """Which template a neuron's prompts have, and what that one shows beyond exemplars."""

    def __init__(self, neurons: list[int], layer: int, files: EvidenceFiles, prompting: Prompting):
        self.usual, self.by_type, self.types = prompting.usual, prompting.by_type, {}
        if self.by_type and files.types:
            rows = read_tables([files.types], NEURON_TYPES, [("neuron", "in", neurons)]).to_pylist()
            self.types = {(row["neuron"], row["sign"]): row["type"] for row in rows}
        wanting = [n for n in neurons if any(self.of(n, sign).wanted for sign in SIGNS)]
        self.reader = None
        if wanting:
            panel = (Panel(files.panel[0], [files.panel[1]]), layer) if files.panel else None
            self.reader = OccurrenceReader(wanting, files.corpus, files.exemplars, prompting.tokenizer, panel)

    def of(self, neuron: int, sign: Sign) -> ExplainerTemplate:
        """The template of its type."""
        return self.by_type.get(self.types.get((neuron, sign), ""), self.usual)

    def occurrences(self, neuron: int) -> dict[Sign, Occurrences]:
        """By sign, where a template wants them."""
        wanted = self.reader is not None and any(self.of(neuron, sign).wanted for sign in SIGNS)
        return dict(self.reader.of(neuron)) if wanted and self.reader else {}


def _beside(template: ExplainerTemplate, occurrences: Occurrences, random: np.random.Generator) -> Beside:
    """What a draw's prompt shows beyond exemplars."""
    wanted = template.wanted
    window = Window(template.context, template.scale, template.decimals)
    return Beside(
        occurrences.contributions() if "contributions" in wanted else (),
        occurrences.silent(random, window) if "silent" in wanted else (),
        occurrences.quiet(random) if "quiet" in wanted else (),
    )


def _prompt(
    template: ExplainerTemplate, shown: tuple[list[Excerpt], Beside], sign: Sign, few_shot: FewShot,
    who: tuple[Any, ...],
) -> Prompt:  # fmt: skip
    """The prompt of a draw. who: the seed, and which draw it is."""
    permuted = few_shot.order == "permuted" and few_shot.place != "none"
    examples = draw_examples(template.examples, few_shot, *who)
    messages = template.messages(shown[0], sign, examples, few_shot.place, shown[1])
    # Permuted turns share the system prompt, permuted examples within it nothing.
    shared = (few_shot.place == "turns") if permuted else len(messages) - 1
    return Prompt(messages, template.answer, int(shared))


def _excerpts(
    tokenizer: Any, template: ExplainerTemplate, drawn: list[Exemplar], highlights: Highlights
) -> list[Excerpt]:
    """Exemplars as the template wants them."""
    ids, activations = [e.text.evidence for e in drawn], [e.turned() for e in drawn]
    if template.form == "published":  # nothing is known of the prefix: it is never marked
        ids = [e.text.input_ids for e in drawn]
        activations = [np.concatenate([np.zeros(e.text.prefix_len), a]) for e, a in zip(drawn, activations)]
    return excerpts(
        tokenizer,
        ids,
        activations,
        highlights,
        template.context,
        template.scale,
        template.decimals,
        template.form,
    )
