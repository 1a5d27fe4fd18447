"""`band`: only items whose pass rate lies between bounds, as filters of published systems have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field, model_validator

from ladder.digest import shuffle_key_sql
from ladder.strategies.base import Curriculum

if TYPE_CHECKING:
    import duckdb


class Cut(NamedTuple):
    """Bounds of the observed pass rate: `at_least` and `at_most` belong to it, `above` and `below` do not."""

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None


#: DAPO (arXiv 2503.14476): groups with 0 < correct < n. MM-Eureka (2503.07365; experience_maker.py at bccddd7): lower <=
#: mean accuracy <= upper, .1 and .9 in its scripts. Skywork-OR1 (2505.22312; data_preprocess at 64e96af): 1 to 15 correct of
#: 16. POLARIS (at 9e4fda2): 0 < mean < 1, and between stages what is solved in more than .9 is dropped.
PRESETS = {
    "dapo": Cut(above=0, below=1),
    "mm-eureka": Cut(at_least=0.1, at_most=0.9),
    "skywork": Cut(at_least=1 / 16, at_most=15 / 16),
    "polaris": Cut(above=0, at_most=0.9),
}


class Band(Curriculum):
    """Items whose observed pass rate lies in a band: a preset, or bounds of one's own (default: at least one right and
    one wrong sample). The published filters look at the samples of a training step, of the policy as it is then; here
    the ladder's samples stand for them."""

    strategy: Literal["band"] = "band"
    preset: Literal["dapo", "mm-eureka", "skywork", "polaris"] | None = None
    at_least: float | None = Field(None, ge=0, le=1)
    at_most: float | None = Field(None, ge=0, le=1)
    above: float | None = Field(None, ge=0, le=1)
    below: float | None = Field(None, ge=0, le=1)
    order: Literal["shuffled", "sorted"] = "shuffled"

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Band:
        if self.preset is not None and any(bound is not None for bound in self._own):
            raise ValueError("give a preset, or bounds of your own, not both")
        return self

    @property
    def _own(self) -> Cut:
        return Cut(self.at_least, self.at_most, self.above, self.below)

    @property
    def cut(self) -> Cut:
        """The bounds that hold."""
        if self.preset is None:
            return self._own if any(bound is not None for bound in self._own) else PRESETS["dapo"]
        return PRESETS[self.preset]

    def reason(self, connection: duckdb.DuckDBPyConnection) -> str:
        """`below_band` and `above_band`."""
        del connection
        low = {"<": self.cut.at_least, "<=": self.cut.above}
        high = {">": self.cut.at_most, ">=": self.cut.below}
        sides = {"below_band": low, "above_band": high}
        cases = [
            f"WHEN pass_rate {sign} {float(bound)!r}::DOUBLE THEN '{name}'"
            for name, side in sides.items()
            for sign, bound in side.items()
            if bound is not None
        ]
        return f"CASE {' '.join(cases)} END"

    def rows(self, connection: duckdb.DuckDBPyConnection, seed: int) -> str:
        """One slot, shuffled as those systems do; or from easy to hard."""
        del connection
        if self.order == "sorted":
            return "SELECT *, NULL::BIGINT AS slot, 0 AS key FROM kept"
        return f"SELECT *, 0 AS slot, {shuffle_key_sql(seed)} AS key FROM kept"
