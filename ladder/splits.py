"""`ladder sample`: draw a training split and a fixed probe from a ladder, and keep them as files beside it.

A split is a directory below `LADDER/splits/`: `train.parquet` in training order, `probe.parquet`, and `split.toml` with
its parentage. It holds ids, not items. The probe is stratified by tier and held out by item and by near-identical
image: no training item shares or nearly shares an image with any held-out item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from ladder.config import Settings, read_toml
from ladder.digest import fingerprint, shuffle_key
from ladder.errors import BadInput
from ladder.images import hamming
from ladder.order import NeuraLadder, Placed, Scored, Strategy
from ladder.store import Store
from ladder.store.catalogue import catalogue, facts_of
from ladder.store.parts import write_parquet, write_text

_CHUNK = 2048  # perceptual hashes compared at once


class ProbeSettings(Settings):
    """The probe: `per_tier` items of each tier, from the upstream split `split` if the ladder has one, else drawn from
    all items. `near_bits`: images whose perceptual hashes differ in at most so many of 64 bits count as the same."""

    per_tier: int = Field(80, ge=0)
    split: str = "probe"
    near_bits: int = Field(4, ge=0, le=64)


class SampleSettings(Settings):
    """What `ladder sample` draws."""

    strategy: Strategy = Field(NeuraLadder(), discriminator="strategy")
    probe: ProbeSettings = ProbeSettings()
    max_items: int | None = Field(None, ge=1)  # the first of the order
    seed: int = 0


@dataclass(frozen=True)
class Split:
    """A split as read back: ids in order, with slot or tier."""

    path: Path
    ladder: Path
    train: list[dict[str, Any]]
    probe: list[dict[str, Any]]
    facts: dict[str, Any]


def sample(store: Store, settings: SampleSettings, name: str) -> Split:
    """Draw and write the split `name`; the same settings give the same split. Raises BadInput for a name that is a
    path, or where nothing is left to train on."""
    if not name or Path(name).name != name or name.startswith("."):
        raise BadInput(f"a split's name is a plain directory name, not {name!r}")
    rows = _rows(store)
    held_out = _held_out(rows, settings.probe)
    probe = _probe(held_out, settings)
    kept, near = _away_from(
        store, [r for r in rows if r["id"] not in {h["id"] for h in held_out}], held_out, settings
    )
    scored = [Scored(r["id"], r["level"], r["difficulty"], r["complexity"]) for r in kept]
    placed = settings.strategy.arrange(scored, settings.seed)[: settings.max_items]
    facts = {
        "strategy": settings.strategy.strategy,
        "seed": settings.seed,
        "settings": settings.model_dump(mode="json", exclude_none=True),
        "ladder_state": facts_of(store)["state"],
        "train_items": len(placed),
        "probe_items": len(probe),
        "near_probe_dropped": near,
    }
    return _write(store, name, placed, probe, {r["id"]: r for r in rows}, facts)


def open_split(path: Path) -> Split:
    """Read a split's directory; raises BadInput where it is none."""
    if not (path / "split.toml").is_file():
        raise BadInput(f"{path} is not a split: it has no split.toml (`ladder sample LADDER` makes one)")
    facts = read_toml(path / "split.toml")
    try:
        train, probe = (pq.read_table(path / f"{part}.parquet").to_pylist() for part in ("train", "probe"))
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path} is not a whole split, draw it again with `ladder sample`: {error}") from None
    return Split(path, path.absolute().parent.parent, train, probe, facts)


def _rows(store: Store) -> list[dict[str, Any]]:
    with catalogue(store) as connection:
        table = connection.sql(
            "SELECT id, tier, level, difficulty, complexity, split, subject, images FROM ladder ORDER BY position"
        ).to_arrow_table()
    return table.to_pylist()


def _held_out(rows: list[dict[str, Any]], probe: ProbeSettings) -> list[dict[str, Any]]:
    """The items that never train: the upstream probe split, or a draw of `per_tier` items per tier."""
    upstream = [r for r in rows if r["split"] == probe.split]
    if upstream:
        return upstream
    return _stratified(rows, probe.per_tier, seed=0)  # seed of its own: a probe stays, whatever order trains


def _probe(held_out: list[dict[str, Any]], settings: SampleSettings) -> list[dict[str, Any]]:
    return _stratified(held_out, settings.probe.per_tier, seed=0)


def _stratified(rows: list[dict[str, Any]], per_tier: int, seed: int) -> list[dict[str, Any]]:
    tiers: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda r: shuffle_key(seed, r["id"])):
        tiers.setdefault(row["tier"], []).append(row)
    return [row for tier in sorted(tiers) for row in tiers[tier][:per_tier]]


def _away_from(
    store: Store, rows: list[dict[str, Any]], held_out: list[dict[str, Any]], settings: SampleSettings
) -> tuple[list[dict[str, Any]], int]:
    """Rows without an image that is nearly one of the held-out items', and how many had one."""
    table = store.images.table(["hash", "phash"])
    phash = dict(zip(table["hash"].to_pylist(), table["phash"].to_pylist(), strict=True))
    used = sorted({h for r in rows for h in r["images"]})
    other = np.array(sorted({phash[h] for r in held_out for h in r["images"]}), np.int64)
    near = _near(used, np.array([phash[h] for h in used], np.int64), other, settings.probe.near_bits)
    kept = [r for r in rows if not near.intersection(r["images"])]
    return kept, len(rows) - len(kept)


def _near(hashes: Sequence[str], phashes: np.ndarray, other: np.ndarray, bits: int) -> set[str]:
    if not len(other):
        return set()
    near: set[str] = set()
    for start in range(0, len(phashes), _CHUNK):
        close = (hamming(phashes[start : start + _CHUNK], other) <= bits).any(1)
        near.update(hashes[start + int(i)] for i in np.flatnonzero(close))
    return near


def _write(
    store: Store,
    name: str,
    placed: list[Placed],
    probe: list[dict[str, Any]],
    rows: dict[str, dict[str, Any]],
    facts: dict[str, Any],
) -> Split:
    import tomli_w

    path = store.path / "splits" / name
    columns = ("tier", "subject")
    train = [
        asdict(p.item) | {"slot": p.slot, "position": i} | {c: rows[p.item.id][c] for c in columns}
        for i, p in enumerate(placed)
    ]
    held = [{k: r[k] for k in ("id", "level", "difficulty", "complexity", *columns)} for r in probe]
    if not train:
        raise BadInput(
            f"{store.path}: nothing is left to train on under these settings ({len(rows)} items scored)"
        )
    facts["fingerprint"] = fingerprint("split-1", [[r["id"] for r in train], [r["id"] for r in held]])
    write_parquet(pa.Table.from_pylist(train), path / "train.parquet")
    write_parquet(pa.Table.from_pylist(held, schema=_PROBE), path / "probe.parquet")
    write_text(tomli_w.dumps(facts), path / "split.toml")
    return Split(path, store.path, train, held, facts)


_PROBE = pa.schema(
    [
        ("id", pa.string()),
        ("level", pa.int32()),
        ("difficulty", pa.float64()),
        ("complexity", pa.float64()),
        ("tier", pa.string()),
        ("subject", pa.string()),
    ]
)
