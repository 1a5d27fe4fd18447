"""Sample rollouts of a run as Parquet: `samples/step-000010.parquet`, with their images as the Hugging Face Image feature."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.errors import LadderError
from ladder.images import open_canonical
from ladder.store.parts import write_parquet
from trainer.track.base import SampleRow

if TYPE_CHECKING:
    from PIL import Image as PILImage

SIDE = 256  # pixels, the most that a picture to be looked at has either way
_PREFIX, _SUFFIX = "step-", ".parquet"
_CACHED = 64  # pictures


class SamplesTracker:
    """Writes a file per step with samples and renews the page of the newest; files from step `first` on are deleted, because
    a resumed run repeats them. Raises LadderError where the disk refuses."""

    def __init__(self, folder: Path, page: Path, first: int) -> None:
        self._folder, self._page = folder, page
        for path in sample_files(folder):
            if int(path.stem.removeprefix(_PREFIX)) >= first:
                try:
                    path.unlink()
                except OSError as error:
                    raise LadderError(f"cannot delete {path}: {error.strerror or error}") from None

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Not here: see trainer.track.jsonl."""

    def samples(self, step: int, rows: Sequence[SampleRow]) -> None:
        """Write the file and the page."""
        from trainer.track.page import write_page

        write_samples(self._folder / f"{_PREFIX}{step:06d}{_SUFFIX}", step, rows)
        write_page(sample_files(self._folder), self._page)

    def close(self) -> None:
        """Nothing is left."""


def sample_files(folder: Path) -> list[Path]:
    """The files of samples, oldest first."""
    found = (p for p in folder.glob(f"{_PREFIX}*{_SUFFIX}") if p.stem.removeprefix(_PREFIX).isdecimal())
    return sorted(found, key=lambda path: int(path.stem.removeprefix(_PREFIX)))


def features(rewards: Sequence[str]) -> Any:
    """The `datasets.Features` of a file of samples, with a column for each reward."""
    import datasets as hf

    text, number, flag, count = (hf.Value(kind) for kind in ("string", "float64", "bool", "int64"))
    return hf.Features(
        {
            "step": count,
            "item_id": text,
            "tier": text,
            "question": text,
            "images": hf.List(hf.Image()),
            "gold": text,
            "response": text,
            "outcome": text,
            "correct": flag,
            **{f"reward_{name}": number for name in rewards},
            "advantage": number,
            "tokens": count,
            "truncated": flag,
        }
    )


def write_samples(path: Path, step: int, rows: Sequence[SampleRow]) -> Path:
    """Write the samples of a step atomically; raises LadderError where the disk refuses."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in row.rewards))
    table = pa.Table.from_pylist(list(_records(step, rows)), schema=features(names).arrow_schema)
    return write_parquet(table, path)


def _records(step: int, rows: Sequence[SampleRow]) -> Iterator[dict[str, Any]]:
    for row in rows:
        own = {k: clean(v) if isinstance(v, str) else v for k, v in vars(row).items() if k != "rewards"}
        images = [{"bytes": data, "path": None} for data in row.images]
        yield own | {"step": step, "images": images} | {f"reward_{k}": v for k, v in row.rewards.items()}


def clean(text: str) -> str:
    """Without half characters (lone surrogates), which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


@lru_cache(maxsize=_CACHED)
def picture(data: bytes) -> PILImage.Image:
    """Canonical bytes as a picture of at most SIDE pixels either way."""
    image = open_canonical(data)
    image.thumbnail((SIDE, SIDE))
    return image


def webp(data: bytes) -> bytes:
    """Canonical bytes as a small WebP."""
    out = io.BytesIO()
    picture(data).save(out, "WEBP", quality=80)
    return out.getvalue()
