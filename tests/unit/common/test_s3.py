"""Objects from a real S3 server: ranges, credentials, versions, a server that goes away and comes back."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from neuron_descriptions.common import stores as s3_module
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.common.stores import Bucket, Changed, Facts, Folder, Missing, open_store
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.config.sources import S3
from neuron_descriptions.corpus.templates import Template
from neuron_descriptions.harvest.tables import EXEMPLARS
from neuron_descriptions.imports import arrays as importing
from neuron_descriptions.imports.arrays import read_listing
from neuron_descriptions.imports.listing import Wanted, list_exemplars
from neuron_descriptions.imports.published import import_exemplars
from published_folder import write_large
from s3_server import ACCESS, Proxy, S3Server

LAYER, WIDTH, K, RANDOM, SEQ_LEN = 2, 32, 100, 10, 95
WANTED = Wanted(WIDTH, None, K, RANDOM, SEQ_LEN)


@pytest.fixture(autouse=True)
def credentials(s3, monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(s3_module, "LONGEST_PAUSE", 2.0)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.fixture(scope="module")
def large(tokenizer, tmp_path_factory) -> Path:
    """Exemplars of the published row size, 16 MB."""
    folder = tmp_path_factory.mktemp("large") / "folder"
    write_large(folder, LAYER, WIDTH, K, RANDOM, SEQ_LEN, Template(tokenizer).prose_prefix)
    return folder


@pytest.fixture(scope="module")
def uploaded(s3, large) -> str:
    s3.upload(large, "open", "exemplars/large")
    return "exemplars/large"


def run_import(
    place: S3 | Path, neurons: list[int], subject: str, output: Path, listing: str | None = None
) -> dict[str, bytes]:
    """Import, from listing on; every file written, by name."""
    output.mkdir(parents=True, exist_ok=True)
    if not listing:
        listing = str(output / "listing.json")
        list_exemplars(place, LAYER, WANTED, subject, listing)
    corpus = {split: str(output / f"{split}.parquet") for split in SPLITS}
    import_exemplars(
        place, listing, LAYER, neurons, corpus,
        str(output / "exemplars.parquet"), str(output / "statistics.parquet"),
    )  # fmt: skip
    return {path.name: path.read_bytes() for path in output.glob("*.parquet")}


# --- objects -----------------------------------------------------------------------------------------


def test_heads_and_ranges_are_the_bytes_of_the_object(s3, tmp_path, monkeypatch):
    content = np.random.default_rng(0).bytes(1_000_000)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/object").write_bytes(content)
    s3.client().put_object(Bucket="closed", Key="ranges/object", Body=content)
    for store in (open_store(s3.place("closed", "ranges")), open_store(tmp_path / "folder")):
        assert isinstance(store, Bucket | Folder)
        start, facts = store.head("object", 100)
        assert start == content[:100] and facts.size == len(content)
        assert store.head("object", 2_000_000) == (content, facts)
        for first, size in ((0, 1), (999_999, 1), (123_456, 700_001), (0, 1_000_000)):
            buffer = bytearray(size)
            store.read_into("object", first, memoryview(buffer), facts)
            assert bytes(buffer) == content[first : first + size]
        with pytest.raises(Missing, match=r"ranges/other does not exist|folder/other does not exist"):
            store.head("other", 1)


def test_an_object_that_was_replaced_is_no_longer_read(s3):
    client, store = s3.client(), Bucket(s3.place("closed", "replaced"))
    client.put_object(Bucket="closed", Key="replaced/object", Body=b"a" * 1000)
    _, facts = store.head("object", 1)
    client.put_object(Bucket="closed", Key="replaced/object", Body=b"b" * 1000)
    with pytest.raises(Changed, match="s3://closed/replaced/object has changed"):
        store.read_into("object", 0, memoryview(bytearray(10)), facts)
    client.put_object(Bucket="closed", Key="replaced/object", Body=b"c")
    _, facts = store.head("object", 1)
    with pytest.raises(ValueError, match="is shorter than its listing says"):
        store.read_into("object", 100, memoryview(bytearray(10)), Facts(1000, facts.tag))


def test_listing_goes_on_after_a_thousand(s3):
    client = s3.client()
    for i in range(1005):
        client.put_object(Bucket="closed", Key=f"many/{i}", Body=b"x" * (i % 7))
    assert Bucket(s3.place("closed", "many")).sizes("") == {str(i): i % 7 for i in range(1005)}


@pytest.mark.parametrize(
    ("bucket", "anonymous", "change", "message"),
    [
        (
            "closed",
            False,
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            r"refuses \(SignatureDoesNotMatch\); check the credentials",
        ),
        ("closed", False, {"AWS_ACCESS_KEY_ID": "nobody"}, r"refuses \(InvalidAccessKeyId\); check the credentials"),
        ("closed", False, {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no credentials; set AWS_ACCESS"),
        ("closed", True, {}, r"refuses \(AccessDenied\); check"),
        ("absent", False, {}, "there is no bucket absent; correct `bucket` or `endpoint`"),
    ],
)
def test_refusals_say_what_to_do_and_no_secret(s3, monkeypatch, bucket, anonymous, change, message):
    s3.client().put_object(Bucket="closed", Key="kept/object", Body=b"x")
    for name, value in change.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message) as caught:
        Bucket(s3.place(bucket, "kept", anonymous)).head("object", 1)
    assert s3.environment["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)
    assert ACCESS not in str(caught.value)


def test_a_server_that_stays_away_is_given_up_with_its_name(monkeypatch):
    monkeypatch.setattr(s3_module, "ATTEMPTS", 3)
    monkeypatch.setattr(s3_module, "PAUSE", 0.01)
    place = S3(bucket="open", endpoint="http://127.0.0.1:9", anonymous=True)
    with pytest.raises(ConnectionError, match="s3://open/object: given up after 3 tries: Could not connect"):
        Bucket(place).head("object", 1)


# --- imports -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("neurons", [[7], [3, 4, 5, 20, 21, 30], list(range(WIDTH))], ids=len)
def test_import_moves_hardly_more_than_the_neurons_slices(s3, uploaded, large, smollm2, tmp_path, monkeypatch, neurons):
    monkeypatch.setattr(importing, "REQUEST", 1 << 20)
    proxy = Proxy(s3.ports["s3"])
    place = s3.place("open", uploaded, anonymous=True, endpoint=proxy.endpoint)
    listing = str(tmp_path / "listing.json")
    list_exemplars(place, LAYER, WANTED, smollm2, listing)
    listed, proxy.down = proxy.down, 0
    files = run_import(place, neurons, smollm2, tmp_path / "s3", listing)
    proxy.close()
    arrays = read_listing(listing)["arrays"].values()
    assert any(a.fortran for a in arrays)  # these, the smallest, are read from the first neuron to the last
    needed = sum(a.row * (WIDTH if a.fortran else len(neurons)) for a in arrays)
    assert needed > 6 * 2 * 2 * K * SEQ_LEN * len(neurons)
    assert 0.9 * needed <= proxy.down <= 1.05 * needed
    assert listed < 200_000
    assert files == run_import(large, neurons, smollm2, tmp_path / "local")


def test_import_without_credentials_from_a_public_bucket(s3, uploaded, smollm2, tmp_path, monkeypatch):
    for name in s3.environment:
        monkeypatch.delenv(name)
    files = run_import(s3.place("open", uploaded, anonymous=True), [1], smollm2, tmp_path / "out")
    assert len(files) == 5


def test_an_object_replaced_in_the_middle_of_an_import_is_an_error(s3, large, smollm2, tmp_path, monkeypatch):
    """After some of its own ranges have come."""
    monkeypatch.setattr(importing, "REQUEST", 100_000)
    monkeypatch.setattr(importing, "REQUESTS", 1)
    s3.upload(large, "closed", "replaced")
    place = s3.place("closed", "replaced")
    listing = str(tmp_path / "listing.json")
    list_exemplars(place, LAYER, WANTED, smollm2, listing)
    place_of, size = max(((p, a.facts.size) for p, a in read_listing(listing)["arrays"].items()), key=lambda i: i[1])
    before = sum(a.row * WIDTH for a in list(read_listing(listing)["arrays"].values())[:1])

    def replace() -> None:
        body = (large / place_of).read_bytes()
        s3.client().put_object(Bucket="closed", Key=f"replaced/{place_of}", Body=body[:-4] + b"\0\0\0\0")

    proxy = Proxy(s3.ports["s3"], after=before // 2, at=replace)
    with pytest.raises(ValueError, match=r"has changed since it was listed; delete .*listing\.json and run again"):
        run_import(
            place.model_copy(update={"endpoint": proxy.endpoint}),
            list(range(WIDTH)),
            smollm2,
            tmp_path / "out",
            listing,
        )
    proxy.close()
    assert size > 1_000_000 and not list((tmp_path / "out").glob("*"))


def test_a_server_stopped_in_the_middle_of_an_import_and_back(large, smollm2, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(importing, "REQUEST", 1 << 20)
    with S3Server(tmp_path / "server") as server:
        server.upload(large, "open", "large")
        proxy = Proxy(server.ports["s3"], after=8_000_000, at=server.bounce)
        place = server.place("open", "large", anonymous=True, endpoint=proxy.endpoint)
        with caplog.at_level("INFO", "neuron_descriptions"):
            files = run_import(place, list(range(WIDTH)), smollm2, tmp_path / "s3")
        proxy.close()
    assert "trying again" in caplog.text
    assert files == run_import(large, list(range(WIDTH)), smollm2, tmp_path / "local")


def test_made_up_exemplars_are_the_arrays_rows(large, smollm2, tmp_path):
    """What the other tests here compare with: row by row, from numpy's own reader."""
    run_import(large, [0, 9], smollm2, tmp_path)
    table = read_table(tmp_path / "exemplars.parquet", EXEMPLARS).to_pandas()
    assert len(table) == 2 * 3 * 2 * (K + RANDOM)
    prefix = len(json.loads((tmp_path / "listing.json").read_text())["tokenizer"]["prefix"])
    for split, sign, neuron in product(SPLITS, SIGNS, (0, 9)):
        place = large / split / f"layer{LAYER}" / ("max" if sign == "positive" else "min")
        acts = np.load(f"{place}_seq_acts.npy")[neuron]
        ids = np.load(f"{place}_seq_ids.npy")[neuron]
        rows = table[(table.split == split) & (table.sign == sign) & (table.neuron == neuron) & (table.kind == "top")]
        found = sorted(tuple(row) for row in rows.activations)
        starts = (ids != 2).argmax(1) + prefix
        assert found == sorted(tuple(a[s:]) for a, s in zip(acts, starts))
        assert list(rows["rank"]) == list(range(K))
        assert (np.diff(rows.peak) <= 0).all() if sign == "positive" else (np.diff(rows.peak) >= 0).all()
