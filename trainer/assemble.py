"""What a run is made of: the ladder's items, the policy and its reference, the optimiser, the curriculum, the engine."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from ladder.encode import Encoder
from ladder.engines import choose_device
from ladder.engines.base import Sampling
from ladder.engines.settings import ModelSettings
from ladder.errors import BadInput
from ladder.models import load_model, model_fingerprint, resolve_model
from ladder.progress import say
from ladder.prompts import template
from ladder.records import Item
from ladder.sampling import Asked
from ladder.splits import Split
from ladder.store import Store
from ladder.verify.pool import VerifierPool
from trainer.adapter import choose_learning, shares_of_rate
from trainer.adapter_files import read_adapter
from trainer.checkpoint import State, load_state, random_state
from trainer.claim import run_id
from trainer.config import TrainSettings
from trainer.curriculum import Rows, Supply
from trainer.engines import engine_of
from trainer.kl import KlWeight
from trainer.loop import Learner
from trainer.optim import Optimizer
from trainer.parallel import ALONE, Ranks
from trainer.parallel.policy import ShardedPolicy
from trainer.parallel.shard import shard
from trainer.policy import Policy
from trainer.policy.attention import why_dense
from trainer.publish import publish
from trainer.rollout import JudgedGroup, Rollouts
from trainer.unadapted import Unadapted

#: What of a ladder does not fit a run, where `scored_alike` is not so.
UNLIKE = (
    "the ladder was scored with another model, prompt or sampling than this run begins with: tiers, lengths and the groups "
    "without signal are those of the other"
)


def scored_alike(facts: Mapping[str, str], model: str, asked: Asked) -> bool:
    """Whether a ladder of these facts was scored as a run samples at its start; `model` is the fingerprint of its weights."""
    here = (model, asked.prompt, asked.sampling.fingerprint)
    return here == tuple(facts.get(f"{name}_fingerprint") for name in ("model", "prompt", "sampling"))


@dataclass(frozen=True)
class World:
    """What a run reads and does not change."""

    split: Split
    store: Store
    rows: Rows  # of the split's training part
    items: Mapping[str, Item]
    asked: Asked
    encoder: Encoder
    settings: TrainSettings
    source: Path  # the model's directory
    out: Path
    ranks: Ranks = ALONE

    @cached_property
    def run(self) -> str:
        """What the ladder's outcomes call this run."""
        return run_id(self.out)

    @cached_property
    def weights(self) -> str:
        """The fingerprint of the model that training begins with."""
        return model_fingerprint(self.source)

    @cached_property
    def tiers(self) -> Mapping[str, str]:
        """Each item's tier when the split was drawn."""
        return dict(zip(self.rows.ids, self.rows.tiers, strict=True))

    @property
    def checkpoints(self) -> Path:
        """Where its checkpoints are."""
        return self.out / "checkpoints"


def world_of(
    split: Split, model: ModelSettings, settings: TrainSettings, out: Path, ranks: Ranks = ALONE
) -> World:
    """Read what a run needs. Raises BadInput for a model that is no VLM, a split without items, a ladder that is gone."""
    store = Store.open(split.ladder)
    source = resolve_model(model.name)
    encoder = Encoder(source, min_pixels=model.min_pixels, max_pixels=model.max_pixels)
    rows = rows_of(split)
    items = {item.id: item for item in store.load_items(list(dict.fromkeys(rows.ids)))}
    sampling = Sampling(settings.response.temperature, settings.response.max_tokens)
    asked = Asked(encoder, template(settings.template), sampling, settings.seed)
    return World(split, store, rows, items, asked, encoder, settings, source, out, ranks)


def learner_of(
    world: World, verifier: VerifierPool, checkpoint: Path | None
) -> tuple[Learner, dict[str, Any]]:
    """Everything that learns, fresh or from a checkpoint; and what else the checkpoint holds."""
    settings, ranks = world.settings, world.ranks
    device = ranks.device or choose_device(settings.device)
    torch.manual_seed(settings.seed)  # of an adapter's first values, and of what is dropped
    model = _loaded(world.source if settings.adapter or checkpoint is None else checkpoint, device)
    in_place = settings.rollout.in_place and ranks.alone
    samples = model if in_place else _copy(model) if settings.rollout.engine == "transformers" else None
    policy, reference = _policies(world, model, checkpoint)
    _tell(policy)
    exchange = world.out / f"weights-{world.run}"
    make = partial(engine_of, samples, world.source, world.encoder, world.weights, settings, exchange)
    # Asked anything while it takes weights, a server ends: the first process clears what a killed run left there, and no weights
    # go before all have asked what server it is.
    engine = ranks.after_first(make) if settings.rollout.engine == "server" else make()
    rollouts = Rollouts(
        world.items,
        world.store,
        world.asked,
        world.encoder,
        settings.batch.group,
        engine,
        verifier,
        ranks.beside,
    )
    made = Learner(
        policy,
        reference,
        Optimizer(model, settings.optim, shares_of_rate(model, settings.adapter)),
        supply_of(world.rows, settings),
        rollouts,
        KlWeight(settings.kl.weight),
        in_place=in_place,
        ranks=ranks,
    )
    if checkpoint:
        return made, _restore(made, checkpoint)
    if not in_place:  # what a server has is anybody's, and an engine that takes no weights says so at once
        publish(made)
    return made, {}


