"""The settings of `ladder build`: what a pipeline's TOML may say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from ladder.adaptive import AdaptiveSettings
from ladder.audit.settings import AuditSettings
from ladder.config import Settings, merged, read_toml, validate
from ladder.engines.settings import EngineSettings
from ladder.errors import BadInput
from ladder.pools.mapping import ImageSettings
from ladder.pools.source import PoolSettings
from ladder.tiers import AnyTiers, TierSettings
from ladder.verify.policy import Policy
from ladder.verify.pool import VerifierPool

#: The pass that the ladder is scored by; its settings are the build's own.
MAIN = "main"
#: Temperatures that are sampled at, beside 0: a division of logits by less leaves float32.
COLDEST, HOTTEST = 0.01, 10.0
#: Names that no further pass can have: NAME_rate and NAME_gain are columns of the ladder.
_TAKEN = {MAIN, "pass", "corrected", "truncation", "no_answer"}


class PromptSettings(Settings):
    """The prompt template, by name (ladder.prompts)."""

    template: str = "observe-think-answer"


class SamplingSettings(Settings):
    """k samples per item, and how they are drawn. With `[sampling.adaptive]`, k are the first, and an item gets more where
    they can still change its tier (ladder.adaptive)."""

    k: PositiveInt = 8
    adaptive: AdaptiveSettings | None = None
    temperature: float = Field(1.0, ge=0, le=HOTTEST)  # 0: greedy
    max_tokens: PositiveInt = 1024
    seed: int = 0

    @field_validator("temperature")
    @classmethod
    def _greedy_or_warm(cls, temperature: float) -> float:
        if 0 < temperature < COLDEST:
            raise ValueError(f"take 0, which is greedy, or {COLDEST} and more")
        return temperature

    @model_validator(mode="after")
    def _first_samples_fit(self) -> SamplingSettings:
        if self.adaptive is not None:
            self.adaptive.check(self.k)
        return self

    @property
    def most(self) -> int:
        """Samples that an item gets at most."""
        return self.k if self.adaptive is None else self.adaptive.k_max

    @property
    def told(self) -> str:
        """The number of samples per item, in words."""
        return str(self.k) if self.most == self.k else f"{self.k} to {self.most}"


class VerifySettings(Settings):
    """Worker processes for symbolic cases, the hard deadline of a case in seconds, and the policy (docs/verifier.md)."""

    workers: PositiveInt = 1
    deadline: float = Field(2.0, gt=0)
    format: Literal["lenient", "strict"] = "lenient"
    missing_unit: Literal["accept", "reject"] = "accept"
    percent: Literal["value", "number", "either"] = "value"

    @property
    def policy(self) -> Policy:
        """What of this may change a verdict."""
        return Policy(self.format, self.missing_unit, self.percent)

    def pool(self) -> VerifierPool:
        """A pool of workers as these settings have it, to be closed."""
        return VerifierPool(self.workers, self.deadline, self.policy)


class CardSettings(Settings):
    """What the data card says that cannot be derived."""

    title: str | None = None
    summary: str = ""
    languages: tuple[str, ...] = ("en",)


class TrainingSettings(Settings):
    """How `ladder train` trains on this ladder unless told otherwise: a recipe, and the settings that depart from it.

    The keys are the recipe's, dotted; they are shown at the start of every run. Read by the trainer only.
    """

    recipe: str = "observe-r1"
    set: dict[str, Any] = Field(default_factory=dict)


class AskingSettings(EngineSettings):
    """Who is asked, and how: a model on an engine, a prompt template, and the sampling."""

    prompt: PromptSettings = PromptSettings()
    sampling: SamplingSettings = SamplingSettings()


class PassSettings(AskingSettings):
    """Another way to ask the items (`direct`, `blind`), or another model (a panel); what is not set is the build's.

    `tiers` leaves out items of other tiers: a stronger model need not answer what the policy always does.
    """

    tiers: tuple[str, ...] | None = None


class BuildSettings(AskingSettings):
    """A build: pools -> items -> rollouts -> verdicts -> scores -> tiers -> ladder.

    Either `[pool]`, or several `[pools.NAME]`, whose order says which copy of an item stays. What is also asked in one
    of `[benchmarks.NAME]` is found by the audit.
    """

    name: str
    pool: PoolSettings | None = None
    pools: dict[str, PoolSettings] = Field(default_factory=dict)
    benchmarks: dict[str, PoolSettings] = Field(default_factory=dict)
    images: ImageSettings = ImageSettings()
    audit: AuditSettings = AuditSettings()
    passes: dict[str, PassSettings] = Field(default_factory=dict)
    verify: VerifySettings = VerifySettings()
    tiers: AnyTiers = TierSettings()
    card: CardSettings = CardSettings()
    train: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _passes_are_columns(self) -> BuildSettings:
        if len({name.lower() for name in self.passes}) < len(self.passes):
            raise ValueError("passes: two names are equal but for case, and SQL does not tell those apart")
        for name, settings in self.passes.items():
            if name.lower() in _TAKEN:
                raise ValueError(f"passes.{name}: the name is taken; choose another")
            if not name.isidentifier():
                raise ValueError(
                    f"passes.{name}: the name becomes a column, {name}_rate: letters, digits and _ only"
                )
            unknown = set(settings.tiers or ()) - set(self.tiers.names)
            if unknown:
                raise ValueError(f"passes.{name}.tiers: there is no tier {sorted(unknown)[0]!r}")
        return self

    @model_validator(mode="after")
    def _adaptive_needs_cuts(self) -> BuildSettings:
        asking = [self, *self.passes.values()]
        if self.tiers.fixed_cuts is None and any(each.sampling.adaptive for each in asking):
            raise ValueError(
                "sampling.adaptive goes by the tiers' cuts, which quantiles do not have before all is sampled; "
                "set tiers.by to pass_rate or level"
            )
        return self

    @model_validator(mode="after")
    def _one_or_several(self) -> BuildSettings:
        if (self.pool is None) == (not self.pools):
            raise ValueError("a build has either one [pool] or several [pools.NAME]")
        return self

    def asking(self, name: str) -> AskingSettings:
        """Who is asked and how in a pass: its own settings over the build's; adaptive only where it says so itself."""
        own: dict[str, Any] = self.model_dump(include=set(AskingSettings.model_fields))
        if name == MAIN:
            return AskingSettings.model_validate(own)
        own["sampling"]["adaptive"] = None
        set_ = self.passes[name].model_dump(exclude_unset=True, exclude={"tiers"})
        if "name" in set_.get("model", {}):  # a server's names are those of the model that the build asks
            own["server"] |= {"model": None, "revision": ""}
        if "files" in set_.get("replay", {}):  # other files, laid out in their own way
            own["replay"] = {"root": own["replay"]["root"]}
        return AskingSettings.model_validate(merged(own, set_))

    @property
    def sources(self) -> dict[str, PoolSettings]:
        """The pools by name, in order; a single one is called as the build is."""
        return self.pools if self.pool is None else {self.name: self.pool}


def pipeline_settings(path: Path, overrides: Iterable[str] = ()) -> BuildSettings:
    """The settings of a pipeline's TOML, or of the `build.toml` of a ladder that is to be built again; raises BadInput."""
    values = read_toml(path)
    return validate(BuildSettings, values.get("build", values), overrides, where=str(path))


def settings_of(ladder: Path, overrides: Iterable[str] = ()) -> BuildSettings:
    """The settings that a ladder was built with; raises BadInput where its build did not come to an end."""
    from ladder.store import MARKER

    path = ladder / MARKER
    built = read_toml(path).get("build")
    if built is None:
        raise BadInput(f"{ladder} was not built to its end: run `ladder build` again")
    return validate(BuildSettings, built, overrides, where=str(path))
