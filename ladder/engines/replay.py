"""Recorded responses as an engine: published outputs, or the logs of another tool, become a ladder.

An item's j-th recorded response, in the order of files and of rows within these, is its sample j; nothing is sampled. Rows
are read as those of a pool (ladder.pools.readers). Of plain JSONL only the places of rows are held, 32 bytes a response;
rows of other files are copied to a temporary file first. What the models were asked, and how, is not looked at.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from ladder.digest import fingerprint
from ladder.engines.base import Completion, Event, Refused, Request
from ladder.engines.settings import ReplayColumns, ReplaySettings
from ladder.errors import BadInput, LadderError
from ladder.pools.cells import CellError, columns_of, fill, find, text
from ladder.pools.json_rows import line_at, line_row, placed_lines
from ladder.pools.readers import read_lines, read_rows
from ladder.pools.rows import Row, Unreadable
from ladder.progress import Count, say

if TYPE_CHECKING:
    import numpy as np

_CAPACITY = 256
_MAX_TOKENS = 2**31 - 1  # what a rollout's column holds
#: How servers say that a response was cut off.
_CUT = frozenset({"length", "max_tokens", "model_length", "max_output_tokens"})
#: A word, a sign, or a character of a script that is written without spaces (from U+2E80 on).
_WORD = re.compile("[^\\W\u2e80-\U0010ffff]+|\\S")
#: Where the rows of the temporary file say what.
_COPIED = ReplayColumns(tokens="tokens")


def replay_fingerprint(settings: ReplaySettings) -> str:
    """Digest of what the files hold, in their order, and of how they are read: changed records are other rollouts.

    Raises BadInput where there is no such file.
    """
    try:
        digests = [_content_digest(path) for path in recorded_files(settings)]
    except OSError as error:
        raise BadInput(f"cannot read {error.filename}: {error.strerror or error}") from None
    read = settings.model_dump(mode="json", include={"columns", "layout", "where"})
    return fingerprint("replay-1", [digests, read])


def _content_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def recorded_files(settings: ReplaySettings) -> list[Path]:
    """The files that some settings name, in order, none twice; raises BadInput for a name or pattern without a file."""
    root = Path(settings.root).expanduser()
    if not settings.files:
        raise BadInput("engine = 'replay' needs replay.files: the files that hold the recorded responses")
    return list(dict.fromkeys(path for name in settings.files for path in _matching(root, name)))


def _matching(root: Path, name: str) -> list[Path]:
    if (root / name).is_file():
        return [root / name]
    try:
        found = sorted(path for path in root.glob(name) if path.is_file())
    except (NotImplementedError, ValueError):
        found = []
    if not found:
        raise BadInput(f"replay.files: there is no file {root / name}")
    return found


class ReplayEngine:
    """Answers with what was recorded, and refuses what was not: under the same fingerprint it never will be.

    `fingerprint` is that of `replay_fingerprint`. Raises BadInput where not a single row can be used.
    """

    name = "replay"
    capacity = _CAPACITY
    background = False

    def __init__(self, settings: ReplaySettings, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        self._records = _Records(settings)
        self._waiting: deque[tuple[Request, np.ndarray]] = deque()  # with its rows
        self._answering = ""  # the id of the request that is, unless it was cancelled
        unusable = self._records.unusable
        self.counts = {"unusable_rows": unusable} if unusable else {}

    @property
    def fingerprint(self) -> str:
        """What `replay_fingerprint` gave."""
        return self._fingerprint

    def submit(self, request: Request) -> None:
        """Take a request."""
        self._waiting.append((request, self._records.of(_names(request))))

    def completed(self) -> Iterator[Event]:
        """The samples of all requests, in order. Raises LadderError where a file changed meanwhile."""
        while self._waiting:
            yield from self._events(*self._waiting.popleft())

    def recorded(self, item_id: str, source_id: str, indices: Sequence[int]) -> int:
        """How many of an item's samples there are, whether or not they are text."""
        rows = len(self._records.of({item_id, source_id} - {""}))
        return sum(index < rows for index in indices)

    def cancel(self, request_id: str) -> None:
        """Forget a request's unfinished samples."""
        self._waiting = deque(one for one in self._waiting if one[0].id != request_id)
        self._answering = "" if self._answering == request_id else self._answering

    def close(self) -> None:
        """Let go of the records."""
        self._waiting.clear()
        self._records.close()

    def _events(self, request: Request, rows: np.ndarray) -> Iterator[Event]:
        """A request's samples, and last of all the refusal of those that are not there."""
        missing = []
        self._answering = request.id
        for index in request.indices:
            if not self._answering:
                return
            found = self._records.read(int(rows[index]), _names(request)) if index < len(rows) else None
            if found is None:
                missing.append(index)
            else:
                yield self._completion(request, index, found)
        if missing:
            yield Refused(request.id, tuple(missing), "not_recorded", self._lacking(request, len(rows)))

    def _lacking(self, request: Request, recorded: int) -> str:
        item = request.source_id or request.id
        if recorded:
            return f"{recorded} responses of item {item} are recorded, more or other ones were wanted"
        return f"no response of item {item} is recorded; the first that is, is of {self._records.first_id!r}"

    def _completion(self, request: Request, index: int, found: _Response) -> Completion:
        return Completion(
            request.id,
            index,
            seed=0,
            token_ids=(),
            logprobs=(),
            finish_reason=found.finish_reason,
            text=found.text,
            tokens=found.tokens,
            trainable=False,
        )


