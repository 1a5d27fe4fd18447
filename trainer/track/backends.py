"""TensorBoard, trackio and wandb behind the tracker's interface.

A resumed run goes on in the same run: TensorBoard hides the steps that are repeated; trackio and wandb, which cannot take
a step back, are not told again what they were told (`after` is the last step that they know). What they print goes to
stderr. Whoever calls them counts what they raise.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from trainer.track.base import SampleRow
from trainer.track.samples import clean, picture

_COLUMNS = ("tier", "question", "gold", "response", "outcome", "correct", "advantage", "tokens", "truncated")


class TensorBoardTracker:
    """Event files in a folder; numbers only. Steps from `first` on that are there already are hidden by TensorBoard."""

    name = "tensorboard"

    def __init__(self, folder: Path, first: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """A scalar for each number, on disk before a checkpoint can be that counts on it."""
        for name, value in metrics.items():
            if isinstance(value, int | float) or hasattr(value, "item"):
                self._writer.add_scalar(name, float(value), step)
        self._writer.flush()

    def samples(self, step: int, rows: Sequence[SampleRow]) -> None:
        """Each response as text, with its first image."""
        import numpy as np

        for i, row in enumerate(rows):
            if row.images:
                pixels = np.asarray(picture(row.images[0]))
                self._writer.add_image(f"samples/{i}", pixels, step, dataformats="HWC")
            self._writer.add_text(f"samples/{i}", _markdown(row), step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class _Logged:
    """A tracker whose run takes metrics and tables by step, once each: those up to `after` it has already."""

    def __init__(self, table: Any, image: Any, after: int, run: Any) -> None:
        self._table, self._image, self._after, self._run = table, image, after, run

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Log metrics."""
        if step > self._after:
            self._run.log(_known(metrics), step=step)

    def samples(self, step: int, rows: Sequence[SampleRow]) -> None:
        """Log a table with the first image of each response."""
        if step > self._after:
            columns, data = _table(rows, self._image)
            self._run.log({"samples": self._table(columns=columns, data=data)}, step=step)


class TrackioTracker(_Logged):
    """A run of a trackio project: local, or where trackio's own environment variables say."""

    name = "trackio"

    def __init__(self, project: str, out: Path, config: Mapping[str, Any], after: int, run: str) -> None:
        import trackio

        with redirect_stdout(sys.stderr):
            begun = trackio.init(
                project, name=f"{out.name}-{run}", config=dict(config), resume="allow", embed=False
            )
        super().__init__(trackio.Table, trackio.Image, after, begun)

    def close(self) -> None:
        """Send what is left."""
        with redirect_stdout(sys.stderr):
            self._run.finish()


class WandbTracker(_Logged):
    """A run of a wandb project; WANDB_MODE=offline keeps it in the run's directory."""

    name = "wandb"

    def __init__(self, project: str, out: Path, config: Mapping[str, Any], after: int, run: str) -> None:
        import wandb

        begun = wandb.init(
            project=project,
            name=out.name,
            id=run,
            resume="allow",
            dir=str(out),
            config=dict(config),
            settings=wandb.Settings(console="off"),  # stdout is for data
        )
        super().__init__(wandb.Table, wandb.Image, after, begun)

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()


def _known(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Python's own numbers; what has no value is left out."""
    return {k: v.item() if hasattr(v, "item") else v for k, v in metrics.items() if v is not None}


def _table(rows: Sequence[SampleRow], image: Any) -> tuple[list[str], list[list[Any]]]:
    """Column names, and rows of values with the picture as `image` makes one."""
    rewards = list(dict.fromkeys(name for row in rows for name in row.rewards))
    columns = ["item_id", "image", *_COLUMNS, *(f"reward_{name}" for name in rewards)]
    data = [
        [
            row.item_id,
            image(picture(row.images[0])) if row.images else None,
            *(clean(v) if isinstance(v, str) else v for v in (getattr(row, name) for name in _COLUMNS)),
            *(row.rewards.get(name) for name in rewards),
        ]
        for row in rows
    ]
    return columns, data


def _markdown(row: SampleRow) -> str:
    """A response as TensorBoard shows text: everything foreign in indented blocks, where markdown means nothing."""
    rewards = ", ".join(f"{name} {value:.3f}" for name, value in row.rewards.items())
    said = f"{row.outcome}{', truncated' if row.truncated else ''}, {row.tokens} tokens"
    head = f"advantage {row.advantage:+.3f}, {said}, {row.tier}, {row.item_id}\n{rewards}"
    blocks = (head, row.question, f"gold: {row.gold}", row.response)
    return "\n\n---\n\n".join(_indented(clean(block)) for block in blocks)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines() or [""])
