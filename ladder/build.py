"""`ladder build`: import, audit, sample, verify, score, tiers, order, publish. Every stage does only what is missing."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ladder.derive import derive, no_answer_share, tier_counts
from ladder.engines import choose_engine, create_engine
from ladder.engines.base import Engine
from ladder.errors import BadInput, LadderError
from ladder.identity import gold_digest, share_of
from ladder.importing import pools_of
from ladder.importing.stage import import_stage
from ladder.progress import Stopwatch, say
from ladder.records import Item
from ladder.runtime import quiet, terminable, tune_allocator
from ladder.sampling import Recorder, SamplingReport, judge_stored, sample_missing
from ladder.sampling.passes import Pass, passes_of
from ladder.sampling.runs import logged
from ladder.settings import MAIN, BuildSettings
from ladder.store import Store
from ladder.store.catalogue import item_tiers
from ladder.store.locks import Held
from ladder.store.wanted import count_unjudged
from ladder.verify.pool import VerifierPool

_MANY = 0.5  # of the responses without an answer: worth a word


@dataclass(frozen=True)
class BuildReport:
    """What a build did and what the ladder now holds."""

    path: str
    items: int
    rejects: dict[str, int]
    sampled: int
    judged: int
    tokens: int
    truncated: int
    timeouts: int
    failed: int  # samples that the engine gave up on: the next build asks again
    failure: str
    verifier: dict[str, int]  # what became of the cases: see ladder.verify.pool
    engine: dict[str, int]  # what the engines counted: retries, ...
    refused: dict[str, str]  # why the ladder's model cannot be asked an item, by id
    tiers: dict[str, int] | None  # None where other shards still run: the last one derives the ladder
    no_answer: float  # share of the responses that hold none
    new: bool
    seconds: dict[str, float]


@dataclass(frozen=True)
class Shard:
    """One of `of` processes, often a job of an array, each of which samples its share of the items."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Of "i/n", i from 0 to n - 1; raises BadInput for anything else."""
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and int(number) < int(of)):
            raise BadInput(f"--shard {text!r}: write it as i/n, i from 0 to n - 1: --shard 0/4")
        return cls(int(number), int(of))


@dataclass(frozen=True)
class Running:
    """What samples: one engine here, `workers` of them in processes of their own, or on the nodes of `ray` (an address,
    or "local"); all items or those of one shard."""

    workers: int | None = None
    ray: str | None = None
    shard: Shard | None = None


def build(settings: BuildSettings, out: Path, running: Running | None = None) -> BuildReport:
    """Build or complete the ladder in `out`; raises BadInput and LadderError, both with one line to tell."""
    quiet()
    running = running or Running()
    pools = pools_of(settings)
    for pool in pools:
        pool.check()
    passes = passes_of(settings)
    store = Store.create(out)
    with _held(store, running.shard) as held, terminable():
        clock = Stopwatch()
        with held.exclusively("import"):
            manifest = import_stage(store, pools, settings)
        clock.lap("import")
        sampler = _Sampler(settings, store, running.shard)
        with _Engines(running) as engines:
            broken = sampler.run(passes, engines)
        report = sampler.report
        clock.lap("sample")
        new, last = False, held.last()
        if last:
            store.compact()
            new = derive(settings, store, {each.name: each.view for each in passes}, manifest)
        clock.lap("derive")
        if broken is not None:
            raise broken
        refused = {i: detail for i, (_, detail) in passes[0].refused(store).items()}
        tiers = tier_counts(store) if last else None
        if tiers == {} and manifest["counts"]["items"]:
            raise LadderError(_nothing_scored(store, report, refused))
        for each in passes[1:]:
            _say_refused(each, store)
        return _result(store, manifest, report, refused, tiers, new, clock.seconds)


def _nothing_scored(store: Store, report: SamplingReport, refused: dict[str, str]) -> str:
    why = next(iter(refused.values()), report.failure) or "no response could be judged"
    return f"{store.path}: none of the items could be scored: {why}"


def _say_refused(each: Pass, store: Store) -> None:
    """The items that a further pass cannot ask are no rejects of the ladder, and no secret either."""
    refused = each.refused(store)
    if refused:
        _, detail = next(iter(refused.values()))
        say(f"  pass {each.name} cannot ask {len(refused):,} items: {detail}")


def _held(store: Store, shard: Shard | None) -> AbstractContextManager[Held]:
    return store.building("build") if shard is None else store.sharing("build", shard.number, shard.of)


