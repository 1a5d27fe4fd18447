"""Reading exports as plain files, and what a shipped pipeline makes of them again."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ladder.config import load, shipped
from ladder.export import FAMILIES, Exported, ExportSettings, export
from ladder.images.album import Album
from ladder.pools.mapping import Mapped
from ladder.pools.source import Pool
from ladder.records import IMAGE_PLACEHOLDER, Item
from ladder.settings import BuildSettings
from ladder.splits import Split

Row = dict[str, Any]


def exported(split: Split, to: str, out: Path, **more: Any) -> Exported:
    return export(split, ExportSettings(to=to, **more), out)


def read_rows(path: Path) -> list[Row]:
    """The rows of a Parquet, JSON lines or JSON file."""
    if path.suffix == ".parquet":
        rows: list[Row] = pq.read_table(path).to_pylist()
        return rows
    text = path.read_text(encoding="utf-8")
    found: list[Row] = (
        json.loads(text)
        if path.suffix == ".json"
        else [json.loads(line) for line in text.split("\n") if line]
    )
    return found


def part_rows(out: Path, to: str, part: str = "train") -> list[Row]:
    return read_rows(out / f"{part}.{FAMILIES[to].suffix}")


def kept_of(row: Row) -> Row:
    """What a row keeps of its item."""
    found: Row = json.loads(row["extra_info"]["ladder"] if "extra_info" in row else row["ladder"])
    return found


def shown_images(row: Row, out: Path) -> list[bytes]:
    """The encoded images of a row, whatever its layout."""
    if "message" in row:
        parts = [part for turn in json.loads(row["message"]) for part in turn["content"]]
        return [_bytes(part["image"], out) for part in parts if part["type"] == "image"]
    images = row.get("images", row.get("image"))
    return [
        _bytes(image, out) for image in (images if isinstance(images, list) else [images] if images else [])
    ]


def _bytes(image: Any, out: Path) -> bytes:
    if isinstance(image, dict):
        data: bytes = image["bytes"]
        return data
    return (out / str(image).removeprefix("file://")).read_bytes()


def asked_text(row: Row) -> str:
    """A row's prompt as one text with `<image>` for each image, whatever its layout; turns are joined by newlines."""
    for name in ("problem", "question"):
        if name in row and "message" not in row:
            return str(row[name])
    if "conversations" in row:
        return str(row["conversations"][0]["value"])
    turns = json.loads(row["message"]) if "message" in row else row.get("prompt", row.get("messages"))
    return "\n".join(_joined(turn["content"]) for turn in turns)


def _joined(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] if part["type"] == "text" else IMAGE_PLACEHOLDER for part in content)


def imported_again(to: str, root: Path, *overrides: str) -> list[Item | str]:
    """What the family's pipeline makes of an export: items, or why a row is a reject."""
    place = f"pool.root={json.dumps(str(root))}"
    settings = load(BuildSettings, shipped("pipelines", FAMILIES[to].pipeline), [place, *overrides])
    assert settings.pool is not None
    pool = Pool(settings.pool, settings.name, root)
    album = Album(max_pixels=settings.images.max_pixels, min_side=settings.images.min_side)
    return [one.item if isinstance(one, Mapped) else one.reason for one in pool.read(album)]


def only_train(to: str) -> str:
    """The override that leaves the held-out parts out."""
    return f'pool.files=["train.{FAMILIES[to].suffix}"]'
