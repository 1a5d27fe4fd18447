"""What encoded bytes say of themselves, looked at before any decoder sees them.

Pillow decodes safely within the size that a header declares; what it lacks is a bound on work and memory for what
stands around the pixels (millions of chunks, one block of a file claimed by thousands of tags, a canvas that is
allocated to be asked its size). Here is that bound, per format. Nothing here decodes a pixel.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import cache

from ladder.images.errors import ImageRejected
from ladder.images.tags import check_tags, header

#: Refused before decoding: no question needs more, and a decompression bomb has more.
MAX_SOURCE_PIXELS = 64_000_000
#: WebP's decoder holds the picture four times.
_MAX_WEBP_PIXELS = 40_000_000

#: Formats that are read, by how they begin.
FORMATS = {
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*]|MM[*]\0|II\0[*]"),
}
#: What is known and not read, so that a reject says what the file is. The order matters: markup is the least specific.
_REFUSED = {
    "PDF": re.compile(rb"%PDF-"),
    "PostScript": re.compile(rb"\x04?%!|\xc5\xd0\xd3\xc6"),
    "a pickle": re.compile(rb"\x80[\x02-\x05]|c(?:os|posix|nt|builtins|__builtin__|subprocess)\n"),
    "an icon or cursor": re.compile(rb"\0\0[\x01\x02]\0|icns"),
    "a PSD": re.compile(rb"8BPS"),
    "a ZIP": re.compile(rb"PK[\x03\x05]"),
    "gzip": re.compile(rb"\x1f\x8b"),
    "HEIC, AVIF or a video": re.compile(rb"....ftyp", re.DOTALL),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP|\xff\x4f\xff\x51"),
    "Netpbm": re.compile(rb"P[1-7fF]\s"),
    "DDS": re.compile(rb"DDS "),
    "a NumPy array": re.compile(rb"\x93NUMPY"),
    "a program": re.compile(rb"\x7fELF|MZ|#!"),
    "SVG, HTML or other markup": re.compile(rb"(?:\xef\xbb\xbf)?\s*<"),
}

_PNG_SIGNATURE = 8  # bytes
_MAX_CHUNKS = 65_536
_MAX_NOTES = 1_000  # chunks that hold no pixels
_PIXEL_CHUNKS = {b"IDAT", b"fdAT", b"fcTL"}
#: Chunks of a canonical PNG: pixels, and what has a fixed small size and changes none of them.
_CANONICAL_CHUNKS = {
    b"IHDR", b"IDAT", b"IEND", b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"sBIT", b"bKGD", b"tIME",
}  # fmt: skip

_MAX_SEGMENTS = 4_096
_MAX_SCANS = 100  # a progressive JPEG has about ten; each is a pass over all pixels
_MAX_JUNK = 65_536  # bytes between a JPEG's segments: Pillow looks at them one by one
_HEADER_MARKER = re.compile(rb"\xff([\x01-\xfe])")
_SCAN_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # restarts belong to the scan
_SOS, _EOI, _APP1, _APP2 = 0xDA, 0xD9, 0xE1, 0xE2

_MAX_GIF_NOTES = 4 * 2**20  # bytes before the first frame
_MAX_RLE_BYTES = 4 * 2**20  # Pillow expands run lengths in Python


def format_of(data: bytes) -> str:
    """The format that the first bytes show, whatever the name says.

    Raises ImageRejected: image_unreadable, or image_format_refused where another format is known.
    """
    if not data:
        raise ImageRejected("image_unreadable", "0 bytes")
    for name, pattern in FORMATS.items():
        if pattern.match(data):
            return name
    for name, pattern in _REFUSED.items():
        if pattern.match(data):
            raise ImageRejected("image_format_refused", f"is {name}; read are {', '.join(FORMATS)}")
    raise ImageRejected("image_unreadable", f"no known format: begins with {data[:12]!r}")


def check(kind: str, data: bytes) -> None:
    """Pass bytes of a format that Pillow can open and load in bounded time and memory.

    Damage is left to the decoder to find. Raises ImageRejected: image_too_large.
    """
    _CHECKS[kind](data)


def check_pixels(width: int, height: int, most: int = MAX_SOURCE_PIXELS) -> None:
    """Raises ImageRejected (image_too_large) for a declared size of more than `most` pixels."""
    if width * height > most:
        raise ImageRejected("image_too_large", f"{width}x{height}")


def is_canonical(data: bytes) -> bool:
    """True of a plain 8-bit RGB PNG: no interlace, transparency, profile, text, animation or anything after its end."""
    if not FORMATS["PNG"].match(data) or data[24:26] != b"\x08\x02" or data[28:29] != b"\0":
        return False
    end = _PNG_SIGNATURE
    for kind, start, length in _chunks(data):
        if kind not in _CANONICAL_CHUNKS or (kind not in _PIXEL_CHUNKS and length > 32):
            return False
        end = start + length + 4
    return end == len(data) and data[-8:-4] == b"IEND"


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length (bytes) of a PNG's chunks, IEND the last; ends early where they are cut."""
    at, kind = _PNG_SIGNATURE, b""
    while kind != b"IEND" and at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at + 8, length
        at += length + 12


