"""Finds the figures of a forecast: exact ones from the plans of a build, others from what is stored and was measured."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ladder.engines import choose_engine, position_limit
from ladder.engines.replay import ReplayEngine
from ladder.errors import BadInput
from ladder.forecast.figures import Figure, Forecast, PassForecast, Prompts, total, worst
from ladder.forecast.footprint import Footprint, footprint_of
from ladder.identity import gold_digest
from ladder.importing import pools_of, unchanged_import
from ladder.pools.counting import count_rows
from ladder.pools.source import Pool
from ladder.records import Item
from ladder.runtime import quiet
from ladder.sampling.expected import expected_samples
from ladder.sampling.passes import Pass, passes_of
from ladder.settings import BuildSettings
from ladder.store import Store
from ladder.store.catalogue import item_tiers
from ladder.store.measured import Bytes, Lengths, measured_speed, response_lengths, rollout_bytes

#: Published answers, 250 tokens on average, with log-probs drawn at random took 39 to 84 bytes each, and 5.6 to 5.7 a
#: token, in parts of 4,096 and of 200 rollouts.
USUAL_BYTES = Bytes(per_rollout=85, per_token=5.7)
_ENCODED = 32  # items that are encoded to see how long prompts are


def forecast(settings: BuildSettings, out: Path, rate: float | None = None) -> Forecast:
    """What a build into `out` would sample and cost, at `rate` generated tokens per second or at that of earlier runs.

    Raises BadInput where a build would before it begins, and for a rate that is none.
    """
    quiet()
    if rate is not None and not rate > 0:
        raise BadInput(f"--rate {rate:g}: tokens per second, more than 0")
    pools = pools_of(settings)
    for pool in pools:
        pool.check()
    passes = passes_of(settings)
    for each in passes:
        choose_engine(each.settings.engine)
    store = Store.at(out)
    items = None
    if unchanged_import(store, pools, settings) is not None:
        items = {item.id: item for item in store.load_items()}
    count = _rows(pools) if items is None else Figure(len(items), source="imported")
    estimate = _Estimate(settings, store, passes[0], items, count, rate)
    told = tuple(estimate.of(each) for each in passes)
    return Forecast(
        path=str(out),
        items=count,
        passes=told,
        rollouts=total([each.rollouts for each in told]),
        tokens=total([each.tokens for each in told]),
        disk_bytes=total([each.disk_bytes for each in told]),
        seconds=total([each.seconds for each in told]),
        free_bytes=_free(out),
    )


def _rows(pools: Sequence[Pool]) -> Figure | None:
    """Items of pools that are not imported: as many as there are rows at most, for the audit only leaves out."""
    counts = [count_rows(pool) for pool in pools if not pool.mapping.asked_only]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return None
    rows = sum(count.rows for count in known)
    if all(count.counted for count in known):
        return Figure(rows, "at most", "rows before the audit")
    return Figure(rows, "about", "rows before the audit, by the size of files")


def _free(path: Path) -> int:
    """Bytes free where the path is to be."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


_Wanted = tuple[Item, list[int]]  # with the indices of the samples


