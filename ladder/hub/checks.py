"""What came from elsewhere is somebody else's: names, files, tables and settings are checked before anything uses them.

Checked are places (nothing leaves the directory), forms (TOML, JSON, Parquet with the columns of its log), ids, which
become names of files, and that images are PNGs of a bounded size, so that no other decoder is ever started. Not checked is
what is said: a pulled ladder's golds, rollouts and verdicts are as true as its author.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, StrictInt, StrictStr, ValidationError

from ladder.errors import BadInput, LadderError
from ladder.hub.layout import CARD, is_log, logs_with_schemas
from ladder.images.containers import FORMATS, MAX_SOURCE_PIXELS
from ladder.records import AnswerType, tier_features
from ladder.settings import settings_of
from ladder.splits import open_split
from ladder.store import Store
from ladder.store.parts import Log
from ladder.store.tables import open_part

_ID = "^[0-9a-f]{8,64}$"
_IDS = {"items": ("id", "images"), "images": ("hash",), "rollouts": ("item_id",), "verdicts": ("item_id",)}
_VALUES = {"items": ("answer_type",), "images": ("width", "height", "data")}
#: Signature, kind of the first chunk, width, height, depth with colour type.
_PNG_HEAD = struct.Struct(">8s4x4sIIH")
_RGB = 0x0802  # of 8 bits


class _Benchmark(BaseModel):
    rows: StrictInt


class _Counts(BaseModel):
    items: StrictInt
    rejects: dict[str, StrictInt]
    sources: dict[str, dict[str, StrictInt]]
    benchmarks: dict[str, _Benchmark] = {}


class _Manifest(BaseModel):
    """What is used of an import's manifest."""

    number: StrictInt
    items: list[StrictStr]
    rejects: list[StrictStr]
    counts: _Counts


def check_names(repo: str, names: Iterable[str]) -> None:
    """Raise BadInput for a name that is no path below the directory that it will be put in."""
    for name in names:
        parts = name.split("/")
        odd = (
            any(part in ("", ".", "..") for part in parts)
            or "\\" in name
            or PurePosixPath(name).is_absolute()
        )
        if odd or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
            raise BadInput(f"{repo} holds {name!r}, a name that leaves its directory; nothing was taken")


