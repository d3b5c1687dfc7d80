"""Chance: two nulls a row, pooled by layer and sign, against ten of each row's own. Do they decide the same? Nulls are
of all kinds: lists of other neurons, executed; lists of their tokens, which fire where these stand; the empty one."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from common import SPLITS
from conftest import ROOT
from executed import LAYER, SEED, Rows, demo_rows, said, vocabulary
from neuron_descriptions.atlas.building import Beside, Pools, atlas_rows
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.tables import STATISTICS
from neuron_descriptions.models.loading import load_tokenizer, token_strings
from neuron_descriptions.scores.chance import Null, Nulls, pool_neurons
from neuron_descriptions.scores.evidence import Evidence, split_sizes
from neuron_descriptions.scores.null_pool import gather_pool
from neuron_descriptions.scores.simulation import Scorer
from neuron_descriptions.scores.tables import SCORES
from neuron_descriptions.simulators.simulating import Task
from truth_scores import Executed

NULL_NEURONS = 100  # whose descriptions are the pool
# Nulls a row, and the seed that they are drawn by: two draws of ten are no more alike than chance makes them.
DESIGNS = {"own": (10, SEED), "again": (10, SEED + 1), "pooled": (2, SEED), "others": (10, SEED)}
FILE = str(ROOT / "config/null-descriptions.yaml")
NUMBERS = {"top": 5, "middle": 2, "random": 2}  # the demo's


class Others(Nulls):
    """Descriptions of other neurons alone, as nulls were before there were kinds."""

    def draw(self, layer: int, neuron: int, sign: str) -> list[Null]:
        """See Nulls."""
        return self.others(layer, neuron, sign)


class Understood(Executed):
    """Lists of concepts, executed, and what else names tokens in quotation marks: it fires on these."""

    def simulate(self, tasks: list[Task]) -> list[list[float]]:
        """See Simulator."""
        return [
            super(Understood, self).simulate([task])[0] if task.description in self.lists else self._named(task)
            for task in tasks
        ]

    def _named(self, task: Task) -> list[float]:
        words = set(re.findall(r'"([^"]+)"', task.description))
        return [10.0 * (token.strip() in words) for token in self.strings[tuple(task.text.evidence)]]


class Counted:
    """A simulator that says how many tokens of nulls it has read."""

    shared_tokens = 0

    def __init__(self, simulator: Any):
        self.simulator, self.own, self.tokens = simulator, "", 0

    def simulate(self, tasks: list[Task]) -> list[list[float]]:
        """See Simulator."""
        self.tokens += sum(len(task.text.evidence) for task in tasks if task.description != self.own)
        return self.simulator.simulate(tasks)


def measure(scratch: Path) -> dict[str, float]:
    """How often both designs decide the same for lists of concepts, executed, and what the nulls took."""
    rows = demo_rows(scratch)
    return decisions(rows, executed(rows), rows.scores(), scratch)


def executed(rows: Rows) -> Understood:
    """The simulator whose predictions are those of the lists, on all scored sequences."""
    tokenizer, strings = load_tokenizer(rows.model), {}
    evidence = Evidence([rows.path("exemplars")], [rows.path("statistics")], splits(rows), rows.neurons)
    for row in rows.scores():
        for split in ("valid", "test"):
            for exemplar in evidence.scored(split, row["neuron"], row["sign"], **NUMBERS):
                ids = exemplar.text.evidence
                strings[tuple(ids)] = token_strings(tokenizer, ids)
    return Understood({row["sentence"]: found for row in rows.scores() if (found := said(row))}, vocabulary(), strings)


def splits(rows: Rows) -> dict[str, str | list[str]]:
    """Tables of the splits."""
    return {split: rows.corpus[split] for split in SPLITS}


def decisions(
    rows: Rows,
    simulator: Any,
    scored: list[dict[str, Any]],
    scratch: Path,
    designs: dict[str, tuple[int, int]] = DESIGNS,
) -> dict[str, float]:
    """The designs on the same rows, through the workflow's own scorer and atlas; the pool of descriptions, and that of
    nulls, are of these rows. simulator: of sentences; scored: rows of CONCEPT_SCORES."""
    described = [row for row in scored if said(row)]
    neurons = sorted({row["neuron"] for row in described})
    pool, of_pool = str(scratch / "pool.parquet"), pool_neurons({LAYER: neurons}, NULL_NEURONS, SEED)[LAYER]
    candidates = [
        dict.fromkeys(DESCRIPTIONS.names)
        | {name: row[name] for name in ("layer", "neuron", "sign")}
        | {"candidate": 0, "description": row["sentence"], "status": "ok", "explainer": "concepts"}
        for row in described
    ]
    write_table(pa.Table.from_pylist(candidates, schema=DESCRIPTIONS), scratch / "descriptions.parquet")
    tables = {"descriptions": [str(scratch / "descriptions.parquet")], "exemplars": [rows.path("exemplars")]}
    gather_pool(tables | {"train": [rows.corpus["train"]]}, {LAYER: of_pool}, rows.model, pool)
    statistics = read_table(rows.path("statistics"), STATISTICS)
    found, tokens = {}, {}
    for design, (count, seed) in designs.items():
        table, tokens[design] = _scores(
            rows, simulator, candidates, (Others if design == "others" else Nulls)(pool, FILE, count, seed)
        )
        pools: Pools = {}
        for row in table:
            if row["kind"] == "null" and design == "pooled":
                pools.setdefault((row["layer"], row["sign"]), []).append(row)
        scores, described_as = (
            pa.Table.from_pylist(of, schema=schema) for of, schema in ((table, SCORES), (candidates, DESCRIPTIONS))
        )
        found[design] = atlas_rows(described_as, scores, statistics, Beside(pools=pools))
    known = [of for of in zip(*found.values()) if None not in (row["chance"] for row in of)]
    of_design = {design: [of[i] for of in known] for i, design in enumerate(found)}
    beats = {design: [row["beats_chance"] for row in of] for design, of in of_design.items()}
    states = {design: [row["chance"] for row in of] for design, of in of_design.items()}
    figures = {f"beat_by_{design}": sum(of) / len(of) for design, of in beats.items()}
    if "again" in beats:
        figures["same_beats_chance_of_two_draws_of_own"] = share(beats["own"], beats["again"])
    if "others" in beats:
        figures["same_beats_chance_as_by_others_alone"] = share(beats["pooled"], beats["others"])
    return figures | {
        "rows": len(known),
        "same_beats_chance": share(beats["own"], beats["pooled"]),
        "same_of_three_states": share(states["own"], states["pooled"]),
        "beat_by_own_alone": sum(a and not b for a, b in zip(beats["own"], beats["pooled"])),
        "beat_by_pooled_alone": sum(b and not a for a, b in zip(beats["own"], beats["pooled"])),
        "nulls_of_a_row_pooled": min(row["n_nulls"] for row in of_design["pooled"]),
        "tokens_of_nulls_pooled_to_own": tokens["pooled"] / tokens["own"],
    }


def share(one: list[Any], other: list[Any]) -> float:
    """Of rows that both designs decide the same."""
    return sum(a == b for a, b in zip(one, other)) / len(one)


def _scores(
    rows: Rows, simulator: Any, candidates: list[dict[str, Any]], drawn: Nulls
) -> tuple[list[dict[str, Any]], int]:
    """(rows of SCORES, tokens of nulls that were simulated)."""
    settings = restored(Scores, {"nulls": drawn.n, **NUMBERS}, simulator={"model": "m"})
    evidence = Evidence([rows.path("exemplars")], [rows.path("statistics")], splits(rows), rows.neurons)
    counted = Counted(simulator)
    scorer = Scorer(counted, "m", evidence, drawn, settings, split_sizes(splits(rows)), SEED)
    found: list[dict[str, Any]] = []
    for row in candidates:
        counted.own = row["description"]
        found += scorer.score(LAYER, row["neuron"], row["sign"], [row])[0]
    return found, counted.tokens
