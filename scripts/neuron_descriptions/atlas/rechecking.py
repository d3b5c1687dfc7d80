"""A recheck of a finished run, as a reviewer of an atlas would make it: some rows are computed again from the run's own
files, and everything that differs is said.
"""

import gc
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc

from neuron_descriptions.atlas.agreement import Recheck, said
from neuron_descriptions.atlas.building import Beside, atlas_rows, by_sign, gather_nulls, read_natural
from neuron_descriptions.atlas.further import read_atlas
from neuron_descriptions.atlas.reharvesting import EXACT, Tables, check_activations, who
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.signs import one_side
from neuron_descriptions.common.storage import Row, read_tables, whole
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.descriptions.candidates import descriptions_table
from neuron_descriptions.descriptions.evidence import EvidenceFiles, Prompting, prepare
from neuron_descriptions.descriptions.prompts import read_explainer_template, read_templates_of_types
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.harvest.tables import STATISTICS
from neuron_descriptions.models.loading import load_tokenizer
from neuron_descriptions.panel.tables import NEURON_TYPES
from neuron_descriptions.scores.chance import Nulls
from neuron_descriptions.scores.choosing import chosen_rows
from neuron_descriptions.scores.evidence import Evidence, split_sizes
from neuron_descriptions.scores.formulas import correlation
from neuron_descriptions.scores.simulation import Scorer
from neuron_descriptions.scores.tables import CONCEPT_SCORES, SCORES, SIMULATIONS
from neuron_descriptions.simulators.opening import Job, load_simulator

# What other batches, processors and versions of a library may change. Of predictions: on their scale of 0 to 10. Of
# scores: of a correlation.
PREDICTIONS = {"float32": 0.01, "float16": 0.1, "bfloat16": 0.5}
SCORES_APART = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.06}


# --- descriptions ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Describing:
    """How the run describes."""

    settings: Descriptions
    subject: str
    """A folder."""
    prompt: str
    """A file."""
    begins: bool
    """Whether answers are begun."""
    seed: int
    prompts_by_type: dict[str, str] = field(default_factory=dict)
    """Type -> file."""

    @classmethod
    def of_job(cls, files: Mapping[str, str], params: Mapping[str, Any]) -> "Describing":
        """What a rule's params name. files: subject, explainer_prompt, and explainer_prompt_<type> of each type that
        has one; params: settings, explainer, begins, seed."""
        settings = restored(Descriptions, params["settings"], explainer=params["explainer"])
        prompts = {str(kind): files[f"explainer_prompt_{kind}"] for kind in settings.prompts_by_type}
        begins, seed = params["begins"], params["seed"]
        return cls(settings, files["subject"], files["explainer_prompt"], begins, seed, prompts)


def check_descriptions(
    recheck: Recheck, neurons: dict[int, list[int]], tables: dict[int, Tables], describing: Describing
) -> None:
    """Every candidate: the prompt that was asked, by its checksum; or, where no model was asked, the sentence itself;
    and which exemplars it was made from. Sentences of concepts are compared with what the search wrote."""
    settings, begins = describing.settings, describing.begins
    template = read_explainer_template(describing.prompt, settings.few_shot, begins)
    by_type = read_templates_of_types(describing.prompts_by_type, settings.few_shot, begins, template)
    prompting = Prompting(load_tokenizer(describing.subject), template, by_type)
    for layer, of_layer in neurons.items():
        files = tables[layer]
        types, panel = None, None
        if by_type:
            types, panel = files["types"][0], (files["panel"][0], files["panel_acts"][0])
        shown = EvidenceFiles(
            files["train"], files["exemplars"], files["statistics"], files.get("concepts"), types, panel
        )
        candidates = prepare(of_layer, layer, shown, prompting, settings, describing.seed)
        found = _by_candidate(descriptions_table(candidates, "").to_pylist())
        only: list[tuple[str, str, object]] = [("neuron", "in", of_layer)]
        stored = _by_candidate(read_tables(files["written"], DESCRIPTIONS, only).to_pylist())
        for key in sorted(found.keys() | stored.keys()):
            here, there = stored.get(key), found.get(key)
            row, where = who(layer, key[0], key[1]), f"candidate {key[2]}"
            if here is None or there is None:
                said = ["missing" if one is None else "there" for one in (here, there)]
                recheck.fact("candidates", row, where, *said)
                continue
            recheck.fact("exemplars shown", row, where, here["exemplar_ranks"], there["exemplar_ranks"])
            what, name = ("prompts", "prompt_sha256")
            if there["prompt_sha256"] is None and here["prompt_sha256"] is None:
                what, name = ("sentences without a model", "description")
            recheck.fact(what, row, where, here[name], there[name])


