"""Untrusted image bytes become one canonical, bounded image with a content hash and a perceptual hash.

Canonical: RGB on white, upright (EXIF), at most `max_pixels`, PNG. The content hash is that of the oriented
full-resolution pixels, so another pixel budget keeps an item's identity. Knows nothing of questions.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ladder.digest import digest
from ladder.records import Image

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image as PILImage

#: Refused before decoding: no question needs more, and a decompression bomb has more.
MAX_SOURCE_PIXELS = 64_000_000
MAX_SOURCE_BYTES = 64 * 2**20
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


class ImageRejected(Exception):
    """An image that cannot be used; `reason` is the reject's code."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def read_image(path: Path, root: Path, *, max_pixels: int, min_side: int) -> Image:
    """The canonical image of a file below `root`.

    Raises ImageRejected: image_outside_root, image_missing, or a reason of `canonical`.
    """
    return canonical(_bytes_below(root, path), max_pixels=max_pixels, min_side=min_side)


def canonical(data: bytes, *, max_pixels: int, min_side: int) -> Image:
    """The canonical image of encoded bytes; `max_pixels` bounds what is stored, `min_side` (pixels) what is accepted.

    Raises ImageRejected: image_unreadable, image_too_large, image_too_small.
    """
    full, plain = _decode(data)
    if min(full.size) < min_side:
        raise ImageRejected("image_too_small", f"{full.width}x{full.height}")
    stored = _bounded(full, max_pixels)
    return Image(
        hash=digest("image-1", f"{full.width}x{full.height}", full.tobytes()),
        phash=perceptual_hash(full),
        width=stored.width,
        height=stored.height,
        data=data if stored is full and plain and _is_canonical(data) else _png(stored),
    )


def open_canonical(data: bytes) -> PILImage.Image:
    """Decode stored canonical bytes."""
    from PIL import Image as PILImage

    return PILImage.open(io.BytesIO(data)).convert("RGB")


def perceptual_hash(image: PILImage.Image) -> int:
    """64-bit DCT hash of the luminance (sign of the lowest 8x8 frequencies about their median), as a signed int."""
    import numpy as np
    from scipy.fft import dctn

    grey = np.asarray(image.convert("L").resize((32, 32)), dtype=np.float64)
    low = dctn(grey, norm="ortho")[:8, :8].ravel()
    bits = low > np.median(low[1:])
    return int(np.packbits(bits).view(">u8")[0].astype(np.int64))


def hamming(hashes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Bits in which perceptual hashes differ: (N,) against (M,) int64 gives (N, M)."""
    import numpy as np

    xor = hashes.astype(np.int64)[:, None] ^ other.astype(np.int64)[None, :]
    return np.bitwise_count(xor.view(np.uint64))


def _bytes_below(root: Path, path: Path) -> bytes:
    try:
        resolved = path.resolve()
        if not resolved.is_relative_to(root.resolve()):
            raise ImageRejected("image_outside_root", str(path))
        if not resolved.is_file():
            raise ImageRejected("image_missing", str(path))
        if resolved.stat().st_size > MAX_SOURCE_BYTES:
            raise ImageRejected("image_too_large", f"{resolved.stat().st_size} bytes")
        return resolved.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a NUL in it, a loop of links
        raise ImageRejected("image_missing", f"{type(error).__name__}: {path}"[:200]) from None


def _decode(data: bytes) -> tuple[PILImage.Image, bool]:
    """Upright RGB on white, and whether that is what the bytes hold as they are: nothing turned, nothing transparent."""
    from PIL import ExifTags, ImageOps
    from PIL import Image as PILImage

    try:
        image = PILImage.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_SOURCE_PIXELS:
            raise ImageRejected("image_too_large", f"{image.width}x{image.height}")
        image.load()
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        return _on_white(ImageOps.exif_transpose(image)), upright and "transparency" not in image.info
    except ImageRejected:
        raise
    except PILImage.DecompressionBombError as error:
        raise ImageRejected("image_too_large", str(error)[:200]) from None
    except Exception as error:  # the boundary: PIL raises anything on hostile bytes
        raise ImageRejected("image_unreadable", f"{type(error).__name__}: {error}"[:200]) from None


def _on_white(image: PILImage.Image) -> PILImage.Image:
    from PIL import Image as PILImage

    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = (image if image.mode == "F" else image.convert("I")).point(lambda v: v / 256).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = PILImage.new("RGBA", rgba.size, "white")
        return PILImage.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _bounded(image: PILImage.Image, max_pixels: int) -> PILImage.Image:
    from PIL import Image as PILImage

    scale = (max_pixels / (image.width * image.height)) ** 0.5
    if scale >= 1:
        return image
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return image.resize(size, PILImage.Resampling.BICUBIC)


def _is_canonical(data: bytes) -> bool:
    """True of a plain 8-bit RGB PNG (colour type 2, no interlace): kept as it is, never encoded again."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:26] == b"\x08\x02" and data[28:29] == b"\0"


def _png(image: PILImage.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
