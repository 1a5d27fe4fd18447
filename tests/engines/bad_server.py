"""An OpenAI-compatible server that misbehaves as it is told, on 127.0.0.1: real sockets, and no model behind it.

Of calls for samples it remembers each body and how it answered. `faults` says what to do wrong, call by call.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Answer = Callable[[Body], tuple[int, Any]]  # status and JSON


def choice(text: str, index: int = 0, reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": text},
        "finish_reason": reason,
    } | more


def answered(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"id": "x", "object": "chat.completion", "choices": choices} | more


def answers(body: Body) -> tuple[int, Any]:
    """What a server answers that is well: other texts for other samples."""
    seed = body.get("seed", 0)
    choices = [choice(f"<answer>{(seed + i) % 4}</answer>", i) for i in range(body.get("n", 1))]
    return 200, answered(choices, usage={"completion_tokens": 7 * len(choices)})


class BadServer:
    """Serves `models` (None: it has no such list) until closed; `port` 0 is any."""

    def __init__(
        self,
        faults: Iterable[str] = (),
        *,
        answer: Answer = answers,
        models: tuple[str, ...] | None = ("toy",),
        owned_by: str = "me",
        port: int = 0,
        key: str = "",
    ) -> None:
        self.faults, self.answer, self.models, self.owned_by, self.key = (
            list(faults),
            answer,
            models,
            owned_by,
            key,
        )
        self.served: Counter[str] = Counter()
        self.bodies: list[Body] = []
        self.times: list[float] = []
        self.busiest = 0
        self.asked_for_models = 0
        self.lock = threading.Lock()
        self.released = threading.Event()  # ends hanging calls
        self.port = port
        self._busy = 0
        self._server: _Server | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> BadServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.released.clear()
        self._server = _Server(self, ("127.0.0.1", self.port))
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Die: no more connections, and those that there are break."""
        server, self._server = self._server, None
        if server is not None:
            self.released.set()
            server.shutdown()
            server.server_close()
            server.hang_up()

    def die_for(self, seconds: float) -> threading.Timer:
        """Die, and come back later."""
        self.stop()
        timer = threading.Timer(seconds, self.start)
        timer.daemon = True
        timer.start()
        return timer

    def assert_calls(self, counts: Mapping[str, int]) -> None:
        """A client counted the calls that came here, and besides what broke, unread, when this server died."""
        unread = counts["requests"] - counts["unreachable"] - len(self.bodies)
        assert 0 <= unread <= counts["dropped"] - self.served["drop"] - self.served["half"]

    def begin(self, body: Body) -> str:
        """Take a call for samples; what to do wrong, or nothing."""
        with self.lock:
            self.bodies.append(body)
            self.times.append(time.monotonic())
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
            fault = self.faults.pop(0) if self.faults else ""
            if fault == "short" and body.get("n", 1) == 1:
                fault = ""
            self.served[fault or "good"] += 1
            return fault

    def end(self) -> None:
        with self.lock:
            self._busy -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, owner: BadServer, address: tuple[str, int]) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, *_: Any) -> None:
        """A connection that breaks is what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        owner = self.server.owner
        owner.asked_for_models += 1
        if owner.key and not self._has_key():
            return
        if owner.models is None:
            self._send(404, {"detail": "Not Found"})
            return
        cards = [{"id": name, "object": "model", "owned_by": owner.owned_by} for name in owner.models]
        self._send(200, {"object": "list", "data": cards})

    def do_POST(self) -> None:
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if owner.key and not self._has_key():
            return
        fault = owner.begin(body)
        try:
            getattr(self, f"_{fault}")(body) if fault else self._send(*owner.answer(body))
        finally:
            owner.end()

    def _has_key(self) -> bool:
        sent = self.headers.get("authorization", "")
        if sent == f"Bearer {self.server.owner.key}":
            return True
        self._send(401, {"error": {"message": f"Incorrect API key provided: {sent.removeprefix('Bearer ')}"}})
        return False

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None, extra: int = 0) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data) + extra), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _busy(self, _: Body) -> None:
        self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.4"})

    def _busy_until(self, _: Body) -> None:
        self._send(429, b"", {"Retry-After": formatdate(time.time() + 2, usegmt=True)})

    def _error(self, _: Body) -> None:
        self._send(500, b"<html>Internal Server Error</html>")

    def _overloaded(self, _: Body) -> None:
        self._send(503, {"error": "loading"}, {"Retry-After": "0.2"})

    def _hang(self, _: Body) -> None:
        self.server.owner.released.wait(60)
        self.close_connection = True

    def _drop(self, _: Body) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _half(self, body: Body) -> None:
        whole = json.dumps(self.server.owner.answer(body)[1]).encode()
        self._send(200, whole[: len(whole) // 2], extra=len(whole) - len(whole) // 2)
        self._drop(body)

    def _malformed(self, body: Body) -> None:
        self._send(200, json.dumps(self.server.owner.answer(body)[1])[:-9].encode())

    def _nonsense(self, _: Body) -> None:
        self._send(200, b"[" * 100_000)

    def _empty(self, _: Body) -> None:
        self._send(200, answered([]))

    def _unfinished(self, body: Body) -> None:
        self._send(200, answered([choice("<answer>1", i, None) for i in range(body.get("n", 1))]))

    def _short(self, body: Body) -> None:
        status, content = self.server.owner.answer(body)
        content["choices"] = content["choices"][:-1] or content["choices"]
        self._send(status, content)

    def _surplus(self, body: Body) -> None:
        self._send(*self.server.owner.answer(body | {"n": body.get("n", 1) + 1}))

    def _filtered(self, body: Body) -> None:
        choices = [choice("", i, "content_filter") for i in range(body.get("n", 1))]
        self._send(200, answered(choices))

    def _elsewhere(self, _: Body) -> None:
        self._send(307, b"", {"Location": "http://127.0.0.1:9/v1/chat/completions"})