def _by_candidate(rows: list[dict[str, Any]]) -> dict[tuple[int, str, int], dict[str, Any]]:
    return {(row["neuron"], row["sign"], row["candidate"]): row for row in rows}


# --- scores ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scoring:
    """How the run scores."""

    settings: Scores
    models: Mapping[str, str | None]
    """Folders subject and, where there is one, simulator, and its file prompt, if it has one."""
    nulls: str
    """A file."""
    seed: int
    threads: int
    choice: str = ""
    """Who chooses without a simulator; see Config.choice."""
    rules: str | None = None
    """File of words that lists of concepts know, where these choose."""

    @classmethod
    def of_job(cls, files: Mapping[str, str], params: Mapping[str, Any], threads: int) -> "Scoring":
        """What a rule's params name. files: subject, nulls, and, where there are such, simulator, prompt, rules;
        params: settings, simulator, seed, and choice, where no simulator chooses."""
        settings = restored(Scores, params["settings"], simulator=params["simulator"])
        models = {name: files.get(name) for name in ("subject", "simulator", "prompt")}
        choice, rules = params.get("choice", ""), files.get("rules")
        return cls(settings, models, files["nulls"], params["seed"], threads, choice, rules)


def check_scores(recheck: Recheck, neurons: dict[int, list[int]], tables: dict[int, Tables], scoring: Scoring) -> None:
    """The chosen description is simulated again on the same sequences: its predictions and its scores; the scores of
    the stored predictions; the token baseline's."""
    models, settings = scoring.models, scoring.settings
    assert settings.simulator and models["simulator"] and models["subject"]
    name, dtype = settings.simulator.model, settings.simulator.dtype
    simulator = load_simulator(
        Job(settings.simulator, models["simulator"], models["prompt"], models["subject"], scoring.threads)
    )
    for layer, of_layer in progress(iter(neurons.items()), len(neurons), "layers scored"):
        files = tables[layer]
        only: list[tuple[str, str, object]] = [("neuron", "in", of_layer)]
        scores = by_sign(read_tables(files["scores"], SCORES, only))
        simulations = by_sign(read_tables(files["simulations"], SIMULATIONS, only))
        described = _by_candidate(read_tables(files["descriptions"], DESCRIPTIONS, only).to_pylist())
        evidence = Evidence(files["exemplars"], files["statistics"], {s: files[s] for s in SPLITS}, of_layer)
        sizes = split_sizes({s: files[s] for s in SPLITS})
        nulls = Nulls(None, scoring.nulls, 0, scoring.seed)
        for key in [(layer, neuron, sign) for neuron in of_layer for sign in SIGNS]:
            rows = scores.get(key, [])
            # Those of another simulator were sorted out before.
            tried = {row["description"] for row in rows if row["kind"] == "candidate" and row["simulator"] == name}
            raced = settings.race_from is not None and len(tried) >= settings.race_from
            alone = settings.model_copy(update={"race_from": 1 if raced else None})
            scorer = Scorer(simulator, name, evidence, nulls, alone, sizes, scoring.seed)
            for row in (row for row in rows if row["kind"] == "candidate"):
                written = described.get((*key[1:], row["candidate"]), {}).get("description")
                where = f"candidate {row['candidate']}, {row['split']}"
                recheck.fact("descriptions scored", row, where, row["description"], written)
            chosen = {row["candidate"]: row["description"] for row in rows if row["chosen"]}
            candidates = [{"candidate": n, "description": text, "status": "ok"} for n, text in chosen.items()]
            found, simulated = scorer.score(*key, candidates)
            stored = [row for row in rows if row["chosen"] or row["kind"] == "token_baseline"]
            _compare_scores(recheck, stored, found, SCORES_APART[dtype])
            kept = simulations.get(key, [])
            _compare_simulations(recheck, kept, simulated, PREDICTIONS[dtype])
            _compare_stored(recheck, [row for row in stored if row["chosen"]], kept)


