"""Raw files become rows, one by one: JSONL, and JSON that holds a list. A broken line is a row that says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ladder.errors import BadInput

Row = dict[str, Any]
#: The key under which an unreadable row carries why.
BROKEN = "__broken__"


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a pool file, streamed where the format allows; raises BadInput for a format that it does not read."""
    if path.suffix == ".jsonl":
        yield from _jsonl(path)
    elif path.suffix == ".json":
        yield from _json(path)
    else:
        raise BadInput(f"{path}: a pool file is .jsonl or .json, not {path.suffix or 'without a suffix'}")


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for line in lines:
            if line.strip():
                yield _parsed(line)


def _json(path: Path) -> Iterator[Row]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON: {error}") from None
    if not isinstance(rows, list):
        raise BadInput(f"{path} holds no list of rows")
    for row in rows:
        yield _checked(row)


def _parsed(line: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {BROKEN: str(error)[:200]}
    return _checked(row)


def _checked(row: Any) -> Row:
    """The row, if it is an object whose texts can be written again: JSON can spell half a character (\\ud800)."""
    if not isinstance(row, dict):
        return {BROKEN: f"a {type(row).__name__}, not an object"}
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return {BROKEN: ascii(str(error))[1:200]}
    return row
