"""What a forecast warns of, in words: what will not fit, what can never happen, and what is a waste."""

from __future__ import annotations

from collections.abc import Iterator

from ladder.encode import Encoder
from ladder.forecast.words import sized
from ladder.sampling import Asked
from ladder.splits import Split
from ladder.store import Store
from ladder.store.catalogue import facts_of
from trainer.config import TrainSettings
from trainer.forecast.course import Course
from trainer.forecast.figures import TrainForecast
from trainer.forecast.known import Prompts, answers_of
from trainer.reward import Bonus, Overlong

_RARE = 0.01  # a share of answers that is as good as none
_MOSTLY = 0.5


def warnings_of(
    made: TrainForecast,
    settings: TrainSettings,
    course: Course,
    prompts: Prompts,
    split: Split,
    store: Store,
    asked: Asked,
) -> list[str]:
    """All of them, the worst first."""
    return [
        *_positions(settings, prompts, asked),
        *_room(made),
        *_supply(made, course),
        *_lengths(settings, store),
        *_age(split, store),
    ]


def _positions(settings: TrainSettings, prompts: Prompts, asked: Asked) -> Iterator[str]:
    encoder = asked.encoder
    assert isinstance(encoder, Encoder)
    limit = int(encoder.config.get("text_config", encoder.config)["max_position_embeddings"])
    room = limit - settings.response.max_tokens
    long, count = prompts.beyond(room), prompts.measured - prompts.unencodable
    if long:
        yield (
            f"{long:,} of {count:,} prompts do not fit: with response.max_tokens={settings.response.max_tokens:,} a prompt "
            f"may have {max(0, room):,} of the model's {limit:,} positions, and the longest has {prompts.longest:,} tokens; "
            "such items are left out"
        )
    if prompts.unencodable:
        yield f"{prompts.unencodable:,} of {prompts.measured:,} items cannot be encoded for this model and are left out"


def _room(made: TrainForecast) -> Iterator[str]:
    if made.device_bytes is not None and made.peak.value > made.device_bytes:
        yield (
            f"about {sized(made.peak.value)} are needed on {made.device}, where {sized(made.device_bytes)} are free: "
            f"{_advice(made)}"
        )
    if made.disk_bytes.value > made.free_bytes:
        yield f"checkpoints need about {sized(made.disk_bytes.value)}, and {sized(made.free_bytes)} are free on that disk"


def _advice(made: TrainForecast) -> str:
    other = "an adapter, freeze, a KL weight of 0 or rollout.engine=server need less too"
    if made.remedy is None:
        return f"smaller forwards and more GPUs alone do not make it fit; {other.removesuffix(' too')}"
    *most, last = made.remedy.changes
    changes = f"{', '.join(most)} and {last}" if most else last
    return f"with {changes} it fits, in about {sized(made.remedy.peak.value)}; {other}"


def _supply(made: TrainForecast, course: Course) -> Iterator[str]:
    if course.stopped:
        yield f"the run would stop after about {course.steps:,} steps: {course.stopped}"
    if course.short and not course.stopped:
        yield (
            f"{course.short:,} of the {course.steps:,} steps that were followed do not fill up: the gate refuses too much of "
            "what is drawn; a split nearer to what the model can do, or a larger curriculum.max_draws, would fill them"
        )
    if made.silent.value > _MOSTLY:
        yield (
            f"{made.silent.value:.0%} of the groups are expected to be all right or all wrong, and say nothing: draw a split "
            "nearer to what the model can do (`ladder sample --strategy band`), or a larger batch.group"
        )


def _lengths(settings: TrainSettings, store: Store) -> Iterator[str]:
    """Bounds of rewards that no answer comes near to."""
    bounds = {name: term.constraint for name, term in settings.reward.items() if isinstance(term, Bonus)}
    limits = {
        name: term.max_tokens - term.buffer
        for name, term in settings.reward.items()
        if isinstance(term, Overlong)
    }
    if not bounds and not limits:
        return
    answers = answers_of(store, facts_of(store), sorted({*bounds.values(), *limits.values()}))
    if not answers.count:
        return
    said = f"of {answers.count:,} answers that the ladder stores"
    for name, constraint in bounds.items():
        term, longer = settings.reward[name], answers.longer[constraint]
        assert isinstance(term, Bonus)
        if term.bound == "lower" and longer < _RARE:
            yield (
                f"reward.{name} is for answers of more than {constraint:,} tokens, and {said} {longer:.1%} are so long: it "
                "will hardly ever be paid"
            )
        if term.bound == "upper" and 1 - longer < _RARE:
            yield (
                f"reward.{name} is for answers of at most {constraint:,} tokens, and {said} {1 - longer:.1%} are so short: "
                "it will hardly ever be paid"
            )
    for name, limit in limits.items():
        if limit >= settings.response.max_tokens:
            yield (
                f"reward.{name} begins beyond {limit:,} tokens, and no answer gets more than {settings.response.max_tokens:,}: "
                "it never binds"
            )


def _age(split: Split, store: Store) -> Iterator[str]:
    """Whether the ladder has changed since the split was drawn."""
    drawn, now = split.facts.get("ladder", {}), facts_of(store)
    if not drawn or drawn.get("state") == now.get("state"):
        return
    from ladder.cards import ladder_fingerprint

    if drawn.get("fingerprint") != ladder_fingerprint(store):
        yield "the ladder has changed since this split was drawn: its tiers and its order are those of the older one"
