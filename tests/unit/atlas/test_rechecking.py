"""A recheck of a small run of a random model, made here by the stages' own functions; then one fault of each kind."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import ROOT, changed, tiny_config
from neuron_descriptions.atlas import reharvesting
from neuron_descriptions.atlas.agreement import draw_neurons, pass_or_fail
from neuron_descriptions.atlas.building import build_atlas
from neuron_descriptions.atlas.rechecking import Describing, Scoring, recheck_rows
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.descriptions.candidates import descriptions_table
from neuron_descriptions.descriptions.concepts import find_concepts
from neuron_descriptions.descriptions.evidence import EvidenceFiles, Prompting, prepare
from neuron_descriptions.descriptions.prompts import read_explainer_template
from neuron_descriptions.harvest.merging import merge
from neuron_descriptions.harvest.shard import Shard, harvest
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.models.loading import load_tokenizer, tokenizer_fingerprint
from neuron_descriptions.run.memory import Keep
from neuron_descriptions.scores.simulation import Chunk, score_chunk
from neuron_descriptions.simulators.opening import Job
from word_neurons import WORDS, tiny_base

NEURONS = {0: [3, 5], 1: [7]}
CONFIG = load_config(
    changed(
        tiny_config(), descriptions__candidates=1, descriptions__token_candidates=1, descriptions__concept_candidates=1,
        descriptions__pool=6, descriptions__evidence_min=2, descriptions__evidence_max=4, exemplars__k=6,
        scores__nulls=2, scores__simulator__kind="finetuned", scores__simulator__dtype="float32",
    )
)  # fmt: skip
PROMPT, NULLS = (str(ROOT / f"config/{name}.yaml") for name in ("prompts/words", "null-descriptions"))
NAMES = ("exemplars", "statistics", "concepts", "descriptions", "scores", "simulations")


def files(folder: Path) -> dict[int, dict]:
    """Tables of a run by layer and name."""
    return {
        layer: {name: [str(folder / f"{name}-{layer}.parquet")] for name in NAMES}
        | {split: str(folder / f"{split}.parquet") for split in SPLITS}
        | {"written": [str(folder / f"descriptions-{layer}.parquet")]}
        for layer in NEURONS
    }


def write_corpus(folder: Path, tokenizer) -> None:
    random = np.random.default_rng(0)
    for split in SPLITS:
        ids = [tokenizer(" ".join(random.choice(WORDS, random.integers(8, 14))))["input_ids"] for _ in range(40)]
        facts = {"tokens": str(sum(map(len, ids)) - len(ids)), "longest": str(max(map(len, ids)) - 1)}
        rows = [
            {"seq_id": i, "source": "words", "document": i, "prefix_len": 1, "input_ids": row}
            for i, row in enumerate(ids)
        ]
        facts["tokenizer"] = tokenizer_fingerprint(tokenizer)
        write_table(pa.Table.from_pylist(rows, schema=CORPUS.with_metadata(facts)), folder / f"{split}.parquet")


@pytest.fixture(scope="module")
def run(smollm2, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recheck")
    tokenizer = load_tokenizer(smollm2)
    base = tiny_base(folder / "model", tokenizer)
    write_corpus(folder, tokenizer)
    for split in SPLITS:
        harvest(
            Subject(base, 2, 64, None, "float32"), str(folder / f"{split}.parquet"), Shard(split, 0, 1, 8, 0), NEURONS,
            Keep(6, 2, 4), 1, str(folder / f"{split}.safetensors"),
        )  # fmt: skip
    template = read_explainer_template(PROMPT, CONFIG.descriptions.few_shot, begins=True)
    for layer, neurons in NEURONS.items():
        paths = files(folder)[layer]
        merge(
            {s: [str(folder / f"{s}.safetensors")] for s in SPLITS}, {s: paths[s] for s in SPLITS}, layer, neurons,
            slice(0, len(neurons)), 0, paths["exemplars"][0], paths["statistics"][0],
        )  # fmt: skip
        rules = str(ROOT / CONFIG.descriptions.concept_rules)
        find_concepts(
            neurons, layer, {s: paths[s] for s in ("train", "valid")}, paths["exemplars"],
            {"subject": smollm2, "rules": rules}, {}, paths["concepts"][0],
        )  # fmt: skip
        shown = EvidenceFiles(paths["train"], paths["exemplars"], paths["statistics"], paths["concepts"])
        candidates = prepare(neurons, layer, shown, Prompting(tokenizer, template), CONFIG.descriptions, 0)
        for candidate in candidates:
            if candidate.prompt:
                candidate.description, candidate.status = "the word peace", "ok"
        write_table(descriptions_table(candidates, "a model"), paths["descriptions"][0])
        score_chunk(
            Chunk(layer, neurons, 0),
            {s: paths[s] for s in (*SPLITS, "exemplars", "statistics")}
            | {"descriptions": paths["descriptions"][0], "nulls": NULLS},
            Job(CONFIG.scores.simulator, base, None, base, 1), CONFIG.scores,
            {name: paths[name][0] for name in ("scores", "simulations")},
            {"path": str(folder / f"kept-{layer}.bin"), "made_by": ""},
        )  # fmt: skip
    names = ("descriptions", "scores", "statistics")
    build_atlas({n: [files(folder)[layer][n][0] for layer in NEURONS] for n in names}, str(folder / "atlas.parquet"))
    return folder


def recheck(folder: Path, tmp_path: Path) -> dict:
    """What a recheck of the run in a folder finds."""
    base = str(folder / "model")
    outputs = {"json": str(tmp_path / "recheck.json"), "text": str(tmp_path / "recheck.txt")}
    models = {"subject": base, "simulator": base, "prompt": None}
    recheck_rows(
        NEURONS, files(folder), str(folder / "atlas.parquet"), Subject(base, 2, 64, None, "float32"),
        Describing(CONFIG.descriptions, base, PROMPT, True, 0), Scoring(CONFIG.scores, models, NULLS, 0, 1),
        {"run": "small", "seed": 0}, outputs,
    )  # fmt: skip
    return json.loads((tmp_path / "recheck.json").read_text())


def test_a_run_agrees_with_itself_in_everything_that_is_compared(run, tmp_path):
    found = recheck(run, tmp_path)
    assert found["differences"] == []
    compared = found["compared"]
    assert set(compared) == {
        "the atlas's columns", "exemplars shown", "prompts", "sentences without a model", "activations",
        "peak of the stored activations", "scores, simulated again", "token baseline's scores",
        "predictions", "descriptions scored", "sequences and tokens scored",
        "truth beside the predictions", "score of the stored predictions",
    }  # fmt: skip
    # 3 neurons, both signs: a sequence of each of 3 splits and 3 kinds; of the chosen description both splits.
    assert compared["activations"]["n"] == 3 * 2 * 3 * 3
    assert compared["prompts"]["n"] == 3 * 2 and compared["sentences without a model"]["n"] == 3 * 2 * 2
    assert compared["scores, simulated again"]["n"] == 3 * 2 * 2
    assert compared["activations"]["largest_difference"] <= compared["activations"]["tolerance"]
    pass_or_fail(str(tmp_path / "recheck.json"), str(tmp_path / "passed.txt"))
    assert "no difference" in (tmp_path / "passed.txt").read_text()


def plant(path: str, column: str, change, where) -> dict:
    """Change a column of the first row that fits; returns the row."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    row = next(row for row in rows if where(row))
    row[column] = change(row[column])
    write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    return row


