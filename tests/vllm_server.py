"""A real `vllm serve` on a CPU, for the tests that need one."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

_ARGUMENTS = [
    *("--dtype", "float32", "--enforce-eager", "--no-enable-chunked-prefill", "--skip-mm-profiling"),
    *("--max-model-len", "256", "--max-num-seqs", "64", "--block-size", "32"),
    *("--limit-mm-per-prompt", '{"video": 0}', "--generation-config", "vllm"),
    *("--logprobs-mode", "processed_logprobs", "--served-model-name", "digits"),
]
_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}


@contextmanager
def vllm_server(
    model: Path, log: Path, *more: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Its URL, up to /v1; the model is called digits."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", port, *_ARGUMENTS, *more],
            stdout=output,
            stderr=output,
            env=os.environ | _ENVIRONMENT | dict(environment or {}),
            start_new_session=True,
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"the server ended: {log.read_text(errors='replace')[-3000:]}")
