"""What `ladder show` prints: a page of items or rejects, page after page on a terminal, or JSON lines."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import sys
import termios
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ladder.cli.thumbnails import PROTOCOLS, Screen, Thumbnail, screen, thumbnail
from ladder.errors import BadInput, LadderError
from ladder.images import ImageRejected
from ladder.runtime import terminable
from ladder.show import KINDS, Card, Listing, Picture, Pictures, Record, card
from ladder.store import Store
from ladder.verify import answer_type

_PAGE = 20  # records, where nobody is there to turn it
_READ_AHEAD = 20
_JSON_AT_ONCE = 1024
_THUMBNAILS = 4  # of one record
_HIGH = 20  # rows of a thumbnail, unless it is made wide
_INDENT = 2
_NAME = re.compile(r"[0-9A-Za-z_-]{1,128}")  # what a file may be named that is named by a hash


@dataclass(frozen=True)
class Look:
    """How the command line says to show; `limit` is a page's size on a terminal."""

    offset: int = 0
    limit: int | None = None
    images: str = "auto"
    width: int = 40
    save: Path | None = None
    json: bool = False


def run(kind: str, ladder: Path, filters: Mapping[str, Sequence[str] | None], look: Look) -> None:
    """Show the `kind` ("items" or "rejects") of a ladder that pass the filters; raises BadInput."""
    if kind not in KINDS:
        raise BadInput(
            f"{kind!r}: say what to show, `ladder show items {ladder}`, `... rejects {ladder}` or `... outcomes {ladder}`"
        )
    if look.images not in ("auto", *PROTOCOLS):
        raise BadInput(f"--images {look.images!r}: auto, {', '.join(PROTOCOLS)}")
    store = Store.open(ladder)
    listing = Listing(store, kind, {name: _checked(name, values or ()) for name, values in filters.items()})
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with _nobody_reads_on():
        if look.json:
            _print_json(listing, Pictures(store), look)
        elif _is_turned():
            _Pager(listing, Pictures(store), look).run()
        else:
            _print_page(listing, Pictures(store), look)


def _is_turned() -> bool:
    """Whether somebody is there to turn the page."""
    terminals = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    return terminals and os.environ.get("TERM", "dumb") != "dumb"


def _checked(name: str, values: Sequence[str]) -> list[str]:
    try:
        return [str(answer_type(value)) for value in values] if name == "type" else list(values)
    except ValueError as error:
        raise BadInput(f"--type: {error}") from None


def _print_json(listing: Listing, pictures: Pictures, look: Look) -> None:
    stop = len(listing) if look.limit is None else look.offset + look.limit
    for records in _batches(listing, look.offset, stop, _JSON_AT_ONCE):
        if look.save is not None:
            for picture in pictures.find(_hashes(records)).values():
                _save(look.save, picture, pictures)
        for record in records:
            print(json.dumps(record))  # escapes all that is not ASCII, for a terminal may obey it
    if not len(listing):
        _say_nothing_found(listing)


def _batches(listing: Listing, start: int, stop: int, size: int) -> Iterator[list[Record]]:
    stop = min(stop, len(listing))
    return (listing.read(first, min(first + size, stop)) for first in range(start, stop, size))


def _hashes(records: Sequence[Record]) -> list[str]:
    return [name for record in records for name in record["images"]]


def _print_page(listing: Listing, pictures: Pictures, look: Look) -> None:
    sys.stdout.write(_counts(listing))
    stop = look.offset
    for block in _blocks(listing, pictures, look, look.offset, look.offset + (look.limit or _PAGE)):
        sys.stdout.write(block.text)
        stop += 1
    sys.stdout.flush()
    if not len(listing):
        return _say_nothing_found(listing)
    more = f"; the next: --offset {stop}" if stop < len(listing) else ""
    return _say(f"{_range(listing, look.offset, stop)}{more}")


def _range(listing: Listing, start: int, stop: int) -> str:
    if start >= stop:
        return f"{listing.kind}: none behind --offset {start}, there are {len(listing):,}"
    return f"{listing.kind} {start + 1:,}-{stop:,} of {len(listing):,}"


def _say_nothing_found(listing: Listing) -> None:
    _say("; ".join([f"no {listing.kind}", *listing.unmatched()]))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _counts(listing: Listing) -> str:
    """A table of all rejects by reason; nothing for items."""
    counts = listing.counts() if listing.kind == "rejects" else []
    return "".join(f"{n:>9,}  {why}\n" for why, n in counts) + ("\n" if counts else "")


# --- one record -------------------------------------------------------------------------------------------------


class _Block(NamedTuple):
    """A record as it is written, and how many rows it takes."""

    text: str
    rows: int


