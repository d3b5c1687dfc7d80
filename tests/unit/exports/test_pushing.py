"""A dataset uploaded: the hub's own client against a server on loopback that speaks what it needs of the protocol."""

import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest

from conftest import ROOT
from neuron_descriptions.exports.huggingface import push_dataset

TOKEN = "made-for-this-test"


class Hub:
    """What a hub of one dataset was sent: files by path, and requests by their path."""

    def __init__(self):
        self.files = {"README.md": b"old", "data/part-00009.parquet": b"stale", ".gitattributes": b"kept"}
        self.blobs, self.created, self.commits = {}, [], 0

    def answer(self, path, body):
        """The answer to a request with the right token."""
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return {"url": f"{self.address}/datasets/own/neurons"}
        if path.startswith("/api/validate-yaml"):
            return {"errors": [], "warnings": []}
        if path.startswith("/api/datasets/own/neurons/tree/main"):
            return [{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in self.files.items()]
        if path == "/api/datasets/own/neurons/preupload/main":
            mode = lambda p: "lfs" if p.endswith(".parquet") else "regular"  # noqa: E731
            named = [file["path"] for file in json.loads(body)["files"]]
            return {"files": [{"path": p, "uploadMode": mode(p), "shouldIgnore": False} for p in named]}
        if path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            upload = lambda oid: {"upload": {"href": f"{self.address}/blob/{oid}"}}  # noqa: E731
            return {"objects": [{**o, "actions": upload(o["oid"])} for o in wanted], "transfer": "basic"}
        if path == "/api/datasets/own/neurons/commit/main":
            return self.commit([json.loads(line) for line in body.splitlines()])
        return None

    def commit(self, lines):
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del self.files[value["path"]]
        self.commits += 1
        oid = str(self.commits) * 40
        return {"commitUrl": f"{self.address}/datasets/own/neurons/commit/{oid}", "commitOid": oid, "success": True}


@pytest.fixture
def hub():
    hub = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            self.reply()

        def do_POST(self):
            self.reply()

        def do_PUT(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hub.blobs[hashlib.sha256(body).hexdigest()] = body
            self.send(200, {})

        def reply(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("authorization") != f"Bearer {TOKEN}":
                return self.send(401, {"error": "Invalid credentials"})
            found = hub.answer(self.path.split("?")[0], body)
            return self.send(404 if found is None else 200, found)

        def send(self, status, content):
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        hub.address = f"http://127.0.0.1:{server.server_port}"
        yield hub
        server.shutdown()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dataset/data").mkdir(parents=True)
    (tmp_path / "dataset/README.md").write_text("---\ntags: [a]\n---\n\n# A card\n")
    for number in range(2):
        (tmp_path / f"dataset/data/part-0000{number}.parquet").write_bytes(os.urandom(5000))
    (tmp_path / "dataset/.snakemake_timestamp").touch()  # Snakemake leaves one in a folder that a rule makes
    return tmp_path / "dataset"


def push(hub, folder, token):
    output = folder.parent / "pushed.json"
    code = (
        "from neuron_descriptions.exports.huggingface import push_dataset;"
        f"push_dataset({str(folder)!r}, 'own/neurons', True, {str(output)!r})"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(folder.parent / "home"), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"PYTHONPATH": str(ROOT / "scripts")} | ({"HF_TOKEN": token} if token else {})
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    return done, output


def test_what_the_hub_has_afterwards_is_the_folder(hub, folder):
    for commit in ("1", "2"):
        done, output = push(hub, folder, TOKEN)
        assert done.returncode == 0, done.stderr
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("[!.]*") if p.is_file()}
        assert hub.files == files | {".gitattributes": b"kept"}  # the stale shard is gone
        said = json.loads(output.read_text())
        assert said == {"repository": "own/neurons", "commit": commit * 40, "files": sorted(files)}
        assert TOKEN not in done.stdout + done.stderr + output.read_text()
        (folder / "data/part-00001.parquet").unlink(missing_ok=True)
    assert hub.created[0]["type"] == "dataset" and hub.created[0]["visibility"] == "private"


def test_without_a_token_or_with_a_wrong_one_nothing_is_sent(hub, folder):
    before = dict(hub.files)
    done, output = push(hub, folder, None)
    assert "ValueError: no HF_TOKEN in the environment" in done.stderr
    done, output = push(hub, folder, "a-wrong-token")
    assert "PermissionError: the hub refuses an upload to own/neurons (status 401)" in done.stderr
    assert "a-wrong-token" not in done.stdout + done.stderr
    assert hub.files == before and not hub.created and not output.exists()


@pytest.mark.parametrize("token", ["secret-one\nsecret-two", '"secret"', "secret\u2013two"])
def test_a_malformed_token_is_said_and_not_shown(folder, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ValueError, match="what the environment has as HF_TOKEN is no token") as caught:
        push_dataset(str(folder), "own/neurons", True, str(folder.parent / "pushed.json"))
    assert "secret" not in str(caught.value)
