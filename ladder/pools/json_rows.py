"""Rows of JSON and JSONL files, streamed: no more than one row of a file is held, however its rows are nested.

Where the rows of a JSON file are, a path says: `data.[]` every element of the list under the key `data`, `{id}` every
value of an object, whose key becomes the column `id`; `{subject}.[]` every element of each list of an object of them.
The empty path is the whole file: one row. Without a path a list holds rows, an object of objects holds them by `id`,
and several lines that are objects each are JSONL; an object of nothing but lists of one length holds columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TextIO

from ladder.errors import BadInput
from ladder.pools.packed import open_bytes, open_text
from ladder.pools.rows import MAX_ROW, Row, as_row, broken, lost, written

_MARK = b"\xef\xbb\xbf"  # at the start of a text: its encoding is UTF-8
_CHUNK = 1 << 18  # characters read at once
_SKIP_DEPTH = 4  # levels of what is skipped that are taken apart, rather than held at once
_LONGEST_NUMBER = 32  # characters; what ends nearer to the end of what was read may go on
_FIRST_KEY = re.compile(r'\{"(?:[^"\\]|\\.)*":')
_WHERE = (
    "{} is an object that holds lists: say where its rows are with pool.layout.rows, "
    "as 'data.[]' (the list under a key) or '{{subject}}.[]' (all of them)"
)
_DECODER = json.JSONDecoder()
#: Reads past a number that Python refuses to convert.
_LENIENT = json.JSONDecoder(parse_int=str)


class _Lost(Exception):
    """The file cannot be read on from here."""


def jsonl_rows(path: Path, fields: Sequence[str] = ()) -> Iterator[Row]:
    """A row per line that is not blank. A line longer than MAX_ROW bytes is broken, and passed over."""
    for line in jsonl_lines(path):
        yield line if isinstance(line, dict) else line_row(line, fields)


def jsonl_lines(path: Path) -> Iterator[bytes | Row]:
    """The lines of `jsonl_rows` before they are parsed; a row in place of one that cannot be."""
    return (line for _, line in placed_lines(path))


def placed_lines(path: Path) -> Iterator[tuple[int, bytes | Row]]:
    """As `jsonl_lines`, each after the byte at which it starts in the file (once inflated)."""
    with open_bytes(path) as file:
        end = 0
        while line := file.readline(MAX_ROW + 1):
            start, end = end, end + len(line)
            if len(line) > MAX_ROW:
                yield start, broken(f"a line of more than {MAX_ROW} bytes")
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_ROW)
                    end += len(line)
            elif (line := line if start else line.removeprefix(_MARK)).strip():
                yield start, line


def line_at(file: IO[bytes], start: int) -> bytes:
    """The line that `placed_lines` found to start there."""
    file.seek(start)
    return file.readline(MAX_ROW + 1).removeprefix(_MARK)


def line_row(line: bytes, fields: Sequence[str]) -> Row:
    """The row that a line of JSON holds."""
    try:
        text = line.decode()
        return written(as_row(json.loads(text), fields), text)
    except UnicodeDecodeError:
        return broken("bytes that are no UTF-8")
    except (ValueError, RecursionError) as error:
        return broken(error)


def json_rows(path: Path, where: str | None = None, fields: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a JSON file; raises BadInput where it cannot be told where they are."""
    if where is None and _is_jsonl(path):
        yield from jsonl_rows(path, fields)
        return
    with open_text(path, "utf-8-sig") as file:
        stream = JsonStream(file)
        try:
            steps = _guess(stream, path, fields) if where is None else where.split(".") if where else []
            for row in _walk(stream, steps, {}, fields):
                if where is None and not steps and any(map(_is_rows, row.values())):
                    raise BadInput(_WHERE.format(path))
                yield from _columns(row) if where is None and not steps else (row,)
            if stream.peek():
                yield lost("there is more after the end of its value")
        except (_Lost, RecursionError) as error:
            yield lost(error)


def _is_jsonl(path: Path) -> bool:
    """Whether the first two lines are values of their own, as in files that are named .json nevertheless."""
    with open_bytes(path) as file:
        lines = [file.readline(MAX_ROW).removeprefix(_MARK).strip() for _ in range(2)]
    if not lines[0].startswith((b"{", b"[")) or not lines[1].startswith((b"{", b"[")):
        return False
    try:
        json.loads(lines[0])
    except (ValueError, RecursionError):
        return False
    return True


def _guess(stream: JsonStream, path: Path, fields: Sequence[str]) -> list[str]:
    start = stream.beginning()
    if not start:
        raise _Lost("nothing in it")
    if start.startswith("["):
        # Rows that are arrays need names for their elements; one array of plain values is one such row.
        return [] if fields and not start.startswith(("[[", "[{", "[]")) else ["[]"]
    first = _FIRST_KEY.match(start)
    if start.startswith("{}") or (first and start.startswith("{", first.end())):
        return ["{id}"]
    if first and start.startswith(("[{", "[["), first.end()):
        raise BadInput(_WHERE.format(path))
    return []


