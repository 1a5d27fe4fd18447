"""`ladder diff A B`: what changed from one ladder to another, or from one split to another.

Both catalogues are attached to one DuckDB connection, and everything that goes over items is SQL. What a change means is
left to the reader, but for one thing: how many pass rates differ by more than chance (`ladder.diff.chance`).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ladder.diff.ladders import compare_ladders
from ladder.diff.splits import compare_splits
from ladder.diff.told import told_ladders, told_splits
from ladder.errors import BadInput

__all__ = ["diff"]


def diff(a: Path, b: Path) -> tuple[dict[str, Any], str]:
    """What changed from ladder `a` to ladder `b`, or from split to split: as JSON values, and for a terminal. Raises
    BadInput where they are not two of a kind, or a build did not come to an end."""
    splits = [(path / "split.toml").is_file() for path in (a, b)]
    if all(splits):
        between = compare_splits(a, b)
        return asdict(between), told_splits(between)
    if any(splits):
        raise BadInput(f"{a} and {b}: one is a split, the other is not; compare two ladders or two splits")
    found = compare_ladders(a, b)
    return asdict(found), told_ladders(found)
