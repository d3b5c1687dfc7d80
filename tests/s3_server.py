"""A real S3 server (SeaweedFS) on loopback, for tests and benchmarks."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from neuron_descriptions.config.sources import S3

ACCESS, SECRET = "writer-of-tests", "not-a-secret-elsewhere"
WEED = shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed"


def _free_ports(count: int) -> list[int]:
    """Ports that are free, and the ones 10,000 above them too (the server's gRPC)."""
    found: list[int] = []
    for port in range(20_000 + time.time_ns() // 1000 % 9000, 50_000):
        if len(found) == count:
            return found
        try:
            for number in (port, port + 10_000):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", number))
            found.append(port)
        except OSError:
            continue
    raise OSError("no free ports")


class S3Server:
    """`start`, `stop` and start again on the same folder and ports. Bucket `open` can be read without credentials,
    `closed` cannot."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "data").mkdir(parents=True)
        writer = {"name": "writer", "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}], "actions": ["Admin"]}
        anonymous = {"name": "anonymous", "actions": ["Read:open", "List:open"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [writer, anonymous]}))
        self.ports = dict(zip(("master", "volume", "filer", "s3"), _free_ports(4)))
        self.process: subprocess.Popen | None = None
        self._back: threading.Timer | None = None

    @property
    def endpoint(self) -> str:
        """URL of the S3 interface."""
        return f"http://127.0.0.1:{self.ports['s3']}"

    @property
    def environment(self) -> dict[str, str]:
        """What gives a process the writer's credentials."""
        return {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}

    def start(self) -> "S3Server":
        """Start and wait until both buckets can be written and read."""
        options = [f"-{name}.port={port}" for name, port in self.ports.items()]
        command = [
            WEED, "server", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-master.telemetry=false", "-master.electionTimeout=1s",
            "-master.volumeSizeLimitMB=256", "-master.volumePreallocate=false",
            "-volume.max=40", "-volume.preStopSeconds=0", "-filer", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.config={self.folder / 's3.json'}", *options,
        ]  # fmt: skip
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                client = self.client()
                for bucket in ("open", "closed"):
                    with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                        client.create_bucket(Bucket=bucket)
                    client.put_object(Bucket=bucket, Key="ready", Body=b"ready")
                    client.get_object(Bucket=bucket, Key="ready")["Body"].read()
                return self
            except Exception as error:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.stop()
                    raise RuntimeError((self.folder / "server.log").read_text()[-3000:]) from error
                time.sleep(0.1)

    def stop(self) -> None:
        """Kill the server, in the middle of whatever it does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def bounce(self) -> None:
        """Kill the server; it comes back a little later, in the background."""
        self.stop()
        self._back = threading.Timer(1.0, self.start)
        self._back.start()

    def client(self, **credentials: str) -> Any:
        """A boto3 client, the writer's unless told otherwise."""
        import boto3
        from botocore.config import Config

        keys = {"aws_access_key_id": ACCESS, "aws_secret_access_key": SECRET} | credentials
        config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", config=config, **keys)

    def place(self, bucket: str = "open", prefix: str = "", anonymous: bool = False, endpoint: str = "") -> S3:
        """A place in a bucket. endpoint: instead of the server's own."""
        return S3(bucket=bucket, prefix=prefix, endpoint=endpoint or self.endpoint, anonymous=anonymous)

    def upload(self, folder: Path, bucket: str, prefix: str) -> None:
        """Put a folder's files below a prefix."""
        client = self.client()
        for path in folder.rglob("*"):
            if path.is_file():
                client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder).as_posix()}")

    def __enter__(self) -> "S3Server":
        return self.start()

    def __exit__(self, *error: object) -> None:
        if self._back is not None:
            self._back.join()
        self.stop()


class Proxy:
    """Passes connections on to a server, counts the bytes both ways, and calls `at` once `after` bytes have passed."""

    def __init__(self, port: int, after: float = float("inf"), at: Callable[[], None] = lambda: None):
        self.port, self.after, self.at = port, after, at
        self.down = self.up = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self) -> str:
        """URL of the server through this proxy."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Accept no more."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                client.close()
                continue
            for source, target, way in ((client, server, "up"), (server, client, "down")):
                threading.Thread(target=self._pass, args=(source, target, way), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, way: str) -> None:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
                with self._lock:
                    setattr(self, way, getattr(self, way) + len(data))
                    now = self.up + self.down > self.after
                    if now:
                        self.after = float("inf")
                if now:
                    self.at()
        except OSError:
            pass
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
