"""What every reader gives: rows, one by one, each a dictionary. A row that cannot be read says so in the same way.

A reader never raises for what a file holds: a broken row costs that row, and where the rest of a file cannot be read,
its last row tells that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
#: The key under which an unreadable row carries why.
BROKEN = "__broken__"
#: The key under which it carries its reason code, where that is not `row_unreadable`.
REASON = "__reason__"
#: What one row may take (bytes, or characters of text): an image of 24 MiB as base64.
MAX_ROW = 32 * 2**20


def broken(why: object) -> Row:
    """A row that cannot be read."""
    return {BROKEN: _told(why)}


def lost(why: object, reason: str = "file_unreadable") -> Row:
    """The rest of a file, or all of it, that cannot be read."""
    return {BROKEN: _told(why), REASON: reason}


def _told(why: object) -> str:
    """At most 200 characters that can be written: an error may quote the half characters it complains of."""
    return str(why).encode(errors="replace").decode()[:200]


def as_row(value: Any, fields: Sequence[str] = ()) -> Row:
    """An object as it is, or an array whose elements are called `fields`; anything else is broken."""
    if fields and isinstance(value, list):
        if len(value) != len(fields):
            return broken(f"{len(value)} elements for {len(fields)} fields")
        return dict(zip(fields, value, strict=True))
    return value if isinstance(value, dict) else broken(f"a {type(value).__name__}, not an object")


def written(row: Row, raw: str) -> Row:
    r"""The row, if its texts can be written again: its raw JSON may hold bytes that are no UTF-8 (surrogates, as Python
    escapes them), or spell half a character (\ud800)."""
    if not raw.isascii():
        try:
            raw.encode()
        except UnicodeEncodeError:
            return broken("bytes that are no UTF-8")
    if "\\ud" not in raw and "\\uD" not in raw and "\\Ud" not in raw:
        return row
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return broken(ascii(str(error))[1:])
    return row
