"""A run published to a real S3 server and fetched back: whole, verified, and nothing sent twice."""

import json

import numpy as np
import pytest

from neuron_descriptions.common import stores as s3_module
from neuron_descriptions.exports.publish import fetch_run, publish
from s3_server import Proxy, S3Server


@pytest.fixture(autouse=True)
def credentials(s3, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(s3_module, "LONGEST_PAUSE", 2.0)


@pytest.fixture
def run(tmp_path):
    """A run of 1,005 small files, a large one, 40 MB, and one in a folder."""
    root = tmp_path / "results/run"
    rng = np.random.default_rng(0)
    for i in range(1005):
        path = root / f"descriptions/layer-{i % 3}/chunk-{i}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(i % 50))
    (root / "atlas/details/chunk-0").mkdir(parents=True)
    (root / "atlas/details/chunk-0/0.js").write_bytes(b"details")
    (root / "atlas/index.html").write_bytes(rng.bytes(40_000_000))
    return root


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def send(place, root, **options):
    files = [str(p) for p in root.rglob("*") if p.is_file() and "details" not in p.parts]
    files += [str(p) for p in root.glob("atlas/details/*")]  # folders
    publish(place, "run", str(root / "atlas/atlas.parquet"), [], files, str(root.parent / "receipt.json"))


def test_a_run_comes_back_as_it_was_and_what_is_there_is_not_sent_again(s3, run, tmp_path):
    proxy = Proxy(s3.ports["s3"])
    place = s3.place("open", "published", endpoint=proxy.endpoint)
    send(place, run)
    large = [
        o for o in s3.client().list_objects_v2(Bucket="open", Prefix="published/run/")["Contents"] if o["Size"] > 1e6
    ]
    assert len(large) == 1 and "-" in large[0]["ETag"]  # came in parts
    receipt = json.loads((run.parent / "receipt.json").read_text())
    assert set(receipt["files"]) == set(files_of(run))

    sent, proxy.up = proxy.up, 0
    send(place, run)
    index = (run.parent / "receipt.json").stat().st_size
    assert sent > 40_000_000 and proxy.up < index + 10_000  # the index alone, and listings

    (run / "descriptions/layer-0/chunk-3.parquet").write_bytes(b"another")
    proxy.up = 0
    send(place, run)
    assert proxy.up < index + 12_000
    proxy.close()
    fetch_run(s3.place("open", "published", anonymous=True), "run", str(tmp_path / "back"))
    assert files_of(tmp_path / "back") == files_of(run)


def test_readers_see_the_run_before_until_all_of_the_next_is_there(s3, run, tmp_path, monkeypatch):
    for path in sorted(run.rglob("*.parquet"))[100:]:
        path.unlink()
    with S3Server(tmp_path / "server") as server:
        place = server.place("open", "published")
        (run / "atlas/index.html").write_bytes(b"small")
        send(place, run)
        before = files_of(run)
        for path in run.rglob("*.parquet"):
            path.write_bytes(path.read_bytes() + b"changed")
        proxy = Proxy(server.ports["s3"], after=60_000, at=server.stop)
        with monkeypatch.context() as impatient:
            impatient.setattr(s3_module, "ATTEMPTS", 2)
            with pytest.raises(ConnectionError, match=r"s3://open/published/run/objects/\w+/.*: given up after"):
                send(place.model_copy(update={"endpoint": proxy.endpoint}), run)
        proxy.close()
        server.start()
        fetch_run(place, "run", str(tmp_path / "back"))
        assert files_of(tmp_path / "back") == before
        send(place, run)  # takes up where it stopped
        fetch_run(place, "run", str(tmp_path / "again"))
        assert files_of(tmp_path / "again") == files_of(run) != before


def test_a_server_stopped_in_the_middle_of_an_upload_and_back(run, tmp_path, caplog):
    with S3Server(tmp_path / "server") as server:
        for path in run.rglob("*.parquet"):
            path.unlink()
        proxy = Proxy(server.ports["s3"], after=20_000_000, at=server.bounce)
        with caplog.at_level("INFO", "neuron_descriptions"):
            send(server.place(endpoint=proxy.endpoint), run)
        proxy.close()
        assert "trying again" in caplog.text
        fetch_run(server.place(), "run", str(tmp_path / "back"))
    assert files_of(tmp_path / "back") == files_of(run)


@pytest.mark.parametrize("damage", ["content", "size", "missing"])
def test_what_is_not_what_the_index_says_is_refused(s3, run, tmp_path, damage):
    for path in (*run.rglob("*.parquet"), *run.rglob("*.js")):
        path.unlink()
    (run / "atlas/index.html").write_bytes(b"a page")
    send(s3.place("open", f"damaged-{damage}"), run)
    client = s3.client()
    found = client.list_objects_v2(Bucket="open", Prefix=f"damaged-{damage}/run/objects/")["Contents"][0]["Key"]
    if damage == "missing":
        client.delete_object(Bucket="open", Key=found)
    else:
        client.put_object(Bucket="open", Key=found, Body=b"a leaf" if damage == "content" else b"a")
    with pytest.raises(ValueError, match=r"index\.html \(atlas/index\.html\) is not what|index\.html does not exist"):
        fetch_run(s3.place("open", f"damaged-{damage}"), "run", str(tmp_path / "back"))
    assert not (tmp_path / "back").exists()


def test_an_index_cannot_write_outside_the_folder(s3, tmp_path):
    for path in ("../outside", "/tmp/outside", "a/../../outside"):
        index = {"format": 1, "run": "run", "files": {path: {"sha256": "0" * 64, "size": 0}}}
        s3.client().put_object(Bucket="open", Key="evil/run/index.json", Body=json.dumps(index).encode())
        with pytest.raises(ValueError, match="names a file outside the run"):
            fetch_run(s3.place("open", "evil"), "run", str(tmp_path / "back"))


def test_no_run_and_no_right_to_publish_are_said(s3, run, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"s3://open/empty/run/index.json does not exist: no run run is published"):
        fetch_run(s3.place("open", "empty"), "run", str(tmp_path / "back"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ValueError, match=r"refuses \(SignatureDoesNotMatch\)"):
        send(s3.place("open", "empty"), run)


def test_exemplars_of_another_run_are_published_with_the_run_that_uses_them(s3, tmp_path):
    files = [
        tmp_path / f"results/{name}"
        for name in ("run/atlas/atlas.parquet", "other/corpus/train.parquet", "other/exemplars/layer-0/chunk-0.parquet")
    ]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_bytes(file.name.encode())
    place, names = s3.place("open", "shared"), list(map(str, files))
    publish(place, "run", names[0], names[2:], names, str(tmp_path / "receipt.json"))
    fetch_run(place, "run", str(tmp_path / "back"))
    assert files_of(tmp_path / "back") == {
        "atlas/atlas.parquet": b"atlas.parquet",
        "corpus/train.parquet": b"train.parquet",
        "exemplars/layer-0/chunk-0.parquet": b"chunk-0.parquet",
    }
