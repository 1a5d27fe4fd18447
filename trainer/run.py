"""A training run: assemble everything, resume from the latest checkpoint, step after step, measure, save. The algorithm is in
trainer.loop.

Steps are counted from 1; 0 is before training. A run that is done again goes on from its latest whole checkpoint and
repeats the steps after it, with the same draws and, on the CPU, the same numbers. However it ends, what the last finished
step left is saved first, unless the next one had begun to change the weights.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ladder.engines import choose_device
from ladder.engines.settings import ModelSettings
from ladder.errors import LadderError
from ladder.progress import Progress, say
from ladder.report import refresh_report
from ladder.runtime import finishing, quiet, tune_allocator
from ladder.settings import settings_of
from ladder.splits import Split
from ladder.store.catalogue import facts_of
from ladder.store.locks import building
from ladder.verify.pool import VerifierPool
from trainer.ahead import beside
from trainer.assemble import UNLIKE, Finished, World, finished, learner_of, scored_alike, world_of
from trainer.checkpoint import (
    forget_torn,
    latest,
    save_best,
    save_checkpoint,
    save_model,
    settle_best,
    step_of,
)
from trainer.claim import claim, make
from trainer.config import TrainSettings
from trainer.flops import Meter
from trainer.loop import Learner, Step, gather, learn, roll_out
from trainer.parallel import started
from trainer.probe import MEASURED, Best, Probe
from trainer.publish import publish
from trainer.reward import load_own
from trainer.schedule import Plan, Span
from trainer.seen import sample_rows, write_outcomes
from trainer.track import Trackers, open_trackers

_PATIENCE_S = 4.0  # that a stop waits for an update or a checkpoint under way; it may take 10 in all


@dataclass(frozen=True)
class RunReport:
    """What a run did; `model` is a Hugging Face directory, and so is `best`, where the probe was measured."""

    model: str
    steps: int
    resumed_at: int
    metrics: dict[str, Any]
    best: str | None = None


@dataclass
class _Run:
    """A run under way; `done` steps are finished, the last of which had these `metrics` and left the learner as `left` says.
    `saved`: a checkpoint says all of that."""

    world: World
    learner: Learner
    verifier: VerifierPool
    trackers: Trackers
    probe: Probe | None
    plan: Plan
    done: int
    metrics: dict[str, Any]
    left: Finished
    meter: Meter
    best: Best = field(default_factory=Best)
    saved: bool = True

    @property
    def settings(self) -> TrainSettings:
        return self.world.settings


def train(split: Split, model: ModelSettings, settings: TrainSettings, out: Path) -> RunReport:
    """Train `model` on a split into `out`; goes on where an interrupted run of the same settings stopped.

    Raises BadInput for a directory of another run, a model that is no VLM, or a tracker that is not there; LadderError
    where the ladder or the run's directory cannot be written, and where there was nothing to train on. Under torchrun all
    processes call it, and the first of them writes.
    """
    quiet()
    tune_allocator()
    settings.track.check()
    load_own(settings.reward)
    with started(choose_device(settings.device)) as ranks:
        return _trained(world_of(split, model, settings, out, ranks), model)


def _trained(world: World, model: ModelSettings) -> RunReport:
    """What `train` does, in each process."""
    split, settings, out, ranks = world.split, world.settings, world.out, world.ranks
    world.store.outcomes.check_writable()
    ranks.by_first(lambda: make(out))
    held = ranks.holding(building(out, "train"))
    with ranks.stoppable(), held, settings_of(split.ladder).verify.pool() as verifier:
        ranks.by_first(lambda: claim(out, split, model, settings, world.weights))
        run = _begun(world, verifier)
        first = run.done
        if first:
            say(f"  resumed after step {first}")
        elif (facts := facts_of(world.store)) and not scored_alike(facts, world.weights, world.asked):
            say(f"  warning: {UNLIKE}")
        with run.trackers:
            try:
                _steps(run)
            except BaseException as error:
                _stopped(run, error)
                raise
            finally:
                run.learner.rollouts.engine.close()
        save_model(run.learner.policy.model, world.source, out / "model", ranks)
    ranks.by_first(lambda: refresh_report(world.store) and None)
    best = out / "best"
    return RunReport(str(out / "model"), run.done, first, run.metrics, str(best) if best.is_dir() else None)


def _begun(world: World, verifier: VerifierPool) -> _Run:
    """A run at its start, or at its latest checkpoint."""
    settings = world.settings
    probe = Probe.of(world.split, world.store, world.asked, settings.eval) if settings.eval.every else None
    learner, state = learner_of(world, verifier, world.ranks.by_first(lambda: _latest(world)))
    done, metrics = int(state.get("step", 0)), dict(state.get("metrics", {}))
    config = settings.model_dump(mode="json")
    first = done + 1 if done else 0
    trackers = world.ranks.first_has(
        lambda: open_trackers(settings.track, world.out, first, config, world.run), Trackers([], {})
    )
    plan = Plan.of(settings, learner.supply.most_draws)
    meter = Meter.of(learner.policy, learner.reference, settings)
    run = _Run(world, learner, verifier, trackers, probe, plan, done, metrics, finished(learner), meter)
    if "best" in state:
        run.best.load_state_dict(state["best"])
    kept = world.ranks.by_first(lambda: settle_best(world.out, run.best.state_dict()))
    if not kept and run.best.done is not None and settings.eval.keep_best != "none":
        run.best, run.saved = Best(), False  # the model that it names is gone
        _keep_best(run, metrics)
    return run


def _latest(world: World) -> Path | None:
    """The checkpoint to go on from, when what killed writers left is away."""
    forget_torn(world.out)
    return latest(world.checkpoints)


def _steps(run: _Run) -> None:
    """Step after step, until so many are done or the curriculum is over."""
    _measure(run, run.plan.over(run.done))  # before the first, or where a stop came between
    with Progress("training", run.plan.steps, "steps", done=run.done) as progress:
        while not run.plan.over(run.done) and _step(run):
            last = run.plan.over(run.done)
            _measure(run, last)
            progress.advance(1, f"correct {run.metrics['correct']:.2f}, {run.metrics['tokens']:.1f} tokens")
            if last or run.done % run.settings.save.every == 0:
                _save(run, run.settings.save.keep)
            run.world.ranks.stop_together()
    if not run.plan.over(run.done):
        _ended_early(run)


def _step(run: _Run) -> bool:
    """One step; False when the curriculum is over."""
    learner, model = run.learner, run.learner.rollouts.engine.fingerprint
    start = run.plan.progress(run.done, learner.supply.progress)
    step = Step([], model, learner.updates)
    step.groups = gather(learner)
    step.clock.lap("rollout")
    if not step.groups:
        return False
    end = run.plan.progress(run.done + 1, learner.supply.progress)
    with finishing(_PATIENCE_S):
        with _meanwhile(run):
            learn(learner, step, run.settings, Span(start, end))
        publish(learner)
        step.clock.lap("publish")
        _tell(run, step)
        run.done, run.metrics, run.left, run.saved = run.done + 1, step.metrics, finished(learner), False
    return True


def _meanwhile(run: _Run) -> AbstractContextManager[None]:
    """What the engine does while a step is learnt from: it sleeps, or samples the next one's groups, where these may be a step
    older than the weights."""
    if not run.settings.rollout.staleness or run.plan.over(run.done + 1):
        run.learner.rollouts.engine.sleep()
        return nullcontext()
    return beside(partial(roll_out, run.learner, run.learner.updates))


def _tell(run: _Run, step: Step) -> None:
    """Write down what a step that was learnt from saw and did."""
    learner, number = run.learner, run.done + 1
    told = learner.supply.metrics()
    step.metrics |= {f"curriculum/{name}": value for name, value in told.items()}
    step.metrics |= {f"rollouts/{name}": float(value) for name, value in learner.rollouts.counts.items()}
    step.metrics |= learner.optimizer.metrics() | learner.policy.told()
    step.metrics |= {f"seconds/{name}": seconds for name, seconds in step.clock.seconds.items()}
    step.metrics |= run.meter.metrics(step.clock.seconds, run.world.ranks.gather)
    write_outcomes(run.world, learner.rollouts, number, step.model)
    run.trackers.log(number, step.metrics)
    if run.world.ranks.first and run.settings.track.due(number):
        run.trackers.samples(number, sample_rows(run.world, step))


def _ended_early(run: _Run) -> None:
    """The curriculum was over before the planned steps were: what the gate refused made no steps."""
    supply = run.learner.supply.metrics()
    if supply["step_draws"]:
        write_outcomes(run.world, run.learner.rollouts, run.done + 1, run.left.model)
        run.left, run.saved = finished(run.learner), False
    if not run.done:
        refused = {name: value for name, value in supply.items() if name.startswith("refused_") and value}
        told = ", ".join(f"{int(value):,} {name.removeprefix('refused_')}" for name, value in refused.items())
        raise LadderError(
            f"no step was done, and nothing was learnt: no group of {int(supply['drawn']):,} draws could be trained on "
            f"(refused: {told or 'none'}); train on a split nearer to what the model can do, or widen curriculum.gate"
        )
    _measure(run, last=True)
    _save(run, run.settings.save.keep)
    say(f"  the curriculum is over after {run.done} steps")


def _measure(run: _Run, last: bool) -> None:
    """Measure the probe where it is due and has not been; what it tells is added to the step's metrics."""
    if run.probe is None or not run.settings.eval.due(run.done, last) or MEASURED in run.metrics:
        return
    run.learner.rollouts.engine.wake()
    told: dict[str, Any] = run.probe.measure(
        run.learner.rollouts.engine, run.verifier, run.done, run.world.ranks
    )
    _keep_best(run, told)
    run.trackers.log(run.done, told)
    run.metrics, run.saved = run.metrics | told, False


