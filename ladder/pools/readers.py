"""Raw files become rows, one by one, behind one interface; how a file is laid out is told from its name, or declared.

| format | files |
| --- | --- |
| jsonl | .jsonl, .ndjson, and .json whose lines are objects |
| json | .json: see ladder.pools.json_rows |
| csv, tsv | .csv, .tsv |
| parquet | .parquet |
| arrow | .arrow, .feather: IPC file or stream |
| images | .png, .jpg, ...: each file is a row, see `_image_row` |

Those in text may be packed, .jsonl.gz and the like, if `format` says what is in them.

Nothing is raised for what a file holds: a broken line costs that line and is a row that says so (ladder.pools.rows).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from ladder.config import Settings
from ladder.errors import BadInput
from ladder.pools.json_rows import json_rows, jsonl_lines, jsonl_rows
from ladder.pools.rows import MAX_ROW, Row, Unreadable, as_row, broken, lost
from ladder.pools.tables import arrow_count, arrow_rows, csv_rows, parquet_count, parquet_rows

__all__ = ["IMAGE_SUFFIXES", "Layout", "Row", "read_rows"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
Format = Literal["json", "jsonl", "csv", "tsv", "parquet", "arrow", "images"]
_BY_SUFFIX: dict[str, Format] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
_BY_SUFFIX.update(dict.fromkeys(IMAGE_SUFFIXES, "images"))


class Layout(Settings):
    """How a pool's files are laid out, where that cannot be told from them."""

    format: Format | None = None
    rows: str | None = (
        None  # JSON: where its rows are, as "data.[]", "{id}" or "{subject}.[]"; "" for the whole file
    )
    fields: tuple[
        str, ...
    ] = ()  # names for the elements of rows that are arrays; of the columns without a header
    delimiter: str | None = None  # CSV and TSV
    quote: str = '"'  # "" for none
    encoding: str = "utf-8"

    @field_validator("delimiter", "quote")
    @classmethod
    def _one_character(cls, text: str | None) -> str | None:
        if text is not None and len(text) > 1:
            raise ValueError(f"{text!r} is more than one character")
        return text

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str) -> str:
        try:
            b"a".decode(name)
        except LookupError:
            raise ValueError(f"{name!r} is no encoding") from None
        except UnicodeDecodeError:  # it is one, of which this is no text
            pass
        return name


_NONE = Layout()
Reader = Callable[[Path, Layout, Collection[str] | None], Iterator[Row]]


def read_rows(path: Path, layout: Layout = _NONE, wanted: Collection[str] | None = None) -> Iterator[Row]:
    """Rows of a pool file, streamed; `wanted` names the columns that matter, where leaving out others saves work.

    Raises BadInput for a format that it does not read, and where it cannot be told where rows are.
    """
    kind = _kind(path, layout)
    if kind is None:
        raise BadInput(
            f"{path}: a pool file is .jsonl, .json, .csv, .tsv, .parquet, .arrow or an image, "
            f"not {path.suffix or 'without a suffix'}; or say what it is with pool.layout.format"
        )
    try:
        yield from _READERS[kind](path, layout, wanted)
    except OSError as error:
        yield lost(error.strerror or error)


def read_lines(path: Path, layout: Layout) -> Iterator[bytes | Row] | None:
    """The lines of a file that has a row in each, not parsed yet: `line_row` does that. None for any other file."""
    return jsonl_lines(path) if _kind(path, layout) == "jsonl" else None


def stated_rows(path: Path, layout: Layout) -> int | None:
    """How many rows a file says that it has; None where they must be read to be counted."""
    counts = {"parquet": parquet_count, "arrow": arrow_count, "images": lambda _: 1}
    count = counts.get(_kind(path, layout) or "")
    return None if count is None else count(path)


def _kind(path: Path, layout: Layout) -> Format | None:
    return layout.format or _BY_SUFFIX.get(path.suffix.lower())


def _csv(path: Path, layout: Layout, comma: str) -> Iterator[Row]:
    return csv_rows(path, layout.delimiter or comma, layout.quote, layout.encoding, layout.fields)


def _image_row(path: Path) -> Row:
    """An image file as a row (its name is the pool's affair, see ladder.pools.source): what a file of the same name
    beside it says, an object's members (.json) or `text` (.txt)."""
    try:
        about = json.loads(_beside(path, ".json") or "{}")
        text = _beside(path, ".txt")
    except (ValueError, RecursionError) as error:
        return broken(f"beside {path.name}: {error}")
    row = as_row(about)
    return row if text is None or isinstance(row, Unreadable) else {"text": text} | row


def _beside(path: Path, suffix: str) -> str | None:
    """The text of the file of the same name, if there is one that is no link and not too large."""
    other = path.with_suffix(suffix)
    if not other.is_file() or other.is_symlink():
        return None
    if other.stat().st_size > MAX_ROW:
        raise ValueError(f"a file of more than {MAX_ROW} bytes")
    return other.read_text(encoding="utf-8-sig")


_READERS: dict[Format, Reader] = {
    "json": lambda path, layout, _: json_rows(path, layout.rows, layout.fields),
    "jsonl": lambda path, layout, _: jsonl_rows(path, layout.fields),
    "csv": lambda path, layout, _: _csv(path, layout, ","),
    "tsv": lambda path, layout, _: _csv(path, layout, "\t"),
    "parquet": lambda path, _, wanted: parquet_rows(path, wanted),
    "arrow": lambda path, _, wanted: arrow_rows(path, wanted),
    "images": lambda path, _, __: iter([_image_row(path)]),
}