def _names(request: Request) -> set[str]:
    """What a row may call its item."""
    return {request.id, request.source_id} - {""}


class _Response(NamedTuple):
    text: str
    finish_reason: str
    tokens: int


class _Records:
    """Where the responses of each id are. Columns of equal length, a row per response in order: the id's digest, the
    file (-1: the copy), the byte at which its row starts, and which response of that row it is."""

    def __init__(self, settings: ReplaySettings) -> None:
        self._columns, self._layout, self._where = settings.columns, settings.layout, settings.where
        self._files = recorded_files(settings)
        self._keys, self._starts = array("Q"), array("Q")
        self._file_of, self._parts = array("i"), array("i")
        self._copy: IO[bytes] | None = None
        self._last: tuple[tuple[int, int], Row] = ((-1, -1), {})
        self.rows = self.unusable = self._texts = 0
        self.first_id = ""
        self._first = ""  # why the first unusable row is
        try:
            self._read_all()
        except OSError as error:
            raise LadderError(f"cannot read the recorded responses: {error.strerror or error}") from None
        self._sort()

    def of(self, names: set[str]) -> np.ndarray:
        """Rows of the responses recorded under any of some ids, in order."""
        import numpy as np

        keys = np.array(sorted(map(_key, names)), np.uint64)
        first, last = (np.searchsorted(self._sorted, keys, side) for side in ("left", "right"))
        spans = [self._order[a:b] for a, b in zip(first, last, strict=True)]
        return np.sort(np.concatenate(spans))

    def read(self, row: int, names: set[str]) -> _Response | None:
        """The response of a row, one of those of `names`; None where it is no text."""
        file, start, part = self._file_of[row], self._starts[row], self._parts[row]
        columns = _COPIED if file < 0 else self._columns
        found = self._row_at(file, start)
        if _cell(found, columns.id) not in names:
            raise LadderError(f"{self._files[file]} was changed while it was read: build again")
        response = _as_text(_nth(find(found, columns.response), part))
        if response is None:
            return None
        reason = _nth(find(found, columns.finish_reason), part)
        tokens = _nth(find(found, columns.tokens), part) if columns.tokens else None
        return _Response(
            response,
            "length" if str(reason).lower() in _CUT else "stop",
            _token_count(tokens, response),
        )

    def close(self) -> None:
        """Remove the copy."""
        if self._copy is not None:
            self._copy.close()

    def _row_at(self, file: int, start: int) -> Row:
        if self._last[0] != (file, start):
            if self._copy is not None and file < 0:
                row = line_row(line_at(self._copy, start), ())
            else:
                try:
                    with self._files[file].open("rb") as opened:
                        row = line_row(line_at(opened, start), self._layout.fields)
                except OSError as error:
                    raise LadderError(f"cannot read {self._files[file]}: {error.strerror or error}") from None
            self._last = (file, start), row
        return self._last[1]

    def _read_all(self) -> None:
        with Count("reading recorded responses", "rows") as progress:
            for number, path in enumerate(self._files):
                for place, row in enumerate(self._rows(path), 1):
                    progress.advance()
                    if not self._selected(row[1]):
                        continue
                    self.rows += 1
                    if why := self._take(number, *row):
                        self.unusable += 1
                        self._first = self._first or f"{path.name}, row {place}: {why}"
        if not self._texts:
            raise BadInput(self._nothing())
        if self.unusable:
            say(f"  {self.unusable:,} of {self.rows:,} recorded rows cannot be used: {self._first}")

    def _rows(self, path: Path) -> Iterator[tuple[int | None, Row]]:
        """The rows of a file, each with where it starts if it can be read again from there."""
        try:
            if path.suffix.lower() != ".gz" and read_lines(path, self._layout) is not None:
                for start, line in placed_lines(path):
                    yield start, line if isinstance(line, dict) else line_row(line, self._layout.fields)
            else:
                for row in read_rows(path, self._layout, self._wanted()):
                    yield None, row
        except BadInput as error:
            raise BadInput(_renamed(str(error))) from None

    def _wanted(self) -> set[str]:
        """The columns that matter."""
        named = [*self._columns.model_dump(exclude_none=True).values(), *self._where]
        return {column.partition(".")[0] for name in named for column in columns_of(name)}

    def _selected(self, row: Row) -> bool:
        """Whether a row is one of those asked for; what cannot be read is, to be told."""
        asked = self._where.items()
        return isinstance(row, Unreadable) or all(_cell(row, name) == value for name, value in asked)

    def _take(self, file: int, start: int | None, row: Row) -> str:
        """Note a row's responses; returns what of it cannot be used, and why."""
        if isinstance(row, Unreadable):
            return _renamed(row.why)
        name = _cell(row, self._columns.id)
        if not name:
            return f"no {self._columns.id!r} among {', '.join(map(str, row))[:200]}"
        self.first_id = self.first_id or name
        responses = [_as_text(one) for one in _flat(find(row, self._columns.response))]
        if start is None:
            file, start = -1, self._copied(name, responses, row)
        for part in range(len(responses)):
            self._keys.append(_key(name))
            self._file_of.append(file)
            self._starts.append(start)
            self._parts.append(part)
        texts = sum(one is not None for one in responses)
        self._texts += texts
        return "" if texts and texts == len(responses) else f"no text in {self._columns.response!r}"

    def _copied(self, name: str, responses: list[str | None], row: Row) -> int:
        """Where the copy of a row starts."""
        if self._copy is None:
            self._copy = tempfile.TemporaryFile()  # noqa: SIM115
        said = {"id": name, "response": responses if len(responses) != 1 else responses[0]}
        for column in ("finish_reason", "tokens"):
            said[column] = find(row, where) if (where := getattr(self._columns, column)) else None
        start = self._copy.tell()
        self._copy.write(json.dumps(said, ensure_ascii=False, default=str).encode() + b"\n")
        return start

    def _nothing(self) -> str:
        if not self.rows:
            allowed = " that replay.where allows" if self._where else ""
            return f"replay.files: there is no row{allowed} in {self._files[0]}"
        named = f"id = {self._columns.id!r}, response = {self._columns.response!r}"
        return f"no recorded row can be used; {self._first}; replay.columns says {named}"

    def _sort(self) -> None:
        """Make the ids' digests searchable."""
        import numpy as np

        keys = np.frombuffer(self._keys, np.uint64)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]
        self._keys = array("Q")


