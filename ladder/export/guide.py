"""What is written beside an export for people: the settings that keep its order, and what else its trainer does with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ladder.export.base import Family, Told

_GOLD = "the gold; of an option its letter"
_TURNS = "the question as it is asked, as chat turns"
_TEXT = "question and options as they are asked"
_SHOWN = "the item's images: the encoded bytes, or files"
_COLUMNS = {
    "id": "the item's id in the ladder",
    "data_source": "the pool that the item is of",
    "datasource": "the pool that the item is of",
    "ability": "its subject, or the pool",
    "prompt": _TURNS,
    "messages": _TURNS,
    "message": f"{_TURNS}, in a text of JSON",
    "conversations": f"{_TURNS}, and the gold as the answer",
    "problem": _TEXT,
    "question": _TEXT,
    "image": _SHOWN,
    "images": _SHOWN,
    "reward_model": f"`ground_truth` is {_GOLD}",
    "answer": _GOLD,
    "solution": _GOLD,
    "label": _GOLD,
    "chosen": "a right response",
    "rejected": "a wrong response",
    "extra_info": "part and place in it, id, question, gold, `ladder` and scores, as elsewhere they are columns",
    "ladder": "the whole item as JSON, with a seal: for `reward.py`, and to import it again",
    "tier": "the item's tier",
    "level": "0 ... 8, of the observed pass rate",
    "difficulty": "1 - posterior mean of the pass rate",
    "complexity": "mean tokens of a response",
}


def guide(
    family: Family,
    told: Told,
    rows: Mapping[str, int],
    left_out: Mapping[str, int],
    facts: Mapping[str, Any],
) -> str:
    """The README of an export, in Markdown."""
    counts = ", ".join(f"{count:,} in `{told.files[part]}`" for part, count in rows.items())
    lines = [
        f"# {told.folder.name}",
        "",
        f"Rows for {family.name}{f' {family.version}' if family.version else ''}, in the order of a split of Ladder "
        f"(strategy {facts.get('strategy', 'unknown')}, seed {facts.get('seed', 'unknown')}): {counts}. "
        f"The prompt is that of the template `{told.template.name}`.",
        "",
        "## Settings",
        "",
        "The order is the curriculum; these keep it:",
        "",
        "```",
        *family.settings(told),
        "```",
        "",
        *[f"- {trap}" for trap in family.traps],
        "",
        *_left_out(left_out),
        "## Columns",
        "",
        *[f"- `{name}`: {_COLUMNS.get(name, 'as the trainer names it')}" for name in told.columns],
        "",
        "## Import again",
        "",
        "```sh",
        f"ladder build {family.pipeline} --set pool.root={told.folder} --until audit",
        "```",
        "",
        "gives the items with the ids that they had. Without the held-out parts: "
        f"`--set 'pool.files=[\"{told.files.get('train', 'train.' + family.suffix)}\"]'`.",
        "",
    ]
    return "\n".join(lines)


def _left_out(counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    reasons = (f"- {reason}: {count:,}" for reason, count in counts.items())
    return [f"Left out: {sum(counts.values()):,}:", "", *reasons, ""]


def reward_file(family: Family) -> str:
    """A module that trainers load by its path; it needs Ladder installed beside them."""
    imported = f"from ladder.export.reward import {family.reward}\n"
    return (
        "\n".join(['"""The reward of this export: Ladder\'s verifier."""\n', imported, family.more]).rstrip(
            "\n"
        )
        + "\n"
    )
