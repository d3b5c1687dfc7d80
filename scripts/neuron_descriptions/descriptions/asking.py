"""Candidate descriptions: evidence drawn per candidate, prompts, answers, what became of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from neuron_descriptions.clients.base import Answer, Prompt, Request, cost
from neuron_descriptions.clients.journal import Journal
from neuron_descriptions.clients.opening import Job, open_client
from neuron_descriptions.common.logs import Progress, logger
from neuron_descriptions.common.storage import read_tables, write_table
from neuron_descriptions.common.streams import generator, key
from neuron_descriptions.common.vocabulary import SIGNS, TAILS, Sign, quantile_column
from neuron_descriptions.corpus.reading import Text, read_texts
from neuron_descriptions.descriptions.answers import answered, parse_answer
from neuron_descriptions.descriptions.found import CONCEPTS, read_sentences
from neuron_descriptions.descriptions.prompts import (
    Example,
    Excerpt,
    ExplainerTemplate,
    Highlights,
    excerpts,
    read_explainer_template,
)
from neuron_descriptions.descriptions.tables import ACCOUNTING, DESCRIPTIONS
from neuron_descriptions.descriptions.tokens import describe_tokens, peak_of
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS
from neuron_descriptions.models.loading import load_tokenizer, token_strings

TOKENS = "tokens"  # the explainer that is no model
NOBODY = "none"  # where no model is asked
NO_ACTIVATION, FEW_FIRINGS = "no_activation", "few_firings"  # why nothing is described


@dataclass(slots=True)
class Candidate:
    """A description in the making."""

    layer: int
    neuron: int
    sign: Sign
    candidate: int
    explainer: str = ""
    ranks: list[int] = field(default_factory=list)
    prompt: Prompt | None = None
    description: str | None = None
    status: str = NO_ACTIVATION
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def take(self, answer: Answer, begun: str) -> None:
        """Read an answer to its prompt."""
        self.description, self.status = parse_answer(begun, answer.text, answer.finished)
        if answer.refused:
            self.description, self.status = None, "refused"
        self.attempts += 1
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens

    def name_tokens(
        self, tokenizer: Any, rows: list[dict], texts: dict[int, Text], direction: int, random: np.random.Generator
    ) -> None:
        """Describe it by the tokens where its exemplars peak, without a model."""
        peaks = [
            peak_of(token_strings(tokenizer, texts[row["seq_id"]].evidence), direction * np.array(row["activations"]))
            for row in sorted(rows, key=lambda row: row["rank"])
        ]
        self.explainer = TOKENS
        self.description = describe_tokens(peaks, random)
        self.status = "ok" if self.description else "unparsed"

    def identity(self) -> tuple[int, int, str, int]:
        """What everything random about it is a function of, besides the seed."""
        return self.layer, self.neuron, self.sign, self.candidate


def draw_evidence(n_available: int, least: int, most: int, seed: int, *what: object) -> list[int]:
    """Ranks of the exemplars shown for one candidate, in the order shown: between `least` and `most` of the
    first n_available, or all where there are fewer."""
    random = generator(seed, "evidence", *what)
    count = min(int(random.integers(least, most + 1)), n_available)
    return random.permutation(n_available)[:count].tolist()


def draw_examples(examples: tuple[Example, ...], few_shot: dict[str, Any], seed: int, *what: object) -> list[Example]:
    """Solved examples of one candidate's prompt, in their order; few_shot: the config's `descriptions.few_shot`."""
    if few_shot["place"] == "none":
        return []
    order = list(range(len(examples)))
    if few_shot["order"] == "permuted":
        order = generator(seed, "examples", *what).permutation(len(examples)).tolist()
    return [examples[i] for i in order[: few_shot["count"]]]


# Of answers that all end before anything can be read, so many tell enough.
_ENOUGH = 5


@dataclass(slots=True)
class Tally:
    """What asking took so far; prices: of the config, or None."""

    prices: dict[str, float] | None = None
    answers: int = 0
    refused: int = 0
    unparsed: int = 0
    cut: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    fresh_prompt_tokens: int = 0
    fresh_completion_tokens: int = 0
    seconds: float = 0.0

    def add(self, answer: Answer, status: str, fresh: bool) -> None:
        """Count an answer."""
        self.answers += 1
        self.refused += status == "refused"
        self.unparsed += status == "unparsed"
        self.cut += not answer.finished
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        self.fresh_prompt_tokens += answer.prompt_tokens * fresh
        self.fresh_completion_tokens += answer.completion_tokens * fresh

    def __str__(self) -> str:
        dollars = cost(self.prompt_tokens, self.completion_tokens, self.prices)
        tokens = f"{self.prompt_tokens:,} + {self.completion_tokens:,} tokens"
        told = tokens if dollars is None else f"{tokens}, ${dollars:.4f}"
        return f"{told}, {self.cut:,} cut at max_tokens" if self.cut else told

    def row(self, layer: int, explainer: str, candidates: list[Candidate]) -> dict[str, Any]:
        """A row of ACCOUNTING."""
        return {
            "layer": layer,
            "explainer": explainer,
            "candidates": sum(c.prompt is not None for c in candidates),
            "described": sum(c.prompt is not None and c.status == "ok" for c in candidates),
            **{name: getattr(self, name) for name in self.__slots__ if name != "prices"},
        }


# Answers requests: (requests, what to do with answers as they come and whether they are fresh).
Answering = Callable[[list[Request], Callable[[dict[int, Answer], bool], None]], None]


def ask(candidates: list[Candidate], answering: Answering, begun: str, seed: int, attempts: int, tally: Tally) -> None:
    """Have the candidates described, in place; refused and unparsable answers are asked for again, with a new seed, up
    to `attempts` times in all. Each keeps its own evidence. begun: what every answer begins with already.

    Raises ValueError where almost all answers were cut off before anything could be read: more would be paid in vain.
    """
    early = 0  # cut off before a word of description
    pending = [c for c in candidates if c.prompt]
    start = time.monotonic()
    for attempt in range(attempts if pending else 0):
        progress = Progress(len(pending), "answers", every=10.0)
        asked = pending

        def done(answers: dict[int, Answer], fresh: bool, asked=asked, progress=progress) -> None:
            nonlocal early
            for i, answer in answers.items():
                asked[i].take(answer, begun)
                early += asked[i].status == "unparsed" and not answer.finished and answered(begun, answer.text) is None
                tally.add(answer, asked[i].status, fresh)
            progress.advance(len(answers), str(tally), free=not fresh)

        answering(
            [Request(c.prompt, key(seed, "sample", *c.identity(), attempt), c.neuron) for c in asked if c.prompt], done
        )
        pending = [c for c in asked if c.status != "ok"]
        described = sum(c.status == "ok" for c in candidates if c.prompt)
        if early >= max(_ENOUGH, 0.9 * tally.answers) and described <= 0.1 * tally.answers:
            raise ValueError(
                f"descriptions.max_tokens: {early} of {tally.answers} answers are unparsed, cut off at max_tokens"
                " before any description, as where a model thinks first; raise it, or let it think less; finished"
                " answers are kept"
            )
        if not pending:
            break
    tally.seconds += time.monotonic() - start
    if pending:
        logger.info("%d candidates have no description after %d attempts", len(pending), attempts)


def prepare(
    neurons: list[int],
    layer: int,
    corpus: str | list[str],
    exemplars: list[str],
    statistics: list[str],
    tokenizer: Any,
    template: ExplainerTemplate,
    settings: dict[str, Any],
    seed: int,
    concepts: list[str] | None = None,
) -> list[Candidate]:
    """Every candidate of a chunk, with its evidence and prompt, sorted by neuron. A sign that no train token
    drives has candidates without a prompt, and so has a feature that fires in fewer train tokens than the settings'
    min_firings. corpus, exemplars, statistics: the files that hold the chunk's neurons;
    tokenizer: the subject's; settings: of the config's `descriptions`; concepts: table of the lists that were found,
    needed for concept_candidates."""
    few_shot = settings["few_shot"]
    permuted = few_shot["order"] == "permuted" and few_shot["place"] != "none"
    filters = [
        ("split", "=", "train"),
        ("kind", "=", "top"),
        ("rank", "<", settings["pool"]),
        ("neuron", "in", neurons),
    ]
    rows: dict[tuple[int, str], list[dict]] = {}
    for row in read_tables(exemplars, EXEMPLARS, filters).to_pylist():
        rows.setdefault((row["neuron"], row["sign"]), []).append(row)
    wanted = {row["seq_id"] for group in rows.values() for row in group}
    texts = read_texts(corpus, wanted)
    train = [("split", "=", "train"), ("neuron", "in", neurons)]
    stats = {r["neuron"]: r for r in read_tables(statistics, STATISTICS, train).to_pylist()}
    sentences = read_sentences(concepts) if concepts and settings["concept_candidates"] else {}
    found = []
    for neuron in neurons:
        for sign in SIGNS:
            direction = 1 if sign == "positive" else -1
            shown = [r for r in rows.get((neuron, sign), []) if direction * r["peak"] > 0]
            # Known of features that are never negative.
            firings = stats[neuron]["firings"]
            rare = bool(shown) and firings is not None and firings < settings.get("min_firings", 0)
            status = FEW_FIRINGS if rare else NO_ACTIVATION
            shown = [] if rare else shown
            quantiles = [stats[neuron][quantile_column(tail, sign)] for tail in TAILS]
            highlights = Highlights(
                [direction * q for q in quantiles if q is not None], settings["min_highlights"], settings["near_misses"]
            )
            for number in range(settings["candidates"] + settings["token_candidates"]):
                candidate = Candidate(layer, neuron, sign, number, status=status)
                found.append(candidate)
                if not shown:
                    continue
                named = number - settings["candidates"]  # of those that name tokens
                who = candidate.identity() if named < 0 else (layer, neuron, sign, f"{TOKENS} {named}")
                candidate.ranks = draw_evidence(
                    len(shown), settings["evidence_min"], settings["evidence_max"], seed, *who
                )
                rows_shown = [shown[rank] for rank in candidate.ranks]
                if named >= 0:
                    candidate.name_tokens(tokenizer, rows_shown, texts, direction, generator(seed, TOKENS, *who))
                    continue
                evidence = _excerpts(tokenizer, template, rows_shown, texts, highlights, direction)
                examples = draw_examples(template.examples, few_shot, seed, *candidate.identity())
                messages = template.messages(evidence, sign, examples, few_shot["place"])
                # Permuted turns share the system prompt, permuted examples within it nothing.
                shared = (few_shot["place"] == "turns") if permuted else len(messages) - 1
                candidate.prompt = Prompt(messages, template.answer, int(shared))
            first = settings["candidates"] + settings["token_candidates"]
            said = sentences.get((neuron, sign), [])
            for number in range(settings["concept_candidates"]):
                candidate = Candidate(layer, neuron, sign, first + number, explainer=CONCEPTS, status=status)
                if shown:
                    candidate.description = said[number] if number < len(said) else None
                    candidate.status = "ok" if candidate.description else "unparsed"
                found.append(candidate)
    return found


def _excerpts(
    tokenizer: Any,
    template: ExplainerTemplate,
    rows: list[dict],
    texts: dict[int, Text],
    highlights: Highlights,
    direction: int,
) -> list[Excerpt]:
    """Exemplars (rows of EXEMPLARS) as the template wants them."""
    shown = [texts[row["seq_id"]] for row in rows]
    ids, activations = [t.evidence for t in shown], [direction * np.array(row["activations"]) for row in rows]
    if template.form == "published":  # nothing is known of the prefix: it is never marked
        ids = [t.input_ids for t in shown]
        activations = [np.concatenate([np.zeros(t.prefix_len), a]) for t, a in zip(shown, activations)]
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


def describe(
    neurons: list[int],
    layer: int,
    part: str,
    inputs: Mapping[str, Any],
    explainer: dict[str, Any] | None,
    settings: dict[str, Any],
    access: dict[str, Any],
    code: str,
    seed: int,
    threads: int,
    output: str,
    accounting: str,
) -> None:
    """Describe a part's neurons and write the tables.

    inputs: corpus, exemplars, statistics, subject, prompt, and explainer, where it has a folder; explainer: None where
    no model is asked; settings: the config's
    `descriptions`, the rest of it; access: see clients.opening.Job; code: stands for the code that makes the answers.
    """
    begins = explainer is None or "explainer" in inputs
    template = read_explainer_template(inputs["prompt"], settings["few_shot"], begins)
    max_tokens = settings["max_tokens"] or template.max_tokens
    candidates = prepare(
        neurons, layer, inputs["corpus"], inputs["exemplars"], inputs["statistics"], load_tokenizer(inputs["subject"]),
        template, settings, seed, [inputs["concepts"]] if "concepts" in inputs else None,
    )  # fmt: skip
    tally, written_by, finished = Tally(access["prices"]), NOBODY, lambda: None
    if explainer is not None:
        written_by, where = explainer["model"], f"layer-{layer}/{part}"
        job = Job(
            explainer, inputs.get("explainer"), template.stop, settings["temperature"], max_tokens, access, where,
            threads,
        )  # fmt: skip
        with open_client(job) as client:
            # An endpoint's answers are paid for: they outlive the code and the job.
            made_by = "" if client.keeps else f"{code} {explainer} {inputs['explainer']}"
            journal = Journal(f"{access['requests']}/{where}.jsonl", set(neurons), made_by)

            def answering(requests: list[Request], done: Callable[[dict[int, Answer], bool], None]) -> None:
                journal.answer(client, requests, done)

            ask(candidates, answering, template.answer if client.begins else "", seed, settings["attempts"], tally)
        if not client.keeps:
            finished = journal.remove
        logger.info("%d answers, %s, %.0f s", tally.answers, tally, tally.seconds)
    write_table(pa.Table.from_pylist([tally.row(layer, written_by, candidates)], schema=ACCOUNTING), accounting)
    write_table(descriptions_table(candidates, written_by), output)
    finished()


def descriptions_table(candidates: list[Candidate], explainer: str) -> pa.Table:
    """Candidates as rows of DESCRIPTIONS."""
    rows = [
        {
            "layer": c.layer,
            "neuron": c.neuron,
            "sign": c.sign,
            "candidate": c.candidate,
            "description": c.description,
            "exemplar_ranks": c.ranks,
            "explainer": c.explainer or explainer,
            "prompt_sha256": c.prompt.sha256() if c.prompt else None,
            "prompt_tokens": c.prompt_tokens,
            "completion_tokens": c.completion_tokens,
            "attempts": c.attempts,
            "status": c.status,
        }
        for c in candidates
    ]
    return pa.Table.from_pylist(rows, schema=DESCRIPTIONS)