class _Easel(NamedTuple):
    """How thumbnails are drawn, and the most columns and rows that one may take."""

    on: Screen
    columns: int
    rows: int

    @classmethod
    def of(cls, look: Look) -> _Easel:
        """As the command line says and the terminal can: a picture that is higher than it cannot be placed."""
        size, terminal = shutil.get_terminal_size((100, 24)), sys.stdout.isatty()
        high = max(_HIGH, look.width // 2)
        return cls(
            screen(look.images, terminal, os.environ, sys.stdout.encoding),
            max(1, min(look.width, size.columns - 2 * _INDENT)),
            max(1, min(high, size.lines - 2)) if terminal else high,
        )

    def draw(self, own: Sequence[Picture], pictures: Pictures) -> list[Thumbnail]:
        """The first few of a record's images."""
        return [self._drawn(one, pictures) for one in own[:_THUMBNAILS]] if self.on.protocol != "none" else []

    def _drawn(self, picture: Picture, pictures: Pictures) -> Thumbnail:
        try:
            return thumbnail(pictures.data(picture), self.on, self.columns, self.rows, _INDENT)
        except ImageRejected as error:
            return Thumbnail(f"{' ' * _INDENT}[{error.reason}]\n", 1)


def _blocks(listing: Listing, pictures: Pictures, look: Look, start: int, stop: int) -> Iterator[_Block]:
    """Records from `start` on, each drawn when it is asked for."""
    easel, width = _Easel.of(look), shutil.get_terminal_size((100, 24)).columns
    number = start
    for records in _batches(listing, start, stop, _READ_AHEAD):
        found = pictures.find(_hashes(records))
        for record in records:
            number += 1
            own = {name: found[name] for name in record["images"] if name in found}
            if look.save is not None:
                own = {name: _save(look.save, picture, pictures) for name, picture in own.items()}
            shown = card(listing.kind, number, record, own, width)
            yield _block(shown, easel.draw(list(own.values()), pictures))


def _block(shown: Card, drawn: Sequence[Thumbnail]) -> _Block:
    head, body = ("".join(f"{line}\n" for line in lines) for lines in (shown.head, [*shown.body, ""]))
    rows = len(shown.head) + sum(drawing.rows for drawing in drawn) + len(shown.body) + 1
    return _Block(head + "".join(drawing.text for drawing in drawn) + body, rows)


def _save(folder: Path, picture: Picture, pictures: Pictures) -> Picture:
    """Write the image as a PNG file, named by its hash, unless it is there."""
    path = folder / f"{picture.hash}.png"
    if not _NAME.fullmatch(picture.hash):
        return picture
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(pictures.data(picture))
    except OSError as error:
        raise LadderError(f"cannot write {path}: {error.strerror or error}") from None
    return picture._replace(saved=path)


# --- page after page --------------------------------------------------------------------------------------------


_NEXT = ("\n", "\r", " ", "n", "j", "f", "\x1b[B", "\x1b[C", "\x1b[6~")
_BACK = ("b", "p", "k", "\x7f", "\x1b[A", "\x1b[D", "\x1b[5~")
_QUIT = ("q", "Q", "\x03", "\x04", "\x1b", "")


class _Pager:
    """Shows a page, reads a key, shows the next one; a page is what the screen has room for, or `limit` records."""

    def __init__(self, listing: Listing, pictures: Pictures, look: Look) -> None:
        self._listing, self._pictures, self._look = listing, pictures, look

    def run(self) -> None:
        """Until a key or a signal says so, or all is on one page. The terminal is left as it was."""
        descriptor = sys.stdin.fileno()
        try:
            with terminable(), _single_keys(descriptor):
                self._pages(descriptor)
        except KeyboardInterrupt:
            # The end of a picture that was only half written, and of colours.
            sys.stdout.write("\x1b\\\x1b[0m\n")

    def _pages(self, descriptor: int) -> None:
        start, before = self._look.offset, []
        stop = self._page(start, _counts(self._listing))
        if stop >= len(self._listing) and start == 0:
            return None if len(self._listing) else _say_nothing_found(self._listing)
        while (key := self._answer(descriptor, start, stop)) != "quit":
            if key == "next":
                before.append(start)
                start = stop
            else:
                start = before.pop() if before else max(0, start - max(stop - start, 1))
            stop = self._page(start)
        return None

    def _page(self, start: int, above: str = "") -> int:
        """Write the page that begins there; returns where the next one does."""
        sys.stdout.write(above)
        stop, used = start, above.count("\n")
        room, limit = shutil.get_terminal_size().lines - 1, self._look.limit
        end = len(self._listing) if limit is None else start + limit
        for block in _blocks(self._listing, self._pictures, self._look, start, end):
            if limit is None and stop > start and used + block.rows > room:
                break
            sys.stdout.write(block.text)
            stop, used = stop + 1, used + block.rows
        return stop

    def _answer(self, descriptor: int, start: int, stop: int) -> str:
        """What the key says, of what can be done here; others are passed over."""
        can = {"next": stop < len(self._listing), "back": start > 0, "quit": True}
        words = {"next": "[Enter] next", "back": "[b] back", "quit": "[q] quit"}
        prompt = "  ".join([_range(self._listing, start, stop), *(words[k] for k in words if can[k])])
        sys.stdout.write(prompt[: shutil.get_terminal_size().columns - 1])
        sys.stdout.flush()
        while True:
            key = _key(descriptor)
            for name, keys in (("next", _NEXT), ("back", _BACK), ("quit", _QUIT)):
                if key in keys and can[name]:
                    sys.stdout.write("\r\x1b[2K")
                    return name


@contextmanager
def _single_keys(descriptor: int) -> Iterator[None]:
    """Keys come as they are pressed and are not shown; signals stay what they are."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


def _key(descriptor: int) -> str:
    """The next key, with the rest of its sequence where it sends one; empty where the terminal is gone."""
    try:
        key = os.read(descriptor, 1)
        while key[:1] == b"\x1b" and len(key) < 8 and select.select([descriptor], [], [], 0.05)[0]:
            key += os.read(descriptor, 1)
            if key[-1:].isalpha() or key[-1:] == b"~":
                break
    except OSError:
        return ""
    return key.decode("ascii", "replace")


@contextmanager
def _nobody_reads_on() -> Iterator[None]:
    """A reader that has seen enough (`| head`) is no failure."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more
