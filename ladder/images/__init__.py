"""Untrusted image bytes become one canonical, bounded image with a content hash and a perceptual hash.

Canonical: RGB on white, upright (EXIF), at most `max_pixels`, PNG. The content hash is that of the oriented
full-resolution pixels, so another pixel budget keeps an item's identity. Knows nothing of questions.

Every refusal is an ImageRejected with one of these reasons:

- image_missing: no such regular file (also a folder, a FIFO, a device, a name that no file can have)
- image_outside_root: the path, or a link in it, leads out of the pool
- image_is_url: the path is a URL; nothing is fetched here
- image_too_large: too many bytes or pixels, or too much work to decode (a decompression bomb)
- image_format_refused: a known format that is not one of `containers.FORMATS` (SVG, PDF, PostScript, pickle, ...)
- image_unreadable: empty, truncated, damaged, or nothing that is known
- image_too_small: the shorter side is below `min_side`
- image_extreme_aspect: one side is more than `MAX_ASPECT` times the other

All functions may be called from several threads at once. Pillow's warnings go where the process's filters send
them, since those filters belong to all threads; no outcome depends on whether a large picture's warning is an error.
"""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from ladder.images.errors import ImageRejected
from ladder.images.files import MAX_SOURCE_BYTES, bytes_below, is_url
from ladder.records import Image

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image as PILImage

#: The longer side over the shorter, as vision encoders bound it (Qwen2-VL's smart_resize).
MAX_ASPECT = 200

__all__ = [
    "MAX_ASPECT",
    "MAX_SOURCE_BYTES",
    "ImageRejected",
    "canonical",
    "hamming",
    "is_url",
    "open_canonical",
    "perceptual_hash",
    "read_image",
    "read_image_bytes",
]


def read_image(path: Path, root: Path, *, max_pixels: int, min_side: int) -> Image:
    """The canonical image of a file below `root`; limits as in `canonical`. Raises ImageRejected, any reason."""
    return read_image_bytes(bytes_below(root, path), max_pixels=max_pixels, min_side=min_side)


def read_image_bytes(data: bytes, *, max_pixels: int, min_side: int) -> Image:
    """The canonical image of bytes that came in a row; limits as in `canonical`.

    Raises ImageRejected: image_too_large above MAX_SOURCE_BYTES, or a reason of `canonical`.
    """
    if len(data) > MAX_SOURCE_BYTES:
        raise ImageRejected("image_too_large", f"{len(data)} bytes")
    return canonical(bytes(data), max_pixels=max_pixels, min_side=min_side, max_aspect=MAX_ASPECT)


def canonical(data: bytes, *, max_pixels: int, min_side: int, max_aspect: float = inf) -> Image:
    """The canonical image of encoded bytes: stored with at most `max_pixels`, accepted where no side is below
    `min_side` pixels and the longer is at most `max_aspect` times the shorter.

    Bytes that are canonical as they are become `data` unchanged. Raises ImageRejected: image_too_large,
    image_format_refused, image_unreadable, image_too_small, image_extreme_aspect.
    """
    from ladder.images import containers, pixels

    picture = pixels.decode(data, pixels.Limits(max_pixels, min_side, max_aspect))
    return Image(
        hash=picture.hash,
        phash=picture.phash,
        width=picture.stored.width,
        height=picture.stored.height,
        data=data if picture.whole and containers.is_canonical(data) else pixels.png(picture.stored),
    )


def open_canonical(data: bytes) -> PILImage.Image:
    """Decode stored canonical bytes."""
    import io

    from PIL import Image as PILImage

    return PILImage.open(io.BytesIO(data), formats=("PNG",)).convert("RGB")


def perceptual_hash(image: PILImage.Image) -> int:
    """64-bit DCT hash of the luminance (sign of the lowest 8x8 frequencies about their median), as a signed int."""
    from ladder.images import pixels

    return pixels.perceptual_hash(image)


def hamming(hashes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Bits in which perceptual hashes differ: (N,) against (M,) int64 gives (N, M)."""
    import numpy as np

    xor = hashes.astype(np.int64)[:, None] ^ other.astype(np.int64)[None, :]
    return np.bitwise_count(xor.view(np.uint64))
