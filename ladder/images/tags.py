"""TIFF directories (of TIFF files, EXIF and MPF): how much they claim, and the few values that are needed.

Values are read where they lie and at most once, so that no directory costs more than its own entries. Damage is passed
over as Pillow passes over it: an entry that lies outside the data counts for nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from ladder.images.errors import ImageRejected

_MAX_ENTRIES = 4_096
_MAX_NUMBERS = 2**18  # values that Pillow makes Python numbers of: offsets and sizes of strips, most of all
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
}  # bytes by type
_TEXTS = (1, 2, 6, 7)  # types that stay bytes
_POINTERS = (34665, 34853, 40965)  # further directories: Exif, GPS, interoperability
_PREFIX = re.compile(rb"\A(?:Exif\0\0){1,2}")
_WIDTH, _LENGTH, _ORIENTATION, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 274, 322, 323


class _Entry(NamedTuple):
    tag: int
    type: int
    number: int
    size: int  # bytes of its value
    value: int  # where a value that fits the entry stands


class Header(NamedTuple):
    """What a TIFF's first directory declares, 0 where it does not say."""

    pixels: int
    tile_pixels: int


class _Layout(NamedTuple):
    order: str  # of struct
    head: str  # number of entries
    entry: str
    inline: int  # bytes of a value that stands in its entry
    first: int  # where the first directory lies


def check_tags(data: bytes) -> None:
    """Pass directories whose entries claim no more than the data could hold without sharing.

    Raises ImageRejected: image_too_large.
    """
    layout = _layout(data)
    pending, seen = [layout.first] if layout else [], set()
    claimed = numbers = entries = 0
    while layout and pending:
        at = pending.pop()
        if at in seen:
            continue
        seen.add(at)
        for entry in _entries(data, layout, at):
            entries += 1
            claimed += entry.size if entry.size > layout.inline else 0
            numbers += 0 if entry.type in _TEXTS else entry.number
            if entries > _MAX_ENTRIES or numbers > _MAX_NUMBERS or claimed > 2 * len(data) + 2**16:
                raise ImageRejected(
                    "image_too_large", f"{entries} tags claim {claimed} bytes, {numbers} numbers"
                )
            if entry.tag in _POINTERS:
                pending.append(_number(data, layout, entry) or layout.first)


def header(data: bytes) -> Header:
    """Declared sizes of a TIFF; of a tag that is there twice, the larger."""
    found = _values(data, (_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH))
    width, length, tile_width, tile_length = (max(values, default=0) for values in found)
    return Header(width * length, tile_width * tile_length)


def orientation(exif: bytes) -> int | None:
    """EXIF orientation (1 to 8 where it is sane), None where none is given."""
    return next(iter(_values(_PREFIX.sub(b"", exif), (_ORIENTATION,))[0]), None)


def _values(data: bytes, tags: tuple[int, ...]) -> list[list[int]]:
    """Values of each tag in the first directory, where they are single whole numbers."""
    layout = _layout(data)
    if layout is None:
        return [[] for _ in tags]
    entries = list(islice(_entries(data, layout, layout.first), _MAX_ENTRIES))
    numbers = [(entry.tag, _number(data, layout, entry)) for entry in entries if entry.number == 1]
    return [[n for found, n in numbers if found == tag and n is not None] for tag in tags]


def _layout(data: bytes) -> _Layout | None:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return None
    if data[2] == 43:  # as Pillow sees it: a big-endian BigTIFF is none to it
        return _Layout(order, "Q", "HHQ", 8, struct.unpack_from(order + "Q", data, 8)[0])
    return _Layout(order, "H", "HHI", 4, struct.unpack_from(order + "I", data, 4)[0])


def _entries(data: bytes, layout: _Layout, at: int) -> Iterator[_Entry]:
    """Entries of the directory at an offset whose values lie inside the data."""
    head, step = struct.calcsize(layout.order + layout.head), struct.calcsize(layout.order + layout.entry)
    if at + head > len(data):
        return
    (count,) = struct.unpack_from(layout.order + layout.head, data, at)
    at += head
    for start in range(at, min(at + count * (step + layout.inline), len(data)), step + layout.inline):
        value = start + step
        if value + layout.inline > len(data):
            return
        tag, kind, number = struct.unpack_from(layout.order + layout.entry, data, start)
        size = number * _SIZES.get(kind, 0)
        if size and (size <= layout.inline or _offset(data, layout, value) + size <= len(data)):
            yield _Entry(tag, kind, number, size, value)


def _offset(data: bytes, layout: _Layout, at: int) -> int:
    return int(struct.unpack_from(layout.order + ("Q" if layout.inline == 8 else "I"), data, at)[0])


def _number(data: bytes, layout: _Layout, entry: _Entry) -> int | None:
    code = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}.get(entry.type)
    if code is None or entry.size > layout.inline:
        return None
    return int(struct.unpack_from(layout.order + code, data, entry.value)[0])
