"""All trackers of a run as one. What lies in the run's own directory must be written; no other tracker stops training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ladder.errors import BadInput
from ladder.progress import say
from trainer.track.backends import TensorBoardTracker, TrackioTracker, WandbTracker
from trainer.track.base import SampleRow, Tracker
from trainer.track.jsonl import JsonlTracker
from trainer.track.samples import SamplesTracker
from trainer.track.settings import TrackSettings

T = TypeVar("T", bound=Tracker)


class Trackers:
    """Tells each of `own`, which may raise, and each of `others` by its name, whose failures are counted and told once."""

    def __init__(self, own: Sequence[Tracker], others: Mapping[str, Tracker]) -> None:
        self._own, self._others = own, others
        self.failures = dict.fromkeys(others, 0)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Metrics of one step; raises LadderError where the run's directory cannot be written."""
        self._tell(f"step {step}", lambda tracker: tracker.log(step, metrics))

    def samples(self, step: int, rows: Sequence[SampleRow]) -> None:
        """Some responses of one step; raises LadderError where the run's directory cannot be written."""
        self._tell(f"step {step}", lambda tracker: tracker.samples(step, rows))

    def close(self) -> None:
        """Close all, and say what failed."""
        self._tell("the end", lambda tracker: tracker.close())
        for name, count in self.failures.items():
            if count > 1:
                say(f"  {name} failed {count:,} times in all")

    def __enter__(self) -> Trackers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tell(self, when: str, what: Callable[[Tracker], None]) -> None:
        for tracker in self._own:
            what(tracker)
        for name, tracker in self._others.items():
            try:
                what(tracker)
            except Exception as error:
                self.failures[name] += 1
                if self.failures[name] == 1:
                    say(f"  {name} failed at {when}, and training goes on: {_line(error)}")


def open_trackers(
    settings: TrackSettings, out: Path, first: int, config: Mapping[str, Any], run: str
) -> Trackers:
    """The trackers of the run in `out`, of which `first` is the next step that will be logged: what is there from it on is
    dropped. `config` is the run's settings, for those who show them, and `run` its id, for those who go on by
    one. Raises BadInput where one cannot be had or started."""
    settings.check()
    jsonl = JsonlTracker(out / "metrics.jsonl", first)
    own: list[Tracker] = [jsonl, SamplesTracker(out / "samples", out / "samples.html", first)]
    after = jsonl.last
    others: dict[str, Tracker] = {}
    if settings.tensorboard:
        others["tensorboard"] = _started(
            "tensorboard", lambda: TensorBoardTracker(out / "tensorboard", first)
        )
    if (project := settings.trackio) is not None:
        others["trackio"] = _started("trackio", lambda: TrackioTracker(project, out, config, after, run))
    if (name := settings.wandb) is not None:
        others["wandb"] = _started("wandb", lambda: WandbTracker(name, out, config, after, run))
    return Trackers(own, others)


def _started(name: str, start: Callable[[], T]) -> T:
    try:
        return start()
    except Exception as error:
        raise BadInput(
            f"track.{name} is set and {name} does not start: {_line(error)}; leave it out, or mend it"
        ) from None


def _line(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
