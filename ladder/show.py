"""What `ladder show` shows: which items or rejects of a ladder, in which order, and each as a record and as lines.

A listing keeps where its rows are (some bytes each), never the rows. Rows and images are read a row group at a time.
Nothing here knows of terminals, but for the width of a line.
"""

from __future__ import annotations

import io
import json
import unicodedata
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import accumulate, groupby
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ladder.errors import BadInput, LadderError
from ladder.records import AnswerType, Reference
from ladder.store import Store
from ladder.store.catalogue import catalogue
from ladder.store.sql import parts_sql
from ladder.verify.policy import DEFAULT

if TYPE_CHECKING:
    import duckdb
    from rich.console import Console

Record = dict[str, Any]
Filters = Mapping[str, Sequence[str]]
Place = tuple[int, int]  # of a row: its part's number, and the row's within it

KINDS = ("items", "rejects")

#: SQL for each filter; a row is shown if all filters let it pass, and each does for any one of its values.
_FILTERS: dict[str, dict[str, str]] = {
    "items": {
        "id": "(list_contains($id, id) OR list_contains($id, source_id))",
        "source": "list_contains($source, source)",
        "split": "list_contains($split, split)",
        "subject": "list_contains($subject, subject)",
        "type": "list_contains($type, answer_type)",
        "flag": "list_has_any($flag, flags)",
        "tier": "id IN (SELECT id FROM ladder WHERE list_contains($tier, tier))",
        "search": "contains(lower(concat_ws(chr(10), question, gold, array_to_string(options, chr(10)))),"
        " lower(($search)[1]))",
    },
    "rejects": {
        "id": "(list_contains($id, item_id) OR list_contains($id, source_id))",
        "source": "list_contains($source, source)",
        "reason": "(list_contains($reason, reason) OR list_contains($reason, stage || '.' || reason))",
        "search": "contains(lower(concat_ws(chr(10), question, gold, detail)), lower(($search)[1]))",
    },
}
_ORDER = {"items": "_part, _place", "rejects": "source, row, _part, _place"}
#: Where a filter's values stand that can be listed.
_VALUES = {
    "source": "source", "split": "split", "subject": "subject", "type": "answer_type", "flag": "unnest(flags)",
    "reason": "reason",
}  # fmt: skip
_SQL_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.list_(pa.string()): "VARCHAR[]"}

_VALUES_TOLD = 12


