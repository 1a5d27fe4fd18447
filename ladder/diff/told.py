"""Differences for a terminal. Texts of pools are shown as they are written in Python, so that none can act on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ladder.diff.ladders import LadderDiff
from ladder.diff.splits import SplitDiff

_SETTINGS = 20
_WIDTH = 60


def told_ladders(found: LadderDiff) -> str:
    """Some lines on two ladders; what did not change is not told, except that nothing did."""
    lines = [
        *_settings(found.settings),
        *_items(found),
        *_tiers(found),
        *_pass_rates(found),
        *_verdicts(found),
    ]
    return "\n".join([f"{found.a} -> {found.b}", *(f"  {line}" for line in lines)])


def told_splits(found: SplitDiff) -> str:
    """Some lines on two splits."""
    lines = list(_settings(found.settings))
    for part, row in found.parts.items():
        if row["a"] or row["b"]:
            lines.append(
                f"{part}: {row['a']:,} -> {row['b']:,} items, {row['only_a']:,} only in the first, "
                f"{row['only_b']:,} only in the second"
            )
    if found.same_until is None:
        lines.append("order: the same")
    else:
        rank = "" if found.order is None else f", rank correlation {found.order:.3f}"
        lines.append(f"order: the same for the first {found.same_until:,} rows{rank}")
    return "\n".join([f"{found.a} -> {found.b}", *(f"  {line}" for line in lines)])


def _settings(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows[:_SETTINGS]:
        yield f"{row['key']}: {_short(row['a'])} -> {_short(row['b'])}"
    if len(rows) > _SETTINGS:
        yield f"... and {len(rows) - _SETTINGS} more settings (--json has them all)"


def _items(found: LadderDiff) -> Iterator[str]:
    items = found.items
    yield f"items: {items['a']:,} -> {items['b']:,}, {items['common']:,} in both"
    for key, where in (("only_a", "first"), ("only_b", "second")):
        only = items[key]
        if not only["count"]:
            continue
        why = ", ".join(f"{count:,} rejected there: {reason}" for reason, count in only["rejected"].items())
        yield f"only in the {where}: {only['count']:,}{f' ({why})' if why else ''}"
        yield from (f"  {row['id']} {_short(row['question'])}" for row in only["examples"])
    yield from (f"rejects {row['reason']}: {row['a']:,} -> {row['b']:,}" for row in found.rejects)
    if found.golds["count"]:
        yield f"golds changed: {found.golds['count']:,}"
        yield from (
            f"  {row['id']} {_short(row['a'])} ({row['type_a']}) -> {_short(row['b'])} ({row['type_b']})"
            for row in found.golds["examples"]
        )


def _tiers(found: LadderDiff) -> Iterator[str]:
    """A matrix, the first ladder's tiers down, the second's across."""
    if not found.moved:
        yield "tiers: no item moved"
        return
    total = sum(row["items"] for row in found.tiers)
    yield f"tiers: {found.moved:,} of {total:,} items moved"
    down = list(dict.fromkeys(row["a"] for row in found.tiers))
    across = sorted(
        dict.fromkeys(row["b"] for row in found.tiers),
        key=lambda t: (t not in down, down.index(t) if t in down else 0),
    )
    counts = {(row["a"], row["b"]): row["items"] for row in found.tiers}
    yield "".join(f"{name or 'none':>12}" for name in ["", *across])
    for a in down:
        yield "".join([f"{a or 'none':>12}", *(f"{counts.get((a, b), 0):>12,}" for b in across)])


def _pass_rates(found: LadderDiff) -> Iterator[str]:
    rates, by_chance = found.pass_rates, found.shifts
    if not rates["items"]:
        yield "pass rates: no item has one in both"
        return
    error = rates["standard_error"]
    interval = "" if error is None else f" ± {1.96 * error:.4f}"
    yield (
        f"pass rates: mean {rates['a']:.4f} -> {rates['b']:.4f}, difference {rates['difference']:+.4f}{interval} "
        f"over {rates['items']:,} items"
    )
    same = found.verdicts["same_samples"]
    if same:
        yield f"  {100 * same:.0f}% of the samples are the same: there rates differ by verdicts, not by chance"
    if same < 1:
        yield (
            f"  {by_chance.up:,} items up and {by_chance.down:,} down at the 5% level; fresh samples of an unchanged "
            f"model would give {by_chance.expected:.1f} ± {1.96 * by_chance.deviation:.1f}"
        )
    if found.order is not None:
        yield f"order: rank correlation {found.order:.3f}"


def _verdicts(found: LadderDiff) -> Iterator[str]:
    verdicts = found.verdicts
    if not verdicts["compared"]:
        yield "verdicts: no sample is in both"
        return
    yield f"verdicts: {verdicts['changed']:,} of {verdicts['compared']:,} on the same samples changed"
    for change in verdicts["changes"]:
        why = " (another gold)" if change["gold_changed"] else ""
        yield f"  {change['before']} -> {change['after']}{why}: {change['count']:,}"
        yield from (
            f"    {e['item']} gold {_short(e['gold'])}: {_short(e['extracted_before'])} -> {_short(e['extracted'])}"
            for e in change["examples"]
        )


def _short(value: Any) -> str:
    text = value if isinstance(value, int | float | None) else repr(value)
    return str(text) if len(str(text)) <= _WIDTH else f"{str(text)[:_WIDTH]}..."
