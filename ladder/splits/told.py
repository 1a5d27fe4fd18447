"""What a split contains, in figures and in words: for `ladder sample`, with and without `--dry-run`."""

from __future__ import annotations

from typing import Any

from ladder.splits.drawn import HELD_OUT, Drawing

_AXES = ("tier", "source", "subject", "answer_type")
_ENDS = 5
_SHOWN = 12  # names of an axis


def contents(drawing: Drawing) -> dict[str, Any]:
    """Counts of the training split by tier, source, subject and answer type; its first and last rows; held-out counts by
    tier; and what was left out, by reason."""
    columns = "position, id, slot, tier, pass_rate, complexity"
    ends = f"SELECT {columns} FROM placed ORDER BY position"
    return {
        "counts": drawing.counts,
        "left_out": drawing.left_out,
        **{axis: _by(drawing, axis, "placed") for axis in _AXES},
        **{part: _by(drawing, "tier", f"({drawing.held_sql(part)})") for part in HELD_OUT},
        "first": _rows(drawing, f"{ends} LIMIT {_ENDS}"),
        "last": _rows(drawing, f"FROM ({ends} DESC LIMIT {_ENDS}) ORDER BY position"),
    }


def _by(drawing: Drawing, axis: str, source: str) -> dict[str, int]:
    sql = f"SELECT coalesce({axis}, '-'), count(*) FROM {source} GROUP BY 1 ORDER BY 2 DESC, 1"
    return dict(drawing.connection.execute(sql).fetchall())


def _rows(drawing: Drawing, sql: str) -> list[dict[str, Any]]:
    return drawing.connection.sql(sql).to_arrow_table().to_pylist()


def summary(counts: dict[str, int], left_out: dict[str, int]) -> list[str]:
    """Two lines: what the split holds, and what became of the other items."""
    visits = f" ({counts['train_items']:,} different)" if counts["train_items"] < counts["train"] else ""
    held = f", {counts['validation']:,} in the validation split" if counts["validation"] else ""
    lines = [f"{counts['train']:,} items to train on{visits}, {counts['probe']:,} in the probe{held}"]
    if left_out:
        lines.append("left out: " + ", ".join(f"{name} {count:,}" for name, count in left_out.items()))
    return lines


def preview(found: dict[str, Any]) -> str:
    """`contents` as text."""
    lines = [*summary(found["counts"], found["left_out"])]
    lines.append(f"about {found['counts']['tokens']:,} tokens to generate in an epoch")
    for axis in (*_AXES, *HELD_OUT):
        if found[axis]:
            title = axis if axis in _AXES else f"{axis} (by tier)"
            lines += ["", f"{title}:", *_counts(found[axis])]
    for end in ("first", "last"):
        lines += ["", f"{end}:", *(_row(row) for row in found[end])]
    return "\n".join(lines)


def _counts(counts: dict[str, int]) -> list[str]:
    shown = list(counts.items())[:_SHOWN]
    lines = [f"  {name:<32} {count:>10,}" for name, count in shown]
    more = sum(counts.values()) - sum(count for _, count in shown)
    rest = f"  ({len(counts) - len(shown)} more)"
    return lines if len(shown) == len(counts) else [*lines, f"{rest:<34} {more:>10,}"]


def _row(row: dict[str, Any]) -> str:
    score = f"pass rate {row['pass_rate']:.3f}, {row['complexity']:.0f} tokens"
    return f"  {row['position']:>8,}  slot {row['slot']:>3}  {row['id']}  {row['tier']:<10} {score}"
