"""A split in the layout of another trainer: order preserved, prompts as the ladder asks them, images byte for byte, and
each item whole beside it, so that importing the export again gives the same items (ladder.pools.kept).

What a layout is made of is in ladder.export.base, one module per family of trainers; the reward functions of these in
ladder.export.reward. Training is left to them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ladder import __version__
from ladder.config import did_you_mean, read_toml, shipped
from ladder.errors import BadInput
from ladder.export.base import Asked, Family, Row, Told, Unfit
from ladder.export.easyr1 import EASYR1
from ladder.export.files import ImageFiles, write_rows
from ladder.export.guide import guide, reward_file
from ladder.export.llava import LLAVA
from ladder.export.mmpr import MMPR
from ladder.export.openrlhf import LMM_R1, OPENRLHF
from ladder.export.pairs import preference_pairs
from ladder.export.r1v import R1V
from ladder.export.read import asked_items
from ladder.export.settings import ExportSettings
from ladder.export.swift import SWIFT
from ladder.export.trl import TRL
from ladder.export.verl import VERL
from ladder.pools.kept import keep
from ladder.pools.mapping import Columns
from ladder.prompts import Template, template
from ladder.settings import BuildSettings, settings_of
from ladder.splits import Split
from ladder.store import Store
from ladder.store.parts import write_text

FAMILIES = {one.name: one for one in (VERL, EASYR1, TRL, OPENRLHF, LMM_R1, SWIFT, LLAVA, R1V, MMPR)}
MARKER = "export.toml"
_CHUNK = 100_000  # items whose preference pairs are held at once


@dataclass(frozen=True)
class Exported:
    """What an export wrote: rows of each part, items left out by reason, and the trainer's settings in words."""

    path: Path
    to: str
    rows: dict[str, int]
    left_out: dict[str, int]
    settings: list[str]
    traps: list[str]


@dataclass
class _Export:
    """One export under way."""

    family: Family
    store: Store
    build: BuildSettings
    settings: ExportSettings
    folder: Path
    left_out: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    most_images: int = 0

    @property
    def template(self) -> Template:
        """The prompt template: the ladder's, or the one that was asked for."""
        chosen = template(self.settings.prompt or self.build.prompt.template)
        if not chosen.images:
            raise BadInput(
                f"the prompt template {chosen.name!r} asks without images: choose another with --prompt"
            )
        return chosen

    def write(self, part: str, ids: list[str]) -> str:
        """Write a part; its file's name."""
        name = f"{part}.{self.family.suffix}"
        images = ImageFiles(self.folder)
        write_rows(self.family, self._rows(part, ids, images), self.folder / name)
        images.sync()
        return name

    def _rows(self, part: str, ids: list[str], images: ImageFiles) -> Iterator[Row]:
        columns = columns_of(self.family)
        for asked in self._asked(part, ids):
            try:
                if self.settings.images_only and not asked.images:
                    raise Unfit("no_image")
                rows = self.family.rows(asked)
            except Unfit as why:
                self.left_out[why.reason] += 1
                continue
            self.most_images = max(self.most_images, len(asked.images))
            for picture in asked.images if self.family.files else ():
                images.keep(picture)
            for row in rows:
                self.rows[part] += 1
                yield self._kept(asked, row, columns)

    def _asked(self, part: str, ids: list[str]) -> Iterator[Asked]:
        for start in range(0, len(ids), _CHUNK):
            some = ids[start : start + _CHUNK]
            pairs = {}
            if self.family is MMPR:
                pairs = preference_pairs(self.store, some, self.settings.pairs)
            yield from asked_items(self.store, some, part, self.template, self.folder, pairs, start)

    def _kept(self, asked: Asked, row: Row, columns: Columns) -> Row:
        """The row with the item itself in the column that its layout has for it."""
        assert columns.ladder is not None
        *tables, name = columns.ladder.split(".")
        place = row
        for table in tables:
            place = place[table]
        place[name] = keep(asked.item, self.build.verify.policy, row, columns.question, columns.answer)
        return row