@dataclass(frozen=True)
class _Estimate:
    """What is known of a build: its items, if they are imported, else about how many they are."""

    settings: BuildSettings
    store: Store
    main: Pass
    items: dict[str, Item] | None
    count: Figure | None
    rate: float | None

    def of(self, each: Pass) -> PassForecast:
        """The forecast of a pass."""
        engine = choose_engine(each.settings.engine)
        own, all_ = response_lengths(self.store, each.view)
        rollouts, wanted = self._wanted(each)
        if engine == "replay":
            rollouts = self._recorded(each, rollouts, wanted)
        tokens_each = _tokens_each(each, own, all_)
        tokens = None if rollouts is None else rollouts.times(tokens_each)
        rate = self._rate(engine, each)
        return PassForecast(
            name=each.name,
            engine=engine,
            model=each.settings.who,
            asked=each.settings.sampling.told,
            stored=own.rollouts,
            rollouts=rollouts,
            tokens_each=tokens_each,
            tokens=tokens,
            disk_bytes=_disk(rollout_bytes(self.store, all_.tokens), rollouts, tokens),
            rate=rate,
            seconds=_seconds(tokens, rate),
            prompts=self._prompts(each, wanted),
            footprint=_footprint(engine, each),
        )

    def _wanted(self, each: Pass) -> tuple[Figure | None, list[_Wanted]]:
        """The rollouts that a pass would sample, and what it would ask of which item, as far as that is known."""
        if self.items is None:
            return self._of_rows(each), []
        golds = {item_id: gold_digest(item) for item_id, item in self.items.items()}
        share = Figure(1)
        if each.tiers is not None:
            golds, share = self._in_tiers(each.tiers, golds)
        plan = each.plan(self.store, golds)
        wanted = [(self.items[item_id], indices) for item_id, indices in plan.missing()]
        expected = expected_samples(plan.states(), each.rule)
        if expected.low == expected.high:
            return Figure(expected.mean).times(share), wanted
        rollouts = Figure(expected.mean, "about", "", expected.low, expected.high)
        return rollouts.times(share), wanted

    def _recorded(self, each: Pass, rollouts: Figure | None, wanted: Sequence[_Wanted]) -> Figure | None:
        """Those of the wanted rollouts that are recorded. The records are read, as a build would: raises BadInput where
        none of them can be used."""
        engine = ReplayEngine(each.settings.replay, each.model.fingerprint)
        try:
            if self.items is None or rollouts is None or rollouts.basis != "exact":
                return (
                    None if rollouts is None else replace(rollouts, basis="at most", source="as are recorded")
                )
            of = each.asked.source_id
            return Figure(sum(engine.recorded(item.id, of(item), indices) for item, indices in wanted))
        finally:
            engine.close()

    def _of_rows(self, each: Pass) -> Figure | None:
        """The rollouts of a pool that is not imported: those of its rows, as if none was stored."""
        if self.count is None:
            return None
        sampling = each.settings.sampling
        rollouts = self.count.scaled(sampling.most)
        bound = sampling.most > sampling.k or each.tiers is not None
        return replace(rollouts, basis="at most" if bound else self.count.basis)

    def _in_tiers(self, tiers: tuple[str, ...], golds: dict[str, str]) -> tuple[dict[str, str], Figure]:
        """The items of some tiers, and by what to multiply what is forecast of them: those that are in no tier yet are
        taken to be like those that are."""
        found = item_tiers(self.store, self.main.view, golds, self.settings.tiers)
        chosen = {item_id: gold for item_id, gold in golds.items() if found.get(item_id) in tiers}
        if not any(self.main.plan(self.store, golds).missing()):
            return chosen, Figure(1)
        if not chosen:
            return golds, Figure(1, "at most")
        return chosen, Figure(len(golds) / len(found), "about")

    def _rate(self, engine: str, each: Pass) -> Figure | None:
        if self.rate is not None:
            return Figure(self.rate, source="given")
        speed = measured_speed(self.store, engine, each.view.model)
        if speed is None:
            return None
        runs = "1 run" if speed.runs == 1 else f"{speed.runs} runs"
        return Figure(speed.tokens, "about", f"measured in {runs} here")

    def _prompts(self, each: Pass, wanted: Sequence[_Wanted]) -> Prompts | None:
        """Encodes some of the items, evenly over all."""
        encoder = each.model.encoder
        some = wanted[:: max(1, -(-len(wanted) // _ENCODED))]
        if encoder is None or not some:
            return None
        lengths = []
        for item, _ in some:
            try:
                prompt = each.asked.request(self.store, item, [0]).prompt
                lengths.append(len(prompt.encoded(encoder).prompt_ids))
            except ValueError:  # a build refuses the item
                continue
        limit = position_limit(each.settings, each.model)
        room = None if limit is None else limit - each.settings.sampling.max_tokens
        too_long = 0 if room is None else sum(length > room for length in lengths)
        return Prompts(len(some), sum(lengths) / max(len(lengths), 1), too_long, len(some) - len(lengths))


def _tokens_each(each: Pass, own: Lengths, all_: Lengths) -> Figure:
    """Tokens of a response."""
    limit = each.settings.sampling.max_tokens
    if own.rollouts:
        return Figure(own.tokens, "about", f"measured on {own.rollouts:,} stored rollouts")
    if all_.rollouts:
        source = f"measured on {all_.rollouts:,} rollouts of another model, prompt or sampling"
        return Figure(min(all_.tokens, limit), "about", source)
    return Figure(limit, "at most", "max_tokens")


def _seconds(tokens: Figure | None, rate: Figure | None) -> Figure | None:
    if tokens is None or not tokens.value:
        return tokens
    if rate is None:
        return None
    return replace(tokens.scaled(1 / rate.value), basis=worst(tokens.basis, "about"))


def _disk(measured: Bytes | None, rollouts: Figure | None, tokens: Figure | None) -> Figure | None:
    """Bytes of rollouts and verdicts."""
    if rollouts is None or tokens is None or not tokens.value:
        return tokens
    size = measured or USUAL_BYTES
    source = "as what is stored takes" if measured else "as published answers took"
    bytes_ = tokens.scaled(size.per_token + size.per_rollout * rollouts.value / tokens.value)
    return replace(bytes_, basis=worst(tokens.basis, "about"), source=source)


def _footprint(engine: str, each: Pass) -> Footprint | None:
    directory, encoder = each.model.directory, each.model.encoder
    if engine not in ("vllm", "transformers") or directory is None or encoder is None:
        return None
    return footprint_of(directory, encoder.config, each.settings.model.dtype)
