"""The passes of a build: the one that the ladder is scored by, then the others, each a model, an engine and a prompt.

`direct` asks for the answer alone, `blind` without the images; a pass with another model is a member of a panel. The names
are the user's, the templates say what they do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from ladder import verify
from ladder.adaptive import StoppingRule
from ladder.engines import Model, model_of, position_limit
from ladder.engines.base import Sampling
from ladder.errors import BadInput
from ladder.prompts import template
from ladder.sampling.asked import Asked
from ladder.sampling.plan import Plan
from ladder.settings import MAIN, AskingSettings, BuildSettings
from ladder.store import Store
from ladder.store.sql import View
from ladder.store.wanted import stored_outcomes, stored_refusals

_ANY = 2**62  # positions: more than any engine's limit


@dataclass(frozen=True)
class Pass:
    """One way in which items are asked."""

    name: str
    settings: AskingSettings
    model: Model
    view: View
    rule: StoppingRule | None
    tiers: tuple[str, ...] | None = None  # items of other tiers are not asked
    several: bool = False  # the items are those of several pools

    @cached_property
    def asked(self) -> Asked:
        """How its items are asked."""
        how = self.settings.sampling
        sampling = Sampling(temperature=how.temperature, max_tokens=how.max_tokens)
        wording = template(self.settings.prompt.template)
        return Asked(self.model.encoder, wording, sampling, how.seed, self.several)

    @property
    def same_engine(self) -> str:
        """Equal for passes that one engine can serve one after the other."""
        engine = self.settings.model_dump_json(include=set(_ENGINE))
        return f"{self.model.fingerprint} {engine}"

    def refused(self, store: Store) -> dict[str, tuple[str, str]]:
        """(reason, detail) of the items that it cannot ask, as its engine is set now."""
        limit = position_limit(self.settings, self.model)
        return stored_refusals(store, self.view, _ANY if limit is None else limit)

    def plan(self, store: Store, golds: dict[str, str]) -> Plan:
        """What it still wants of the items in `golds` (digest by id)."""
        refused = self.refused(store)
        wanted = {item_id: gold for item_id, gold in golds.items() if item_id not in refused}
        stored = stored_outcomes(store, self.view, wanted)
        return Plan(wanted, stored, self.view.k, self.rule, self.settings.sampling.k)


_ENGINE = ("model", "engine", "transformers", "vllm", "server", "replay")


def passes_of(settings: BuildSettings) -> list[Pass]:
    """The passes in the order in which they run; raises BadInput where one cannot be asked for. Loads no weights."""
    passes = [_pass_of(settings, name) for name in (MAIN, *settings.passes)]
    seen: dict[tuple[str, str, str], str] = {}
    for each in passes:
        view = each.view
        first = seen.setdefault((view.prompt, view.model, view.sampling), each.name)
        if first != each.name:
            raise BadInput(
                f"passes.{each.name} asks the same model the same as {first}: give it another prompt, model, "
                f"temperature, max_tokens or seed"
            )
    return passes


def _pass_of(settings: BuildSettings, name: str) -> Pass:
    how = settings.asking(name)
    sampling = how.sampling
    view = View("", "", "", verify.fingerprint(settings.verify.policy), sampling.most)
    rule = None
    if sampling.adaptive is not None:
        rule = StoppingRule(sampling.k, sampling.adaptive, settings.tiers)
    tiers = None if name == MAIN else settings.passes[name].tiers
    unnamed = Pass(name, how, model_of(how), view, rule, tiers, len(settings.sources) > 1)
    asked = unnamed.asked
    named = replace(view, prompt=asked.prompt, model=unnamed.model.fingerprint, sampling=asked.specification)
    return replace(unnamed, view=named)