def _check_png(data: bytes) -> None:
    notes = 0
    for number, (kind, _, _) in enumerate(_chunks(data)):
        notes += kind not in _PIXEL_CHUNKS
        if number >= _MAX_CHUNKS or notes > _MAX_NOTES:
            raise ImageRejected("image_too_large", "too many chunks")


def _check_jpeg(data: bytes) -> None:
    exif, scans, junk = b"", 0, 0
    for count, (marker, body, gap) in enumerate(_segments(data)):
        scans += marker == _SOS
        junk += 0 if scans else gap
        if count >= _MAX_SEGMENTS or scans > _MAX_SCANS or junk > _MAX_JUNK:
            raise ImageRejected(
                "image_too_large", f"{count} segments, {scans} scans, {junk} bytes between them"
            )
        if marker == _APP1 and body[:6] == b"Exif\0\0":
            exif += body[6:]
        elif marker == _APP2 and body[:4] == b"MPF\0":
            check_tags(body[4:])
    check_tags(exif)


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, body and the bytes of junk before it of a JPEG's segments, as Pillow and libjpeg find them."""
    lengthy, at, scanning, started = _markers_with_length(), 2, False, False
    while found := (_SCAN_MARKER if scanning else _HEADER_MARKER).search(data, at):
        marker, junk, at = found[1][0], found.start() - at, found.end()
        if marker == _EOI and started:
            return
        if marker not in lengthy:
            yield marker, b"", junk + 2
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        yield marker, data[at + 2 : at + length], junk
        at += max(2, length)
        scanning = marker == _SOS
        started = started or scanning


@cache
def _markers_with_length() -> frozenset[int]:
    from PIL.JpegImagePlugin import MARKER

    return frozenset(code & 0xFF for code, (_, _, handler) in MARKER.items() if handler is not None)


def _check_gif(data: bytes) -> None:
    at = 13 + (3 << (data[10] & 7) + 1 if len(data) > 10 and data[10] & 128 else 0)
    while data[at : at + 1] not in (b",", b";", b"") and at <= _MAX_GIF_NOTES:
        if data[at : at + 1] != b"!":
            at += 1
            continue
        at += 2
        while at < min(len(data), _MAX_GIF_NOTES) and data[at]:
            at += data[at] + 1
        at += 1
    if at > _MAX_GIF_NOTES:
        raise ImageRejected("image_too_large", "the first frame comes too late")


def _check_bmp(data: bytes) -> None:
    if len(data) > _MAX_RLE_BYTES and data[14:15] != b"\x0c" and data[30:34] in (b"\1\0\0\0", b"\2\0\0\0"):
        raise ImageRejected("image_too_large", "run lengths of more than 4 MiB")


def _check_webp(data: bytes) -> None:
    head = data[12:30].ljust(18, b"\0")
    kind, width, height = head[:4], 0, 0
    if kind == b"VP8X":
        width, height = (int.from_bytes(head[i : i + 3], "little") + 1 for i in (12, 15))
    elif kind == b"VP8L":
        bits = int.from_bytes(head[9:13], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (int.from_bytes(head[i : i + 2], "little") & 0x3FFF for i in (14, 16))
    check_pixels(width, height, _MAX_WEBP_PIXELS)


def _check_tiff(data: bytes) -> None:
    check_tags(data)
    found = header(data)
    if found.tile_pixels > 2 * found.pixels + 2**24:
        raise ImageRejected("image_too_large", f"a tile of {found.tile_pixels} pixels")


_CHECKS = {
    "PNG": _check_png,
    "JPEG": _check_jpeg,
    "GIF": _check_gif,
    "BMP": _check_bmp,
    "WEBP": _check_webp,
    "TIFF": _check_tiff,
}