def check_choice(recheck: Recheck, neurons: dict[int, list[int]], tables: dict[int, Tables], scoring: Scoring) -> None:
    """Without a simulator: candidates, which of them is chosen, and the token baseline's scores, made again."""
    for layer, of_layer in neurons.items():
        files = tables[layer]
        inputs = {name: files[name] for name in ("exemplars", "statistics", "descriptions", *SPLITS)}
        inputs |= {name: files[name] for name in ("concepts", "judged") if files.get(name)}
        inputs |= {"nulls": scoring.nulls, "subject": scoring.models["subject"], "rules": scoring.rules}
        found = chosen_rows(of_layer, layer, inputs, scoring.choice, scoring.settings, scoring.seed)
        only: list[tuple[str, str, object]] = [("neuron", "in", of_layer)]
        stored = read_tables(files["scores"], SCORES, only).to_pylist()
        again = {_scored(row): row for row in found}
        for row in stored:
            other, where = again.get(_scored(row), {}), f"candidate {row['candidate']}, {row['split']}"
            if row["kind"] == "token_baseline":
                recheck.number(
                    "token baseline's scores", row, where, row["correlation"], other.get("correlation"), EXACT
                )
                continue
            recheck.fact("candidates", row, where, row["description"], other.get("description"))
            recheck.fact("choice", row, where, row["chosen"], other.get("chosen"))
        if len(stored) != len(found):
            recheck.fact("candidates", who(layer, of_layer[0], SIGNS[0]), "rows of the layer", len(stored), len(found))


def _scored(row: Row) -> tuple[int, str, int, str]:
    """What a row of SCORES is of, within its layer."""
    return row["neuron"], row["sign"], row["candidate"], row["split"]


def _compare_stored(recheck: Recheck, chosen: list[Row], kept: list[Row]) -> None:
    """Scores with those of the predictions that stand beside them."""
    for row in chosen:
        of_split = [one for one in kept if one["split"] == row["split"]]
        predicted = np.concatenate([[], *(one["simulated"] for one in of_split)])
        true = np.concatenate([[], *(one_side(np.array(one["activations"]), row["sign"]) for one in of_split)])
        r = correlation(predicted, true) if of_split else math.nan
        recheck.number("score of the stored predictions", row, row["split"], row["correlation"], r, EXACT)


def _compare_scores(recheck: Recheck, stored: list[Row], found: list[Row], tolerance: float) -> None:
    """Rows of SCORES, by kind and split."""
    again = {(row["kind"], row["split"]): row for row in found}
    for row in stored:
        other = again.get((row["kind"], row["split"]))
        baseline = row["kind"] == "token_baseline"
        what = "token baseline's scores" if baseline else "scores, simulated again"
        if other is None:
            recheck.fact(what, row, row["split"], "there", "missing")
            continue
        recheck.number(what, row, row["split"], row["correlation"], other["correlation"],
                       EXACT if baseline else tolerance)  # fmt: skip
        for name in ("n_sequences", "n_tokens"):
            recheck.fact("sequences and tokens scored", row, f"{row['split']}, {name}", row[name], other[name])


