"""New weights for a vLLM server, over its own interface: the methods that its development mode has, called one at a time.

The server must have been started with `VLLM_SERVER_DEV_MODE=1` and `--worker-extension-cls` (docs/servers.md). Tensors go
through a directory that both sides see (`vllm_weights.send`).
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from ladder.engines.server_wire import complaint_of
from ladder.engines.vllm_weights import EXTENSION, Weights, send
from ladder.errors import LadderError

if TYPE_CHECKING:
    from ladder.engines.settings import ServerSettings

_PAUSE_S = 0.5
_HOW = f"start it with VLLM_SERVER_DEV_MODE=1 and --worker-extension-cls {EXTENSION} (docs/servers.md)"


class ServerWeights:
    """Sends weights to the server of `settings` through `folder`, which nobody else uses; removed by `close`."""

    def __init__(self, settings: ServerSettings, key: str, folder: Path) -> None:
        self._settings, self._key, self._folder = settings, key, folder
        self._root = settings.url.rstrip("/").removesuffix("/v1")
        headers = {"User-Agent": "neuraladder"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._client = httpx2.Client(timeout=settings.timeout, headers=headers)
        self._own = uuid.uuid4().hex  # another run's updates have other names
        self._holds = ""

    def begin(self) -> None:
        """Leave what a run that was killed while it sent weights has left: before that, a request would end the server. Raises
        LadderError where the server cannot be sent weights."""
        self._call("ladder_forget")

    def load(self, version: str, weights: Weights) -> None:
        """Have the server sample from these weights from now on. Raises LadderError where it cannot or does not."""
        self._holds = ""
        update = f"{self._own}:{version}"
        send(self._call, update, weights, self._folder)
        # What was made with the old weights. Cached pixels (/reset_mm_cache) are made without any.
        self._post("/reset_encoder_cache")
        self._forget_prefixes()
        self._holds = update

    def check(self) -> None:
        """Raises LadderError where the server has other weights than it was sent: it was started again, or another run uses
        it."""
        if self._holds and any(held != self._holds for held in self._call("ladder_holds")):
            raise LadderError(
                f"the server at {self._settings.url} no longer has the weights of this run: it was started again, or "
                "another run sends it weights; the same command goes on from the latest checkpoint"
            )

    def close(self) -> None:
        """Hang up; again is harmless."""
        self._client.close()
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _call(self, method: str, *args: Any) -> list[Any]:
        """What each worker answers to a method."""
        told = self._post("/collective_rpc", {"method": method, "args": list(args)})
        return list(told["results"])

    def _forget_prefixes(self) -> None:
        """Requests that were hung up on may hold keys and values a moment longer."""
        deadline = time.monotonic() + self._settings.patience
        while not self._post("/reset_prefix_cache")["success"]:
            if time.monotonic() > deadline:
                raise LadderError(
                    f"the server at {self._settings.url} keeps keys and values of the old weights: others use it too"
                )
            time.sleep(_PAUSE_S)

    def _post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON that a call answers; each may be made twice, so that one whose connection breaks is made again."""
        deadline = time.monotonic() + self._settings.patience
        while True:
            try:
                response = self._client.post(f"{self._root}{path}", json=body)
                break
            except httpx2.TransportError as error:
                if time.monotonic() > deadline:
                    why = str(error) or type(error).__name__
                    raise LadderError(f"the server at {self._settings.url} is gone: {why}") from None
                time.sleep(_PAUSE_S)
        if response.status_code != 200:
            raise LadderError(self._refusal(path, response.status_code, response.content))
        return response.json() if response.content else None

    def _refusal(self, path: str, status: int, body: bytes) -> str:
        """What an answer other than 200 means, and what to do."""
        said, _ = complaint_of(body, self._key)
        server = f"the server at {self._settings.url}"
        if status in (404, 405):
            return f"{server} is no vLLM, or one without {path}, and cannot be sent weights: {_HOW}"
        if "ladder_" in said and ("not implemented" in said or "no attribute" in said):
            return f"{server} has no method to take weights: {_HOW}"
        return f"{server} did not take the weights of training (HTTP {status}: {said})"