def _columns(row: Row) -> Iterator[Row]:
    """The rows of an object whose members are columns: lists, all of one length; any other object is a row itself."""
    lengths = {len(value) if isinstance(value, list) else None for value in row.values()}
    if len(row) < 2 or len(lengths) > 1 or None in lengths:
        yield row
        return
    for cells in zip(*row.values(), strict=True):
        yield dict(zip(row, cells, strict=True))


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _walk(stream: JsonStream, steps: Sequence[str], kept: Row, fields: Sequence[str]) -> Iterator[Row]:
    """The rows below the place where the stream is; `kept` are the keys passed on the way."""
    if not steps:
        row = stream.row(fields)
        yield row | kept if kept else row
        return
    step, rest = steps[0], steps[1:]
    wanted = "[" if step == "[]" else "{"
    if stream.peek() != wanted:
        stream.skip()
        yield broken(f"no {'list' if wanted == '[' else 'object'} where pool.layout.rows has {step!r}")
    elif step == "[]":
        for _ in stream.elements():
            yield from _walk(stream, rest, kept, fields)
    else:
        yield from _members(stream, step, rest, kept, fields)


def _members(
    stream: JsonStream, step: str, rest: Sequence[str], kept: Row, fields: Sequence[str]
) -> Iterator[Row]:
    column = step[1:-1] if step.startswith("{") else None
    found = column is not None
    for key in stream.members():
        if column is not None:
            yield from _walk(stream, rest, kept | {column: key}, fields)
        elif key == step:
            found = True
            yield from _walk(stream, rest, kept, fields)
        else:
            stream.skip()
    if not found:
        yield broken(f"no key {step!r}, which pool.layout.rows names")


class JsonStream:
    """The values of a JSON text one after another; holds what it has read of one value, at most MAX_ROW characters.

    Raises _Lost where the text is no JSON or a value is longer.
    """

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._at = file, "", 0
        self._passed = 0  # characters that were let go

    def beginning(self) -> str:
        """The first characters, white space left out: enough to tell what the text holds."""
        self.peek()
        return "".join(self._text[self._at : self._at + 4096].split())

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def row(self, fields: Sequence[str]) -> Row:
        """The next value as a row; one whose numbers are too long to be numbers is broken."""
        start, error = self._begin(), None
        try:
            value = self._value(_DECODER)
        except ValueError as refused:
            value, error = self._value(_LENIENT), refused
        raw = self._text[self._at - (self._consumed - start) : self._at]
        return broken(error) if error else written(as_row(value, fields), raw)

    def skip(self, depth: int = 0) -> None:
        """Pass over the next value; its parts are not held at once."""
        start = self.peek()
        if depth < _SKIP_DEPTH and start in ("[", "{"):
            for _ in self.elements() if start == "[" else self.members():
                self.skip(depth + 1)
        else:
            self._value(_LENIENT)

    def elements(self) -> Iterator[None]:
        """Stops before each element of a list, which is to be taken before going on."""
        self._take("[")
        if self.peek() == "]":
            self._take("]")
            return
        while True:
            yield
            if self._take(",]") == "]":
                return

    def members(self) -> Iterator[str]:
        """The keys of an object; stops before each value, which is to be taken before going on."""
        self._take("{")
        if self.peek() == "}":
            self._take("}")
            return
        while True:
            if self.peek() != '"':
                raise _Lost("a key is missing")
            key = self._value(_DECODER)
            self._take(":")
            yield key
            if self._take(",}") == "}":
                return

    @property
    def _consumed(self) -> int:
        return self._passed + self._at

    def _begin(self) -> int:
        self.peek()
        return self._consumed

    def _take(self, expected: str) -> str:
        found = self.peek()
        if not found or found not in expected:
            raise _Lost(f"{' or '.join(expected)} is missing {self._place()}")
        self._at += 1
        return found

    def _value(self, decoder: json.JSONDecoder) -> Any:
        self.peek()
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._more():
                    raise _Lost(f"{error.msg} {self._place()}") from None
                continue
            number = self._text[self._at] in "-0123456789"
            if number and len(self._text) - end < _LONGEST_NUMBER and self._more():
                continue
            self._at = end
            return value

    def _place(self) -> str:
        return f"at character {self._consumed}"

    def _more(self) -> bool:
        """Read on, letting go of what was consumed; False at the end."""
        held = len(self._text) - self._at
        if held > MAX_ROW:
            raise _Lost(f"no JSON, or a value of more than {MAX_ROW} characters, {self._place()}")
        chunk = self._file.read(max(_CHUNK, held))
        if chunk:
            self._passed += self._at
            self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)
