"""`stages`: one pass after the other over the same items, first for easy, then for medium, then for hard ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ladder.digest import KEY_BITS, shuffle_key_sql
from ladder.strategies.base import Curriculum

if TYPE_CHECKING:
    import duckdb

_SINE = "sin(pi() * pass_rate)"
#: VL-Cogito's weights of a prompt by its pass rate p (verl/trainer/ray_trainer.py at 7ab7856): binary h_3, h_2, h_1, and
#: soft s_3, s_2, s_1. The hard band does not hold p = 0, though its documentation says so.
_WEIGHTS = {
    "binary": {
        "easy": "CASE WHEN pass_rate >= 0.5 THEN 1.0 ELSE 0.0 END",
        "medium": "CASE WHEN pass_rate BETWEEN 0.25 AND 0.75 THEN 1.0 ELSE 0.0 END",
        "hard": "CASE WHEN pass_rate > 0 AND pass_rate <= 0.5 THEN 1.0 ELSE 0.0 END",
    },
    "soft": {
        "easy": f"CASE WHEN pass_rate = 0 THEN 0.0 WHEN pass_rate <= 0.5 THEN {_SINE} ELSE 1.0 END",
        "medium": f"CASE WHEN pass_rate IN (0, 1) THEN 0.0 ELSE {_SINE} END",
        "hard": f"CASE WHEN pass_rate = 0 THEN 0.25 WHEN pass_rate <= 0.5 THEN 1.0 WHEN pass_rate = 1 THEN 0.0 ELSE {_SINE} END",
    },
}


class Stages(Curriculum):
    """The three passes of VL-Cogito's curriculum (arXiv 2507.22607, section 3): easy, medium, hard, each shuffled anew.

    There every prompt is sampled in every stage, and its advantages are weighted by its pass rate in that step. Here the
    weight chooses the items: with `binary` weights an item takes part in the stages that hold its pass rate, which is
    the same but for the samples saved; with `soft` ones it takes part with the weight as its chance. An item may hence
    occur up to three times, once in each stage (slots 0, 1, 2).
    """

    surplus: ClassVar[str] = "not_drawn"
    strategy: Literal["stages"] = "stages"
    weighting: Literal["binary", "soft"] = "binary"
    stages: tuple[Literal["easy", "medium", "hard"], ...] = ("easy", "medium", "hard")

    def reason(self, connection: duckdb.DuckDBPyConnection) -> str:
        """`no_stage`: where no weight is above 0."""
        del connection
        none = " AND ".join(f"{_WEIGHTS[self.weighting][stage]} = 0" for stage in self.stages)
        return f"CASE WHEN {none or 'true'} THEN 'no_stage' END"

    def visits(self, seed: int) -> str:
        """In how many stages an item takes part."""
        return f"len({self._slots(seed)})"

    def rows(self, connection: duckdb.DuckDBPyConnection, seed: int) -> str:
        """A row for each stage of an item."""
        del connection
        key = shuffle_key_sql(seed, "id || ' ' || slot", use="stage")
        unnested = f"SELECT *, unnest({self._slots(seed)}) AS slot FROM kept"
        return f"SELECT *, {key} AS key FROM ({unnested})"

    def _slots(self, seed: int) -> str:
        """An SQL expression of the list of an item's slots."""
        return f"list_filter([{', '.join(self._taken(seed))}], lambda slot: slot IS NOT NULL)"

    def _taken(self, seed: int) -> list[str]:
        weights = _WEIGHTS[self.weighting]
        return [
            f"CASE WHEN {shuffle_key_sql(seed, use=f'stage-{slot}')} < {weights[stage]} * {2**KEY_BITS}::DOUBLE THEN {slot} END"
            for slot, stage in enumerate(self.stages)
        ]
