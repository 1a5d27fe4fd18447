"""Where a run's metrics and sample rollouts go: JSON lines and Parquet always, TensorBoard, trackio and wandb where asked.

`settings` says which and checks that they are installed, `open_trackers` opens them all, `choose` picks the rollouts that
are shown. Everything else knows one interface, `Tracker`.
"""

from trainer.track.base import SampleRow, Tracker
from trainer.track.choose import choose
from trainer.track.every import Trackers, open_trackers
from trainer.track.jsonl import JsonlTracker
from trainer.track.settings import TrackSettings

__all__ = ["JsonlTracker", "SampleRow", "TrackSettings", "Tracker", "Trackers", "choose", "open_trackers"]
