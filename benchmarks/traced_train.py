"""`ladder train` as it is, telling its phases; where asked, it kills itself at a moment that no signal from outside hits for
sure.

    LADDER_KILL=step:2,backward:3 python benchmarks/traced_train.py TRACE train SPLIT --out run

Appends a line of JSON to TRACE when a phase begins. LADDER_KILL names moments one after the other, each with how often it
is to be met from the one before on: with SIGKILL at the last, here in the middle of the third backward pass of the second
step.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from traced_build import START, Tell, teller

PHASES = (
    START,
    "load",
    "rollout",
    "verdicts",
    "learn",
    "backward",
    "optimizer",
    "outcomes",
    "probe",
    "log",
    "samples",
    "checkpoint",
    "model",
)
MOMENTS = ("step", "decode", "backward", "torn")
_DEEP = 12  # nodes from the loss into its graph


class Fate:
    """What is still to be met before the process kills itself: nothing, where nothing was asked for."""

    def __init__(self, asked: str) -> None:
        moments = (moment.split(":") for moment in asked.split(",") if moment)
        self._left = [(name, int(times)) for name, times in moments]
        unknown = [name for name, _ in self._left if name not in MOMENTS]
        if unknown:
            sys.exit(f"LADDER_KILL: no moment {unknown[0]!r}; there are {', '.join(MOMENTS)}")

    def meet(self, moment: str, first: Callable[[], object] = lambda: None) -> None:
        """A moment has come; `first` is done before the end that it may be."""
        if not self._left or self._left[0][0] != moment:
            return
        times = self._left[0][1] - 1
        self._left[:1] = [(moment, times)] if times else []
        if not self._left:
            first()
            os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, act: Callable[[], None]) -> None:
    """Have something done before each call of a function."""
    real = getattr(owner, name)

    def told(*args: Any, **more: Any) -> Any:
        act()
        return real(*args, **more)

    setattr(owner, name, told)


def after(owner: Any, name: str, act: Callable[..., None]) -> None:
    """Have something done after each call of a function, with its arguments."""
    real = getattr(owner, name)

    def told(*args: Any, **more: Any) -> Any:
        result = real(*args, **more)
        act(*args)
        return result

    setattr(owner, name, told)


def watch_phases(tell: Tell) -> None:
    """Have the run tell its phases."""
    from trainer import loop, run
    from trainer.optim import Optimizer
    from trainer.probe import Probe
    from trainer.rollout import Rollouts
    from trainer.track import Trackers

    places = [
        (run, "learner_of", "load"),
        (Rollouts, "groups", "rollout"),
        (Rollouts, "_judged", "verdicts"),
        (run, "learn", "learn"),
        (loop, "policy_loss", "backward"),
        (Optimizer, "step", "optimizer"),
        (run, "write_outcomes", "outcomes"),
        (Probe, "measure", "probe"),
        (Trackers, "log", "log"),
        (Trackers, "samples", "samples"),
        (run, "save_checkpoint", "checkpoint"),
        (run, "save_model", "model"),
    ]
    for owner, name, phase in places:
        before(owner, name, lambda phase=phase: tell(stage=phase))  # type: ignore[misc]


def watch_moments(fate: Fate) -> None:
    """Have fate met at each moment."""
    import torch

    from ladder.engines.transformers import TransformersEngine
    from trainer import run

    def halve(_what: Any, file: BinaryIO) -> None:
        fate.meet("torn", lambda: file.truncate(file.tell() // 2))

    def deep_in(loss: torch.Tensor) -> None:
        node: Any = loss.grad_fn
        for _ in range(_DEEP):
            node = next((found for found, _ in node.next_functions if found is not None), node)
        node.register_hook(lambda *_: fate.meet("backward"))

    backward = torch.Tensor.backward

    def watched(self: torch.Tensor, *args: Any, **more: Any) -> None:
        deep_in(self)
        backward(self, *args, **more)

    torch.Tensor.backward = watched  # type: ignore[method-assign, assignment]
    before(run, "_step", lambda: fate.meet("step"))
    before(TransformersEngine, "_decode", lambda: fate.meet("decode"))
    after(torch, "save", halve)


if __name__ == "__main__":
    from ladder.cli import main

    own = teller(sys.argv.pop(1))
    own(stage=START)
    watch_phases(own)
    watch_moments(Fate(os.environ.get("LADDER_KILL", "")))
    main()
