"""The workflow on S3: imported exemplars in, a published run out, results kept in a bucket all along."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import Project, changed, tiny_config
from neuron_descriptions.corpus.reading import read_texts
from published_folder import write_published


def published_from(finished, folder: Path) -> Path:
    """The finished run's exemplars in the published layout."""
    exemplars = sorted(finished.file("exemplars").glob("layer-*/chunk-*.parquet"))
    corpus = {split: finished.file(f"corpus/{split}.parquet") for split in ("train", "valid", "test")}
    write_published(exemplars, corpus, folder, n_neurons=1536, seq_len=40, pad_id=2)
    return folder


def import_config(**exemplars) -> dict:
    """The tiny configuration with imported exemplars; `exemplars`: where from."""
    config = changed(tiny_config(), exemplars={"k": 12, "random": 4, "seq_len": 40, **exemplars}, scores__middle=0)
    del config["corpus"]
    return config


@pytest.fixture(scope="module")
def bucket(finished, s3, tmp_path_factory) -> dict:
    """The `exemplars` section that imports the finished run's exemplars from S3, and the environment for it."""
    s3.upload(published_from(finished, tmp_path_factory.mktemp("published") / "tiny"), "closed", "exemplars/tiny")
    return {"source": "s3", "bucket": "closed", "prefix": "exemplars", "folder": "tiny", "endpoint": s3.endpoint}


