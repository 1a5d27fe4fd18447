"""Image files that mean harm, and the reason for which each is refused: for tests of images and of whole imports."""

import io
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image as PILImage

from ladder.images import MAX_SOURCE_BYTES

PICTURE = PILImage.effect_mandelbrot((48, 32), (-2, -1.5, 1, 1.5), 40).convert("RGB")


def encoded(kind: str, image: PILImage.Image = PICTURE, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, kind, **options)  # it keeps the options, and threads share the picture
    return buffer.getvalue()


def cut(kind: str) -> bytes:
    whole = encoded(kind)
    return whole[: len(whole) * 2 // 3]


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*before: bytes, size: tuple[int, int] = (48, 32), after: bytes = b"") -> bytes:
    """A PNG of the picture with chunks before its pixels, whatever its header declares."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    rows = b"".join(b"\0" + PICTURE.crop((0, y, 48, y + 1)).tobytes() for y in range(32))
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + pixels + chunk(b"IEND") + after


def inflating(megabytes: int) -> bytes:
    return zlib.compress(bytes(megabytes * 2**20), 9)


def segment(marker: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(*inserted: bytes, size: tuple[int, int] | None = None) -> bytes:
    """A JPEG of the picture with bytes after its start, declaring another size where one is given."""
    whole = encoded("JPEG")
    frame = whole.index(b"\xff\xc0") + 5
    if size:
        whole = whole[:frame] + struct.pack(">HH", *size[::-1]) + whole[frame + 4 :]
    return whole[:2] + b"".join(inserted) + whole[2:]


def many_scans(scans: int) -> bytes:
    whole = encoded("JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * scans + b"\xff\xd9"


def gif(
    width: int, height: int, before: bytes = b"", frame: tuple[int, int, int, int] = (0, 0, 8, 8)
) -> bytes:
    palette = bytes(range(12))
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x81, 0, 0) + palette
    return screen + before + b"," + struct.pack("<HHHHB", *frame, 0) + b"\x02\x02\x4c\x01\0;"


def tiff(*entries: tuple[int, int, int, int], tail: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF of raw (tag, type, count, value) entries; what they point to lies in `tail`."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", following) + tail


def sized_tiff(
    width: int, height: int, *entries: tuple[int, int, int, int], tail: bytes = bytes(4096)
) -> bytes:
    plain = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    given = {entry[0] for entry in entries}
    return tiff(*sorted([e for e in plain if e[0] not in given] + list(entries)), tail=tail)


def shared_tags(count: int, size: int) -> bytes:
    """Tags that all claim the same bytes: small as a file, huge once each has its copy."""
    return tiff(*((40_000 + i, 7, size, 8) for i in range(count)), tail=bytes(size))


def webp(kind: bytes, body: bytes) -> bytes:
    inner = b"WEBP" + kind + struct.pack("<I", len(body)) + body + bytes(64)
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


def bmp(width: int, height: int, compression: int = 0, pixels: bytes = b"") -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + info + bytes(range(256)) * 4 + pixels


class Touch:
    """Unpickled, it would leave a file."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, ("touch ladder-was-run",)


LARGE = "image_too_large"
UNREADABLE = "image_unreadable"
REFUSED = "image_format_refused"
XML_BOMB = b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><svg>&b;</svg>'
SVG_OUTSIDE = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'

