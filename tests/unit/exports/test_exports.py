"""Exports: what they say is what the run's tables say, and other projects' own code reads them."""

import gzip
import importlib.util
import json
import subprocess
import sys
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from conftest import ROOT
from hand_made_run import hand_made
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.config.exports import Exports
from neuron_descriptions.corpus.reading import read_texts
from neuron_descriptions.exports import opening
from neuron_descriptions.exports.circuit_tracer import pairing
from neuron_descriptions.exports.huggingface import DATASET
from neuron_descriptions.exports.opening import EXPORTS, export
from neuron_descriptions.exports.reading import ROW, FinishedRun
from neuron_descriptions.models.fetching import download_wheel
from neuron_descriptions.models.loading import token_strings
from neuron_descriptions.output_side.judged import OUTPUT_SCORES
from neuron_descriptions.scores.output_tokens_tables import OUTPUT_TOKENS

ABOUT = {
    "run": "Tiny.1",
    "seed": 7,
    "layers": 30,
    "neurons_per_layer": 1536,
    "subject": {"name": "SmolLM2-135M.Instruct", "revision": "owner/subject@abc"},
    "explainer": {"name": "an explainer", "revision": "owner/explainer@def"},
    "simulator": {"name": "a simulator", "revision": "owner/simulator@012"},
}
SHOWN = 2  # of four top ones; half as many of the three random ones


def write(kind, files, output, n_exemplars=SHOWN):
    export(kind, FinishedRun(files, ABOUT, n_exemplars), Exports(creator="a-user"), str(output))
    return output


@pytest.fixture(scope="module")
def make(corpus, smollm2):
    return lambda folder, **cut: hand_made(folder, corpus["train"], smollm2, **cut)