def _policies(world: World, model: Any, checkpoint: Path | None) -> tuple[Policy, Policy | Unadapted | None]:
    """What learns of a model, and the reference of its KL, where there is one. Over several processes they are sharded."""
    settings = world.settings
    reference: Policy | Unadapted | None = _reference(world, model, fresh=checkpoint is None)
    left = choose_learning(model, settings.freeze, settings.adapter)
    if settings.freeze or settings.adapter:
        whole = sum(p.numel() for p in model.parameters())
        say(f"  {left:,} of {whole:,} parameters learn")
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy = _policy(world, model)
    if settings.adapter:
        reference = Unadapted(policy) if KlWeight(settings.kl.weight).ever_positive else None
        if checkpoint:
            read_adapter(model, checkpoint)
    for each in (policy, reference):
        if isinstance(each, Policy) and not world.ranks.alone:
            shard(each, world.ranks, settings.dtype == "bfloat16")
    return policy, reference


def _tell(policy: Policy) -> None:
    """What a policy cannot do as fast as others."""
    if policy.why_padded:
        say(f"  responses are forwarded one a row, their prompts repeated: {policy.why_padded}")
    if policy.device.type == "cuda" and (missing := why_dense(policy.device)):
        say(f"  packed rows take a dense mask: {missing}")


def rows_of(split: Split) -> Rows:
    """A split's training rows as columns. Raises BadInput where there are none."""
    table = split.table("train")
    names = ("id", "slot", "tier", "pass_rate")
    ids, slots, tiers, rates = (table[name].to_pylist() for name in names)
    if not ids:
        raise BadInput(f"{split.path} has no training items")
    return Rows.of_columns(ids, slots, tiers, rates)


def supply_of(rows: Rows, settings: TrainSettings) -> Supply[JudgedGroup]:
    """The curriculum of a run, at its start."""
    epochs = None if settings.steps else settings.epochs
    return settings.curriculum.build(rows, settings.seed, epochs, settings.batch.prompts)


@dataclass(frozen=True)
class Finished:
    """All that the next step depends on, beside the model and the optimiser's tensors, as a finished step left it: what the
    next one has begun is not in it."""

    model: str  # the engine's fingerprint
    changes: int  # of the weights so far
    values: dict[str, Any]
    surplus: tuple[JudgedGroup, ...]
    random: dict[str, Any]

    def state(self, other: dict[str, Any]) -> State:
        """It as a checkpoint holds it, with what else there is to keep."""
        return State(self.values | other, [group.row() for group in self.surplus], self.random)


def finished(learner: Learner) -> Finished:
    """The learner between two steps."""
    values = {
        "updates": learner.updates,
        "supply": learner.supply.state_dict(),
        "kl": learner.kl.state_dict(),
        "guards": learner.optimizer.state_dict(),
        "rollouts": dict(learner.rollouts.counts),
    }
    engine = learner.rollouts.engine
    changes = learner.optimizer.changes
    return Finished(engine.fingerprint, changes, values, tuple(learner.supply.surplus), random_state())


def _restore(learner: Learner, checkpoint: Path) -> dict[str, Any]:
    state = load_state(checkpoint, learner.optimizer.adamw)
    values = state.values
    learner.updates = values["updates"]
    learner.supply.load_state_dict(values["supply"], learner.rollouts.restored(state.surplus))
    learner.kl.load_state_dict(values["kl"])
    learner.optimizer.load_state_dict(values["guards"])
    learner.rollouts.counts = dict(values["rollouts"])
    publish(learner)
    return values


def _reference(world: World, model: Any, fresh: bool) -> Policy | None:
    """The policy that the KL is taken to: the model at its start; none where its weight is never positive, and
    where an adapter is all that moves the model from there."""
    if world.settings.adapter or not KlWeight(world.settings.kl.weight).ever_positive:
        return None
    start = copy.deepcopy(model) if fresh else _loaded(world.source, str(model.device))
    start.requires_grad_(False)
    return _policy(world, start)


def _loaded(directory: Path, device: str) -> Any:
    """A model with its parameters in memory of their own. As they are read, they are a mapping of a checkpoint that is deleted
    while the run goes on, aligned as its file has them."""
    model = load_model(directory, dtype="float32", device=device, setting="device")
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


def _copy(model: Any) -> Any:
    """A model to sample from that is sent weights: where the one that learns is sharded, or learns at the same time."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def _policy(world: World, model: Any) -> Policy:
    settings, ranks = world.settings, world.ranks
    kind = Policy if ranks.alone else partial(ShardedPolicy, ranks=ranks)
    return kind(
        model,
        world.encoder,
        temperature=settings.response.temperature,
        autocast=settings.dtype == "bfloat16",
        layout=settings.batch.layout,
        attention=settings.batch.attention,
    )
