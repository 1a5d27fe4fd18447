"""Metrics of a run: one JSON object per step in `metrics.jsonl`, always; other trackers come behind the same interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Where metrics go."""

    def log(self, step: int, metrics: dict[str, Any]) -> None:
        """One step's metrics."""

    def close(self) -> None:
        """Write what is left."""


class JsonlTracker:
    """Appends to a file, a line per step, flushed at once; lines from `first` on are dropped (a resumed run repeats them)."""

    def __init__(self, path: Path, first: int) -> None:
        kept = []
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] < first]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, metrics: dict[str, Any]) -> None:
        """Append a line."""
        self._file.write(json.dumps({"step": step} | metrics) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
