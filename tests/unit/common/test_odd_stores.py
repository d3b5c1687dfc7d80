"""Stores that speak less of S3 than Amazon's: without ranges, without checksums."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from neuron_descriptions.common import stores as s3_module
from neuron_descriptions.common.stores import Bucket, Changed, Facts
from neuron_descriptions.config.sources import S3

CONTENT = bytes(range(200))
ERROR = '<?xml version="1.0"?><Error><Code>{}</Code><Message>{}</Message></Error>'
# What stores say to a checksum that they do not take.
REFUSALS = {
    "header": (501, "NotImplemented", "A header you provided implies functionality that is not implemented"),
    "argument": (400, "InvalidArgument", "Unsupported header 'x-amz-checksum-sha256' received for this API call."),
    "algorithm": (400, "InvalidRequest", "x-amz-sdk-checksum-algorithm is not supported"),
}
EVERYTHING = (501, "NotImplemented", "Uploads are not implemented")


class Store(ThreadingHTTPServer):
    """One object, and whatever is put; `answer`: how a GET of a range is answered, `refuses`: a key of REFUSALS."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = self.refuses = ""
        self.puts = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request, client_address):
        """A reader that has what it wants closes the connection."""

    def bucket(self):
        endpoint = f"http://127.0.0.1:{self.server_port}"
        return Bucket(S3(bucket="b", prefix="p", endpoint=endpoint))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        last = min(last, len(CONTENT) - 1)
        part, shift = CONTENT[first : last + 1], f"bytes {first + 1}-{last + 1}/{len(CONTENT)}"
        fit = f"bytes {first}-{last}/{len(CONTENT)}"
        match self.server.answer:
            case "whole":
                self.reply(200, CONTENT, ETag='"x"')
            case "shifted":
                self.reply(206, part, ETag='"x"', Content_Range=shift)
            case "unnamed":
                self.reply(206, part, ETag='"x"')
            case "other version":
                self.reply(206, part, ETag='"y"', Content_Range=fit)
            case "no tag":
                self.reply(206, part, Content_Range=fit)
            case _:
                self.reply(206, part, ETag='"x"', Content_Range=fit)

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        checksums = [name for name in self.headers if "checksum" in name.lower() or "trailer" in name.lower()]
        self.server.puts.append((self.path, body, checksums))
        if self.server.refuses == "everything" or (self.server.refuses and checksums):
            status, code, message = REFUSALS.get(self.server.refuses, EVERYTHING)
            self.reply(status, ERROR.format(code, message).encode(), Content_Type="application/xml")
        else:
            self.reply(200, ETag='"x"')


@pytest.fixture
def store(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-a-test")
    monkeypatch.setattr(s3_module, "PAUSE", 0.0)
    server = Store()
    yield server
    server.shutdown()
    server.server_close()


FACTS = Facts(len(CONTENT), '"x"')


def read(store, first, size):
    buffer = bytearray(size)
    store.bucket().read_into("object", first, memoryview(buffer), FACTS)
    return bytes(buffer)


def test_ranges_are_read(store):
    assert store.bucket().head("object", 10) == (CONTENT[:10], FACTS)
    assert store.bucket().head("object", 1000) == (CONTENT, FACTS)
    assert read(store, 50, 20) == CONTENT[50:70]
    assert read(store, 190, 10) == CONTENT[190:]


def test_a_store_that_ignores_ranges_gives_no_other_bytes(store):
    store.answer = "whole"
    assert store.bucket().head("object", 10) == (CONTENT[:10], FACTS)
    assert read(store, 0, len(CONTENT)) == CONTENT  # all was asked for
    for first, size in ((50, 20), (0, 20), (190, 10)):
        with pytest.raises(ValueError, match=r"s3://b/p/object: the store ignores the range .* give its `path`"):
            read(store, first, size)


@pytest.mark.parametrize(("answer", "named"), [("shifted", "bytes 51-70/200"), ("unnamed", "''")])
def test_another_range_than_was_asked_for_is_an_error(store, answer, named):
    store.answer = answer
    with pytest.raises(ValueError, match=f"asked for bytes 50-69, the store answered with Content-Range '?{named}"):
        read(store, 50, 20)
    with pytest.raises(ValueError, match="the store answered with Content-Range"):
        store.bucket().head("object", 10)


def test_another_version_is_noticed_though_the_store_ignores_if_match(store):
    store.answer = "other version"
    with pytest.raises(Changed, match="s3://b/p/object has changed"):
        read(store, 50, 20)


def test_a_store_that_does_not_tell_versions_apart_is_named(store):
    store.answer = "no tag"
    with pytest.raises(ValueError, match="s3://b/p/object: the store gives no ETag"):
        store.bucket().head("object", 10)


@pytest.mark.parametrize("refuses", ["", *REFUSALS])
def test_uploads_go_without_checksums_where_the_store_takes_none(store, tmp_path, refuses):
    (tmp_path / "file").write_bytes(CONTENT)
    for send in (lambda b: b.put(CONTENT, "key"), lambda b: b.upload(tmp_path / "file", "key")):
        store.refuses, bucket = refuses, store.bucket()
        store.puts.clear()
        send(bucket)
        tries = [bool(checksums) for _, _, checksums in store.puts]
        assert tries == ([True, False] if refuses else [True])
        send(bucket)  # has learnt
        assert len(store.puts) == len(tries) + 1
        assert store.puts[-1][:2] == ("/b/p/key", CONTENT)


def test_what_a_store_does_not_know_is_not_asked_again_and_again(store):
    store.refuses = "everything"
    with pytest.raises(ValueError, match=r"s3://b/p/key: the store does not know this request .*not implemented"):
        store.bucket().put(CONTENT, "key")
    assert len(store.puts) == 2  # with a checksum, and without
