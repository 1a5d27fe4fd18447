"""Finds the figures of a run's forecast. No weight is loaded, nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from ladder import launched
from ladder.encode import Encoder
from ladder.engines import choose_device
from ladder.engines.base import Sampling
from ladder.engines.settings import ModelSettings
from ladder.errors import BadInput
from ladder.forecast import Figure
from ladder.models import model_fingerprint, resolve_model
from ladder.prompts import template
from ladder.records import Item
from ladder.runtime import quiet
from ladder.sampling import Asked
from ladder.splits import Split
from ladder.store import Store
from ladder.store.catalogue import facts_of
from ladder.store.measured import measured_speed
from trainer.assemble import UNLIKE, rows_of, scored_alike
from trainer.claim import claimed
from trainer.config import TrainSettings
from trainer.curriculum import Rows, Supply
from trainer.forecast.course import Course, Known, Simulated, follow
from trainer.forecast.figures import FirstItem, TrainForecast
from trainer.forecast.known import Prompts, known_of, prompts_of, step_seconds
from trainer.forecast.memory import empty_model, parameters_of, parts_of, peak_of
from trainer.forecast.place import place_of
from trainer.forecast.remedy import remedy_of
from trainer.forecast.sampler import Load
from trainer.forecast.sizes import Sizes
from trainer.forecast.warn import warnings_of
from trainer.policy.attention import choose
from trainer.probe import chosen
from trainer.reward import load_own
from trainer.schedule import Plan


def forecast(
    split: Split,
    model: ModelSettings,
    settings: TrainSettings,
    out: Path | None = None,
    rate: float | None = None,
    gpus: int | None = None,
    gpu_memory: float | None = None,
) -> TrainForecast:
    """What `train` with the same arguments would take and do, at `rate` sampled tokens per second or at that of the ladder's
    earlier runs; a run that has begun in `out` tells how long its steps take. `gpus` processes train, each on a GPU: by
    default as many as torchrun started. `gpu_memory` is that of each GPU in GB (1e9 bytes), of a machine that is not this one.

    Raises BadInput where training would before it begins, for a number that is none, and where the ladder is not scored.
    """
    quiet()
    if rate is not None and not rate > 0:
        raise BadInput(f"--rate {rate:g}: tokens per second, more than 0")
    if gpus is not None and gpus < 1:
        raise BadInput(f"--gpus {gpus}: processes that train, one on each GPU; 1 or more")
    if gpu_memory is not None and not gpu_memory > 0:
        raise BadInput(f"--gpu-memory {gpu_memory:g}: GB of each GPU, more than 0")
    settings.track.check()
    load_own(settings.reward)
    if gpu_memory is None:  # on this machine
        choose(settings.batch.attention, torch.device(choose_device(settings.device)))
    made = _Estimate(split, model, settings, out, rate, gpus or launched.count(), gpu_memory)
    _ = made.begun  # another run's directory is refused first
    return made.all()


@dataclass(frozen=True)
class _Estimate:
    """A run to come, and what follows from it."""

    split: Split
    model: ModelSettings
    settings: TrainSettings
    out: Path | None
    given_rate: float | None
    gpus: int
    gpu_memory: float | None

    def all(self) -> TrainForecast:
        """The whole forecast."""
        settings, batch = self.settings, self.settings.batch
        at, room = place_of(settings.device, self.gpus, self.gpu_memory)
        parameters, tokens_each = parameters_of(self.empty, settings), self._tokens_each()
        load = self._load(tokens_each)
        sizes = Sizes.of(self.empty)
        memory = parts_of(sizes, settings, load, at)
        peak = peak_of(memory)
        draws = self._draws()
        rollouts = self._all_draws().scaled(batch.group)
        step_response = draws.scaled(batch.group).times(tokens_each)
        tokens = rollouts.times(tokens_each)
        made = TrainForecast(
            split=str(self.split.path),
            model=self.model.name,
            device=at.device,
            gpus=at.ranks,
            parameters=parameters,
            memory=memory,
            peak=peak,
            device_bytes=room,
            remedy=remedy_of(sizes, settings, load, at, room, peak.value),
            prompts=batch.prompts,
            group=batch.group,
            steps=self._steps(),
            draws=draws,
            silent=Figure(self._mean(self.course.silent), "about", "if p stays what was scored"),
            rollouts=rollouts,
            probe_rollouts=self._probe_rollouts(),
            prompt_tokens=self._prompt_tokens(),
            response_tokens=tokens_each,
            step_prompt_tokens=self._prompt_tokens(draws),
            step_response_tokens=step_response,
            tokens=tokens,
            rate=self._rate(),
            rollout_seconds=self._over_rate(tokens),
            step_seconds=self._step_seconds(),
            seconds=self._seconds(),
            disk_bytes=self._disk(parameters.all, parameters.trainable),
            free_bytes=shutil.disk_usage(_there(self.out or Path())).free,
            first=self._first(),
            first_sure=self._sure,
            warnings=(),
        )
        found = warnings_of(
            made, self.settings, self.course, self.prompts, self.split, self.store, self.asked
        )
        return replace(made, warnings=(*self._doubts(), *found))

    # --- what it reads ---------------------------------------------------------------------------------------

    @cached_property
    def begun(self) -> bool:
        """Whether the run's directory holds its beginning."""
        return self.out is not None and claimed(self.out, self.split, self.model, self.settings)

    @cached_property
    def store(self) -> Store:
        return Store.open(self.split.ladder)

    @cached_property
    def source(self) -> Path:
        return resolve_model(self.model.name)

    @cached_property
    def empty(self) -> nn.Module:
        return empty_model(self.source)

    @cached_property
    def asked(self) -> Asked:
        encoder = Encoder(self.source, min_pixels=self.model.min_pixels, max_pixels=self.model.max_pixels)
        sampling = Sampling(self.settings.response.temperature, self.settings.response.max_tokens)
        return Asked(encoder, template(self.settings.template), sampling, self.settings.seed)

    @cached_property
    def facts(self) -> dict[str, str]:
        return facts_of(self.store)

    @cached_property
    def rows(self) -> Rows:
        return rows_of(self.split)

    @cached_property
    def known(self) -> tuple[Known, int]:
        return known_of(self.split, self.store, self.settings.response.max_tokens)

    @cached_property
    def fingerprint(self) -> str:
        return model_fingerprint(self.source)

    @cached_property
    def supply(self) -> Supply[Simulated]:
        """The curriculum, which `course` uses up."""
        settings = self.settings
        epochs = None if settings.steps else settings.epochs
        return settings.curriculum.build(self.rows, settings.seed, epochs, settings.batch.prompts)

    @cached_property
    def plan(self) -> Plan:
        return Plan.of(self.settings, self.supply.most_draws)

    @cached_property
    def course(self) -> Course:
        """The curriculum, followed as far as it is."""
        batch, seed = self.settings.batch, self.settings.seed
        return follow(self.supply, self.known[0], self.plan, batch.prompts, batch.group, seed)

    @cached_property
    def items(self) -> dict[str, Item]:
        """Some items that are drawn, evenly over those that were followed, and those of the first steps."""
        drawn = list(self.course.items)
        wanted = set(drawn[:: max(1, len(drawn) // 256)])
        wanted |= {draw.item_id for step in self.course.first for draw in step}
        return {item.id: item for item in self.store.load_items([i for i in drawn if i in wanted])}

    @cached_property
    def prompts(self) -> Prompts:
        return prompts_of(self.store, self.asked, list(self.items.values()))

    # --- figures ---------------------------------------------------------------------------------------------

    @property
    def _open_ended(self) -> bool:
        """Whether how many draws there are depends on outcomes."""
        return self.settings.curriculum.gate.kind != "everything" or self.settings.curriculum.oversample > 1

    @property
    def _sure(self) -> bool:
        """Whether no outcome can change what is drawn."""
        sampler = self.settings.curriculum.sampler
        return (
            not self._open_ended
            and sampler.replay is None
            and sampler.kind in ("order", "shuffled", "stages")
        )

    def _mean(self, total: float) -> float:
        return total / max(1, self.course.draws)

    def _steps(self) -> Figure:
        if self.course.stopped:
            return Figure(self.course.steps, "about")
        if self.settings.steps is not None:
            return Figure(self.settings.steps)
        if self._sure:
            return Figure(self.plan.steps)
        return Figure(round(self.course.steps / self.course.progress), "about")

    def _draws(self) -> Figure:
        """Groups that are sampled for a step."""
        if not self._open_ended:
            return Figure(min(self.settings.batch.prompts, self._all_draws().value))
        return Figure(self.course.draws / max(1, self.course.steps), "about")

    def _all_draws(self) -> Figure:
        if self.course.stopped:
            return Figure(self.course.draws, "about")
        if self.course.whole and not self._open_ended:
            return Figure(self.course.draws)
        if self.settings.steps is not None and not self._open_ended:
            return Figure(self.settings.steps * self.settings.batch.prompts)
        followed = (
            self.course.draws / self.course.progress
        )  # surplus is drawn, and not yet part of the progress
        return Figure(min(followed, self.supply.most_draws or followed), "about")

    def _probe_rollouts(self) -> int:
        every = self.settings.eval
        if not every.every:
            return 0
        steps = int(self._steps().value)
        times = sum(every.due(done, done == steps) for done in range(steps + 1))
        return times * len(chosen(self.split.probe, every.items_per_tier)) * (every.samples + every.greedy)

    def _tokens_each(self) -> Figure:
        of = "the ladder's own samples" if self._same else "samples of another model, prompt or sampling"
        return Figure(self._mean(self.course.tokens), "about", of)

    @cached_property
    def _same(self) -> bool:
        """Whether the ladder was scored as training samples, at least at its start."""
        return scored_alike(self.facts, self.fingerprint, self.asked)

    def _prompt_tokens(self, draws: Figure | None = None) -> Figure | None:
        """Of a prompt, or of all that are sampled for a step."""
        measured = self.prompts.measured - self.prompts.unencodable
        if not measured:
            return None
        basis = (
            "exact" if measured == len(self.course.items) and self.course.whole and draws is None else "about"
        )
        each = Figure(self.prompts.tokens, basis, f"{measured:,} measured")  # type: ignore[arg-type]
        return each if draws is None else replace(draws.times(each), basis="about")

    def _load(self, tokens_each: Figure) -> Load:
        prompts = self.prompts
        return Load(prompts.tokens, prompts.longest, tokens_each.value, prompts.patches)

    def _rate(self) -> Figure | None:
        """Sampled tokens per second: as given, or of the engine that samples for training, in the ladder's earlier runs."""
        if self.given_rate is not None:
            return Figure(self.given_rate, source="given")
        if self.gpu_memory is not None:  # another machine's GPUs
            return None
        speed = measured_speed(self.store, self.settings.rollout.engine, self.fingerprint)
        if speed is None:
            return None
        runs = "1 build" if speed.runs == 1 else f"{speed.runs} builds"
        return Figure(speed.tokens, "about", f"measured in {runs} here")

    def _over_rate(self, tokens: Figure) -> Figure | None:
        rate = self._rate()
        return None if rate is None else Figure(tokens.value / rate.value, "about")

    def _step_seconds(self) -> Figure | None:
        found = step_seconds(self.out) if self.out is not None and self.begun else None
        return (
            None
            if found is None
            else Figure(found[1], "about", f"measured in {found[0]:,} steps of {self.out}")
        )

    def _seconds(self) -> Figure | None:
        each = self._step_seconds()
        return None if each is None else replace(self._steps().times(each), basis="about")

    def _disk(self, parameters: int, trainable: int) -> Figure:
        """Checkpoints that stay, the one that is written, and the models at the end: weights, and moments beside them."""
        kept, weights, moments = self.settings.save.keep + 1, 4 * parameters, 8 * trainable
        saved = 4 * trainable if self.settings.adapter else weights  # an adapter is saved without its base
        models = 1 + (self.settings.eval.every > 0 and self.settings.eval.keep_best != "none")
        return Figure(
            kept * (saved + moments) + models * weights, "about", f"{kept - 1} checkpoints and a new one"
        )

    def _first(self) -> tuple[tuple[FirstItem, ...], ...]:
        tiers = dict(zip(self.rows.ids, self.rows.tiers, strict=True))
        rates = dict(zip(self.rows.ids, self.rows.pass_rates.tolist(), strict=True))
        return tuple(
            tuple(
                FirstItem(
                    draw.sequence,
                    draw.slot,
                    draw.item_id,
                    tiers[draw.item_id],
                    None if rates[draw.item_id] != rates[draw.item_id] else rates[draw.item_id],
                    self.items[draw.item_id].question,
                )
                for draw in step
            )
            for step in self.course.first
        )

    def _doubts(self) -> Sequence[str]:
        """What of the ladder does not fit this run."""
        said = []
        if self.known[1]:
            said.append(
                f"{self.known[1]:,} items of the split are not in the ladder any more: draw the split again"
            )
        if not self._same:
            said.append(UNLIKE)
        return said


def _there(path: Path) -> Path:
    """The nearest directory that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
