"""A real HTTP endpoint on loopback that speaks OpenAI's and Anthropic's interfaces, and misbehaves on request."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROMPT_TOKENS, COMPLETION_TOKENS = 50, 7  # of every answer


@dataclass
class Reply:
    """What the endpoint does with a request: an answer with a text, unless something else is asked for."""

    text: str = "[DESCRIPTION]: months"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None  # instead of a proper body
    whole: bool = True  # else half the body, and the connection ends
    silent: bool = False  # the connection ends without a byte
    wait: float = 0.0  # seconds before anything
    refused: bool = False
    finished: bool = True


Behave = Callable[[int, dict[str, Any]], Reply]


class Endpoint:
    """The server's record, and its address."""

    def __init__(self, behave: Behave):
        self.behave = behave
        self.seen: list[tuple[float, dict[str, Any]]] = []  # when, what
        self.headers: list[dict[str, str]] = []
        self.in_flight = self.most_in_flight = self.billed = 0
        self.lock = threading.Lock()
        self.base_url = ""

    def asked(self, body: dict[str, Any]) -> str:
        """A request's last message."""
        return body["messages"][-1]["content"] if "messages" in body else body["prompt"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    endpoint: Endpoint

    def setup(self) -> None:
        super().setup()
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *args: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError, TimeoutError):  # the client has gone
            super().handle()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.endpoint
        with server.lock:
            number = len(server.seen)
            server.seen.append((time.monotonic(), body))
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            self._reply(server.behave(number, body))
        finally:
            with server.lock:
                server.in_flight -= 1

    def _reply(self, reply: Reply) -> None:
        time.sleep(reply.wait)
        if reply.silent:
            self.close_connection = True
            return
        data = reply.raw if reply.raw is not None else json.dumps(self._body(reply)).encode()
        if reply.status == 200:
            with self.endpoint.lock:
                self.endpoint.billed += 1
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if reply.whole else data[: len(data) // 2])
        self.close_connection = not reply.whole

    def _body(self, reply: Reply) -> dict[str, Any]:
        if reply.status != 200:
            return {"error": {"message": reply.text, "type": "error"}}
        if self.path.endswith("/messages"):
            reason = "refusal" if reply.refused else "end_turn" if reply.finished else "max_tokens"
            usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": COMPLETION_TOKENS}
            content = [{"type": "text", "text": reply.text}] if reply.text else []
            return {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content,
                    "stop_reason": reason, "stop_sequence": None, "usage": usage}  # fmt: skip
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS}
        usage["total_tokens"] = PROMPT_TOKENS + COMPLETION_TOKENS
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop" if reply.finished else "length"}
        if self.path.endswith("/chat/completions"):
            refusal = "I cannot help." if reply.refused else None
            choice["message"] = {"role": "assistant", "content": reply.text or None, "refusal": refusal}
        else:
            choice["text"] = reply.text
        return {"id": "c", "object": "completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


@contextmanager
def endpoint(behave: Behave) -> Iterator[Endpoint]:
    """A server on loopback for as long as the block lasts. behave: (number of the request, its body) -> Reply."""
    record = Endpoint(behave)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"endpoint": record}))
    record.base_url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(
        target=server.serve_forever, args=(0.01,), daemon=True
    )  # seconds until it sees `shutdown`
    thread.start()
    try:
        yield record
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