def check_files(folder: Path, wanted: set[str]) -> None:
    """Delete what was not asked for; raise BadInput for a link."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_symlink():
            raise BadInput(f"{path.relative_to(folder)} is a link; nothing was taken")
        if path.is_file() and str(path.relative_to(folder)) not in wanted:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def check_ladder(folder: Path, logs: bool) -> None:
    """Raise BadInput where a pulled directory is no ladder that this version reads, whole and sound; with `logs` or only
    its public part."""
    store = Store.open(folder)
    settings_of(folder)
    try:
        if logs:
            _check_import(store)
        for log in logs_with_schemas(store):
            for path in log.paths():
                _check_part(log, path)
        for path in [*folder.glob("tiers/*/*.parquet"), *folder.glob("splits/*/*.parquet")]:
            _check_shown(path)
    except (LadderError, ValueError, KeyError, TypeError, OSError, pa.ArrowException) as error:
        raise BadInput(f"it is no sound ladder: {error}") from None
    for path in folder.glob("splits/*/split.toml"):
        ladder = open_split(path.parent).facts.get("ladder", {})
        if not isinstance(ladder, dict) or not all(isinstance(value, str) for value in ladder.values()):
            raise BadInput(f"{path.relative_to(folder)}: ladder is no table of texts")
    for card in [folder / CARD, *folder.glob(f"splits/*/{CARD}")]:
        _check_card(card)


def _check_import(store: Store) -> None:
    manifest = store.import_manifest()
    if manifest is None:
        raise ValueError("it has rollouts and no items")
    try:
        said = _Manifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"its import says {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    for name in [*said.items, *said.rejects]:
        if not is_log(f"items/{name}") or not (store.path / "items" / name).is_file():
            raise ValueError(f"its items name {name!r}, which is no part of it")


def _check_part(log: Log, path: Path) -> None:
    """The columns have the types of the log, ids are ids, types of answers are known, images are canonical."""
    with open_part(path) as file:
        there = file.schema_arrow
        for field in log.schema:
            if field.name in there.names and there.field(field.name).type != field.type:
                kind = there.field(field.name).type
                raise ValueError(f"{path.name} has {kind} as {field.name}, which is {field.type}")
        ids = _IDS.get(log.prefix, ())
        names = [*ids, *_VALUES.get(log.prefix, ())]
        for name in names:
            if name not in there.names:
                raise ValueError(f"{path.name} has no {name}")
        for group in range(file.num_row_groups if names else 0):
            table = file.read_row_group(group, columns=names)
            for name in ids:
                _check_ids(table[name], path)
            if log.prefix == "items":
                _check_answer_types(table["answer_type"], path)
            elif log.prefix == "images":
                sizes = zip(table["width"].to_pylist(), table["height"].to_pylist(), strict=True)
                _check_pictures(table["data"], path, list(sizes))


def _check_ids(column: pa.ChunkedArray, path: Path) -> None:
    flat = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    if not pc.all(pc.fill_null(pc.match_substring_regex(flat, _ID), False), min_count=0).as_py():
        raise ValueError(f"{path.name} has an id that is none")


def _check_answer_types(column: pa.ChunkedArray, path: Path) -> None:
    unknown = set(column.unique().to_pylist()) - {*AnswerType}
    if unknown:
        raise ValueError(f"{path.name} has {unknown.pop()!r} as answer_type, which is none")


def _check_shown(path: Path) -> None:
    """The images of a tier's or split's file: `datasets` would open whatever stands there, or what its path names."""
    with open_part(path) as file:
        if "images" not in file.schema_arrow.names:
            return
        kind = tier_features().arrow_schema.field("images").type
        if file.schema_arrow.field("images").type != kind:
            raise ValueError(f"{path.name} has {file.schema_arrow.field('images').type} as images")
        for group in range(file.num_row_groups):
            images = pc.list_flatten(file.read_row_group(group, columns=["images"])["images"])
            _check_pictures(pc.struct_field(images, "bytes"), path)


def _check_pictures(column: pa.ChunkedArray, path: Path, sizes: list[tuple[int, int]] | None = None) -> None:
    """Encoded images begin as canonical PNGs do, of the sizes that are said. Nothing is decoded."""
    for at, head in enumerate(pc.binary_slice(column, 0, _PNG_HEAD.size).to_pylist()):
        if head is None or len(head) < _PNG_HEAD.size:
            raise ValueError(f"{path.name} has an image that is no PNG")
        signature, chunk, width, height, form = _PNG_HEAD.unpack(head)
        if not FORMATS["PNG"].match(signature) or chunk != b"IHDR" or form != _RGB:
            raise ValueError(f"{path.name} has an image that is no canonical PNG")
        if not 0 < width * height <= MAX_SOURCE_PIXELS or (sizes and sizes[at] != (width, height)):
            raise ValueError(
                f"{path.name} has an image of {width}x{height} pixels, which is not what it says, or too much"
            )


def _check_card(card: Path) -> None:
    """The files that a card's configs name lie below it: `datasets` would open whatever stands there."""
    from huggingface_hub import DatasetCard

    if not card.is_file():
        return
    try:
        configs: Any = DatasetCard.load(card).data.to_dict().get("configs", [])
        named = [(config["data_files"], config.get("data_dir", "")) for config in configs]
        patterns = list(_strings(named, set()))
    except Exception as error:  # the boundary: YAML of strangers
        raise BadInput(f"{CARD} cannot be read: {type(error).__name__}") from None
    for pattern in patterns:
        if (
            "://" in pattern
            or "::" in pattern
            or pattern.startswith(("/", "~"))
            or ".." in pattern.split("/")
        ):
            raise BadInput(f"{CARD} names {pattern!r}, which lies outside of its directory")


def _strings(value: Any, seen: set[int]) -> Iterator[str]:
    """All texts in nested lists and tables. YAML can say the same list a billion times by its name."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple) and id(value) not in seen:
        seen.add(id(value))
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one, seen)
