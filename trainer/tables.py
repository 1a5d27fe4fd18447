"""Evaluations as text tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_NAMES = {"mean": "mean@{n}", "greedy": "greedy", "pass": "pass@{n}", "tokens": "tokens"}


def evaluation_table(rows: Mapping[str, Mapping[str, Any]], n: int) -> str:
    """A row per part of the split; each measure with its 95% interval."""
    heads = ["", "items", *(name.format(n=n) for name in _NAMES.values())]
    return _table(
        heads,
        [[part, str(row["items"]), *(_interval(row[m], m) for m in _NAMES)] for part, row in rows.items()],
    )


def comparison_table(rows: Mapping[str, Mapping[str, Any]], n: int) -> str:
    """Before, after and paired difference of the three measures for all items; mean@n for each part."""
    whole = rows["all"]
    heads = ["all items", "before", "after", "difference (paired)"]
    first = [
        [name.format(n=n), *(_interval(whole[m][side], m) for side in ("before", "after", "difference"))]
        for m, name in _NAMES.items()
    ]
    parts = [
        [part, *(_interval(row["mean"][side], "mean") for side in ("before", "after", "difference"))]
        for part, row in rows.items()
        if part != "all"
    ]
    heads_2 = [f"mean@{n} by", "before", "after", "difference (paired)"]
    return _table(heads, first) + "\n\n" + _table(heads_2, parts)


def _interval(value: Mapping[str, float | None], measure: str) -> str:
    if value["mean"] is None:
        return "-"
    digits = 1 if measure == "tokens" else 3
    return f"{value['mean']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in [heads, *rows]) for i in range(len(heads))]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in [heads, *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)
