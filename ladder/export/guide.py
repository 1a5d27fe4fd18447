"""What is written beside an export for people: the settings that keep its order, and what else its trainer does with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ladder.export.base import Family, Told


def guide(
    family: Family,
    told: Told,
    rows: Mapping[str, int],
    left_out: Mapping[str, int],
    facts: Mapping[str, Any],
) -> str:
    """The README of an export, in Markdown."""
    out = sum(left_out.values())
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
        f"Left out: {out:,}" + (":" if out else "."),
        "",
        *[f"- {reason}: {count:,}" for reason, count in left_out.items()],
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


def reward_file(family: Family) -> str:
    """A module that trainers load by its path; it needs Ladder installed beside them."""
    imported = f"from ladder.export.reward import {family.reward}\n"
    return (
        "\n".join(['"""The reward of this export: Ladder\'s verifier."""\n', imported, family.more]).rstrip(
            "\n"
        )
        + "\n"
    )
