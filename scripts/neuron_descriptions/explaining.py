"""Candidate descriptions: evidence drawn per candidate, prompts, answers, what became of them."""

import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa

from .clients.base import Client, Request
from .logs import logger
from .models import load_tokenizer
from .prompts import (
    MARKER,
    ExplainerTemplate,
    excerpts,
    explainer_prompt,
    read_template,
)
from .random_streams import generator, key
from .records import (
    DESCRIPTIONS,
    EXEMPLARS,
    SIGNS,
    STATISTICS,
    TAILS,
    Sign,
    quantile_column,
)
from .sequences import read_texts
from .storage import read_table, write_table

# At an answer's start: a description may speak of such words.
_REFUSAL = re.compile(
    r"\W*(sorry\b|I(?:['’]m| am) (?:very |so )?sorry|I apologi[sz]e|I can(?:not|['’]t)\b|"
    r"I(?:['’]m| am) (?:unable|not able)|as an AI\b|unfortunately, I\b)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?][\"')]*(?=\s)")


@dataclass(slots=True)
class Candidate:
    """A description in the making."""

    layer: int
    neuron: int
    sign: Sign
    candidate: int
    ranks: list[int] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)
    description: str | None = None
    status: str = "no_activation"
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def identity(self) -> tuple[int, int, str, int]:
        """What everything random about it is a function of, besides the seed."""
        return self.layer, self.neuron, self.sign, self.candidate


def draw_evidence(n_available: int, least: int, most: int, seed: int, *what: object) -> list[int]:
    """Ranks of the exemplars shown for one candidate, in the order shown: between `least` and `most` of the
    first n_available, or all where there are fewer."""
    random = generator(seed, "evidence", *what)
    count = min(int(random.integers(least, most + 1)), n_available)
    return random.permutation(n_available)[:count].tolist()


def parse_answer(begun: str, text: str, finished: bool) -> tuple[str | None, str]:
    """(description, status) of an answer that the prompt has begun: what follows the last marker; its first line;
    an unfinished one up to its last full sentence, where it has one."""
    answered = text.rpartition(MARKER)[2].strip()
    if not re.search(r"\w", answered):
        return None, "unparsed"
    if _REFUSAL.match(answered):
        return None, "refused"
    line = (begun + text).rpartition(MARKER)[2].strip().splitlines()[0].strip()
    if not finished and (ends := list(_SENTENCE_END.finditer(line))):
        line = line[: ends[-1].end()]
    if line.count('"') == 2 and line[0] == line[-1] == '"':
        line = line.strip('"').strip()
    return (line, "ok") if re.search(r"\w", line) else (None, "unparsed")


def ask(candidates: list[Candidate], client: Client, begun: str, seed: int, attempts: int) -> None:
    """Have the client describe the candidates, in place; refused and unparsable answers are asked for again, with
    a new seed, up to `attempts` times in all. Each keeps its own evidence. begun: the answer's beginning, with which
    every prompt ends."""
    pending = [c for c in candidates if c.prompt]
    for attempt in range(attempts):
        requests = [Request(c.prompt, key(seed, "sample", *c.identity(), attempt), group=c.neuron) for c in pending]
        for candidate, answer in zip(pending, client.answer(requests) if requests else []):
            candidate.description, candidate.status = parse_answer(begun, answer.text, answer.finished)
            candidate.attempts += 1
            candidate.prompt_tokens += len(candidate.prompt)
            candidate.completion_tokens += answer.tokens
        pending = [c for c in pending if c.status != "ok"]
    if pending:
        logger.info(
            "%d candidates have no description after %d attempts",
            len(pending),
            attempts,
        )


def prepare(
    neurons: list[int],
    layer: int,
    corpus: str,
    exemplars: str,
    statistics: str,
    subject_tokenizer: Any,
    explainer_tokenizer: Any,
    template: ExplainerTemplate,
    n_candidates: int,
    pool: int,
    evidence_min: int,
    evidence_max: int,
    min_highlights: int,
    seed: int,
) -> list[Candidate]:
    """Every candidate of a chunk, with its evidence and prompt, sorted by neuron. A sign that no train token
    drives has candidates without a prompt."""
    filters = [
        ("split", "=", "train"),
        ("kind", "=", "top"),
        ("rank", "<", pool),
        ("neuron", "in", neurons),
    ]
    rows: dict[tuple[int, str], list[dict]] = {}
    for row in read_table(exemplars, EXEMPLARS, filters).to_pylist():
        rows.setdefault((row["neuron"], row["sign"]), []).append(row)
    wanted = {row["seq_id"] for group in rows.values() for row in group}
    texts = read_texts(corpus, wanted)
    stats = {r["neuron"]: r for r in read_table(statistics, STATISTICS, [("split", "=", "train")]).to_pylist()}
    found = []
    for neuron in neurons:
        for sign in SIGNS:
            direction = 1 if sign == "positive" else -1
            shown = [r for r in rows[neuron, sign] if direction * r["peak"] > 0]
            ladder = [direction * stats[neuron][quantile_column(tail, sign)] for tail in TAILS]
            for number in range(n_candidates):
                candidate = Candidate(layer, neuron, sign, number)
                if shown:
                    ranks = draw_evidence(
                        len(shown),
                        evidence_min,
                        evidence_max,
                        seed,
                        *candidate.identity(),
                    )
                    shown_texts = excerpts(
                        subject_tokenizer,
                        [texts[shown[rank]["seq_id"]].evidence for rank in ranks],
                        [direction * np.array(shown[rank]["activations"]) for rank in ranks],
                        ladder,
                        min_highlights,
                    )
                    candidate.ranks = ranks
                    candidate.prompt = explainer_prompt(explainer_tokenizer, template, shown_texts, sign)
                found.append(candidate)
    return found


def describe(
    neurons: list[int],
    layer: int,
    corpus: str,
    exemplars: str,
    statistics: str,
    subject_folder: str,
    explainer_folder: str,
    explainer: dict[str, Any],
    prompt: str,
    settings: dict[str, Any],
    seed: int,
    threads: int,
    output: str,
) -> None:
    """Describe a chunk's neurons and write the table. `settings`: the config's `descriptions`, the rest of it."""
    from .clients.transformers import TransformersClient
    from .models import load_model

    template = read_template(prompt, ExplainerTemplate)
    tokenizer = load_tokenizer(explainer_folder)
    candidates = prepare(
        neurons, layer, corpus, exemplars, statistics, load_tokenizer(subject_folder), tokenizer, template,
        settings["candidates"], settings["pool"], settings["evidence_min"], settings["evidence_max"],
        settings["min_highlights"], seed,
    )  # fmt: skip
    model = load_model(explainer_folder, explainer["dtype"], head=True, threads=threads)
    client = TransformersClient(model, tokenizer, settings["temperature"], settings["max_tokens"], template.stop)
    ask(candidates, client, template.answer, seed, settings["attempts"])
    write_table(descriptions_table(candidates, explainer["model"]), output)


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
            "explainer": explainer,
            "prompt_sha256": sha256(np.array(c.prompt, dtype="<i4").tobytes()).hexdigest() if c.prompt else None,
            "prompt_tokens": c.prompt_tokens,
            "completion_tokens": c.completion_tokens,
            "attempts": c.attempts,
            "status": c.status,
        }
        for c in candidates
    ]
    return pa.Table.from_pylist(rows, schema=DESCRIPTIONS)
