"""A recheck of a finished run, as a reviewer of an atlas would make it: some rows are computed again from the run's own
files, and everything that differs is said.

B sequences of a batch, T tokens, E evidence tokens, I neurons of a layer.
"""

import gc
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from neuron_descriptions.atlas.agreement import Recheck, said
from neuron_descriptions.atlas.building import Beside, atlas_rows, by_sign, gather_nulls, read_natural
from neuron_descriptions.atlas.further import read_atlas
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.storage import read_tables, whole
from neuron_descriptions.common.streams import generator
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.corpus.reading import Text, read_texts
from neuron_descriptions.descriptions.candidates import descriptions_table
from neuron_descriptions.descriptions.evidence import EvidenceFiles, prepare
from neuron_descriptions.descriptions.prompts import read_explainer_template, read_templates_of_types
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.features.opening import SourceJob, open_source
from neuron_descriptions.harvest.batches import Batch, make_batch
from neuron_descriptions.harvest.forward import run_layers
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS
from neuron_descriptions.models.loading import load_model, load_tokenizer
from neuron_descriptions.panel.tables import NEURON_TYPES
from neuron_descriptions.scores.chance import Nulls
from neuron_descriptions.scores.choosing import chosen_rows
from neuron_descriptions.scores.formulas import correlation
from neuron_descriptions.scores.simulation import Evidence, Scorer, one_side, split_sizes
from neuron_descriptions.scores.tables import CONCEPT_SCORES, SCORES, SIMULATIONS
from neuron_descriptions.simulators.opening import Job, load_simulator

# What other batches, processors and versions of a library may change. Of activations: the largest difference in a
# sequence over the largest activation in it, or the neuron's standard deviation where that is larger. Of predictions:
# on their scale of 0 to 10. Of scores: of a correlation.
ACTIVATIONS = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}
PREDICTIONS = {"float32": 0.01, "float16": 0.1, "bfloat16": 0.5}
SCORES_APART = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.06}
# Of what is computed from stored numbers alone.
EXACT = 1e-6
BATCH = 8

Tables = Mapping[str, Any]  # name -> files of one layer: exemplars, statistics, written, descriptions, ...; splits


# --- activations -------------------------------------------------------------------------------------


def check_activations(
    recheck: Recheck, neurons: dict[int, list[int]], tables: dict[int, Tables], subject: dict[str, Any], seed: int
) -> None:
    """Of every neuron, sign, split and kind one stored sequence, drawn at random, runs through the subject again, not
    in the batch that it was harvested in; and the peak that is stored beside it is that of the stored numbers.

    subject: folder, n_layers, n_neurons, module, dtype, device_map, threads, features (the config's section),
    dictionaries (layer -> file, where the kind has files).
    """
    rows = [row for layer in neurons for row in _drawn_exemplars(tables[layer], layer, neurons[layer], seed)]
    model = load_model(
        subject["folder"], subject["dtype"], head=False, threads=subject["threads"], device_map=subject["device_map"]
    )
    shape = {name: subject[name] for name in ("n_layers", "n_neurons", "module")}
    source = open_source(SourceJob(subject["features"], **shape, files=subject["dictionaries"]))
    taps = source.taps(model)
    batches = []
    for first in range(0, len(rows), BATCH):
        texts: list[Text] = [row["text"] for row in rows[first : first + BATCH]]
        prefixes = np.array([text.prefix_len for text in texts])
        longest = max(len(text.evidence) for text in texts)
        batches.append(make_batch(first, [text.input_ids for text in texts], prefixes, longest))

    def take(layer: int, seen_BTD: Any, batch: Batch) -> None:
        acts_BTI = source.features(layer, seen_BTD)
        for b, row in enumerate(rows[batch.first : batch.first + len(batch.input_ids_BT)]):
            if row["layer"] == layer:
                first, last = row["text"].prefix_len, len(row["text"].input_ids)
                row["found"] = acts_BTI[b, first:last, row["neuron"]].float().cpu().numpy()

    run_layers(model, {layer: taps[layer] for layer in neurons}, progress(iter(batches), len(batches), "batches"), take)
    for row in rows:
        where = f"{row['split']}, {row['kind']} {row['rank']}, sequence {row['seq_id']}"
        stored = np.array(row["activations"])
        scale = max(float(np.abs(stored).max()), row["std"] or 0.0, 1e-9)
        tolerance = ACTIVATIONS[subject["dtype"]]
        recheck.arrays("activations", row, where, (stored, row["found"]), scale, tolerance)
        peak = stored.max() if row["sign"] == "positive" else stored.min()
        recheck.number("peak of the stored activations", row, where, row["peak"], peak, EXACT)


