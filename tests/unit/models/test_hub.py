"""Weights from a hub: the real client against a server on loopback that speaks as much of its protocol as needed."""

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conftest import ROOT

TOKEN = "made-for-this-test"
COMMIT = "a" * 40


@pytest.fixture
def hub(smollm2):
    """Address of a server with two gated repositories: own/smol, and own/pickled, whose weights are a .bin file."""
    files = {path.name: path for path in Path(smollm2).iterdir()}

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.reply(body=False)

        def do_GET(self):
            self.reply(body=True)

        def reply(self, body):
            path = self.path.split("?")[0]
            if self.headers.get("authorization") != f"Bearer {TOKEN}":
                return self.send(401, b"", body)
            if path.startswith("/api/models/own/"):
                names = list(files) if "/own/smol" in path else ["config.json", "pytorch_model.bin"]
                sizes = {name: files[name].stat().st_size if name in files else 9 for name in names}
                listed = [{"type": "file", "path": name, "size": size, "oid": name} for name, size in sizes.items()]
                about = {"id": "own", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
                return self.send(200, json.dumps(listed if "/tree/" in path else about).encode(), body)
            name = path.rsplit("/", 1)[-1]
            return self.send(200, files[name].read_bytes(), body, name) if name in files else self.send(404, b"", body)

        def send(self, status, content, body, etag="none"):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{etag}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def fetch(hub, folder, token, repo="own/smol"):
    code = (
        "from neuron_descriptions.models.fetching import fetch_model;"
        f"fetch_model(dict(source='hub', repo={repo!r}, revision='main'), {str(folder / 'model')!r})"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub, "HF_TOKEN": token, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    environment["PYTHONPATH"] = str(ROOT / "scripts")
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


def test_weights_come_from_the_hub_with_the_token_of_the_environment(hub, smollm2, tmp_path):
    done = fetch(hub, tmp_path, TOKEN)
    assert done.returncode == 0, done.stderr
    fetched = {path.name: path for path in (tmp_path / "model").iterdir()}
    assert set(fetched) == {path.name for path in Path(smollm2).iterdir() if not path.name.startswith(".")}
    for name, path in fetched.items():
        assert path.read_bytes() == (Path(smollm2) / name).read_bytes()
        assert TOKEN.encode() not in path.read_bytes()
    assert TOKEN not in done.stdout + done.stderr


def test_weights_that_are_pickled_are_refused_with_what_to_do(hub, tmp_path):
    done = fetch(hub, tmp_path, TOKEN, "own/pickled")
    assert "own/pickled has no .safetensors weights at main; .bin files" in done.stderr
    assert "`source: path`" in done.stderr
    assert not (tmp_path / "model").exists()


def test_a_refused_token_is_an_error_that_leaves_no_folder_and_names_no_token(hub, tmp_path):
    done = fetch(hub, tmp_path, "wrong-token")
    assert done.returncode != 0
    assert not (tmp_path / "model").exists()
    assert "wrong-token" not in done.stdout + done.stderr
