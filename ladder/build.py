"""`ladder build`: import, audit, sample, verify, score, tiers, order, publish. Every stage does only what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder import __version__, verify
from ladder.digest import fingerprint
from ladder.encode import Encoder
from ladder.engines import choose_engine, create_engine
from ladder.engines.base import Sampling
from ladder.identity import gold_digest
from ladder.importing import import_pool, pool_of
from ladder.models import model_fingerprint, resolve_model
from ladder.progress import Stopwatch, say
from ladder.prompts import template
from ladder.publish import outputs_missing, publish
from ladder.records import Item
from ladder.runtime import quiet, terminable, tune_allocator
from ladder.sampling import Asked, Recorder, SamplingReport, judge_stored, sample_missing
from ladder.settings import BuildSettings
from ladder.store import FORMAT_VERSION, MARKER, Store
from ladder.store.catalogue import (
    View,
    build_catalogue,
    catalogue,
    facts_of,
    missing_samples,
    unjudged_rollouts,
)
from ladder.store.parts import write_text
from ladder.verify.pool import VerifierPool


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
    refused: dict[str, str]
    tiers: dict[str, int]
    new: bool
    seconds: dict[str, float]


def build(settings: BuildSettings, out: Path) -> BuildReport:
    """Build or complete the ladder in `out`; raises BadInput and LadderError, both with one line to tell."""
    quiet()
    pool = pool_of(settings)
    pool.check()
    model_dir = resolve_model(settings.model.name)
    encoder = Encoder(model_dir, min_pixels=settings.model.min_pixels, max_pixels=settings.model.max_pixels)
    how = template(settings.prompt.template)
    choose_engine(settings.engine)
    store = Store.create(out)
    with store.building("build"), terminable():
        clock = Stopwatch()
        pool.prepare()
        manifest = import_pool(store, pool, settings.verify)
        _say_import(manifest)
        clock.lap("import")
        asked = Asked(
            encoder,
            how,
            Sampling(temperature=settings.sampling.temperature, max_tokens=settings.sampling.max_tokens),
            settings.sampling.seed,
        )
        view = View(
            prompt=asked.prompt,
            model=model_fingerprint(model_dir),
            sampling=asked.sampling.fingerprint,
            verifier=verify.fingerprint(),
            k=settings.sampling.k,
        )
        report = _sample(settings, store, view, asked, model_dir)
        clock.lap("sample")
        new = _derive(settings, store, view, manifest)
        clock.lap("derive")
        return _result(store, manifest, report, new or report.sampled > 0 or report.judged > 0, clock.seconds)


def _sample(
    settings: BuildSettings, store: Store, view: View, asked: Asked, model_dir: Path
) -> SamplingReport:
    items = {item.id: item for item in store.load_items()}
    if not _has_work(store, view, items):
        say(f"  nothing to sample: all {view.k} rollouts of {len(items):,} items are there")
        return SamplingReport()
    tune_allocator()
    with VerifierPool(settings.verify.workers, settings.verify.deadline) as verifier:
        recorder = Recorder(store, view, verifier, items)
        try:
            judge_stored(store, view, recorder, items)
            if missing_samples(store, view, list(items)):
                engine = create_engine(settings, model_dir, asked.encoder, view.model)
                try:
                    sample_missing(store, view, asked, engine, recorder, items)
                finally:
                    engine.close()
        finally:
            recorder.close()
        return recorder.report


def _has_work(store: Store, view: View, items: dict[str, Item]) -> bool:
    golds = {item_id: gold_digest(item) for item_id, item in items.items()}
    return bool(missing_samples(store, view, list(items)) or unjudged_rollouts(store, view, golds))


def _derive(settings: BuildSettings, store: Store, view: View, manifest: dict[str, Any]) -> bool:
    """Catalogue, tiers, card and report, if what they derive from changed or one is gone; True where it was done."""
    state = fingerprint(
        "state-1",
        [
            settings.model_dump(mode="json"),
            vars(view),
            manifest["number"],
            [p.name for log in (store.rollouts, store.verdicts) for p in log.paths()],
            __version__,
        ],
    )
    if facts_of(store).get("state") == state and not outputs_missing(store):
        return False
    write_text(_build_toml(settings), store.path / MARKER)
    facts = {
        "state": state,
        "name": settings.name,
        "model": settings.model.name,
        "model_fingerprint": view.model,
        "prompt": settings.prompt.template,
        "prompt_fingerprint": view.prompt,
        "sampling_fingerprint": view.sampling,
        "temperature": str(settings.sampling.temperature),
        "max_tokens": str(settings.sampling.max_tokens),
        "k": str(view.k),
        "verifier": view.verifier,
        "ladder_version": __version__,
    }
    build_catalogue(store, view, settings.tiers, facts)
    publish(store, settings, manifest)
    return True


def _build_toml(settings: BuildSettings) -> str:
    import tomli_w

    head = {"format_version": FORMAT_VERSION, "ladder_version": __version__}
    return tomli_w.dumps(head | {"build": settings.model_dump(mode="json", exclude_none=True)})


def _say_import(manifest: dict[str, Any]) -> None:
    counts = manifest["counts"]
    rejects = sum(counts["rejects"].values())
    why = ", ".join(f"{n} {reason}" for reason, n in sorted(counts["rejects"].items()))
    say(
        f"  {manifest['rows']:,} rows: {counts['items']:,} items, {rejects:,} rejects{f' ({why})' if why else ''}"
    )


def _result(
    store: Store, manifest: dict[str, Any], report: SamplingReport, new: bool, seconds: dict[str, float]
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
        refused=report.refused,
        tiers=tier_counts(store),
        new=new,
        seconds=seconds,
    )


def tier_counts(store: Store) -> dict[str, int]:
    """Items per tier, from hard to easy."""
    with catalogue(store) as connection:
        rows = connection.sql(
            "SELECT tier, count(*) FROM ladder GROUP BY 1 ORDER BY avg(p_mean), 1"
        ).fetchall()
    return dict(rows)