#: Made when asked for: many are large.
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "png of 3.6 gigapixels": (lambda: png(size=(60_000, 60_000)), LARGE),
    "png just over the pixels allowed": (lambda: png(size=(8_001, 8_000)), LARGE),
    "png of the widest side": (lambda: png(size=(2**31 - 1, 1)), LARGE),
    "png zTXt bomb": (lambda: png(chunk(b"zTXt", b"k\0\0" + inflating(50))), LARGE),
    "png iTXt bomb": (lambda: png(chunk(b"iTXt", b"k\0\1\0\0\0" + inflating(50))), LARGE),
    "png iCCP bomb": (lambda: png(chunk(b"iCCP", b"k\0\0" + inflating(50))), LARGE),
    "png of many small bombs": (lambda: png(*[chunk(b"zTXt", b"k\0\0" + inflating(1))] * 80), LARGE),
    "png of many notes": (lambda: png(chunk(b"tEXt", b"k\0v") * 2_000), LARGE),
    "png of many chunks": (lambda: png(chunk(b"IDAT") * 70_000), LARGE),
    "png of 63 megapixels without them": (lambda: png(size=(7_000, 9_000)), UNREADABLE),
    "png without a side": (lambda: png(size=(0, 40)), UNREADABLE),
    "png with a wrong checksum": (lambda: png().replace(b"IHDR", b"IHDR\0", 1), UNREADABLE),
    "png whose chunk is longer than the file": (lambda: png()[:33] + b"\x7f\xff\xff\xffIDAT", UNREADABLE),
    "jpeg of 4 gigapixels, cut": (lambda: jpeg(size=(65_500, 65_500))[:700], LARGE),
    "jpeg of 4 gigapixels": (lambda: jpeg(size=(65_500, 65_500)), LARGE),
    "jpeg of 63 megapixels without them": (lambda: jpeg(size=(7_000, 9_000))[:-2], UNREADABLE),
    "jpeg of many segments": (lambda: jpeg(segment(0xE5) * 5_000), LARGE),
    "jpeg of filling": (lambda: jpeg(b"\xff" * 2**20), LARGE),
    "jpeg of junk": (lambda: jpeg(b"\xff\0" * 2**19), LARGE),
    "jpeg of many scans": (lambda: many_scans(200), LARGE),
    "jpeg whose exif shares": (lambda: jpeg(segment(0xE1, b"Exif\0\0" + shared_tags(1_000, 40_000))), LARGE),
    "jpeg whose MPF shares": (lambda: jpeg(segment(0xE2, b"MPF\0" + shared_tags(1_000, 40_000))), LARGE),
    "gif of a huge canvas": (lambda: gif(65_535, 65_535), LARGE),
    "gif of a frame far outside": (lambda: gif(8, 8, frame=(65_000, 65_000, 8, 8)), LARGE),
    "gif of comments": (lambda: gif(8, 8, b"!\xfe" + b"\1c" * 2**22 + b"\0"), LARGE),
    "gif of junk": (lambda: gif(8, 8, b"x" * 5 * 2**20), LARGE),
    "gif that is also a script": (lambda: b"GIF89a=1;/*" + bytes(20) + b"*/alert(1)", UNREADABLE),
    "tiff of 4 gigapixels": (lambda: sized_tiff(65_535, 65_535, (273, 4, 1, 200)), LARGE),
    "tiff of shared tags": (lambda: shared_tags(4_000, 2**20), LARGE),
    "tiff of many tags": (lambda: tiff(*((i, 3, 1, 1) for i in range(60_000))), LARGE),
    "tiff of many strips": (lambda: sized_tiff(64, 64, (273, 4, 2**19, 8), tail=bytes(2**21)), LARGE),
    "tiff of a huge tile": (lambda: sized_tiff(64, 64, (322, 4, 1, 2**15), (323, 4, 1, 2**15)), LARGE),
    "tiff of many samples": (lambda: sized_tiff(64, 64, (273, 4, 1, 8), (277, 3, 1, 65_535)), UNREADABLE),
    "tiff whose directory is itself": (lambda: tiff((34665, 4, 1, 8), following=8), UNREADABLE),
    "tiff of nothing": (lambda: b"II*\0" + struct.pack("<I", 2**32 - 1), UNREADABLE),
    "tiff of endless pages without a size": (lambda: tiff((258, 3, 1, 8), following=8), UNREADABLE),
    "tiff of a strip beyond the file": (lambda: sized_tiff(64, 64, (273, 4, 1, 2**31)), UNREADABLE),
    "webp of a huge canvas": (lambda: webp(b"VP8X", b"\2\0\0\0" + b"\xff\x3f\0" * 2), LARGE),
    "webp of a huge lossy frame": (lambda: webp(b"VP8 ", b"\0\0\0\x9d\1\x2a\xff\x3f\xff\x3f"), LARGE),
    "webp of a huge lossless frame": (lambda: webp(b"VP8L", b"\x2f" + b"\xff" * 4), LARGE),
    "webp of 16 megapixels without them": (lambda: webp(b"VP8X", b"\0\0\0\0" + b"\xff\x0f\0" * 2), UNREADABLE),
    "bmp of 1 gigapixel": (lambda: bmp(2**15, 2**15), LARGE),
    "bmp of long run lengths": (lambda: bmp(2_000, 2_000, 1, b"\1\0" * 2**22), LARGE),
    "bmp of negative width": (lambda: bmp(-64, 64), LARGE),
    "bmp without pixels": (lambda: bmp(4_000, 4_000), UNREADABLE),
    "words that begin like a bmp": (lambda: b"BMW is a brand of cars." * 9, UNREADABLE),
    **{f"cut {kind}": (lambda kind=kind: cut(kind), UNREADABLE) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP")},
    "cut TIFF": (lambda: cut("TIFF"), UNREADABLE),
    "no byte": (lambda: b"", UNREADABLE),
    "one byte": (lambda: b"\x89", UNREADABLE),
    "a signature alone": (lambda: b"\x89PNG\r\n\x1a\n", UNREADABLE),
    "a marker alone": (lambda: b"\xff\xd8\xff", UNREADABLE),
    "a header alone": (lambda: b"GIF89a", UNREADABLE),
    "zeros": (lambda: bytes(10_000), UNREADABLE),
    "noise": (lambda: np.random.default_rng(0).bytes(10_000), UNREADABLE),
    "too many bytes": (lambda: png(after=bytes(MAX_SOURCE_BYTES)), LARGE),
    "svg": (lambda: SVG_OUTSIDE, REFUSED),
    "svg behind a byte order mark": (lambda: b"\xef\xbb\xbf \n" + SVG_OUTSIDE, REFUSED),
    "svg of entities": (lambda: XML_BOMB, REFUSED),
    "a page that says the picture is gone": (lambda: b"<!DOCTYPE html><title>404</title>", REFUSED),
    "pdf": (lambda: b"%PDF-1.7\n1 0 obj<</OpenAction<</S/Launch>>>>", REFUSED),
    "pdf that holds a png": (lambda: b"%PDF-1.7\n" + png(), REFUSED),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd)(r)file", REFUSED),
    "eps with a binary header": (lambda: b"\xc5\xd0\xd3\xc6" + bytes(99) + b"%!PS", REFUSED),
    "pickle": (lambda: pickle.dumps(Touch(), 4), REFUSED),
    "pickle of the first protocol": (lambda: pickle.dumps(Touch(), 0), REFUSED),
    "ico": (lambda: encoded("ICO"), REFUSED),
    "cursor": (lambda: b"\0\0\2\0" + encoded("ICO")[4:], REFUSED),
    "icns": (lambda: b"icns" + bytes(99), REFUSED),
    "psd": (lambda: b"8BPS\0\1" + bytes(99), REFUSED),
    "zip": (lambda: b"PK\3\4" + bytes(99), REFUSED),
    "gzip": (lambda: b"\x1f\x8b\x08" + bytes(99), REFUSED),
    "heic": (lambda: b"\0\0\0\x18ftypheic" + bytes(99), REFUSED),
    "avif": (lambda: b"\0\0\0\x1cftypavif" + bytes(99), REFUSED),
    "jpeg 2000": (lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), REFUSED),
    "netpbm": (lambda: encoded("PPM"), REFUSED),
    "dds": (lambda: b"DDS |\0\0\0" + bytes(200), REFUSED),
    "numpy": (lambda: b"\x93NUMPY\1\0" + bytes(99), REFUSED),
    "program": (lambda: b"\x7fELF" + bytes(99), REFUSED),
    "script": (lambda: b"#!/bin/sh\ntouch ladder-was-run\n", REFUSED),
    "a dot": (lambda: encoded("PNG", PILImage.new("RGB", (1, 1))), "image_too_small"),
    "a line": (lambda: encoded("PNG", PILImage.new("RGB", (8, 1_601))), "image_extreme_aspect"),
    "a strip of pixels": (lambda: encoded("JPEG", PILImage.new("L", (60_000, 100))), "image_extreme_aspect"),
}  # fmt: skip