@pytest.fixture(scope="module")
def files(make, tmp_path_factory):
    return make(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def written(files, tmp_path_factory):
    """Every export of the run: kind -> folder."""
    folder = tmp_path_factory.mktemp("exports")
    return {kind: write(kind, files, folder / kind) for kind in EXPORTS}


@pytest.fixture(scope="module")
def expected(files):
    """Exemplars as an export shows them, from the tables: (layer, neuron, sign) -> kind -> [tokens, activations]."""
    frame = pd.concat(pd.read_parquet(path) for path in files["exemplars"])
    kept = frame[frame["rank"] < frame["kind"].map({"top": SHOWN, "random": SHOWN // 2})]
    return dict(list(kept.groupby(["layer", "neuron", "sign"])))


def read_jsonl(path):
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return [json.loads(line) for line in text.splitlines()]


def module_of(package, file, folder):
    """A module of another project, from its wheel; only what it needs itself is imported."""
    try:
        wheel = download_wheel(package, folder)
    except ValueError as error:
        pytest.skip(f"no package index has {package}: {error}")
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(file, folder)
    spec = importlib.util.spec_from_file_location("of_another_project", folder / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_csv_has_the_atlas_and_where_everything_comes_from(files, written):
    frame = pd.read_csv(written["csv"] / "neurons.csv")
    assert list(frame) == ROW.names
    atlas = pd.read_parquet(files["atlas"])
    assert len(frame) == len(atlas) == 12
    for name in atlas:
        if atlas[name].notna().any():
            kept = frame[name].where(atlas[name].notna().to_numpy())
            pd.testing.assert_series_equal(kept, atlas[name], check_dtype=False, check_exact=False, rtol=1e-6)
    assert set(frame["run"]) == {"Tiny.1"} and set(frame["seed"]) == {7}
    assert set(frame["subject_revision"]) == {"owner/subject@abc"}
    assert set(frame["simulator_revision"]) == {"owner/simulator@012"}
    # Of neurons 7 the tokens' candidate was chosen, which asked no model; of the last sign none.
    asked = (frame["neuron"] != 7) & frame["description"].notna()
    said = frame["layer"].astype(str) + frame["neuron"].astype(str) + frame["sign"]
    assert frame["prompt_sha256"].where(asked).equals(said.where(asked))
    assert frame["prompt_sha256"][~asked].isna().all()
    assert frame["explainer_revision"][frame["neuron"] == 7].isna().all()
    assert set(frame["explainer_revision"][asked]) == {"owner/explainer@def"}
    assert list(frame["candidate"][frame["neuron"] == 7]) == [1.0] * 4


# Columns of the tables that Neuronpedia's importer fills, with their types, and those that have no default; from its
# schema (apps/webapp/prisma/schema.prisma, August 2026). Not run against its database, which no package index has.
NEURONPEDIA = {
    "features": (
        {"modelId": str, "layer": str, "index": str},
        {"sourceSetName": str, "creatorId": str, "maxActApprox": float, "hookName": str, "frac_nonzero": float,
         "freq_hist_data_bar_heights": [float], "freq_hist_data_bar_values": [float], "pos_str": [str],
         "pos_values": [float], "neg_str": [str], "neg_values": [float]},
    ),
    "activations": (
        {"id": str, "tokens": [str], "index": str, "layer": str, "modelId": str, "maxValue": float,
         "maxValueTokenIndex": int, "minValue": float, "values": [float], "creatorId": str},
        {"dataIndex": str, "dataSource": str, "binMin": float, "binMax": float, "binContains": type(None)},
    ),
    "explanations": (
        {"id": str, "modelId": str, "layer": str, "index": str, "description": str, "authorId": str},
        {"notes": str},
    ),
    "release.jsonl": (
        {"name": str, "description": str, "creatorName": str, "creatorId": str},
        {"visibility": str, "descriptionShort": str, "creatorNameShort": str, "urls": [str]},
    ),
    "model.jsonl": (
        {"id": str, "creatorId": str, "layers": int, "neuronsPerLayer": int, "owner": str},
        {"displayName": str, "displayNameShort": str, "instruct": bool, "visibility": str},
    ),
    "sourceset.jsonl": (
        {"modelId": str, "name": str, "description": str, "creatorName": str, "creatorId": str},
        {"type": str, "urls": [str], "releaseName": str, "visibility": str},
    ),
    "source.jsonl": (
        {"id": str, "modelId": str, "setName": str, "creatorId": str},
        {"hasDashboards": bool, "notes": str, "visibility": str},
    ),
}  # fmt: skip


def fits(value, kind):
    if isinstance(kind, list):
        return isinstance(value, list) and all(fits(v, kind[0]) for v in value)
    return type(value) is kind


def test_neuronpedia_s_rows_need_a_user(files, tmp_path):
    with pytest.raises(ValueError, match=r"exports\.creator names no user"):
        export("neuronpedia", FinishedRun(files, ABOUT, SHOWN), Exports(), str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_neuronpedia_s_tables_have_its_columns_and_the_run_s_numbers(written, files, expected, tokenizer):
    root = written["neuronpedia"] / "smollm2-135m-instruct"
    assert {p.name for p in root.iterdir()} == {f"{n}-tiny-1-mlp{s}" for n in (1, 3) for s in ("", "-negative")}
    atlas = pd.read_parquet(files["atlas"]).set_index(["layer", "neuron", "sign"])
    ids, explained = set(), 0
    for folder in root.iterdir():
        layer, sign = int(folder.name[0]), "negative" if folder.name.endswith("negative") else "positive"
        found = {}
        for table, (required, more) in NEURONPEDIA.items():
            paths = [folder / table] if table.endswith("jsonl") else sorted((folder / table).glob("batch-*.jsonl.gz"))
            found[table] = [row for path in paths for row in read_jsonl(path)]
            for row in found[table]:
                assert row.keys() == found[table][0].keys() >= required.keys()  # the importer reads the first line's
                assert all(fits(value, (required | more)[name]) for name, value in row.items()), row
        assert [row["index"] for row in found["features"]] == ["5", "7", "9"]
        assert all(row["layer"] == folder.name == found["source.jsonl"][0]["id"] for row in found["features"])
        for neuron in (5, 7, 9):
            acts = [row for row in found["activations"] if row["index"] == str(neuron)]
            group = expected[layer, neuron, sign]
            top = group[group["kind"] == "top"]
            texts = read_texts(files["train"], set(top["seq_id"]))
            assert len(acts) == SHOWN
            for row, (_, true) in zip(acts, top.iterrows()):
                values = true["activations"] * (1 if sign == "positive" else -1)
                np.testing.assert_allclose(row["values"], values, atol=5e-5 * abs(values).max())
                assert row["maxValueTokenIndex"] == values.argmax() and row["dataIndex"] == str(true["seq_id"])
                assert row["tokens"] == token_strings(tokenizer, texts[true["seq_id"]].evidence)
        ids |= {row["id"] for row in found["activations"] + found["explanations"]}
        for row in found["explanations"]:
            true = atlas.loc[layer, int(row["index"]), sign]
            notes = json.loads(row["notes"])
            assert row["description"] == true["description"] == notes["description"]
            assert notes["score"] == true["score"] and notes["score_low"] == true["score_low"]
            assert notes.keys() == set(ROW.names)
            explained += 1
    assert explained == 10  # two of twelve were refused
    assert len(ids) == 12 * SHOWN + 10


@pytest.fixture
def neuronpedia_client(tmp_path, monkeypatch):
    """Neuronpedia's own client (its package on PyPI), talking to a database of our rows over a loopback: the class of
    its requests, and what was sent to it."""
    try:
        wheel = download_wheel("neuronpedia==1.2.1", tmp_path)
    except ValueError as error:
        pytest.skip(f"no package index has neuronpedia: {error}")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "client")
    monkeypatch.syspath_prepend(str(tmp_path / "client"))
    reads_no_file = ModuleType("dotenv")
    reads_no_file.load_dotenv = lambda: None
    monkeypatch.setitem(sys.modules, "dotenv", reads_no_file)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    rows, sent = {}, []

    class Database(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(rows[tuple(self.path.split("/")[-3:])])

        def do_POST(self):
            sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer({})

        def answer(self, found):
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Database)
    Thread(target=server.serve_forever, daemon=True).start()
    requests = importlib.import_module("neuronpedia.requests.feature_request").FeatureRequest
    monkeypatch.setattr(requests, "BASE_URL", f"http://127.0.0.1:{server.server_port}/api")
    yield requests(api_key="no key"), rows, sent
    server.shutdown()
    server.server_close()
    for name in [name for name in sys.modules if name.partition(".")[0] == "neuronpedia"]:
        del sys.modules[name]


def test_neuronpedia_s_own_client_reads_and_sends_the_rows(written, expected, neuronpedia_client):
    """Its client calls a row's source `source`, its database `layer`; what no row names is null there."""
    client, rows, sent = neuronpedia_client
    nulls = dict.fromkeys(("typeName", "explanationModelName"))
    folders = sorted((written["neuronpedia"] / "smollm2-135m-instruct").iterdir())
    for folder in folders:
        found = {name: [row for path in sorted((folder / name).glob("*.gz")) for row in read_jsonl(path)]
                 for name in ("features", "activations", "explanations")}  # fmt: skip
        for feature in found["features"]:
            own = {name: [nulls | row | {"source": row["layer"]} for row in found[name]
                          if row["index"] == feature["index"]] for name in ("activations", "explanations")}  # fmt: skip
            rows[feature["modelId"], feature["layer"], feature["index"]] = feature | own
    assert len(rows) == 12
    for (model, source, index), row in rows.items():
        feature = client.get(model, source, int(index))
        assert (feature.modelId, feature.source, feature.density) == (model, source, row["frac_nonzero"])
        assert [e.text for e in feature.explanations] == [e["description"] for e in row["explanations"]]
        sign = "negative" if source.endswith("negative") else "positive"
        group = expected[int(source[0]), int(index), sign]
        top = group[group["kind"] == "top"]["activations"]
        client.upload_batch(model, source, [feature])
        payload = sent[-1]["features"][0]
        assert payload["density"] == row["frac_nonzero"]
        for read, again, values in zip(feature.activations, payload["activations"], top, strict=True):
            turned = values * (1 if sign == "positive" else -1)
            np.testing.assert_allclose(read.values, turned, atol=5e-5 * abs(values).max())
            assert len(read.tokens) == len(values) and again["tokens"] == read.tokens
            # What its server takes: a share, or nothing.
            assert again["quantileFraction"] is None and again["quantileMax"] == row["maxActApprox"]


def test_tokens_that_a_neuron_writes_turn_with_its_sign(written, files, tmp_path):
    for sign, first, last in (("positive", "top", "bottom"), ("negative", "bottom", "top")):
        side = "-negative" if sign == "negative" else ""
        rows = read_jsonl(
            written["neuronpedia"] / f"smollm2-135m-instruct/3-tiny-1-mlp{side}/features/batch-0.jsonl.gz"
        )
        assert [row["pos_str"] for row in rows] == [[f"{first} {n}", " x"] for n in (5, 7, 9)]
        assert [row["neg_str"] for row in rows] == [[f"{last} {n}", " x"] for n in (5, 7, 9)]
        assert {(*row["pos_values"], *row["neg_values"]) for row in rows} == {(0.5, 0.25, -0.5, -0.25)}
        scan = written["circuit_tracer"] / f"features/Tiny.1{side}"
        feature = json.loads((scan / f"{pairing(3, 7)}.json").read_text())
        assert (feature["top_logits"], feature["bottom_logits"]) == ([f"{first} 7", " x"], [f"{last} 7", " x"])
    table = pq.read_table(written["huggingface"] / "data").to_pylist()
    assert table[1]["sign"] == "negative" and table[1]["promoted"][0] == {"token": "bottom 5", "effect": 0.5}
    without = write("huggingface", {k: v for k, v in files.items() if k != "output_side"}, tmp_path / "without")
    assert all(row["promoted"] == [] for row in pq.read_table(without / "data").to_pylist())


def test_what_is_said_of_a_neuron_s_tokens_stands_in_its_row(files, tmp_path):
    """By search and by an explainer, of the sign that it is said of."""
    named = {"layer": 3, "neuron": 7, "sign": "negative", "description": "months"}
    judged = {"layer": 3, "neuron": 7, "sign": "negative", "words": "names of months", "auc": 0.75, "auc_low": 0.5,
              "auc_high": 0.9, "null_auc": 0.51, "status": "ok"}  # fmt: skip
    write_table(pa.Table.from_pylist([named], schema=OUTPUT_SCORES), tmp_path / "scores.parquet")
    write_table(pa.Table.from_pylist([judged], schema=OUTPUT_TOKENS), tmp_path / "tokens.parquet")
    said = files | {"output_scores": [tmp_path / "scores.parquet"], "output_tokens": [tmp_path / "tokens.parquet"]}
    frame = pd.read_csv(write("csv", said, tmp_path / "out") / "neurons.csv").set_index(["layer", "neuron", "sign"])
    columns = [
        "output_concepts",
        "output_words",
        *(f"output_words_{n}" for n in ("auc", "auc_low", "auc_high", "null_auc")),
    ]
    assert frame.loc[(3, 7, "negative"), columns].tolist() == ["months", "names of months", 0.75, 0.5, 0.9, 0.51]
    assert frame.drop(index=(3, 7, "negative"))[columns].isna().all(axis=None) and len(frame) == 12


def test_densities_are_those_of_the_random_sequences(files, written):
    frame = pd.concat(pd.read_parquet(path) for path in files["exemplars"])
    shares = {}
    for (layer, neuron, sign), group in frame[frame["kind"] == "random"].groupby(["layer", "neuron", "sign"]):
        values = np.concatenate(group["activations"].to_list()) * (1 if sign == "positive" else -1)
        shares[layer, neuron, sign] = (values > 0).mean(), (values > 0).sum()
    table = pq.read_table(written["huggingface"] / "data").to_pylist()
    assert len(table) == len(shares) == 12
    for row in table:
        share, count = shares[row["layer"], row["neuron"], row["sign"]]
        assert row["density"] == pytest.approx(share)
        scan = "Tiny.1" + ("-negative" if row["sign"] == "negative" else "")
        file = written["circuit_tracer"] / f"features/{scan}/{pairing(row['layer'], row['neuron'])}.json"
        feature = json.loads(file.read_text())
        assert sum(feature["histogram"]) == count and feature["activation_frequency"] == pytest.approx(share)
        assert feature["act_max"] == abs(row["peak"])
        assert feature["quantile_values"] == pytest.approx([10, 11, 12, 13])  # ascending, whatever the sign


def test_circuit_tracer_s_own_class_reads_its_features(written, expected, tmp_path):
    model = module_of("circuit-tracer==0.5.0", "circuit_tracer/frontend/feature_models.py", tmp_path).Model
    assert pairing(0, 0) == 0 and len({pairing(x, y) for x in range(30) for y in range(30)}) == 900
    paths = list(written["circuit_tracer"].rglob("*.json"))
    assert len(paths) == 12
    for path in paths:
        text = path.read_text()
        feature, row = model.model_validate_json(text), json.loads(text)["neuron_descriptions"]
        assert row.keys() == set(ROW.names) and row["neuron"] == feature.index
        assert path.stem == str(pairing(row["layer"], row["neuron"]))
        group = expected[row["layer"], row["neuron"], row["sign"]]
        turn = 1 if row["sign"] == "positive" else -1
        for quantile, kind in zip(feature.examples_quantiles, ("top", "random"), strict=True):
            true = group[group["kind"] == kind]
            assert len(quantile.examples) == len(true) > 0
            for example, values in zip(quantile.examples, true["activations"]):
                np.testing.assert_allclose(example.tokens_acts_list, turn * values, atol=5e-5 * abs(values).max())
                assert example.train_token_ind == (turn * values).argmax()
                assert len(example.tokens) == len(values)


def test_saedashboard_s_own_class_reads_its_batches(written, expected, tmp_path):
    file = "sae_dashboard/neuronpedia/neuronpedia_dashboard.py"
    batch_class = module_of("sae-dashboard==0.8.0", file, tmp_path).NeuronpediaDashboardBatch
    folders = sorted(written["feature_json"].iterdir())
    assert len(folders) == 4
    for folder in folders:
        batch = batch_class(**json.loads((folder / "batch-0.json").read_text()))
        rows = read_jsonl(folder / "rows-0.jsonl")
        assert f"{batch.layer}-{batch.sae_set}" == folder.name
        for feature, row in zip(batch.features, rows, strict=True):
            assert (feature.feature_index, batch.layer) == (row["neuron"], row["layer"])
            group = expected[row["layer"], row["neuron"], row["sign"]]
            top = group[group["kind"] == "top"]["activations"]
            for activation, values in zip(feature.activations, top, strict=True):
                turned = values * (1 if row["sign"] == "positive" else -1)
                np.testing.assert_allclose(activation.values, turned, atol=5e-5 * abs(values).max())
                assert activation.qualifying_token_index == turned.argmax()
            written_back = json.loads((folder / "batch-0.json").read_text())
            assert batch.to_dict() == written_back


LOAD = """
import json, sys, datasets
found = datasets.load_dataset(sys.argv[1], split="train", cache_dir=sys.argv[2])
print(json.dumps({"columns": found.column_names, "rows": found.to_list()}))
"""


def test_datasets_loads_the_folder_and_the_hub_s_client_reads_its_card(written, expected, tmp_path):
    folder = written["huggingface"]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, folder, tmp_path / "cache"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["columns"] == DATASET.names and len(found["rows"]) == 12
    for row in found["rows"]:
        group = expected[row["layer"], row["neuron"], row["sign"]]
        turn = 1 if row["sign"] == "positive" else -1
        for example, values in zip(row["exemplars"], group["activations"], strict=True):
            np.testing.assert_array_equal(np.float32(example["activations"]), turn * values)
        assert [example["gate"] for example in row["exemplars"]] == group["gate"].tolist()  # not turned
        assert row["gate_positive"] == (50 if turn > 0 else 25)
    card = DatasetCard.load(folder / "README.md")
    assert card.data.configs[0]["data_files"] == [{"split": "train", "path": "data/*.parquet"}]
    assert card.data.size_categories == ["n<1K"]
    assert all(f"| `{name}` |" in card.text for name in DATASET.names)


def test_chunks_never_change_an_export(make, written, tmp_path):
    files = make(tmp_path / "run", size=1, kept=1)
    for kind in EXPORTS:
        again = write(kind, files, tmp_path / kind)
        paths = sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
        assert paths == sorted(p.relative_to(written[kind]) for p in written[kind].rglob("*") if p.is_file())
        assert all((again / p).read_bytes() == (written[kind] / p).read_bytes() for p in paths), kind


def test_an_unfinished_run_is_refused_and_leaves_nothing(make, tmp_path):
    files = make(tmp_path / "run")
    short = files | {name: files[name][:-1] for name in ("descriptions", "scores")}
    with pytest.raises(ValueError, match=r"no table of descriptions has layer 3, neuron 9, positive.*is not finished"):
        write("csv", short, tmp_path / "csv")
    atlas = pq.read_table(files["atlas"])
    write_table(atlas.slice(0, 11), tmp_path / "short.parquet")
    with pytest.raises(ValueError, match=r"short\.parquet lacks layer 3, neuron 9, negative.*export again"):
        write("huggingface", files | {"atlas": str(tmp_path / "short.parquet")}, tmp_path / "huggingface")
    assert not (tmp_path / "csv").exists() and not (tmp_path / "huggingface").exists()


def test_a_run_without_exemplars_is_refused(make, tmp_path):
    files = make(tmp_path / "run", kept=1)
    few = files | {name: files[name][1:] for name in ("exemplars", "statistics")}
    with pytest.raises(ValueError, match=r"layer 1, neuron 5, positive is described, but the run has no exemplars"):
        write("neuronpedia", few, tmp_path / "out")
    table = read_table(files["exemplars"][0], pq.read_schema(files["exemplars"][0]))
    write_table(table.slice(0, 0), files["exemplars"][0])
    with pytest.raises(ValueError, match=r"layer 1, neuron 5, positive is described, but the run has no exemplars"):
        write("csv", files, tmp_path / "out")


def test_an_export_of_one_s_own_is_a_class_and_an_entry(files, tmp_path, monkeypatch):
    class Words:
        def write(self, run, folder):
            said = (f.row["description"] for f in run.features())
            (folder / "words.txt").write_text("\n".join(sorted({w for text in said if text for w in text.split()})))

    monkeypatch.setitem(opening.EXPORTS, "words", lambda settings: Words())
    assert "says" in (write("words", files, tmp_path / "words") / "words.txt").read_text().splitlines()


def test_every_kind_has_a_module_of_its_name():
    names = {p.stem for p in (ROOT / "scripts/neuron_descriptions/exports").glob("*.py")}
    assert set(EXPORTS) <= names  # the rule's digest leaves the others out by name
