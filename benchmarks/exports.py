"""Exports as other trainers read them with their own code: order, ids, prompts, images and golds equal, and TRL's trainer
takes steps.

Each trainer runs in an environment of its own (benchmarks/environments.py). The ladder is one of the embedded pool, and one
of hostile items (tests/export/hostile_items.py) that no model is needed for.

    python benchmarks/exports.py [NAME ...]
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from environments import call, environment

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "export")]


class Peer(NamedTuple):
    """A trainer: the name of its export, and the script of benchmarks/peers that checks it."""

    to: str
    script: str


NAMES = {
    "trl": Peer("trl", "trl_grpo.py"),
    "verl": Peer("verl", "verl_dataset.py"),
    "swift": Peer("ms-swift", "swift_dataset.py"),
    "openrlhf": Peer("openrlhf", "openrlhf_dataset.py"),
}


def main() -> None:
    from results import write_result

    from ladder.runtime import prepare_environment

    prepare_environment()
    names = sys.argv[1:] or list(NAMES)
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, split in splits(Path(folder)):
            for name in names:
                found = check(name, split, Path(folder) / f"{kind}-{name}")
                print(kind, name, json.dumps(found), file=sys.stderr)
                figures |= figures_of(kind, name, found)
    write_result("exports", figures)


def splits(folder: Path) -> Iterator[tuple[str, Any]]:
    """A split of the embedded pool, and one of hostile items."""
    from helpers import digits_settings
    from hostile_items import hostile_split

    from ladder.build import build
    from ladder.config import validate
    from ladder.pools.digits import write_pool
    from ladder.splits import SampleSettings, sample
    from ladder.store import Store

    write_pool(folder / "pool", items=66, probe_items=22, seed=0)
    build(digits_settings(folder / "pool", pool__make__items=66), folder / "digits")
    store = Store.open(folder / "digits")
    settings = validate(SampleSettings, {"strategy": {"strategy": "sorted"}})
    yield "digits", sample(store, settings, "sorted")
    yield "hostile", hostile_split(folder / "hostile")


def check(name: str, split: Any, out: Path) -> dict[str, Any]:
    """What a trainer's own code finds in an export of the split."""
    from ladder.export import ExportSettings, export
    from ladder.models import resolve_model

    peer = NAMES[name]
    exported = export(split, ExportSettings(to=peer.to), out)
    expected = out.with_suffix(".json")
    rows = list(expected_rows(split, peer.to))
    expected.write_text(json.dumps(rows), encoding="utf-8")
    arguments = [out, expected, resolve_model("digits")]
    found = call(environment(name), peer.script, arguments, cwd=out)
    return found | {"left_out": exported.left_out}


def expected_rows(split: Any, to: str) -> Iterator[dict[str, Any]]:
    """The rows of the training part as the ladder itself has them, and not by way of the export's code."""
    from ladder.images import open_canonical
    from ladder.prompts import render, template
    from ladder.settings import settings_of
    from ladder.store import Store

    store, how = Store.open(split.ladder), template(settings_of(split.ladder).prompt.template)
    for item in store.load_items([row["id"] for row in split.train]):
        if item.meta.get("unfit") == to:
            continue
        pictures = [open_canonical(store.image_reader.read(image)) for image in item.images]
        yield {
            "id": item.id,
            "turns": render(item, how),
            "images": [
                hashlib.blake2b(f"{one.size}".encode() + one.tobytes(), digest_size=16).hexdigest()
                for one in pictures
            ],
            "gold": item.meta.get("gold") or item.gold,
        }


def figures_of(kind: str, name: str, found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A peer's findings as figures of a benchmark."""
    versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    figures = {
        f"{kind}_{name}_{thing}_equal": {
            "value": count,
            "unit": "rows",
            "against": versions,
            "against_value": found["expected"],
            "ratio": count / found["expected"],
            "runs": 1,
        }
        for thing, count in found["equal"].items()
    }
    if "steps" in found:
        figures[f"{kind}_{name}_steps"] = {
            "value": found["steps"],
            "unit": "optimiser steps in the file's order" if found["in_order"] else "steps, NOT in order",
            "against": versions,
            "against_value": found["steps"],
            "ratio": 1.0,
            "runs": 1,
        }
    return figures


if __name__ == "__main__":
    main()
