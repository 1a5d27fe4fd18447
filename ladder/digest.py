"""Named digests: ids, fingerprints, seeds and shuffle keys, the same on every platform and version.

A digest's `name` is part of what is hashed, so that two uses can never collide, and is versioned by whoever names it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: Seeds of one item lie within this span, those of two items in different ones.
SEED_SPAN_BITS = 20
#: Keys for shuffling are below 2**63: they fit in a signed 64-bit integer.
KEY_BITS = 63


def digest(name: str, *parts: str | bytes) -> str:
    """32 hex digits of the parts under a name; lengths are hashed, so ("ab", "c") differs from ("a", "bc")."""
    h = hashlib.blake2b(digest_size=16, person=name.encode()[:16])
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "little"))
        h.update(data)
    return h.hexdigest()


def fingerprint(name: str, value: Any) -> str:
    """16 hex digits of any JSON value, independent of key order."""
    return digest(name, json.dumps(value, sort_keys=True, ensure_ascii=False, default=str))[:16]


def shuffle_key(seed: int, item_id: str, use: str = "order") -> int:
    """The key by which a seeded shuffle sorts, uniform below 2**KEY_BITS. Keys of other uses of a seed are independent of it."""
    text = f"shuffle-2 {use} {seed} {item_id}"
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest(), "little") >> (
        128 - KEY_BITS
    )


def shuffle_key_sql(seed: int, item_id: str = "id", use: str = "order") -> str:
    """`shuffle_key` as an SQL expression (BIGINT) over the column `item_id`; DuckDB has md5 and no BLAKE2."""
    return f"(md5_number(concat('shuffle-2 {use} {seed} ', {item_id})) >> {128 - KEY_BITS})::BIGINT"


def base_seed(*parts: str) -> int:
    """First seed of an item under a specification; sample j uses base + j. Fits in a signed 64-bit integer."""
    return int(digest("seed-1", *parts)[:10], 16) << SEED_SPAN_BITS


def files_digest(paths: Iterable[Path], root: Path) -> str:
    """Digest of the files' relative names and contents, in name order."""
    h = hashlib.blake2b(digest_size=16, person=b"files-1")
    for path in sorted(paths):
        h.update(str(path.relative_to(root)).encode() + b"\0")
        with path.open("rb") as file:
            h.update(hashlib.file_digest(file, "blake2b").digest())
    return h.hexdigest()
