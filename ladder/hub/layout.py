"""Which files of a ladder travel: its public part (card, tiers, splits, settings), and the logs that others go on from.

Left behind are the catalogue, locks and temporary files, and of an import the drafts, which name files of the pool.
"""

from __future__ import annotations

import re
from pathlib import Path

from ladder.cards import ladder_fingerprint
from ladder.cards.licences import LICENCE_FILE
from ladder.store import MARKER, Store
from ladder.store.parts import Log

CARD = "README.md"
REPORT = "report.html"

_PART = r"(?:items|images|rejects|rollouts|refusals|verdicts|runs|outcomes|reviews)-[0-9A-Za-z.+_-]+\.parquet"
_FOLDERS = "items|rollouts|verdicts|runs|outcomes|reviews"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_PUBLIC = re.compile(
    rf"{CARD}|{LICENCE_FILE}|{re.escape(MARKER)}|tiers/\w+/[0-9a-f]+-\d+\.parquet"
    rf"|splits/{_NAME}/(?:split\.toml|README\.md|(?:train|validation|probe)[0-9-]*\.parquet)"
)
_LOGS = re.compile(rf"(?:{_FOLDERS})/{_PART}|items/import-\d{{6}}\.json")


def is_public(name: str) -> bool:
    """Whether a file, by its path below the ladder, is of its public part."""
    return _PUBLIC.fullmatch(name) is not None


def is_log(name: str) -> bool:
    """Whether a file is a part of a log, or says which parts hold the items."""
    return _LOGS.fullmatch(name) is not None


def is_import(name: str) -> bool:
    """Whether a file is of an import, each of which writes all items anew."""
    return is_log(name) and name.startswith(("items/import-", "items/items-", "items/rejects-"))


def import_number(name: str) -> int:
    """The number of the import that a manifest is of; 0 for another file."""
    return int(name[-11:-5]) if is_log(name) and name.startswith("items/import-") else 0


def is_derived(name: str) -> bool:
    """Whether a file is made anew by every build, so that one which no longer is there is of no use."""
    return name.startswith(("tiers/", "splits/")) and is_public(name)


def public_files(store: Store) -> list[str]:
    """The public part of a ladder that was built to its end, as it is now."""
    mark = ladder_fingerprint(store)
    found = [store.path / name for name in (CARD, REPORT, LICENCE_FILE, MARKER)]
    found += store.path.glob(f"tiers/*/{mark}-*.parquet")
    found += store.path.glob("splits/*/*")
    names = sorted(
        str(path.relative_to(store.path)) for path in found if path.is_file() and not path.is_symlink()
    )
    return [name for name in names if is_public(name) or name == REPORT]


def log_files(store: Store) -> list[str]:
    """The parts that count, and the latest import with its items and rejects."""
    manifests = sorted((store.path / "items").glob("import-*.json"))[-1:]
    paths = [*manifests, *store.item_parts(), *store.reject_parts(), *store.images.paths()]
    paths += [path for log in appended(store) for path in log.paths()]
    paths += sorted((store.path / "reviews").glob("*.parquet"))
    return [str(path.relative_to(store.path)) for path in dict.fromkeys(paths)]


def appended(store: Store) -> tuple[Log, ...]:
    """The logs that grow by parts, whoever writes them."""
    return store.rollouts, store.refusals, store.verdicts, store.runs, store.outcomes


def logs_with_schemas(store: Store) -> tuple[Log, ...]:
    """All logs that travel."""
    return store.items, store.images, store.rejects, *appended(store)


def folder_size(folder: Path, names: list[str]) -> int:
    """Bytes of some files below a folder."""
    return sum((folder / name).stat().st_size for name in names)
