"""What `ladder show outcomes` prints: the runs that wrote outcomes, and how the tiers moved in one of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ladder.errors import BadInput
from ladder.outcomes import CAVEATS, TIER_HEADS, Movement, RunOutcomes, movement, notes, shown, tier_row
from ladder.progress import say
from ladder.show import one_line
from ladder.store import Store

_RUN_HEADS = (
    "run", "steps", "groups", "rollouts", "items", "correct, first third", "last third", "without signal",
)  # fmt: skip


def run(ladder: Path, wanted: str | None, filters: Sequence[str], json_: bool) -> None:
    """Print them; raises BadInput for a run that there is not, and for a filter: they select items."""
    if filters:
        raise BadInput(f"--{filters[0]} selects items or rejects; outcomes have --run")
    found = movement(Store.open(ladder), wanted)
    if json_:
        print(json.dumps({"runs": []} if found is None else as_json(found)))
    elif found is None:
        say("no outcomes: a run writes them, `ladder train` on a split of this ladder")
    else:
        print(told(found))


def as_json(found: Movement) -> dict[str, Any]:
    """All of it, with the gains."""
    values = asdict(found)
    for tier, of in zip(values["tiers"], found.tiers, strict=True):
        tier["first"]["gain"], tier["last"]["gain"] = of.first.gain, of.last.gain
    return values | {"caveats": list(CAVEATS)}


def told(found: Movement) -> str:
    """Both tables, and what they do not say."""
    lines = [
        *_columns(_RUN_HEADS, [_run_row(each) for each in found.runs]),
        "",
        f"how the tiers moved in run {one_line(found.run)}:",
    ]
    lines += _columns(TIER_HEADS, [tier_row(tier) for tier in found.tiers])
    lines += ["", *(f"note: {text}" for text in [*CAVEATS, *notes(found)])]
    return "\n".join(lines)


def _run_row(each: RunOutcomes) -> list[str]:
    counts = [f"{count:,}" for count in (each.groups, each.rollouts, each.items)]
    rates = [shown(rate) for rate in (each.correct_first, each.correct_last, each.silent)]
    return [one_line(each.run), f"{each.first_step}-{each.last_step}", *counts, *rates]


def _columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in [heads, *rows]) for i in range(len(heads))]
    lines = (
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in [heads, *rows]
    )
    return [line.rstrip() for line in lines]