def columns_of(family: Family) -> Columns:
    """The columns by which the family's shipped pipeline reads an export again."""
    return Columns(**read_toml(shipped("pipelines", family.pipeline))["pool"]["columns"])


def export(split: Split, settings: ExportSettings, out: Path) -> Exported:
    """Write a split for another trainer into the directory `out`. The same split and settings give the same bytes at the
    same place. Raises BadInput for an unknown trainer or part, for a place that holds something else, where the ladder
    has lost items of the split, and where no item fits."""
    family = FAMILIES.get(settings.to)
    if family is None:
        hint = did_you_mean(settings.to, FAMILIES)
        raise BadInput(f"--to {settings.to!r}{hint}: there are {', '.join(FAMILIES)}")
    store = Store.open(split.ladder)
    running = _Export(family, store, settings_of(split.ladder), settings, out.absolute())
    chosen = running.template
    parts = _parts(split, settings.part)
    _claim(running, split)
    files = {part: running.write(part, ids) for part, ids in parts.items()}
    if not running.rows.total():
        raise BadInput(f"no item of the split fits {family.name}: {_said(running.left_out)}")
    told = Told(running.folder, files, chosen, running.most_images)
    exported = Exported(
        out,
        family.name,
        {part: running.rows[part] for part in files},
        dict(sorted(running.left_out.items())),
        family.settings(told),
        list(family.traps),
    )
    if family.reward:
        write_text(reward_file(family), running.folder / "reward.py")
    write_text(
        guide(family, told, exported.rows, exported.left_out, split.facts), running.folder / "README.md"
    )
    write_text(_marker(running, split, exported), running.folder / MARKER)
    return exported


def told(exported: Exported) -> str:
    """An export in words: where it lies, what was left out, and the settings that keep its order."""
    rows = ", ".join(f"{count:,} to {part}" for part, count in exported.rows.items())
    out = _said(Counter(exported.left_out))
    return "\n".join(
        [
            f"{exported.path}: {rows} for {exported.to}" + (f"; left out: {out}" if out else ""),
            "",
            *exported.settings,
            "",
            *[f"- {trap}" for trap in exported.traps],
        ]
    )


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))


def _parts(split: Split, part: str) -> dict[str, list[str]]:
    """The ids of each part that is wanted and not empty, in order."""
    there = {name: getattr(split, name, None) or [] for name in ("train", "validation", "probe")}
    if part != "all" and part not in there:
        raise BadInput(f"--part {part!r}: {', '.join(there)} or all")
    found = {n: [row["id"] for row in rows] for n, rows in there.items() if rows and part in (n, "all")}
    if not found:
        raise BadInput(f"{split.path}: its {part} has no items")
    return found


def _claim(running: _Export, split: Split) -> None:
    """Take the place, or take it again for the same export; raises BadInput where it holds something else."""
    folder, family = running.folder, running.family
    bad = sorted(set(family.forbidden) & set(str(folder)))
    if bad:
        raise BadInput(
            f"{folder}: {family.name} takes {bad[0]!r} in a path for a sign of its own; choose another --out"
        )
    identity = _identity(running, split)
    if (folder / MARKER).is_file():
        there = read_toml(folder / MARKER)
        if {name: there.get(name) for name in identity} != identity:
            raise BadInput(f"{folder} holds another export; choose another --out, or delete it")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} holds something that is no export; choose an empty directory with --out")
    write_text(_toml(identity), folder / MARKER)


def _identity(running: _Export, split: Split) -> dict[str, Any]:
    """What another export may not share a directory with."""
    return {
        "to": running.family.name,
        "split": str(split.facts.get("fingerprint", "")),
        "prompt_fingerprint": running.template.fingerprint,
        "settings": running.settings.model_dump(mode="json", exclude_none=True),
    }


def _marker(running: _Export, split: Split, exported: Exported) -> str:
    more = {
        "ladder_version": __version__,
        "ladder": split.ladder.name,
        "split_name": split.path.name,
        "prompt": running.template.name,
        "rows": exported.rows,
        "left_out": exported.left_out,
    }
    return _toml(_identity(running, split) | more)


def _toml(values: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(json.loads(json.dumps(values)))
