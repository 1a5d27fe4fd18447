"""Which items never train: the probe and the validation split, what is near-identical to them, and evaluation sets.

Fixed: a function of the ladder and of the settings `probe`, `validation` and `evaluation_set` alone, whatever the strategy,
its seed, or what training has changed since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ladder.digest import shuffle_key_sql
from ladder.errors import BadInput
from ladder.splits.near import clustered, near_questions
from ladder.splits.settings import SampleSettings
from ladder.store import Store
from ladder.store.sql import log_sql

if TYPE_CHECKING:
    import duckdb

_SEED = 0  # of its own: a probe stays, whatever order trains
_FLAGS = "['near_duplicate', 'near_conflict']"
# Why items of an upstream split cannot be drawn, none for those that can.
_REASONS = """
SELECT coalesce(part, CASE WHEN copy THEN 'near_duplicate' END, ''), count(*)
FROM ladder LEFT JOIN apart USING (id) LEFT JOIN eligible USING (id) WHERE ladder.split = $split GROUP BY 1 ORDER BY 1
"""


def create_apart(connection: duckdb.DuckDBPyConnection, store: Store, settings: SampleSettings) -> None:
    """Make the table `apart` (id, part) of the items of `ladder` that do not train. `part` is `probe`, `validation`, or why
    an item is left out: `held_out` (of the same upstream split), `near_held_out`, `evaluation_set`."""
    connection.execute("CREATE TEMP TABLE apart (id VARCHAR, part VARCHAR)")
    if not settings.evaluation_set:
        flagged = "SELECT id, 'evaluation_set' FROM ladder WHERE list_contains(flags, 'evaluation_set')"
        connection.execute(f"INSERT INTO apart {flagged}")
    connection.execute(f"CREATE TEMP TABLE pictures AS SELECT id, phash FROM ({_pictures_sql(store)})")
    for part, split in (("probe", settings.probe.split), ("validation", settings.validation.split)):
        of = settings.probe if part == "probe" else settings.validation
        if part == "probe" or of.per_tier:
            _hold_out(connection, store, part, split, of.per_tier)
            _leave_out_near(connection, store, part, settings.probe.near_bits)


def held_order_sql(item_id: str, tier: str) -> str:
    """The order of a held-out part: by tier, shuffled inside it."""
    return f"{tier}, {shuffle_key_sql(_SEED, item_id)}, {item_id}"


def _pictures_sql(store: Store) -> str:
    """Item and perceptual hash, a row for each image of the ladder."""
    images = log_sql(store.images.paths(), "'' AS hash, 0::BIGINT AS phash")
    used = "SELECT id, unnest(images) AS hash FROM ladder"
    return (
        f"SELECT u.id, u.hash, i.phash FROM ({used}) u JOIN (SELECT hash, phash FROM {images}) i USING (hash)"
    )


def _hold_out(
    connection: duckdb.DuckDBPyConnection, store: Store, part: str, split: str, per_tier: int
) -> None:
    """An upstream split is held out as a whole; where there is none, what is drawn of all items. A copy of an item that may
    train says nothing about held-out items, so what the audit flagged as one is not drawn. Raises BadInput where nothing of the
    upstream split can be drawn."""
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW eligible AS "
        "SELECT id, tier, split, list_contains(flags, 'near_duplicate') AS copy FROM ladder ANTI JOIN apart USING (id)"
    )
    reasons = dict(connection.execute(_REASONS, {"split": split}).fetchall())
    if reasons and "" not in reasons and per_tier:
        raise BadInput(_none_of(store, part, split, reasons))
    among = "split = $split" if reasons else "$split IS NOT NULL"
    place = f"row_number() OVER (PARTITION BY tier, copy ORDER BY {shuffle_key_sql(_SEED)}, id)"
    connection.execute(
        f"""INSERT INTO apart SELECT id, part FROM (
            SELECT id, CASE WHEN NOT copy AND {place} <= $per_tier THEN $part ELSE 'held_out' END AS part
            FROM eligible WHERE {among}
        ) WHERE part = $part OR $whole""",
        {"part": part, "split": split, "per_tier": per_tier, "whole": bool(reasons)},
    )


def _none_of(store: Store, part: str, split: str, reasons: dict[str, int]) -> str:
    counts = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
    advice = f"--set {part}.split=NAME draws it from another"
    if "evaluation_set" in reasons:
        advice = f"--set evaluation_set=true lets items of published evaluation sets take part, {advice}"
    return f"{store.path}: no item of the upstream split {split!r} can be in the {part} ({counts}); {advice}"


def _leave_out_near(connection: duckdb.DuckDBPyConnection, store: Store, part: str, bits: int) -> None:
    """Leave out what shares a cluster of near-identical images with a held-out item, or nearly asks the same."""
    every = _hashes(connection, "true", part)
    seeds = _hashes(connection, "id IN (SELECT id FROM apart WHERE part IN ($part, 'held_out'))", part)
    connection.register("near_hashes", pa.table({"phash": every[clustered(every, seeds, bits)]}))
    connection.execute(
        "INSERT INTO apart SELECT DISTINCT id, 'near_held_out' FROM pictures SEMI JOIN near_hashes USING (phash) "
        "WHERE id NOT IN (SELECT id FROM apart)"
    )
    connection.unregister("near_hashes")
    _leave_out_near_questions(connection, store, part)


def _hashes(connection: duckdb.DuckDBPyConnection, where: str, part: str) -> np.ndarray:
    """Different perceptual hashes of some items' images, sorted."""
    sql = f"SELECT DISTINCT phash FROM pictures WHERE {where} AND $part <> '' ORDER BY 1"
    return np.asarray(connection.execute(sql, {"part": part}).fetchnumpy()["phash"], np.int64)


def _leave_out_near_questions(connection: duckdb.DuckDBPyConnection, store: Store, part: str) -> None:
    """The audit marks copies, but not of what; so the few that it marked are compared with what is held out."""
    flagged = _ids(connection, f"ladder ANTI JOIN apart USING (id) WHERE list_has_any(flags, {_FLAGS})")
    if not flagged:
        return
    held = _ids(connection, "apart WHERE part IN ($part, 'held_out')", {"part": part})
    phash = connection.execute(
        f"SELECT DISTINCT hash, phash FROM ({_pictures_sql(store)}) WHERE id IN (SELECT unnest($ids::VARCHAR[]))",
        {"ids": [*held, *flagged]},
    ).fetchall()
    from ladder.settings import settings_of

    items = store.load_items([*held, *flagged])
    near = settings_of(store.path).audit.near
    found = near_questions(items[: len(held)], items[len(held) :], store.image_reader, dict(phash), near)
    if found:
        connection.executemany("INSERT INTO apart VALUES (?, 'near_held_out')", [[each] for each in found])


def _ids(
    connection: duckdb.DuckDBPyConnection, of: str, parameters: dict[str, str] | None = None
) -> list[str]:
    return [
        row[0] for row in connection.execute(f"SELECT id FROM {of} ORDER BY id", parameters or {}).fetchall()
    ]