def _drawn_exemplars(tables: Tables, layer: int, neurons: list[int], seed: int) -> list[dict[str, Any]]:
    """Rows of EXEMPLARS with their `text`, and the neuron's standard deviation as `std`."""
    only: list[tuple[str, str, object]] = [("neuron", "in", neurons)]
    train = read_tables(tables["statistics"], STATISTICS, [*only, ("split", "=", "train")]).to_pylist()
    std = {row["neuron"]: row["std"] for row in train}
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in read_tables(tables["exemplars"], EXEMPLARS, only).to_pylist():
        groups.setdefault((row["neuron"], row["sign"], row["split"], row["kind"]), []).append(row)
    drawn = [
        {**rows[int(generator(seed, "recheck", layer, *key).integers(len(rows)))], "std": std.get(key[0])}
        for key, rows in sorted(groups.items())
    ]
    for split in SPLITS:
        texts = read_texts(tables[split], {row["seq_id"] for row in drawn if row["split"] == split})
        for row in drawn:
            if row["split"] == split:
                row["text"] = texts[row["seq_id"]]
    return drawn


# --- descriptions ------------------------------------------------------------------------------------


def check_descriptions(
    recheck: Recheck, neurons: dict[int, list[int]], tables: dict[int, Tables], describing: dict[str, Any]
) -> None:
    """Every candidate: the prompt that was asked, by its checksum; or, where no model was asked, the sentence itself;
    and which exemplars it was made from. Sentences of concepts are compared with what the search wrote.

    describing: subject (a folder), prompt (a file), prompts_by_type (type -> file), begins (whether answers are begun),
    settings, seed.
    """
    settings = describing["settings"]
    template = read_explainer_template(describing["prompt"], settings["few_shot"], begins=describing["begins"])
    by_type = read_templates_of_types(
        describing.get("prompts_by_type", {}), settings["few_shot"], describing["begins"], template
    )
    tokenizer = load_tokenizer(describing["subject"])
    for layer, of_layer in neurons.items():
        files = tables[layer]
        types, panel = None, None
        if by_type:
            types, panel = files["types"][0], (files["panel"][0], files["panel_acts"][0])
        shown = EvidenceFiles(
            files["train"], files["exemplars"], files["statistics"], files.get("concepts"), types, panel
        )
        candidates = prepare(of_layer, layer, shown, tokenizer, template, settings, describing["seed"], by_type)
        found = _by_candidate(descriptions_table(candidates, "").to_pylist())
        only: list[tuple[str, str, object]] = [("neuron", "in", of_layer)]
        stored = _by_candidate(read_tables(files["written"], DESCRIPTIONS, only).to_pylist())
        for key in sorted(found.keys() | stored.keys()):
            here, there = stored.get(key), found.get(key)
            row, where = {"layer": layer, "neuron": key[0], "sign": key[1]}, f"candidate {key[2]}"
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


def check_scores(
    recheck: Recheck, neurons: dict[int, list[int]], tables: dict[int, Tables], scoring: dict[str, Any]
) -> None:
    """The chosen description is simulated again on the same sequences: its predictions and its scores; the scores of
    the stored predictions; the token baseline's.

    scoring: models (folders subject and simulator, file prompt or None), simulator, settings (of the config's
    `scores`), nulls (a file), seed, threads.
    """
    models, settings = scoring["models"], scoring["settings"]
    simulator = load_simulator(
        Job(scoring["simulator"], models["simulator"], models["prompt"], models["subject"], scoring["threads"])
    )
    dtype = scoring["simulator"]["dtype"]
    for layer, of_layer in progress(iter(neurons.items()), len(neurons), "layers scored"):
        files = tables[layer]
        only: list[tuple[str, str, object]] = [("neuron", "in", of_layer)]
        scores = by_sign(read_tables(files["scores"], SCORES, only))
        simulations = by_sign(read_tables(files["simulations"], SIMULATIONS, only))
        described = _by_candidate(read_tables(files["descriptions"], DESCRIPTIONS, only).to_pylist())
        evidence = Evidence(files["exemplars"], files["statistics"], {s: files[s] for s in SPLITS}, of_layer)
        sizes = split_sizes({s: files[s] for s in SPLITS})
        nulls = Nulls(None, scoring["nulls"], 0, scoring["seed"])
        for key in [(layer, neuron, sign) for neuron in of_layer for sign in SIGNS]:
            rows = scores.get(key, [])
            name = scoring["simulator"]["model"]  # those of another were sorted out before
            tried = {row["description"] for row in rows if row["kind"] == "candidate" and row["simulator"] == name}
            raced = settings["race_from"] is not None and len(tried) >= settings["race_from"]
            alone = settings | {"race_from": 1 if raced else None}
            scorer = Scorer(simulator, scoring["simulator"]["model"], evidence, nulls, alone, sizes, scoring["seed"])
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


