"""Licences as the Hub spells them, and what they say about handing items on. The vocabulary is `data_cards/hub.toml`.

No legal advice: a licence is judged by its identifier alone, and one that is not known counts as closed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from ladder.config import read_toml, shipped
from ladder.settings import BuildSettings


@dataclass(frozen=True)
class Licence:
    """A source's licence: as the pipeline has it, as the Hub spells it, and what keeps it from being handed on."""

    source: str
    said: str
    id: str  # "other" where the Hub has no identifier for it

    @property
    def closed(self) -> bool:
        """Whether copies may not be handed on, or nobody knows."""
        return self.id in vocabulary()["licences"]["closed"]

    @property
    def non_commercial(self) -> bool:
        """Whether commercial use is excluded."""
        return self.id in vocabulary()["licences"]["non_commercial"]


def licences(settings: BuildSettings) -> list[Licence]:
    """The licence of each source of a build, in order."""
    return [
        Licence(pool.source or name, pool.licence, hub_licence(pool.licence))
        for name, pool in settings.sources.items()
    ]


def hub_licence(said: str) -> str:
    """The Hub's identifier for a licence, however it is written ("CC BY-SA 4.0"); "other" where it has none."""
    name = slug(said)
    return name if name in vocabulary()["licences"]["known"] else "other"


def front_licences(found: list[Licence]) -> dict[str, Any]:
    """The front matter's `license`, one or several, and what it asks for beside "other"."""
    ids = sorted({licence.id for licence in found}) or ["unknown"]
    fields: dict[str, Any] = {"license": ids[0] if len(ids) == 1 else ids}
    others = sorted(
        {slug(licence.said).replace("+", "") or "other" for licence in found if licence.id == "other"}
    )
    if others:
        fields |= {"license_name": "-and-".join(others)[:96].rstrip("-."), "license_link": LICENCE_FILE}
    return fields


#: What `license_link` names where the Hub has no identifier for a licence: the Hub takes this name or a URL.
LICENCE_FILE = "LICENSE.md"


def slug(text: str) -> str:
    """A text as an identifier: lower case, and of letters, digits, "+", "-" and "." only."""
    return re.sub(r"[^a-z0-9.+]+", "-", text.lower()).strip("-.")


@cache
def vocabulary() -> dict[str, Any]:
    """The tables of `data_cards/hub.toml`."""
    return read_toml(shipped("data_cards", "hub"))