@pytest.fixture(scope="module")
def environment(s3) -> dict[str, str]:
    return os.environ | s3.environment | {"AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def imported(bucket, environment, tmp_path_factory) -> Project:
    """A finished run on imported exemplars."""
    project = Project(tmp_path_factory.mktemp("imported"))
    config = import_config(**bucket)
    project.run(config, env=environment)
    return project


def tables(project, pattern):
    files = sorted(project.file(".").glob(pattern))
    assert files, pattern
    return pq.ParquetDataset(files).read().to_pandas()


def test_a_run_on_imported_exemplars_equals_the_run_that_they_are_of(finished, imported):
    harvested = tables(finished, "exemplars/layer-*/chunk-*.parquet")
    harvested = harvested[harvested.kind != "middle"].reset_index(drop=True)
    ours = tables(imported, "exemplars/layer-*/chunk-*.parquet")
    assert ours.drop(columns="seq_id").equals(harvested.drop(columns="seq_id"))
    for split in ("train", "valid", "test"):
        theirs = read_texts(
            str(finished.file(f"corpus/{split}.parquet")), set(harvested.seq_id[harvested.split == split])
        )
        for layer in (1, 3):
            rows = (harvested.split == split) & (harvested.layer == layer)
            path = imported.file(f"corpus/layer-{layer}/{split}-chunk-0.parquet")
            found = read_texts(str(path), set(ours.seq_id[rows]))
            for expected, seq_id in zip(harvested.seq_id[rows], ours.seq_id[rows]):
                assert found[seq_id] == theirs[expected]
    statistics = [tables(p, "exemplars/layer-*/statistics-*.parquet") for p in (finished, imported)]
    known = [name for name in statistics[0] if name not in ("tokens", "mean", "std")]
    assert statistics[1][known].equals(statistics[0][known])
    assert statistics[1][["mean", "std"]].isna().all(axis=None)

    theirs, ours = (tables(p, "descriptions/layer-*/chunk-*.parquet") for p in (finished, imported))
    assert ours.equals(theirs)
    keys = ["layer", "neuron", "sign", "split", "kind", "rank"]
    theirs, ours = (tables(p, "scores/layer-*/simulations-*.parquet").set_index(keys) for p in (finished, imported))
    top = theirs.index[theirs.index.get_level_values("kind") == "top"]
    assert len(top) and set(top) <= set(ours.index)
    for key in top:
        if ours.loc[key].candidate == theirs.loc[key].candidate:
            assert list(ours.loc[key].activations) == list(theirs.loc[key].activations)
            # In bfloat16 another batch rounds otherwise.
            assert ours.loc[key].simulated == pytest.approx(theirs.loc[key].simulated, abs=0.4)
    theirs, ours = (tables(p, "atlas/atlas.parquet") for p in (finished, imported))
    assert ours[["layer", "neuron", "sign", "n_candidates", "peak"]].equals(
        theirs[["layer", "neuron", "sign", "n_candidates", "peak"]]
    )
    assert (ours.status == "ok").sum() >= 4


def test_an_imported_run_reruns_nothing_and_one_neuron_is_taken_alone(imported, bucket, environment, tmp_path):
    config = import_config(**bucket)
    assert imported.run(config, env=environment).stderr.count("Nothing to be done") == 1
    target = "results/tiny/neurons/layer-3/neuron-699.html"
    planned = imported.run(config, "--dry-run", target, env=environment).stdout
    assert "write_neuron_page" in planned and "import_exemplars" not in planned
    other = Project(tmp_path / "other")
    one = "results/tiny/exemplars/layer-3/neuron-699.parquet"
    other.run(
        changed(config, neurons__chunk_size=1), one, "results/tiny/exemplars/layer-1/chunk-1.parquet", env=environment
    )
    assert other.planned(config, one) == {}
    full = tables(imported, "exemplars/layer-*/chunk-*.parquet")
    for layer, file in ((3, "neuron-699"), (1, "chunk-1")):
        expected = full[(full.layer == layer) & (full.neuron == 699)].reset_index(drop=True)
        assert tables(other, f"exemplars/layer-{layer}/{file}.parquet").equals(expected)
    # A neuron outside the selection: this layer was not published.
    done = imported.run(config, "results/tiny/neurons/layer-0/neuron-1.html", env=environment, check=False)
    assert "/layer0/" in done.stderr and "does not exist; fetch all splits of this layer" in done.stderr


def test_another_place_or_scoring_reruns_what_depends_on_it(imported, bucket):
    config = import_config(**bucket)
    planned = set(imported.planned(changed(config, exemplars__folder="other")))
    assert {"list_exemplars", "import_exemplars", "describe", "score", "build_atlas"} <= planned
    planned = set(imported.planned(changed(config, scores__nulls=1)))
    assert "score" in planned and not {"list_exemplars", "import_exemplars", "describe"} & planned


def test_missing_credentials_are_said_by_the_job(bucket, tmp_path):
    project = Project(tmp_path / "project")
    without = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    without |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
    target = "results/tiny/exemplars/layer-1/published.json"
    done = project.run(import_config(**bucket), target, env=without, check=False)
    assert done.returncode != 0
    assert "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in done.stderr
    assert not (project.folder / target).exists()


def test_a_run_is_published_and_fetched_back(imported, bucket, s3, environment):
    config = import_config(**bucket)
    config["publish"] = {"bucket": "open", "prefix": "runs", "endpoint": s3.endpoint}
    imported.run(config, "publish", env=environment)
    assert imported.run(config, "publish", env=environment).stderr.count("Nothing to be done") == 1
    anonymous = changed(config, publish__anonymous=True)
    imported.run(anonymous, "fetch_run", env=environment)
    back = imported.folder / "results/tiny-fetched"
    kinds = ("atlas/**/*", "corpus/**/*.parquet", "exemplars/**/*.parquet", "descriptions/**/*", "scores/**/*")
    results = imported.file(".")
    # Snakemake puts a time stamp into an output that is a folder.
    expected, found = (
        {p.relative_to(folder) for p in paths if p.is_file() and p.name != ".snakemake_timestamp"}
        for folder, paths in ((results, [p for kind in kinds for p in results.glob(kind)]), (back, back.rglob("*")))
    )
    assert found == expected
    for path in expected:
        assert (back / path).read_bytes() == imported.file(str(path)).read_bytes(), path
    del config["publish"]
    done = imported.run(config, "publish", env=environment, check=False)
    assert "the configuration has no section `publish`" in done.stdout + done.stderr


def test_the_whole_workflow_with_a_bucket_as_default_storage(finished, s3, smollm2, fetched, environment, tmp_path):
    """From text on disk to the atlas; every result goes to the bucket."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for i, row in enumerate(pq.read_table(fetched["sotu"]).to_pylist()[:40]):
        (texts / f"{i}.txt").write_text(row["text"])
    config = changed(
        tiny_config(),
        **{"models__smollm2-135m-instruct": {"source": "path", "path": smollm2}},
        corpus__sources={"texts": {"source": "path", "path": str(texts), "format": "text", "ratio": 1.0}},
        corpus__sequences={"train": 40, "valid": 24, "test": 24},
        neurons={"layers": [1], "indices": [699], "chunk_size": 1},
        descriptions__candidates=1,
    )
    options = ["--default-storage-provider", "s3", "--default-storage-prefix", "s3://closed/stored"]
    options += ["--storage-s3-endpoint-url", s3.endpoint]
    first = Project(tmp_path / "first")
    first.run(config, *options, env=environment)
    assert not (first.folder / "results/tiny/atlas").exists()
    stored = {o["Key"] for o in s3.client().list_objects_v2(Bucket="closed", Prefix="stored/")["Contents"]}
    assert {f"stored/results/tiny/atlas/{name}" for name in ("atlas.parquet", "index.html", "scores.svg")} <= stored
    assert "stored/results/tiny/scores/layer-1/chunk-0.parquet" in stored
    body = s3.client().get_object(Bucket="closed", Key="stored/results/tiny/atlas/atlas.parquet")["Body"].read()
    (tmp_path / "atlas.parquet").write_bytes(body)
    assert list(pq.read_table(tmp_path / "atlas.parquet")["neuron"].to_pylist()) == [699, 699]
    assert not any("activations" in key for key in stored)  # temporary ones are gone
