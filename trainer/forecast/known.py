"""What a ladder and a run's directory tell of a run to come: posteriors and lengths of a split's items, prompts by the sizes
of their images, shares of long answers, and speeds. Reads, and draws no conclusions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder.prompts import render
from ladder.records import Item
from ladder.sampling import Asked
from ladder.score import Beta
from ladder.show import Pictures
from ladder.splits import Split
from ladder.store import Store
from ladder.store.catalogue import catalogue
from ladder.store.sql import KEYS, log_sql
from trainer.forecast.course import Known

_MEASURED = 256  # items whose prompts are measured


@dataclass(frozen=True)
class Prompts:
    """Of so many items: mean and longest prompt in tokens, mean patches of its images; items that the encoder cannot take."""

    measured: int
    tokens: float
    longest: int
    patches: float
    unencodable: int
    lengths: tuple[int, ...] = ()

    def beyond(self, room: int) -> int:
        """How many prompts have more tokens than that."""
        return sum(length > room for length in self.lengths)


@dataclass(frozen=True)
class Answers:
    """Stored answers of the scoring pass: how many, and the share of those of more than each of some lengths."""

    count: int
    longer: dict[int, float]


def known_of(split: Split, store: Store, max_tokens: int) -> tuple[Known, int]:
    """What is known of a split's items, and how many of them the ladder no longer has. Raises BadInput where the ladder is
    not scored."""
    table = split.table("train").select(["id", "complexity"])
    with catalogue(store) as connection:
        connection.register("rows", table)
        a, b = connection.execute("SELECT a, b FROM priors").fetchall()[0]
        found = connection.execute(
            "SELECT DISTINCT r.id, coalesce(r.complexity, l.complexity), l.correct, l.n FROM rows r LEFT JOIN ladder l USING (id)"
        ).fetchall()
        connection.unregister("rows")
    prior, made = Beta(a, b), dict[tuple[Any, Any], Beta]()
    posteriors, tokens = {}, {}
    for item_id, complexity, correct, n in found:
        if (correct, n) not in made:
            made[correct, n] = prior if n is None else prior.posterior(correct, n)
        posteriors[item_id] = made[correct, n]
        tokens[item_id] = float(max_tokens if complexity is None else min(complexity, max_tokens))
    return Known(posteriors, tokens), sum(row[3] is None for row in found)


def prompts_of(store: Store, asked: Asked, items: Sequence[Item]) -> Prompts:
    """Prompts of some of the items, evenly over all, by the sizes of their images: none is opened."""
    assert asked.encoder is not None
    some = items[:: max(1, -(-len(items) // _MEASURED))]
    sizes = Pictures(store).find([name for item in some for name in item.images])
    lengths, patches = [], 0
    for item in some:
        own = [sizes[name] for name in item.images] if asked.template.images else []
        try:
            length, seen = asked.encoder.measure(
                render(item, asked.template), [(picture.width, picture.height) for picture in own]
            )
        except ValueError:  # the engine refuses the item
            continue
        lengths.append(length)
        patches += seen
    count = max(1, len(lengths))
    return Prompts(
        len(some),
        sum(lengths) / count,
        max(lengths, default=0),
        patches / count,
        len(some) - len(lengths),
        tuple(lengths),
    )


def answers_of(store: Store, facts: dict[str, str], bounds: Sequence[int]) -> Answers:
    """Of the rollouts that the ladder was scored by."""
    import duckdb

    shares = "".join(f", avg((tokens > {int(bound)})::INT)" for bound in bounds)

    def ask(parts: list[Path]) -> Answers:
        rollouts = log_sql(parts, f"{KEYS}, 0 AS tokens")
        with duckdb.connect() as connection:
            count, *longer = connection.execute(
                f"SELECT count(*){shares} FROM {rollouts} WHERE model = $model AND prompt = $prompt AND sampling = $sampling",
                {name: facts.get(f"{name}_fingerprint", "") for name in ("model", "prompt", "sampling")},
            ).fetchall()[0]
        return Answers(count, dict(zip(bounds, longer, strict=True)) if count else {})

    return store.rollouts.read(ask)


def step_seconds(out: Path) -> tuple[int, float] | None:
    """Steps that a run in this directory has logged, and their mean seconds without the probe; None where there is none."""
    path = out / "metrics.jsonl"
    if not path.is_file():
        return None
    steps = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # the last line of a run that was killed
            continue
        laps = [v for k, v in row.items() if k.startswith("seconds/") and k != "seconds/probe"]
        if laps:
            steps.append(sum(laps))
    return (len(steps), sum(steps) / len(steps)) if steps else None
