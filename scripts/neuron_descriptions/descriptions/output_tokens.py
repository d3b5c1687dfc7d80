"""An explainer is asked what the tokens have in common that a feature writes: a second description, of its output side.

It is shown every second of the tokens that the weights name; the others are held out to judge what it says
(scores/output_tokens.py).
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from neuron_descriptions.clients.opening import Job
from neuron_descriptions.common.storage import Row, read_table, read_tables, write_table
from neuron_descriptions.common.vocabulary import SIGNS, Sign
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.descriptions.asking import Part, ask_explainer
from neuron_descriptions.descriptions.candidates import Candidate
from neuron_descriptions.descriptions.output_prompts import OutputTemplate, read_output_template
from neuron_descriptions.descriptions.tables import ACCOUNTING
from neuron_descriptions.output_side.explained import OUTPUT_EXPLAINED, held_out, more_and_less, shown
from neuron_descriptions.output_side.scaled import OUTPUT_SCALED
from neuron_descriptions.output_side.tables import OUTPUT_SIDE

NOTHING_WRITTEN = "nothing_written"  # its effects are the same on all tokens
Key = tuple[int, str]


def output_candidates(
    layer: int, sides: list[Row], signs: tuple[Sign, ...], template: OutputTemplate, measured: Mapping[Key, list[str]]
) -> dict[Key, tuple[Candidate, list[int]]]:
    """A candidate for each feature and sign, with the ids that are held out. sides: rows of OUTPUT_SIDE; measured:
    tokens by feature and sign, of which none that is held out is shown."""
    found: dict[Key, tuple[Candidate, list[int]]] = {}
    for row in sides:
        for sign in signs:
            more, less = more_and_less(row, sign)
            kept = held_out(more)
            hidden = {text for _, text in kept}
            candidate = Candidate(layer, row["neuron"], sign, 0)
            if row["std"] > 0:
                candidate.prompt = template.prompt(
                    [text for _, text in shown(more)],
                    [text for _, text in shown(less)],
                    [text for text in measured.get((row["neuron"], sign), []) if text not in hidden],
                )
            else:
                candidate.status = NOTHING_WRITTEN
            found[row["neuron"], sign] = candidate, [i for i, _ in kept]
    return found


def explain_output_side(
    part: Part,
    inputs: Mapping[str, Any],
    settings: Descriptions,
    one_sided: bool,
    requests: str,
    code: str,
    outputs: dict[str, str],
) -> None:
    """Have the explainer of the descriptions say what a part's features write; write the tables `explained` and
    `accounting` of `outputs`.

    inputs: output_side, prompt and, where there are such, explainer, its folder, and scaled, tables; one_sided: whether
    no feature is ever negative, which then has one side; requests: folder of what was asked and what it cost; code:
    stands for the code that makes the answers. Raises ValueError as `ask` does.
    """
    explainer = settings.explainer
    assert explainer is not None  # checked with the configuration
    template = read_output_template(inputs["prompt"], "explainer" in inputs)
    only: list[tuple[str, str, object]] = [("layer", "=", part.layer), ("neuron", "in", part.neurons)]
    scaled = read_tables(inputs["scaled"], OUTPUT_SCALED, only).to_pylist() if inputs.get("scaled") else []
    measured = {(row["neuron"], row["sign"]): row["up_tokens"] or [] for row in scaled}
    sides = read_table(inputs["output_side"], OUTPUT_SIDE, only).to_pylist()
    signs = SIGNS[:1] if one_sided else SIGNS
    found = output_candidates(part.layer, sides, signs, template, measured)
    candidates = [candidate for candidate, _ in found.values()]
    job = Job(
        explainer, inputs.get("explainer"), template.stop, settings.temperature,
        settings.max_tokens or template.max_tokens, requests, f"output_side/layer-{part.layer}/{part.name}",
        part.threads,
    )  # fmt: skip
    tally, client = ask_explainer(part, candidates, job, template.answer, settings.attempts, code)
    accounts = [tally.row(part.layer, explainer.model, candidates)]
    write_table(pa.Table.from_pylist(accounts, schema=ACCOUNTING), outputs["accounting"])
    rows = [_row(candidate, kept, explainer.model) for candidate, kept in found.values()]
    write_table(pa.Table.from_pylist(rows, schema=OUTPUT_EXPLAINED), outputs["explained"])
    client.forget()


def _row(candidate: Candidate, kept: list[int], explainer: str) -> Row:
    return {
        "layer": candidate.layer,
        "neuron": candidate.neuron,
        "sign": candidate.sign,
        "description": candidate.description,
        "status": candidate.status,
        "explainer": explainer,
        "prompt_sha256": candidate.prompt.sha256() if candidate.prompt else None,
        "prompt_tokens": candidate.prompt_tokens,
        "completion_tokens": candidate.completion_tokens,
        "attempts": candidate.attempts,
        "held_out_ids": kept,
    }