class _Engines:
    """The engine of a pass, loaded when first asked for; the next pass takes it over if it can."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._engine: Engine | None = None
        self._serves = ""
        self._counted: dict[str, int] = {}

    def __enter__(self) -> _Engines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def of(self, each: Pass) -> tuple[Engine, dict[str, int]]:
        """The pass' engine, running, and what it had counted for the passes before."""
        if self._engine is None or self._serves != each.same_engine:
            self.close()
            tune_allocator()
            self._engine = self._started(each)
            self._serves, self._counted = each.same_engine, {}
        before, self._counted = self._counted, self._engine.counts
        return self._engine, dict(before)

    def _started(self, each: Pass) -> Engine:
        settings, model, running = each.settings, each.model, self._running
        if choose_engine(settings.engine) in ("server", "replay"):
            return create_engine(settings, model)  # one of these is enough for any number of GPUs
        if running.ray is not None:
            from ladder.engines.fleet_ray import create_ray_fleet

            address = None if running.ray == "local" else running.ray
            return create_ray_fleet(settings, model, address, running.workers)
        if running.workers is not None:
            from ladder.engines.fleet import create_fleet

            return create_fleet(settings, model, running.workers)
        return create_engine(settings, model)

    def close(self) -> None:
        """End the engine that runs."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()


@dataclass
class _Sampler:
    """Runs the passes: judges what is stored, samples what is missing."""

    settings: BuildSettings
    store: Store
    shard: Shard | None = None
    report: SamplingReport = field(default_factory=SamplingReport)

    def run(self, passes: list[Pass], engines: _Engines) -> LadderError | None:
        """All passes, in order. An error that ends a further pass, of which the ladder can do without, is returned."""
        items = {item.id: item for item in self.store.load_items()}
        with self.settings.verify.pool() as verifier:
            try:
                for each in passes:
                    chosen = self._chosen(each, passes[0], items)
                    mine = {i: item for i, item in chosen.items() if self._mine(item)}
                    self._run(each, mine, verifier, engines)
            except LadderError as error:
                if each is passes[0]:
                    raise
                return type(error)(f"pass {each.name}: {error}")
            finally:
                self.report.verifier = verifier.counts
        return None

    def _mine(self, item: Item) -> bool:
        return self.shard is None or share_of(item.id, self.shard.of) == self.shard.number

    def _chosen(self, each: Pass, main: Pass, items: dict[str, Item]) -> dict[str, Item]:
        """The items that a pass asks."""
        if each.tiers is None:
            return items
        golds = {item_id: gold_digest(item) for item_id, item in items.items()}
        tiers = item_tiers(self.store, main.view, golds, self.settings.tiers)
        return {i: item for i, item in items.items() if tiers.get(i) in each.tiers}

    def _run(self, each: Pass, items: dict[str, Item], verifier: VerifierPool, engines: _Engines) -> None:
        golds = {item_id: gold_digest(item) for item_id, item in items.items()}
        judging = bool(count_unjudged(self.store, each.view, golds))
        if not judging and not any(each.plan(self.store, golds).missing()):
            name = "" if each.name == MAIN else f" of pass {each.name}"
            say(
                f"  nothing to sample{name}: all rollouts wanted of {len(items):,} items "
                f"({each.settings.sampling.told} each) are there"
            )
            return
        recorder = Recorder(self.store, each.view, verifier, items, self.report)
        try:
            if judging:
                judge_stored(self.store, each.view, recorder, items)
            plan = each.plan(self.store, golds)
            if any(plan.missing()):
                engine, counted = engines.of(each)
                with logged(self.store, each.name, each.view, engine, self.report, counted) as meter:
                    sample_missing(self.store, plan, each.asked, engine, recorder, items, meter)
        finally:
            recorder.close()


def _result(
    store: Store,
    manifest: dict[str, Any],
    report: SamplingReport,
    refused: dict[str, str],
    tiers: dict[str, int] | None,
    new: bool,
    seconds: dict[str, float],
) -> BuildReport:
    return BuildReport(
        path=str(store.path),
        items=manifest["counts"]["items"],
        rejects=manifest["counts"]["rejects"],
        sampled=report.sampled,
        judged=report.judged,
        tokens=report.tokens,
        truncated=report.truncated,
        timeouts=report.timeouts,
        failed=report.failed,
        failure=report.failure,
        verifier=report.verifier,
        engine=report.engine,
        refused=refused,
        tiers=tiers,
        no_answer=no_answer_share(store) if tiers else 0.0,
        new=new or report.sampled > 0 or report.judged > 0,
        seconds=seconds,
    )


def told(report: BuildReport) -> tuple[list[str], list[str]]:
    """The report for a terminal: what there is, and what one should know besides."""
    if report.new or report.sampled or report.failed:
        lines = [f"{report.path}: {report.items:,} items, {report.sampled:,} rollouts sampled"]
    else:
        lines = [f"{report.path}: nothing to do, the ladder is complete"]
    if report.tiers is None:
        lines.append("  other shards still run, the last one to end derives the ladder")
    lines += [f"  {tier:<10} {count:>8,}" for tier, count in (report.tiers or {}).items()]
    warnings = [
        f"{count:,} rollouts {name}"
        for name, count in (("truncated", report.truncated), ("judged too late", report.timeouts))
        if count
    ]
    counted = ", ".join(
        f"{name.replace('_', ' ')} {count:,}" for name, count in report.engine.items() if count
    )
    warnings += [f"engine: {counted}"] if counted else []
    if report.no_answer > _MANY:
        warnings.append(
            f"{report.no_answer:.0%} of the responses hold no answer: does the model know what the prompt asks for?"
        )
    if report.failed:
        warnings.append(
            f"{report.failed:,} rollouts are missing, the next build asks again: {report.failure}"
        )
    warnings += [
        f"not sampled, or not all: {item_id}: {why} ({len(report.refused)} in all)"
        for item_id, why in list(report.refused.items())[:3]
    ]
    return lines, warnings
