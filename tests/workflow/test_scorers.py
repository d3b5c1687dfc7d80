"""Further scorers in the workflow: from tables of a finished scoring to the atlas and its pages."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Project, changed, tiny_config
from endpoint import Reply, endpoint
from neuron_descriptions.atlas.packing import read_neurons
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS
from neuron_descriptions.models.loading import tokenizer_fingerprint
from neuron_descriptions.scores.tables import NULL_POOL, SCORES, SIMULATIONS

TEXT = ["the", "old", "house", "stood", "by", "a", "river", "and", "my", "boat", "went", "down"]
RIVER, LENGTH = TEXT.index("river"), 10
WHO = {"layer": 1, "neuron": 5}


def write(project, path, schema, rows):
    write_table(pa.Table.from_pylist(rows, schema=schema), project.file(path))


def finish_scoring(project, tokenizer, simulated=True, everywhere=()):
    """Tables as they stand after the scoring, or before it, of a neuron that fires on one word, and of others that fire
    everywhere."""
    words = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in TEXT]
    random, exemplars, statistics = np.random.default_rng(0), [], []
    for split in SPLITS:
        ids = random.integers(0, len(words), (30, LENGTH))
        texts = [{"seq_id": i, "source": "s", "document": i, "prefix_len": 0,
                  "input_ids": [words[w] for w in row]} for i, row in enumerate(ids)]  # fmt: skip
        facts = {"tokens": str(ids.size), "longest": str(LENGTH), "tokenizer": tokenizer_fingerprint(tokenizer)}
        write(project, f"corpus/{split}.parquet", CORPUS.with_metadata(facts), texts)
        acts = np.where(ids == RIVER, 2.0, 0.1)
        order = np.argsort(-acts.max(1), kind="stable").tolist()
        for neuron in (WHO["neuron"], *everywhere):
            who, fired = WHO | {"neuron": neuron}, np.full(acts.shape, 2.0) if neuron in everywhere else acts
            for sign in SIGNS:
                for kind, chosen in (("top", order[:12]), ("middle", order[12:14]), ("random", order[-4:])):
                    exemplars += [{"split": split, **who, "sign": sign, "kind": kind, "rank": rank, "seq_id": i,
                                   "peak": float(fired[i].max()), "activations": fired[i].tolist()}
                                  for rank, i in enumerate(chosen)]  # fmt: skip
            numbers = {"tokens": ids.size, "mean": 0.2, "std": 0.4, "min": 0.1, "max": 2.0}
            statistics.append({"split": split, **who, **numbers})
    write(project, "exemplars/layer-1/chunk-0.parquet", EXEMPLARS, exemplars)
    write(project, "exemplars/layer-1/statistics-chunk-0.parquet", STATISTICS, statistics)
    candidate = {**WHO, "candidate": 0, "description": "rivers", "explainer": "x", "status": "ok"}
    none = {"candidate": 0, "explainer": "x", "status": "no_activation"}
    signs = {"positive": candidate, "negative": {**WHO, **none}}
    neurons = (WHO["neuron"], *everywhere)
    descriptions = [row | {"neuron": n, "sign": sign} for n in neurons for sign, row in signs.items()]
    write(project, "descriptions/layer-1/chunk-0.parquet", DESCRIPTIONS, descriptions)
    write(project, "descriptions/null-pool.parquet", NULL_POOL, [])
    if not simulated:
        return
    scores = [{**WHO, "sign": "positive", "candidate": 0, "kind": "candidate", "description": "rivers", "split": split,
               "chosen": True, "correlation": 0.5, "simulator": "x"} for split in ("valid", "test")]  # fmt: skip
    write(project, "scores/layer-1/chunk-0.parquet", SCORES, scores)
    simulations = [
        {**WHO, "sign": "positive", "candidate": 0, "activations": row["activations"],
         "simulated": [10 * (a > 1) for a in row["activations"]],
         **{name: row[name] for name in ("split", "kind", "rank", "seq_id")}}
        for row in exemplars if (row["split"], row["sign"]) == ("test", "positive")
    ]  # fmt: skip
    write(project, "scores/layer-1/simulations-chunk-0.parquet", SIMULATIONS, simulations)


@pytest.fixture(scope="module")
def scored(tmp_path_factory, tokenizer):
    project = Project(tmp_path_factory.mktemp("scorers") / "project")
    finish_scoring(project, tokenizer)
    judge = {"model": "smollm2-135m-instruct"}
    config = changed(
        tiny_config(),
        neurons={"layers": [1], "indices": [5], "chunk_size": 2},
        scores__scorers={
            "detection": {"kind": "detection", "judge": judge, "positives": 3, "random": 3, "close": 1, "nulls": 1},
            "read": {"kind": "simulated_detection"},
            "generated": {"kind": "generated", "writer": judge, "texts": 2, "fewest": 1, "attempts": 1},
        },
    )
    targets = [f"results/tiny/{name}" for name in ("atlas/atlas.parquet", "atlas/details/layer-1/chunk-0",
               "generated/generated/accounting.parquet")]  # fmt: skip
    project.run(config, *targets, "--rerun-triggers", "mtime", "--cores", "1")
    return project


def test_columns_of_all_scorers_reach_the_atlas(scored):
    rows = {row["sign"]: row for row in pq.read_table(scored.file("atlas/atlas.parquet")).to_pylist()}
    row = rows["positive"]
    assert (row["description"], row["score_contrast"]) == ("rivers", 0.5)
    assert (row["detection_status"], row["detection_n_active"], row["detection_n_silent"]) == ("ok", 3, 3)
    assert 0 < row["detection_average_precision"] <= 1 and row["detection_null_average_precision"] is not None
    # The simulator is right about every token.
    assert (row["read_status"], row["read_average_precision"]) == ("ok", 1.0)
    assert row["read_n_silent"] == 4
    assert rows["negative"]["detection_status"] == rows["negative"]["read_status"] == "no_description"


def test_a_neurons_page_has_them(scored):
    (neuron,) = read_neurons(scored.file("atlas/details/layer-1/chunk-0/0.js"))
    further = dict(neuron["signs"]["positive"]["further"])
    assert further["read: average precision"] == 1.0 and further["detection: active passages"] == 3


def test_every_answer_is_kept(scored):
    (row, _) = pq.read_table(scored.file("scorers/detection/layer-1/chunk-0.parquet")).to_pylist()
    assert [p["kind"] for p in row["passages"]] == ["active"] * 3 + ["random"] * 3
    assert len({p["chance"] for p in row["passages"]}) > 1 and all(0 < p["chance"] < 1 for p in row["passages"])


def test_a_model_writes_texts_and_the_subject_reads_them(scored):
    row = pq.read_table(scored.file("scorers/generated/layer-1/chunk-0.parquet")).to_pylist()[0]
    (texts,) = pq.read_table(scored.file("generated/generated/layer-1/texts-chunk-0.parquet")).to_pylist()
    assert row["status"] == "ok" == texts["status"] and row["description"] == "rivers"
    assert [t["text"] for t in row["texts"]] == texts["fits"] + texts["others"]
    assert len({t["peak"] for t in row["texts"]}) > 1 and -1 <= row["responsiveness"] <= 1
    assert row["auc"] is None and row["n_nulls"] == 0  # nothing else is described
    corpus = pq.read_table(scored.file("generated/generated/corpus.parquet"))
    assert len(corpus) == len(row["texts"]) and set(corpus["source"].to_pylist()) == {"generated"}
    accounts = pq.read_table(scored.file("generated/generated/accounting.parquet")).to_pylist()
    assert accounts[-1]["layer"] is None and accounts[-1]["described"] == 1 and accounts[-1]["completion_tokens"] > 10
    (atlas, _) = pq.read_table(scored.file("atlas/atlas.parquet")).to_pylist()
    assert atlas["generated_responsiveness"] == row["responsiveness"]


# --- without a simulator -----------------------------------------------------------------------------


def test_without_a_simulator_a_scorer_chooses_and_nothing_of_simulation_is_there(tmp_path, tokenizer):
    project = Project(tmp_path / "project")
    finish_scoring(project, tokenizer, simulated=False)
    other = {**WHO, "candidate": 1, "description": "roofs", "explainer": "x", "status": "ok", "sign": "positive"}
    path = project.file("descriptions/layer-1/chunk-0.parquet")
    write_table(pa.concat_tables([pq.read_table(path), pa.Table.from_pylist([other], schema=DESCRIPTIONS)]), path)
    judge = {"model": "smollm2-135m-instruct"}
    config = changed(
        tiny_config(),
        neurons={"layers": [1], "indices": [5], "chunk_size": 2},
        scores__simulator=None,
        scores__scorers={"judged": {"kind": "detection", "judge": judge, "positives": 3, "random": 3, "nulls": 1}},
    )
    targets = [f"results/tiny/atlas/{name}" for name in ("atlas.parquet", "scores.svg", "details/layer-1/chunk-0")]
    made = project.run(config, *targets, "--rerun-triggers", "mtime", "--cores", "1")
    assert "choose_descriptions" in made.stderr and "rule score:" not in made.stderr
    table = pq.read_table(project.file("atlas/atlas.parquet"))
    simulation = {"score", "score_contrast", "simulator", "chance", "selection_score", "spearman", "discrimination"}
    assert not simulation & set(table.schema.names)
    row = {row["sign"]: row for row in table.to_pylist()}["positive"]
    scored = pq.read_table(project.file("scorers/judged/layer-1/chunk-0.parquet")).to_pylist()[0]
    assert row["status"] == row["judged_status"] == "ok" and row["description"] == scored["description"]
    assert row["token_baseline_contrast"] > 0.9  # it fires on one word
    assert scored["selection_average_precision"] is not None
    chosen = pq.read_table(project.file("scores/layer-1/chunk-0.parquet")).to_pylist()
    assert {r["candidate"] for r in chosen if r["chosen"]} == {scored["candidate"]}
    assert not project.file("scores/layer-1/simulations-chunk-0.parquet").exists()


def test_what_a_judge_cannot_answer_and_passages_without_a_negative_are_statuses_in_the_atlas(tmp_path, tokenizer):
    """The judge of `talks` says neither yes nor no; neuron 6 fires in every sequence, so that `judged` is not asked."""
    project = Project(tmp_path / "project")
    finish_scoring(project, tokenizer, simulated=False, everywhere=(6,))
    passages = {"positives": 3, "random": 3, "close": 0, "nulls": 0}
    with endpoint(lambda number, body: Reply("It depends.")) as served:
        talks = {"client": "openai", "model": "m", "base_url": served.base_url, "key_variable": None}
        config = changed(
            tiny_config(),
            neurons={"layers": [1], "indices": [5, 6], "chunk_size": 2},
            scores__simulator=None,
            scores__scorers={
                "talks": {"kind": "detection", "judge": talks, **passages},
                "judged": {"kind": "detection", "judge": {"model": "smollm2-135m-instruct"}, **passages},
            },
        )
        targets = ("results/tiny/atlas/atlas.parquet", "--rerun-triggers", "mtime", "--cores", "1")
        project.run(config, *targets)
        asked = len(served.seen)
    rows = pq.read_table(project.file("atlas/atlas.parquet")).to_pylist()
    fires, everywhere = (row for row in rows if row["sign"] == "positive")
    assert (fires["talks_status"], fires["talks_n_unanswered"], fires["judged_status"]) == ("unparsed", 6, "ok")
    assert everywhere["talks_status"] == everywhere["judged_status"] == "no_negative" and asked >= 2
    scored = [name for name in rows[0] if name.startswith(("talks_", "judged_")) and "average_precision" in name]
    assert len(scored) >= 8 and all(everywhere[name] is None for name in scored)  # nothing wins by being undefined
    assert fires["talks_average_precision"] is None and fires["judged_average_precision"] is not None


# --- a simulator without log-probabilities -----------------------------------------------------------


def test_any_client_simulates_in_words(tmp_path, tokenizer):
    project = Project(tmp_path / "project")
    finish_scoring(project, tokenizer, simulated=False)

    def numbers(number, body):
        asked = body["messages"][-1]["content"]
        tokens = json.loads(asked.split("of them:\n")[1].split("\n\nHow")[0])
        return Reply(json.dumps([[t, 10 * (t == " river" and "responds to: rivers" in asked)] for t in tokens]))

    with endpoint(numbers) as served:
        client = {"client": "openai", "model": "m", "base_url": served.base_url, "key_variable": None}
        config = changed(
            tiny_config(),
            neurons={"layers": [1], "indices": [5], "chunk_size": 2},
            scores__simulator={"kind": "asked", "client": client},
        )
        target = "results/tiny/scores/layer-1/chunk-0.parquet"
        project.run(config, target, "--rerun-triggers", "mtime", "--cores", "1")
        asked = len(served.seen)
    rows = pq.read_table(project.file("scores/layer-1/chunk-0.parquet")).to_pylist()
    (chosen,) = (r for r in rows if r["chosen"] and r["split"] == "test")
    assert (chosen["description"], chosen["simulator"]) == ("rivers", "m") and chosen["correlation"] > 0.99
    assert asked > 10 and all(r["correlation"] is None for r in rows if r["kind"] == "null")  # they predict nothing
    assert list(project.file("requests/simulated/layer-1").glob("*.jsonl"))
