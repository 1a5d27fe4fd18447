"""Environments of other trainers, each made on first use from the registry: its package as it is released, without what only
its GPU workers need (benchmarks/peers/NAME.txt).

They lie below benchmarks/peers, or where the environment variable LADDER_PEERS says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"
PACKAGES = {
    "trl": "trl==1.16.0",
    "verl": "verl==0.9.1",
    "swift": "ms-swift==4.6.0",
    "openrlhf": "openrlhf==0.11.2",
}


def environment(name: str) -> Path:
    """The interpreter of a trainer's environment, made where it is not there yet."""
    folder = Path(os.environ.get("LADDER_PEERS", PEERS)) / f".venv-{name}"
    python = folder / "bin" / "python"
    if not (folder / "made").is_file():
        install = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([*install, "--requirement", str(PEERS / f"{name}.txt")], check=True)
        subprocess.run([*install, "--no-deps", PACKAGES[name]], check=True)
        (folder / "made").touch()
    return python


def call(
    python: str | Path, script: str, arguments: Sequence[object], threads: int = 1, **how: Any
) -> dict[str, Any]:
    """What a script of benchmarks/peers prints last, as JSON; it runs offline, with so many threads."""
    command = [str(python), str(PEERS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_alone(threads), **how)
    if done.returncode:
        raise SystemExit(f"{script}: {done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _alone(threads: int) -> Mapping[str, str]:
    told = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(threads)}
    return {**os.environ, **told}