@pytest.mark.parametrize(
    ("file", "column", "change", "where", "what"),
    [
        ("exemplars", "activations", lambda a: [v + 0.01 * (i == 2) for i, v in enumerate(a)],
         lambda r: r["kind"] == "random" and r["split"] == "test", "activations"),
        ("exemplars", "peak", lambda p: p + 0.01, lambda r: True, "peak of the stored activations"),
        ("descriptions", "prompt_sha256", lambda h: h[::-1], lambda r: r["prompt_sha256"], "prompts"),
        ("descriptions", "description", lambda d: d + "!", lambda r: r["explainer"] == "tokens",
         "sentences without a model"),
        ("descriptions", "exemplar_ranks", lambda r: r[::-1], lambda r: len(r["exemplar_ranks"]) > 1,
         "exemplars shown"),
        ("scores", "correlation", lambda r: r + 0.05, lambda r: r["chosen"], "scores, simulated again"),
        ("scores", "description", lambda d: "ships", lambda r: r["chosen"], "descriptions scored"),
        ("scores", "correlation", lambda r: r + 0.05, lambda r: r["kind"] == "token_baseline",
         "token baseline's scores"),
        ("scores", "n_tokens", lambda n: n + 1, lambda r: r["chosen"], "sequences and tokens scored"),
        ("simulations", "simulated", lambda p: [p[0] + 1, *p[1:]], lambda r: True, "predictions"),
        ("simulations", "activations", lambda p: [p[0] + 1, *p[1:]], lambda r: True, "truth beside the predictions"),
        ("simulations", "simulated", lambda p: [p[0] + 1, *p[1:]], lambda r: True, "score of the stored predictions"),
        ("atlas", "score", lambda r: r + 0.001, lambda r: True, "the atlas's columns"),
        ("atlas", "description", lambda d: "ships", lambda r: True, "the atlas's columns"),
    ],
)  # fmt: skip
def test_what_is_planted_is_found_and_named(run, tmp_path, monkeypatch, file, column, change, where, what):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    # Every stored sequence, so that the changed one is among them.
    if file == "exemplars":
        drawn = reharvesting._drawn_exemplars
        monkeypatch.setattr(reharvesting, "_drawn_exemplars", lambda *a: _all_of(drawn, *a))
    path = folder / ("atlas.parquet" if file == "atlas" else f"{file}-0.parquet")
    row = plant(str(path), column, change, where)
    found = recheck(folder, tmp_path)
    named = {(d["layer"], d["neuron"], d["sign"], d["what"]) for d in found["differences"]}
    assert (0, row["neuron"], row["sign"], what) in named
    # What else differs follows from the same row.
    assert {one[:2] for one in named} == {(0, row["neuron"])}
    with pytest.raises(ValueError, match=f"neuron {row['neuron']}, {row['sign']}"):
        pass_or_fail(str(tmp_path / "recheck.json"), str(tmp_path / "passed.txt"))
    assert not (tmp_path / "passed.txt").exists()


def _all_of(drawn, tables, layer, neurons, seed):
    """Enough draws to take every stored sequence."""
    return [row for s in range(40) for row in drawn(tables, layer, neurons, s)]


def test_another_model_is_no_run_s_own(run, tmp_path, smollm2):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    shutil.rmtree(folder / "model")
    import torch

    torch.manual_seed(1)
    manual = torch.manual_seed
    try:
        torch.manual_seed = lambda seed: manual(1)
        tiny_base(folder / "model", load_tokenizer(smollm2))
    finally:
        torch.manual_seed = manual
    compared = recheck(folder, tmp_path)["compared"]
    assert compared["activations"]["equal"] == 0
    assert compared["prompts"]["equal"] == compared["prompts"]["n"]


def test_the_draw_is_a_function_of_the_seed_and_never_more_than_there_are():
    selected = {0: list(range(50)), 4: [2, 9]}
    assert draw_neurons(selected, 6, 0) == draw_neurons(selected, 6, 0) != draw_neurons(selected, 6, 1)
    assert sum(map(len, draw_neurons(selected, 6, 0).values())) == 6
    assert draw_neurons(selected, 99, 0) == selected
