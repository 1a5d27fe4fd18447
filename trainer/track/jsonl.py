"""Metrics as one JSON object per line, in `metrics.jsonl`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ladder.errors import LadderError
from ladder.progress import say
from ladder.store.parts import write_file
from trainer.track.base import SampleRow


class JsonlTracker:
    """Appends to a file, flushed at once; lines from step `first` on are dropped, because a resumed run repeats them.

    JSON has no NaN and no infinity: they are the strings "NaN", "Infinity" and "-Infinity", which `float` reads. `last` is
    the highest step that the file had before; -1 for a new one. Raises LadderError where the disk refuses.
    """

    def __init__(self, path: Path, first: int) -> None:
        data = path.read_bytes() if path.is_file() else b""
        lines = data.splitlines(keepends=True)
        steps = [_step(line) for line in lines]
        kept = b"".join(line for line, at in zip(lines, steps, strict=True) if at is not None and at < first)
        torn = steps.count(None)
        if torn:
            say(f"  {path}: {torn} torn line(s) of an interrupted run are dropped")
        if kept != data:
            write_file(path, lambda file: file.write(kept))
        self.last = max((at for at in steps if at is not None), default=-1)
        self._told: dict[str, Any] = json.loads(kept.splitlines()[-1]) if kept else {}
        self._path = path
        self._open()

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append a line; what comes later for the same step is added to its line."""
        line = {"step": step} | plain(metrics)
        again = self._told.get("step") == step
        self._told = self._told | line if again else line
        text = json.dumps(self._told, allow_nan=False) + "\n"
        if again:
            return self._replace_last(text.encode())
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise self._refused(error) from None

    def samples(self, step: int, rows: Sequence[SampleRow]) -> None:
        """Not here: see trainer.track.samples."""

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as error:
            raise self._refused(error) from None

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise self._refused(error) from None

    def _replace_last(self, line: bytes) -> None:
        self.close()
        lines = self._path.read_bytes().splitlines(keepends=True)
        write_file(self._path, lambda file: file.write(b"".join([*lines[:-1], line])))
        self._open()

    def _refused(self, error: OSError) -> LadderError:
        return LadderError(f"cannot write {self._path}: {error.strerror or error}")


def _step(line: bytes) -> int | None:
    """The step of a whole line; None of a torn one."""
    if not line.endswith(b"\n"):
        return None
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return None


def plain(value: Any) -> Any:
    """A value as JSON has it: numbers of numpy and torch as Python's, those that are none as strings."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    number = value if isinstance(value, float) else value.item()
    if not isinstance(number, float) or math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
