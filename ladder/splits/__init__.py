"""`ladder sample`: draw a training split, a fixed probe and a validation split from a ladder, and keep them as files beside
it, `LADDER/splits/NAME`. Orders are ladder.strategies' affair.

What trains: the scored items that are not held out (`held_out`), that the strategy keeps, within quotas and budgets (`quota`).
"""

from __future__ import annotations

import re
from typing import Any

from ladder.errors import BadInput
from ladder.splits.drawn import Drawing, drawing
from ladder.splits.files import Split, open_split, write_split
from ladder.splits.settings import (
    OnlineSettings,
    ProbeSettings,
    QuotaSettings,
    SampleSettings,
    ValidationSettings,
)
from ladder.splits.told import contents
from ladder.store import Store
from ladder.store.catalogue import facts_of

__all__ = [
    "OnlineSettings",
    "ProbeSettings",
    "QuotaSettings",
    "SampleSettings",
    "Split",
    "ValidationSettings",
    "look",
    "open_split",
    "sample",
]


# It stands in commands and in patterns of files.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def sample(
    store: Store, settings: SampleSettings, name: str, self_contained: bool = False, force: bool = False
) -> Split:
    """Draw and write the split `name`; the same settings give the same files. Raises BadInput for a name that is a path or
    another split's (unless `force`), or where nothing is left to train on."""
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"a split's name is a plain directory name of letters, digits, '.', '_' and '-' (at most 100), not {name!r}"
        )
    with drawing(store, settings) as drawn:
        split = write_split(drawn, name, _facts(drawn, self_contained), self_contained, force)
    from ladder.cards import refresh_card

    refresh_card(store)
    return split


def look(store: Store, settings: SampleSettings) -> dict[str, Any]:
    """What `sample` would draw, see `told.contents`; writes nothing."""
    with drawing(store, settings) as drawn:
        return contents(drawn)


def _facts(drawn: Drawing, self_contained: bool) -> dict[str, Any]:
    """Parentage: from what the split was drawn, how, and what became of all items."""
    from ladder.cards import ladder_fingerprint

    store, settings = drawn.store, drawn.settings
    facts = facts_of(store)
    ladder = {"name": facts["name"], "fingerprint": ladder_fingerprint(store), "state": facts["state"]}
    return {
        "strategy": settings.strategy.strategy,
        "seed": settings.seed,
        "self_contained": self_contained,
        "ladder": ladder,
        "counts": drawn.counts,
        "left_out": drawn.left_out,
        **({"online": drawn.online} if drawn.online else {}),
        "settings": settings.model_dump(mode="json", exclude_none=True),
    }