class Listing:
    """A ladder's items in the pool's order, or its rejects by source and row: those that pass the filters."""

    def __init__(self, store: Store, kind: str, filters: Filters) -> None:
        """Raises BadInput for a kind or a filter that there is not, or where nothing was imported yet."""
        self.kind, self._store = kind, store
        self._filters = {name: list(values) for name, values in filters.items() if values}
        for name in self._filters:
            if name not in _FILTERS[kind]:
                raise BadInput(f"--{name} selects {_other(kind)}; {kind} have {_options(kind)}")
        if "tier" in self._filters and not store.catalogue.is_file():
            raise BadInput(f"--tier: {store.path} is not scored yet; finish its build with `ladder build`")
        if store.import_manifest() is None:
            raise BadInput(
                f"{store.path} holds no import yet: `ladder build PIPELINE --until audit` makes one"
            )
        items = kind == "items"
        self._parts = store.item_parts() if items else store.reject_parts()
        self._schema = store.items.schema if items else store.rejects.schema
        self._rows = Rows(self._parts)
        found = self._numbers(f"SELECT _part, _place FROM listed WHERE {self._where} ORDER BY {_ORDER[kind]}")
        self._part_numbers, self._places = found["_part"], found["_place"]

    def __len__(self) -> int:
        return len(self._places)

    def read(self, start: int, stop: int) -> list[Record]:
        """The records from `start` on, up to and without `stop`: all of them in memory."""
        among = slice(start, stop)
        places = zip(self._part_numbers[among].tolist(), self._places[among].tolist(), strict=True)
        records = [self._record(row) for row in self._rows.read(list(places))]
        return self._scored(records) if self.kind == "items" else records

    def counts(self) -> list[tuple[str, int]]:
        """How many rejects pass for each stage.reason, the most frequent first."""
        return self._fetch(
            f"SELECT stage || '.' || reason AS why, count(*) FROM listed WHERE {self._where} "
            "GROUP BY 1 ORDER BY 2 DESC, 1"
        )

    def unmatched(self) -> list[str]:
        """A line for each filter of which no value occurs at all: what does occur."""
        lines = []
        for name in self._filters.keys() & _VALUES.keys():
            found = self._fetch(
                f"SELECT {_VALUES[name]} AS v, count(*) FROM listed GROUP BY 1 HAVING v IS NOT NULL ORDER BY 2 DESC, 1"
            )
            values = [value for value, _ in found]
            if not set(values) & {
                v.rpartition(".")[2] if name == "reason" else v for v in self._filters[name]
            }:
                some = ", ".join(map(one_line, values[:_VALUES_TOLD])) or "none at all"
                lines.append(f"--{name}: there is {some}{', ...' if len(values) > _VALUES_TOLD else ''}")
        return sorted(lines)

    @property
    def _where(self) -> str:
        return " AND ".join(_FILTERS[self.kind][name] for name in self._filters) or "true"

    def _fetch(self, sql: str) -> list[tuple[Any, ...]]:
        with self._connection() as connection:
            return self._execute(connection, sql).fetchall()

    def _numbers(self, sql: str) -> dict[str, Any]:
        with self._connection() as connection:
            return self._execute(connection, sql).fetchnumpy()

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        import duckdb

        try:
            with catalogue(self._store) if "tier" in self._filters else duckdb.connect() as connection:
                yield connection
        except (duckdb.Error, ValueError) as error:
            raise LadderError(f"cannot read the {self.kind} of {self._store.path}: {error}") from None

    def _execute(self, connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyConnection:
        columns = ", ".join(f"NULL::{_SQL_TYPES[field.type]} AS {field.name}" for field in self._schema)
        named = {name: value for name, value in self._filters.items() if f"${name}" in sql}
        return connection.execute(f"WITH listed AS ({_numbered(self._parts, columns)}) {sql}", named)

    def _record(self, row: Record) -> Record:
        record = {
            field.name: _list(row.get(field.name)) if pa.types.is_list(field.type) else row.get(field.name)
            for field in self._schema
        }
        return record | ({"meta": _parsed(record["meta"])} if "meta" in record else {})

    def _scored(self, records: list[Record]) -> list[Record]:
        """The same items with tier, pass rate and n, where the catalogue has them."""
        import duckdb

        scores: dict[str, tuple[Any, ...]] = {}
        if self._store.catalogue.is_file():
            sql = "SELECT id, tier, pass_rate, n FROM ladder WHERE list_contains($1, id)"
            try:
                with catalogue(self._store) as connection:
                    found = connection.execute(sql, [[record["id"] for record in records]]).fetchall()
            except duckdb.Error as error:
                raise LadderError(f"cannot read {self._store.catalogue}: {error}") from None
            scores = {item_id: tuple(rest) for item_id, *rest in found}
        nothing = (None, None, None)
        names = ("tier", "pass_rate", "n")
        return [r | dict(zip(names, scores.get(r["id"], nothing), strict=True)) for r in records]


class Rows:
    """Rows of Parquet parts by their places; the last few row groups stay in memory."""

    def __init__(self, parts: Sequence[Path], columns: list[str] | None = None, held: int = 4) -> None:
        self._parts, self._columns, self._limit = parts, columns, held
        self._ends: dict[int, list[int]] = {}  # by part: the place behind each row group's last row
        self._held: OrderedDict[Place, pa.Table] = OrderedDict()

    def read(self, places: Sequence[Place]) -> list[Record]:
        """The rows at some places, in that order; LadderError where a part cannot be read."""
        rows: list[Record] = []
        try:
            for (part, group), run in groupby(places, key=self._group_of):
                first = self._ends[part][group - 1] if group else 0
                rows += self._table(part, group).take([place - first for _, place in run]).to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise LadderError(f"cannot read the parts in {self._parts[0].parent}: {error}") from None
        return rows

    def _group_of(self, place: Place) -> Place:
        part, row = place
        if part not in self._ends:
            metadata = pq.read_metadata(self._parts[part])
            sizes = (metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
            self._ends[part] = list(accumulate(sizes))
        return part, bisect_right(self._ends[part], row)

    def _table(self, part: int, group: int) -> pa.Table:
        if (part, group) not in self._held:
            while len(self._held) >= self._limit:
                self._held.popitem(last=False)
            with pq.ParquetFile(self._parts[part]) as file:
                self._held[part, group] = file.read_row_group(group, columns=self._columns)
        self._held.move_to_end((part, group))
        return self._held[part, group]


class Picture(NamedTuple):
    """An image of the store; `saved` is the file it was also written to, if it was."""

    hash: str
    width: int
    height: int
    place: Place
    saved: Path | None = None


class Pictures:
    """The images of a ladder, looked up by hash without an index of them all."""

    def __init__(self, store: Store) -> None:
        self._parts = store.images.paths()
        self._rows = Rows(self._parts, ["data"], held=1)

    def find(self, hashes: Sequence[str]) -> dict[str, Picture]:
        """Those of some images that the store has."""
        import duckdb

        if not hashes:
            return {}
        nothing = "'' AS hash, 0 AS width, 0 AS height"
        sql = (
            f"WITH listed AS ({_numbered(self._parts, nothing)}) "
            "SELECT hash, width, height, _part, _place FROM listed WHERE list_contains($1, hash)"
        )
        try:
            with duckdb.connect() as connection:
                found = connection.execute(sql, [sorted(set(hashes))]).fetchall()
        except duckdb.Error as error:
            raise LadderError(f"cannot read the images of the ladder: {error}") from None
        return {h: Picture(h, width, height, (part, place)) for h, width, height, part, place in found}

    def data(self, picture: Picture) -> bytes:
        """Its canonical bytes."""
        (row,) = self._rows.read([picture.place])
        return row["data"]


def _numbered(parts: Sequence[Path], columns: str) -> str:
    """SQL for the rows of all parts, with their places; a column that a part lacks is null."""
    tables = [
        f"SELECT *, {number} AS _part, file_row_number AS _place FROM {parts_sql([part], columns)}"
        for number, part in enumerate(parts)
    ]
    nothing = f"(SELECT {columns}, 0 AS _part, 0::BIGINT AS _place LIMIT 0)"
    return " UNION ALL BY NAME ".join([*tables, nothing])


class Card(NamedTuple):
    """A record as lines: what stands above its images, what below, and which images it has."""

    head: list[str]
    body: list[str]
    images: list[str]


def card(kind: str, number: int, record: Record, pictures: Mapping[str, Picture], width: int) -> Card:
    """The `number`-th record of a listing, in lines of at most `width` columns that hold nothing but visible text."""
    if kind == "items":
        title, fields = f"{one_line(record['source'])}: {one_line(record['source_id'])}", _item_fields(record)
    else:
        title, fields = _why(record), _reject_fields(record)
    fields.append(Field("images", [_image_line(h, pictures.get(h)) for h in record["images"]], _MAX_IMAGES))
    body = [line for field in fields for line in _field_lines(field, width)]
    first, *more = _wrapped(f"#{number:,}  {title}", width - 2)
    return Card([first, *(f"  {line}" for line in more)], body, record["images"])


def printable(text: str) -> str:
    """The text with what a terminal would obey, reorder or hide made visible; lines stay lines."""
    if text.isprintable():
        return text
    return "".join(map(_visible, text.replace("\r\n", "\n").replace("\t", "    ")))


def one_line(value: Any) -> str:
    """A value as printable text on one line; nothing for None."""
    return "" if value is None else printable(_cut(str(value))).replace("\n", "\\n")


#: Half of what is written with them needs these: they only join letters or keep them apart.
_JOINERS = "\u200c\u200d"

_MAX_CHARACTERS, _MAX_OPTIONS, _MAX_IMAGES = 4000, 52, 20
_INDENT = 13


def _visible(character: str) -> str:
    if character.isprintable() or character == "\n" or character in _JOINERS:
        return character
    return " " if unicodedata.category(character) == "Zs" else character.encode("unicode_escape").decode()


def _cut(text: str) -> str:
    more = len(text) - _MAX_CHARACTERS
    return f"{text[:_MAX_CHARACTERS]} [... {more:,} characters more]" if more > 0 else text


class Field(NamedTuple):
    """A name with its texts below each other: how many are shown at most, how far their further lines hang."""

    name: str
    texts: list[str]
    most: int = 1
    hang: int = 0


def _item_fields(item: Record) -> list[Field]:
    golds = _golds(item)
    options = [
        f"{'*' if i in golds else ' '} {_letter(i)}. {option}" for i, option in enumerate(item["options"])
    ]
    score = f"pass rate {item['pass_rate']:.3g}, n {item['n']}" if item["tier"] is not None else ""
    return [
        *_fields(question=item["question"]),
        Field("options", options, _MAX_OPTIONS, hang=len("* A. ")),
        *_fields(gold=item["gold"] or "", type=item["answer_type"], unit=item["unit"]),
        *_fields(tolerance=item["tolerance"], subject=item["subject"], split=item["split"]),
        *_fields(flags=", ".join(item["flags"]), tier=item["tier"] and f"{item['tier']} ({score})"),
        *_fields(meta=json.dumps(item["meta"], ensure_ascii=False) if item["meta"] else "", id=item["id"]),
    ]


def _reject_fields(reject: Record) -> list[Field]:
    return [
        *_fields(
            source=f"{reject['source']}: {reject['source_id']}", row=reject["row"], stage=reject["stage"]
        ),
        *_fields(question=reject["question"], gold=reject["gold"], id=reject["item_id"]),
    ]


def _why(reject: Record) -> str:
    return f"{one_line(reject['reason'])}{': ' if reject['detail'] else ''}{one_line(reject['detail'])}"


def _fields(**values: Any) -> list[Field]:
    return [Field(name, [str(value)]) for name, value in values.items() if value not in (None, "")]


def _field_lines(field: Field, width: int) -> Iterator[str]:
    """The lines of a field: its name, and its texts beside it."""
    lines = [line for text in field.texts[: field.most] for line in _hung(text, width - _INDENT, field.hang)]
    if len(field.texts) > field.most:
        lines.append(f"[... {len(field.texts) - field.most:,} more]")
    for number, line in enumerate(lines):
        yield f"  {field.name if number == 0 else '':<{_INDENT - 2}}{line}".rstrip()


def _hung(text: str, width: int, hang: int) -> list[str]:
    lead = text[:hang]
    more = _wrapped(printable(_cut(text[hang:])), width - hang)
    return [f"{lead if number == 0 else ' ' * hang}{line}" for number, line in enumerate(more)]


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most that many columns, of which a Chinese character takes two."""
    from rich.text import Text

    console = _paper()
    return [line.plain.rstrip() for line in Text(text).wrap(console, max(width, _MIN_WIDTH), overflow="fold")]


@cache
def _paper() -> Console:
    from rich.console import Console

    return Console(file=io.StringIO())


_MIN_WIDTH = 20


def _image_line(image_hash: str, picture: Picture | None) -> str:
    if picture is None:
        return f"{image_hash} (not in the store)"
    return f"{picture.width} x {picture.height}  {picture.saved or picture.hash}"


def _letter(index: int) -> str:
    return ascii_uppercase[index] if index < len(ascii_uppercase) else str(index + 1)


def _golds(item: Record) -> frozenset[int]:
    """The positions of the options that the gold names."""
    from ladder.verify.options import OPTION
    from ladder.verify.rule import UnverifiableGold

    if item["answer_type"] != AnswerType.OPTION or not item["options"]:
        return frozenset()
    try:
        return OPTION.read(Reference(item["gold"] or "", tuple(item["options"])), DEFAULT).indices
    except UnverifiableGold:
        return frozenset()


def _list(value: Any) -> list[Any]:
    return [] if value is None else list(value)


def _parsed(meta: Any) -> Any:
    try:
        return json.loads(meta or "{}")
    except (ValueError, RecursionError):
        return meta


def _other(kind: str) -> str:
    return "rejects" if kind == "items" else "items"


def _options(kind: str) -> str:
    return ", ".join(f"--{name}" for name in _FILTERS[kind])