def check_choice(
    recheck: Recheck, neurons: dict[int, list[int]], tables: dict[int, Tables], scoring: dict[str, Any]
) -> None:
    """Without a simulator: candidates, which of them is chosen, and the token baseline's scores, made again.

    scoring: choice (see Config.choice), settings, nulls (a file), seed, subject (a folder), rules (a file or None).
    """
    for layer, of_layer in neurons.items():
        files = tables[layer]
        inputs = {name: files[name] for name in ("exemplars", "statistics", "descriptions", *SPLITS)}
        inputs |= {name: files[name] for name in ("concepts", "judged") if files.get(name)}
        inputs |= {"nulls": scoring["nulls"], "subject": scoring["models"]["subject"], "rules": scoring.get("rules")}
        found = chosen_rows(of_layer, layer, inputs, scoring["choice"], scoring["settings"], scoring["seed"])
        only: list[tuple[str, str, object]] = [("neuron", "in", of_layer)]
        stored = read_tables(files["scores"], SCORES, only).to_pylist()
        same = lambda row: (row["neuron"], row["sign"], row["candidate"], row["split"])  # noqa: E731
        again = {same(row): row for row in found}
        for row in stored:
            other, where = again.get(same(row), {}), f"candidate {row['candidate']}, {row['split']}"
            if row["kind"] == "token_baseline":
                recheck.number(
                    "token baseline's scores", row, where, row["correlation"], other.get("correlation"), EXACT
                )
                continue
            recheck.fact("candidates", row, where, row["description"], other.get("description"))
            recheck.fact("choice", row, where, row["chosen"], other.get("chosen"))
        if len(stored) != len(found):
            who = {"layer": layer, "neuron": of_layer[0], "sign": SIGNS[0]}
            recheck.fact("candidates", who, "rows of the layer", len(stored), len(found))


def _compare_stored(recheck: Recheck, chosen: list[dict], kept: list[dict]) -> None:
    """Scores with those of the predictions that stand beside them."""
    for row in chosen:
        of_split = [one for one in kept if one["split"] == row["split"]]
        predicted = np.concatenate([[], *(one["simulated"] for one in of_split)])
        true = np.concatenate([[], *(one_side(np.array(one["activations"]), row["sign"]) for one in of_split)])
        r = correlation(predicted, true) if of_split else math.nan
        recheck.number("score of the stored predictions", row, row["split"], row["correlation"], r, EXACT)


def _compare_scores(recheck: Recheck, stored: list[dict], found: list[dict], tolerance: float) -> None:
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


def _compare_simulations(recheck: Recheck, stored: list[dict], found: list[dict], tolerance: float) -> None:
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
    subject: dict[str, Any],
    describing: dict[str, Any],
    scoring: dict[str, Any],
    about: dict[str, Any],
    outputs: dict[str, str],
) -> None:
    """Recheck the rows of some neurons and write what was found, as JSON and as text.

    neurons: by layer; tables: by layer, name -> files; atlas: the run's; subject, describing, scoring: see the
    functions above; about: run and seed.
    """
    recheck = Recheck()
    check_atlas(recheck, neurons, tables, atlas)
    check_descriptions(recheck, neurons, tables, describing)
    check_activations(recheck, neurons, tables, subject, about["seed"])
    gc.collect()  # the subject makes room for the simulator
    simulator = scoring["simulator"]
    (check_scores if simulator else check_choice)(recheck, neurons, tables, scoring)
    drawn = [[layer, neuron] for layer, of_layer in neurons.items() for neuron in of_layer]
    found = recheck.report(
        **about, dtypes={"subject": subject["dtype"], **({"simulator": simulator["dtype"]} if simulator else {})},
        neurons=drawn,
    )  # fmt: skip
    for name, text in (("json", json.dumps(found, indent=1) + "\n"), ("text", said(found))):
        with whole(outputs[name]) as part:
            part.write_text(text)
    logger.info("%s", said(found))
