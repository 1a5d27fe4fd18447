"""Rows of a Hugging Face data set: on the Hub, or in a directory that `save_to_disk` wrote or `load_dataset` reads.

Rows are streamed as Arrow, so that no image is decoded on the way. Code of a data set is never run.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ladder.config import Settings
from ladder.errors import BadInput
from ladder.pools.rows import Row, Unreadable, lost
from ladder.pools.tables import batch_rows, projected

_BATCH = 32
#: The column that says which split a row is of.
SPLIT = "_split"


class DatasetSettings(Settings):
    """A Hugging Face data set. The pool's root, where it is a directory, is read in place of the Hub's `name`.

    A Hub data set counts as unchanged while these settings are: name its `revision` to say which you mean.
    """

    name: str | None = None  # the Hub id
    config: str | None = None
    splits: tuple[str, ...] = ()  # all, where none is named
    revision: str | None = None


def dataset_rows(settings: DatasetSettings, root: Path, wanted: Collection[str] | None) -> Iterator[Row]:
    """The rows of all splits wanted, each with its split as the column `_split`; raises BadInput where there are none."""
    splits = _load(settings, root)
    missing = [name for name in settings.splits if name not in splits]
    if missing:
        raise BadInput(f"no split {missing[0]!r} in {_name(settings, root)}; there are: {', '.join(splits)}")
    for split in settings.splits or splits:
        for row in _rows(splits[split], wanted):
            yield row if isinstance(row, Unreadable) else row | {SPLIT: split}


def stated_rows(settings: DatasetSettings, root: Path) -> int | None:
    """How many rows the splits wanted say that they have; None where they do not, or are not there."""
    splits = _load(settings, root)
    sizes = [_size(splits[name], name) for name in settings.splits or splits if name in splits]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _size(split: Any, name: str) -> int | None:
    if hasattr(split, "__len__"):
        return len(split)
    said = (split.info.splits or {}).get(name)
    return None if said is None else int(said.num_examples)


def _rows(split: Any, wanted: Collection[str] | None) -> Iterator[Row]:
    import pyarrow as pa

    names = _class_names(split.features)
    try:
        # A table of the whole batch, images as the {bytes, path} that they are stored as.
        for table in split.with_format("arrow").iter(_BATCH):
            table = pa.table(table) if isinstance(table, dict) else table
            for batch in table.select(projected(table.column_names, wanted)).to_batches():
                yield from (_named(row, names) for row in batch_rows(batch))
    except Exception as error:  # the boundary: its readers raise whatever they come upon
        yield lost(f"{type(error).__name__}: {error}")


def _class_names(features: Any) -> dict[str, list[str]]:
    from datasets import ClassLabel

    return {name: kind.names for name, kind in (features or {}).items() if isinstance(kind, ClassLabel)}


def _named(row: Row, names: dict[str, list[str]]) -> Row:
    """Classes by their names, for a number says nothing to whom the answer is given."""
    for column, classes in names.items():
        number = row.get(column)
        if isinstance(number, int) and 0 <= number < len(classes):
            row[column] = classes[number]
    return row


def _load(settings: DatasetSettings, root: Path) -> dict[str, Any]:
    """The data set's splits by name."""
    import datasets

    try:
        if (root / "dataset_dict.json").is_file() or (root / "state.json").is_file():
            found = datasets.load_from_disk(str(root))
        else:
            place = str(root) if root.is_dir() else settings.name
            config = settings.config if not root.is_dir() or settings.config in _configs(root) else None
            found = datasets.load_dataset(place, config, revision=settings.revision, streaming=True)
    except Exception as error:  # the boundary: files, network, and whatever its builders raise
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadInput(f"cannot load {_name(settings, root)}: {why}") from None
    return dict(found) if isinstance(found, dict) else {str(found.split or "train"): found}


def _configs(root: Path) -> list[str]:
    """What a local copy calls its configs; one that says nothing of them holds the one that was copied."""
    import datasets

    return list(datasets.get_dataset_config_names(str(root)))


def _name(settings: DatasetSettings, root: Path) -> str:
    return f"the data set {os.fspath(root) if root.is_dir() else settings.name}"
