"""The import stage of a build: pool -> mapping -> audit -> the store's items, images and rejects."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ladder import verify
from ladder.audit import audit
from ladder.pools.mapping import Mapped
from ladder.pools.source import Pool
from ladder.records import Image, Item, Reject
from ladder.settings import BuildSettings, VerifySettings
from ladder.store import Store
from ladder.store.parts import Writer


def pool_of(settings: BuildSettings) -> Pool:
    """The pool that a build's settings name."""
    return Pool(settings.pool, settings.images, settings.name, Path(settings.pool.root).expanduser())


def import_pool(store: Store, pool: Pool, judging: VerifySettings) -> dict[str, Any]:
    """Import and audit the pool if it or its mapping changed; returns the import's manifest.

    The manifest is written last, so an interrupted import counts for nothing; images that are there are kept.
    """
    fingerprint = f"{pool.fingerprint()}-{verify.fingerprint(judging.policy)}"
    last = store.import_manifest()
    if last is not None and last["pool"] == fingerprint:
        return last
    items, rejects, rows = _read(store, pool)
    with judging.pool() as verifier:
        kept, failed = audit(items, verifier)
    rejects += failed
    item_part = store.items.append([item.row() for item in kept])
    reject_part = store.rejects.append([asdict(reject) for reject in rejects])
    store.finish_import(
        {
            "pool": fingerprint,
            "rows": rows,
            "items": [item_part.name] if item_part else [],
            "rejects": [reject_part.name] if reject_part else [],
            "counts": {
                "items": len(kept),
                "rejects": dict(Counter(f"{r.stage}.{r.reason}" for r in rejects)),
                "answer_types": dict(Counter(str(item.answer_type) for item in kept)),
            },
        }
    )
    return store.import_manifest() or {}


def _read(store: Store, pool: Pool) -> tuple[dict[int, Item], list[Reject], int]:
    """All items (by row) and rejects of the pool; new images go to the store as they come."""
    items: dict[int, Item] = {}
    rejects: list[Reject] = []
    seen: set[str] = set()
    writer = Writer(store.images, seconds=float("inf"), size=lambda row: len(row["data"]))
    for row, found in enumerate(pool.read()):
        if isinstance(found, Mapped):
            items[row] = found.item
            for image in found.images:
                if image.hash not in seen and image.hash not in store.image_reader:
                    writer.add(_image_row(image))
                seen.add(image.hash)
        else:
            rejects.append(found)
    writer.close()
    return items, rejects, len(items) + len(rejects)


def _image_row(image: Image) -> dict[str, Any]:
    return {name: getattr(image, name) for name in Image.__slots__}
