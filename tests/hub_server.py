"""A server on loopback that speaks as much of the hub's protocol as its client needs."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOKEN = "made-for-this-test"
COMMIT = "a" * 40
ROOT = Path(__file__).parents[1]


@contextmanager
def serve(repositories: dict[str, dict[str, bytes | Path]]) -> Iterator[str]:
    """Address of a server with gated repositories: name -> file's path in it -> its bytes, or the file with them."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.reply(body=False)

        def do_GET(self):
            self.reply(body=True)

        def reply(self, body):
            path = self.path.split("?")[0].removeprefix("/api/models").strip("/")
            if self.headers.get("authorization") != f"Bearer {TOKEN}":
                return self.send(401, b"", body)
            files = repositories.get("/".join(path.split("/")[:2]), {})
            if self.path.startswith("/api/models/"):
                sizes = {
                    name: len(held) if isinstance(held, bytes) else held.stat().st_size for name, held in files.items()
                }
                listed = [{"type": "file", "path": name, "size": size, "oid": name} for name, size in sizes.items()]
                about = {"id": "own", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
                return self.send(200, json.dumps(listed if "/tree/" in path else about).encode(), body)
            name = path.split("/", 4)[-1]  # owner/name/resolve/revision/...
            if name not in files:
                return self.send(404, b"", body)
            held = files[name]
            return self.send(200, held if isinstance(held, bytes) else held.read_bytes(), body, name.replace("/", "-"))

        def send(self, status, content, body, etag="none"):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{etag}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run_with(hub: str, token: str, folder: Path, code: str) -> subprocess.CompletedProcess:
    """Run Python code whose hub is this server, with a token of the environment and a cache in the folder."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub, "HF_TOKEN": token, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    environment["PYTHONPATH"] = str(ROOT / "scripts")
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=240)