def _compare_simulations(recheck: Recheck, stored: list[Row], found: list[Row], tolerance: float) -> None:
    """Rows of SIMULATIONS of a neuron and sign, by sequence."""
    again = {(row["split"], row["kind"], row["rank"]): row for row in found}
    for row in stored:
        where = f"{row['split']}, {row['kind']} {row['rank']}, sequence {row['seq_id']}"
        other = again.get((row["split"], row["kind"], row["rank"]))
        if other is None or other["seq_id"] != row["seq_id"]:
            recheck.fact("predictions", row, where, row["seq_id"], other and other["seq_id"])
            continue
        recheck.arrays("predictions", row, where, (row["simulated"], other["simulated"]), 1.0, tolerance)
        recheck.arrays("truth beside the predictions", row, where, (row["activations"], other["activations"]),
                       1.0, EXACT)  # fmt: skip


# --- the atlas ---------------------------------------------------------------------------------------


def check_atlas(recheck: Recheck, neurons: dict[int, list[int]], tables: dict[int, Tables], atlas: str) -> None:
    """Every column of the rows, made again from the run's tables."""
    for layer, of_layer in neurons.items():
        only: list[tuple[str, str, object]] = [("neuron", "in", of_layer)]
        files = tables[layer]
        described, scored, statistics = (
            read_tables(files[name], schema, only)
            for name, schema in (("descriptions", DESCRIPTIONS), ("scores", SCORES), ("statistics", STATISTICS))
        )
        concepts, types = (
            read_tables(files[name], schema, only) if files.get(name) else None
            for name, schema in (("concept_scores", CONCEPT_SCORES), ("types", NEURON_TYPES))
        )
        natural, pools = read_natural(files.get("natural", []), only), gather_nulls(files.get("pooled", []))
        whole_table = read_atlas(atlas)[0]
        here_only = (pc.field("layer") == layer) & pc.field("neuron").isin(of_layer)
        rows = whole_table.filter(here_only).to_pylist()
        names = [name for name in ATLAS.names[3:] if name in whole_table.schema.names]
        stored = {(row["neuron"], row["sign"]): row for row in rows}
        for row in atlas_rows(described, scored, statistics, Beside(natural, concepts, types, pools)):
            here = stored.get((row["neuron"], row["sign"]), {})
            for name in names:
                where, pair = f"column {name}", (here.get(name), row[name])
                if any(isinstance(value, float) for value in pair):
                    recheck.number("the atlas's columns", row, where, *pair, EXACT * max(1.0, abs(row[name] or 0)))
                else:
                    recheck.fact("the atlas's columns", row, where, *pair)


# --- all of it ---------------------------------------------------------------------------------------


def recheck_rows(
    neurons: dict[int, list[int]],
    tables: dict[int, Tables],
    atlas: str,
    subject: Subject,
    describing: Describing,
    scoring: Scoring,
    about: dict[str, Any],
    outputs: dict[str, str],
) -> None:
    """Recheck the rows of some neurons and write what was found, as JSON and as text.

    neurons: by layer; tables: by layer, name -> files; atlas: the run's; about: run and seed.
    """
    recheck = Recheck()
    check_atlas(recheck, neurons, tables, atlas)
    check_descriptions(recheck, neurons, tables, describing)
    check_activations(recheck, neurons, tables, subject, scoring.threads, about["seed"])
    gc.collect()  # the subject makes room for the simulator
    simulator = scoring.settings.simulator
    (check_scores if simulator else check_choice)(recheck, neurons, tables, scoring)
    drawn = [[layer, neuron] for layer, of_layer in neurons.items() for neuron in of_layer]
    found = recheck.report(
        **about, dtypes={"subject": subject.dtype, **({"simulator": simulator.dtype} if simulator else {})},
        neurons=drawn,
    )  # fmt: skip
    for name, text in (("json", json.dumps(found, indent=1) + "\n"), ("text", said(found))):
        with whole(outputs[name]) as part:
            part.write_text(text)
    logger.info("%s", said(found))