def _key(name: str) -> int:
    """64 bits: two of ten million ids share them once in 400,000 pools; the row itself is then looked at."""
    return int.from_bytes(hashlib.blake2b(name.encode(errors="replace"), digest_size=8).digest())


def _cell(row: Row, column: str) -> str:
    """A cell's text, as a pool would read it; empty where it has none."""
    try:
        return fill(row, column)
    except CellError:
        return ""


def _flat(value: Any) -> list[Any]:
    """The elements of a list, and of lists in it; of anything else it alone."""
    return [inner for one in value for inner in _flat(one)] if isinstance(value, list) else [value]


def _nth(value: Any, part: int) -> Any:
    """What a cell says of a row's `part`-th response: the same of all, if it is no list."""
    if not isinstance(value, list):
        return value
    found = _flat(value)
    return found[part] if part < len(found) else None


def _as_text(value: Any) -> str | None:
    """A response exactly as it stands, a number as its digits; None for anything else."""
    if isinstance(value, str):
        return value
    try:
        return text(value) or None if isinstance(value, int | float) else None
    except CellError:
        return None


def _token_count(tokens: Any, response: str) -> int:
    """The recorded number, if it is one, else words and signs."""
    try:
        number = int(float(tokens))
    except (TypeError, ValueError, OverflowError):
        number = -1
    return number if 0 <= number <= _MAX_TOKENS else _WORD.subn("", response)[1]


def _renamed(why: str) -> str:
    """What a reader says of a pool's settings, said of these."""
    return why.replace("pool.layout", "replay.layout")