def _keep_best(run: _Run, told: dict[str, Any]) -> None:
    """Keep the best model so far; it may be the one that training began with."""
    best = run.best.updated(run.done, told)
    if best is run.best:
        return
    if run.settings.eval.keep_best != "none":
        world = run.world
        save_best(world.out, run.learner.policy.model, world.source, best.state_dict(), world.ranks)
    run.best = best


def _save(run: _Run, keep: int) -> None:
    """A checkpoint of the last finished step, where there is none yet."""
    if run.saved or not run.done:
        return
    learner, world, best = run.learner, run.world, run.best.state_dict()
    with finishing(_PATIENCE_S):
        save_checkpoint(
            world.checkpoints,
            run.done,
            learner.policy.model,
            world.source,
            learner.optimizer.adamw,
            run.left.state({"best": best, "metrics": run.metrics}),
            keep,
            world.ranks,
        )
        if world.ranks.first:
            settle_best(world.out, best)
        run.saved = True


def _stopped(run: _Run, error: BaseException) -> None:
    """Save what the last finished step left, where the weights are still its own, and say where the run goes on. What was
    sampled since goes to the ladder: it is done again, and counts once."""
    with suppress(LadderError):
        write_outcomes(run.world, run.learner.rollouts, run.done + 1, run.left.model)
    changes, away = run.learner.optimizer.changes, getattr(run.learner.reference, "away", False)
    clear = run.world.ranks.alone or isinstance(error, (LadderError, KeyboardInterrupt))
    together = clear and run.world.ranks.meet(f"{run.done}, {changes}")
    whole = together and changes == run.left.changes and not away
    if whole:
        try:
            _save(
                run, run.settings.save.keep + 1
            )  # it takes the place of none that one may want to go back to
        except LadderError as refusal:
            say(f"  {refusal}")
    at = step_of(latest(run.world.checkpoints))
    where = f"goes on after step {at}" if at else "begins anew"
    lost = "" if whole or not run.done or not together else ", while the weights were changing"
    say(f"  stopped after {run.done} steps{lost}: the same command {where}")
