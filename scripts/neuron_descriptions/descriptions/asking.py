"""Candidate descriptions asked for: requests, answers, what became of them, what they took."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from neuron_descriptions.clients.base import Answer, Request, cost
from neuron_descriptions.clients.journalled import JournalledClient, open_journalled
from neuron_descriptions.clients.opening import Job
from neuron_descriptions.common.logs import Progress, logger
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.streams import key
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.config.explainers import Prices
from neuron_descriptions.descriptions.answers import answered
from neuron_descriptions.descriptions.candidates import Candidate, descriptions_table
from neuron_descriptions.descriptions.evidence import EvidenceFiles, Prompting, prepare
from neuron_descriptions.descriptions.prompts import read_explainer_template, read_templates_of_types
from neuron_descriptions.descriptions.tables import ACCOUNTING
from neuron_descriptions.models.loading import load_tokenizer

NOBODY = "none"  # where no model is asked

# Of answers that all end before anything can be read, so many tell enough.
_ENOUGH = 5


@dataclass(slots=True)
class Tally:
    """What asking took so far."""

    prices: Prices | None = None
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

        def done(
            answers: dict[int, Answer], fresh: bool, asked: list[Candidate] = asked, progress: Progress = progress
        ) -> None:
            nonlocal early
            for i, answer in answers.items():
                asked[i].take(answer, begun)
                early += asked[i].status == "unparsed" and not answer.finished and answered(begun, answer.text) is None
                tally.add(answer, asked[i].status, fresh)
            progress.advance(len(answers), str(tally), free=not fresh)

        answering(_requests(asked, seed, attempt), done)
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


def _requests(asked: list[Candidate], seed: int, attempt: int) -> list[Request]:
    """One for each candidate; samples of one draw of evidence know of each other."""
    asked_with = [(c, c.prompt, (c.neuron, c.prompt.sha256())) for c in asked if c.prompt]
    same, seen = Counter(which for _, _, which in asked_with), Counter[tuple[int, str]]()
    found = []
    for c, prompt, which in asked_with:
        number = key(seed, "sample", *c.identity(), attempt)
        found.append(Request(prompt, number, c.neuron, seen[which], same[which]))
        seen[which] += 1
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """Neurons of a layer that a job describes."""

    layer: int
    name: str
    """Such as chunk-0."""
    neurons: list[int]
    seed: int
    threads: int = 1
    min_firings: int = 0
    """Of the config's `features`: one that fires in fewer train tokens is not described."""


def ask_explainer(
    part: Part, candidates: list[Candidate], job: Job, begun: str, attempts: int, code: str
) -> tuple[Tally, JournalledClient]:
    """Ask a job's client about a part's candidates, which get its answers. Returns what that took, and the client,
    which may forget the answers once the tables are written.

    begun: how an answer begins, where the client writes it for the model; code: stands for the code that makes the
    answers. Raises ValueError as `ask` does.
    """
    tally = Tally(getattr(job.explainer, "prices", None))
    with open_journalled(job, set(part.neurons), code) as client:
        ask(candidates, client.answer, begun if client.begins else "", part.seed, attempts, tally)
    logger.info("%d answers, %s, %.0f s", tally.answers, tally, tally.seconds)
    return tally, client


def describe(
    part: Part,
    inputs: Mapping[str, Any],
    settings: Descriptions,
    requests: str,
    code: str,
    outputs: dict[str, str],
) -> None:
    """Describe a part's neurons and write the tables `descriptions` and `accounting` of `outputs`.

    inputs: corpus, exemplars, statistics, subject, prompt, and, where there are such, concepts, explainer, its folder,
    prompt_<type> of each type that has one, types, panel and panel_acts; requests: folder of what was asked and what
    it cost; code: stands for the code that makes the answers.
    """
    explainer = settings.explainer
    begins = explainer is None or "explainer" in inputs
    template = read_explainer_template(inputs["prompt"], settings.few_shot, begins)
    max_tokens = settings.max_tokens or template.max_tokens
    concepts = [inputs["concepts"]] if "concepts" in inputs else None
    # A neuron that the panel has not has no type: its prompt is the usual one.
    panel = (inputs["panel"], inputs["panel_acts"]) if inputs.get("panel") else None
    files = EvidenceFiles(
        inputs["corpus"], inputs["exemplars"], inputs["statistics"], concepts, inputs.get("types") or None, panel,
        part.min_firings,
    )  # fmt: skip
    paths = {str(kind): inputs[f"prompt_{kind}"] for kind in settings.prompts_by_type}
    by_type = read_templates_of_types(paths, settings.few_shot, begins, template)
    tokenizer = load_tokenizer(inputs["subject"])
    candidates = prepare(part.neurons, part.layer, files, Prompting(tokenizer, template, by_type), settings, part.seed)
    tally, written_by = Tally(), NOBODY
    client: JournalledClient | None = None
    if explainer is not None:
        written_by, where = explainer.model, f"layer-{part.layer}/{part.name}"
        job = Job(
            explainer, inputs.get("explainer"), template.stop, settings.temperature, max_tokens, requests, where,
            part.threads,
        )  # fmt: skip
        tally, client = ask_explainer(part, candidates, job, template.answer, settings.attempts, code)
    accounts = [tally.row(part.layer, written_by, candidates)]
    write_table(pa.Table.from_pylist(accounts, schema=ACCOUNTING), outputs["accounting"])
    write_table(descriptions_table(candidates, written_by), outputs["descriptions"])
    if client is not None:
        client.forget()
