"""Texts written from descriptions: some that should drive the feature, some that should not, by a model that has read
nothing else of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from neuron_descriptions.clients.base import Answer, Request
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
from neuron_descriptions.scores.writer_prompts import KINDS, WriterTemplate, parse_texts, plain, read_writer_template

_TEXT_TOKENS = 48  # of one text, at most; and so many more of an answer
_LIST_TOKENS = 64


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

    def take(self, kind: str, answer: Answer, begun: str, count: int) -> str:
        """Read an answer; what is new of it, up to `count` texts of the kind, is kept. Returns what became of it."""
        said = parse_texts(begun, answer.text, answer.finished, self.description)
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


def write(
    written: list[Written],
    answer: Answering,
    template: WriterTemplate,
    begun: str,
    section: Generated,
    seed: int,
    tally: Tally,
) -> None:
    """Have texts written for each description, in place, asking again up to `attempts` times where they are fewer than
    `texts`, each time with another seed."""
    count, start = section.texts, time.monotonic()
    for attempt in range(section.attempts):
        # Those that fit first: what stands among them is not taken as the other kind.
        for kind in KINDS:
            pending = [one for one in written if len(one.texts[kind]) < count]
            requests = [
                Request(template.prompt(one.description, count, kind),
                        key(seed, "texts", one.layer, one.neuron, one.sign, one.candidate, kind, attempt), one.neuron)
                for one in pending
            ]  # fmt: skip
            progress = Progress(len(pending), f"answers, {kind}", every=10.0)
            for one in pending:
                one.attempts += 1

            def done(
                answers: dict[int, Answer], fresh: bool, kind: str = kind, pending: list[Written] = pending,
                progress: Progress = progress,
            ) -> None:  # fmt: skip
                for i, answer in answers.items():
                    tally.add(answer, pending[i].take(kind, answer, begun, count), fresh)
                progress.advance(len(answers), str(tally), free=not fresh)

            if requests:
                answer(requests, done)
    tally.seconds += time.monotonic() - start


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
    most, folder = _LIST_TOKENS + _TEXT_TOKENS * section.texts, inputs.get("writer") or None
    job = Job(writer, folder, (), section.temperature, most, requests, where, part.threads)
    tally = Tally(getattr(writer, "prices", None))
    with open_journalled(job, set(part.neurons), code) as client:
        begun = template.answer if client.begins else ""
        write(written, client.answer, template, begun, section, part.seed, tally)
    rows = [one.row(writer.model, section.fewest) for one in written]
    ok = sum(row["status"] == "ok" for row in rows)
    logger.info("%d of %d descriptions have texts; %d answers, %s", ok, len(rows), tally.answers, tally)
    counts = {name: getattr(tally, name) for name in Tally.__slots__ if name != "prices"}
    account = {"layer": part.layer, "explainer": writer.model, "candidates": len(rows), "described": ok, **counts}
    write_table(pa.Table.from_pylist([account], schema=ACCOUNTING), outputs["accounting"])
    write_table(pa.Table.from_pylist(rows, schema=GENERATED), outputs["texts"])
    client.forget()
