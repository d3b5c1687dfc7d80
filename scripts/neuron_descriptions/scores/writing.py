"""Texts written from descriptions: some that should drive the feature, some that should not, by a model that has read
nothing else of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from neuron_descriptions.clients.base import Answer, Prompt, Request
from neuron_descriptions.clients.journalled import open_journalled
from neuron_descriptions.clients.opening import Job
from neuron_descriptions.common.logs import Progress, logger
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.streams import key
from neuron_descriptions.config.scorers import Generated
from neuron_descriptions.descriptions.asking import Answering, Part, Tally
from neuron_descriptions.descriptions.tables import ACCOUNTING
from neuron_descriptions.scores.generated_tables import GENERATED
from neuron_descriptions.scores.opening import read_described
from neuron_descriptions.scores.writer_prompts import (
    KINDS,
    Said,
    WriterTemplate,
    parse_text,
    parse_texts,
    plain,
    read_writer_template,
)

_TEXT_TOKENS = 48  # of one text of a list, at most; and so many more of the list
_LIST_TOKENS = 64
_ONE_TOKENS = 40  # of a text that is asked for by itself: what is cut off is a text too


@dataclass(slots=True)
class Written:
    """A description, and the texts that were made of it so far."""

    layer: int
    neuron: int
    sign: str
    candidate: int
    description: str
    texts: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    refused: bool = False
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def take(self, kind: str, answer: Answer, said: Said, count: int) -> str:
        """What an answer says; what is new of it, up to `count` texts of the kind, is kept. Returns what became of
        it."""
        refused = answer.refused or said.refused
        self.refused |= refused
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        known = {plain(text) for texts in self.texts.values() for text in texts}
        if not refused:
            self.texts[kind] += [text for text in said.texts if plain(text) not in known]
            self.texts[kind] = self.texts[kind][:count]
        return "refused" if refused else "ok" if said.texts else "unparsed"

    def status(self, fewest: int) -> str:
        """Whether there are enough texts of both kinds, or why not."""
        if all(len(texts) >= fewest for texts in self.texts.values()):
            return "ok"
        return "few_texts" if any(self.texts.values()) else "refused" if self.refused else "unparsed"

    def row(self, writer: str, fewest: int) -> dict[str, Any]:
        """A row of GENERATED."""
        names = (
            "layer",
            "neuron",
            "sign",
            "candidate",
            "description",
            "attempts",
            "prompt_tokens",
            "completion_tokens",
        )
        found = {name: getattr(self, name) for name in names}
        return found | self.texts | {"writer": writer, "status": self.status(fewest)}


@dataclass(slots=True, frozen=True)
class Manner:
    """How texts are asked for: a list of all of a kind, or, `alone`, each by itself."""

    template: WriterTemplate
    alone: bool
    begins: bool
    """Whether the client begins an answer."""

    def prompts(self, description: str, kind: str, count: int) -> list[Prompt]:
        """Questions for so many texts."""
        if self.alone:
            return [self.template.prompt_of_one(description, kind, self.begins)] * count
        return [self.template.prompt(description, count, kind)]

    def read(self, answer: Answer, description: str, kind: str) -> Said:
        """What an answer says."""
        if self.alone:
            return parse_text(answer.text, description, self.template.begun_of_one(kind))
        begun = self.template.answer if self.begins else ""
        return parse_texts(begun, answer.text, answer.finished, description)


def write(
    written: list[Written], answer: Answering, manner: Manner, section: Generated, seed: int, tally: Tally
) -> None:
    """Have texts written for each description, in place, asking again up to `attempts` times where they are fewer than
    `texts`, each time with another seed. Answers are taken in the order of the questions, whichever comes first."""
    count, start = section.texts, time.monotonic()
    for attempt in range(section.attempts):
        asked: list[tuple[Written, str]] = []
        requests: list[Request] = []
        for one in written:
            # Those that fit first: what stands among them is not taken as the other kind.
            for kind in (kind for kind in KINDS if len(one.texts[kind]) < count):
                missing = count - len(one.texts[kind]) if manner.alone else count
                prompts = manner.prompts(one.description, kind, missing)
                who = "texts", one.layer, one.neuron, one.sign, one.candidate, kind, attempt
                for place, prompt in enumerate(prompts):
                    number = key(seed, *who, place) if manner.alone else key(seed, *who)
                    requests.append(Request(prompt, number, one.neuron, place, len(prompts)))
                    asked.append((one, kind))
                one.attempts += 1
        if not requests:
            break
        _ask(requests, asked, answer, manner, count, tally)
    tally.seconds += time.monotonic() - start


def _ask(
    requests: list[Request], asked: list[tuple[Written, str]], answer: Answering, manner: Manner, count: int,
    tally: Tally,
) -> None:  # fmt: skip
    came: dict[int, tuple[Answer, bool]] = {}
    progress = Progress(len(requests), "answers", every=10.0)

    def done(answers: dict[int, Answer], fresh: bool) -> None:
        came.update({i: (found, fresh) for i, found in answers.items()})
        progress.advance(len(answers), free=not fresh)

    answer(requests, done)
    for i, (one, kind) in enumerate(asked):
        found, fresh = came[i]
        tally.add(found, one.take(kind, found, manner.read(found, one.description, kind), count), fresh)


def write_texts(
    part: Part,
    name: str,
    inputs: Mapping[str, Any],
    section: Generated,
    requests: str,
    code: str,
    outputs: dict[str, str],
) -> None:
    """Write the tables `texts` (GENERATED) and `accounting` of `outputs` for a part's chosen descriptions.

    name: the scorer's, in the configuration; inputs: descriptions, scores, prompt, and writer, the folder of the
    writer's model, where it has one; requests: folder of what was asked and what it cost; code: stands for the code
    that makes the answers.
    """
    template = read_writer_template(inputs["prompt"])
    writer, where = section.writer, f"generated/{name}/layer-{part.layer}/{part.name}"
    written = []
    for described in read_described(inputs, part.layer, part.neurons):
        if described.candidates:
            texts = {c["candidate"]: c["description"] for c in described.candidates}
            candidate = min(texts) if described.chosen is None else described.chosen
            written.append(Written(part.layer, described.neuron, described.sign, candidate, texts[candidate]))
    # One text at a time, side by side, takes a local model a fraction of the time that a list of them does.
    alone = template.one is not None and not writer.remote if section.alone is None else section.alone
    if alone and template.one is None:
        raise ValueError(f"scores.scorers.{name}.prompt: {inputs['prompt']} has no `one`, which `alone` asks with")
    most = _LIST_TOKENS + _TEXT_TOKENS * (1 if alone else section.texts)
    if alone and not writer.remote:
        most = _ONE_TOKENS
    folder, stop = inputs.get("writer") or None, ("\n",) if alone else ()
    job = Job(writer, folder, stop, section.temperature, most, requests, where, part.threads)
    tally = Tally(getattr(writer, "prices", None))
    with open_journalled(job, set(part.neurons), code) as client:
        write(written, client.answer, Manner(template, alone, client.begins), section, part.seed, tally)
    rows = [one.row(writer.model, section.fewest) for one in written]
    ok = sum(row["status"] == "ok" for row in rows)
    logger.info("%d of %d descriptions have texts; %d answers, %s", ok, len(rows), tally.answers, tally)
    counts = {name: getattr(tally, name) for name in Tally.__slots__ if name != "prices"}
    account = {"layer": part.layer, "explainer": writer.model, "candidates": len(rows), "described": ok, **counts}
    write_table(pa.Table.from_pylist([account], schema=ACCOUNTING), outputs["accounting"])
    write_table(pa.Table.from_pylist(rows, schema=GENERATED), outputs["texts"])
    client.forget()
