"""`neuraladder`, the order of Observe-R1 (arXiv 2505.12432, section 3), and `reversed`, the same backwards.

Nothing of what they ran is published (neither the data set nor its code): every choice the paper leaves open is a setting.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ladder.digest import KEY_BITS, shuffle_key_sql
from ladder.score import LEVELS
from ladder.strategies.base import Curriculum

if TYPE_CHECKING:
    import duckdb


_MOST_WEIGHT = 1e9


class Dropping(Curriculum):
    """What the paper leaves out: an item that the model never solves goes to human review (step 5: D = 1), and of those
    that it always solves (D = 0) the ones of low complexity are dropped; what is low, it does not say."""

    drop_unsolved: bool = True  # level 0
    drop_solved_share: float = Field(
        0.5, ge=0, le=1
    )  # of level 8, those of lowest complexity; ties end in the id

    def reason(self, connection: duckdb.DuckDBPyConnection) -> str:
        """`unsolved` and `solved`."""
        unsolved = "WHEN level = 0 THEN 'unsolved' " if self.drop_unsolved else ""
        dropped = f"WHEN {self._solved(connection)} THEN 'solved' "
        return f"CASE {unsolved}{dropped}END"

    def _solved(self, connection: duckdb.DuckDBPyConnection) -> str:
        """The condition under which an always solved item is dropped: it comes before the first that is kept."""
        solved = f"FROM trainable WHERE level = {LEVELS}"
        ((count,),) = connection.execute(f"SELECT count(*) {solved}").fetchall()
        drop = math.floor(count * self.drop_solved_share)
        if drop == 0:
            return "false"
        last = connection.execute(
            f"SELECT complexity, id {solved} ORDER BY complexity, id LIMIT 1 OFFSET {drop - 1}"
        ).fetchall()[0]
        return f"level = {LEVELS} AND (complexity, id) <= ({last[0]!r}::DOUBLE, {_text(last[1])})"


class NeuraLadder(Dropping):
    """Sort by (difficulty, complexity), then mix each of the nine levels from its neighbours within two (step 6). The
    paper does not say whether a level itself takes part, with which weights, or how a slot is ordered.

    Every item occurs once, in the slot of its own level moved by an offset drawn from the weights, truncated and
    renormalised to the levels that there are: at most `len(weights) // 2` levels off. Slot 0 is the easiest.
    """

    strategy: Literal["neuraladder"] = "neuraladder"
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)  # of the level offsets -2, -1, 0, +1, +2
    within_slot: Literal["shuffled", "sorted"] = "shuffled"

    @model_validator(mode="after")
    def _odd(self) -> NeuraLadder:
        if len(self.weights) % 2 == 0 or not all(0 <= w <= _MOST_WEIGHT for w in self.weights):
            raise ValueError(
                "weights are for the offsets -n ... +n: an odd number of them, none negative, at most 1e9"
            )
        if sum(self.weights) <= 0:
            raise ValueError("weights are all 0")
        return self

    def rows(self, connection: duckdb.DuckDBPyConnection, seed: int) -> str:
        """Each item with its slot; inside it by (difficulty, complexity, id), or shuffled."""
        present = {row[0] for row in connection.execute("SELECT DISTINCT level FROM kept").fetchall()}
        key = "place" if self.within_slot == "sorted" else shuffle_key_sql(seed)
        return (
            f"SELECT * EXCLUDE drawn, {self._slot(present)} AS slot, {key} AS key "
            f"FROM (SELECT *, {shuffle_key_sql(seed, use='slot')} AS drawn FROM kept)"
        )

    def _slot(self, present: set[int]) -> str:
        """An SQL expression of the slot of an item of `level` whose key for this is `drawn`."""
        slots = {LEVELS - level for level in present}
        cases = "".join(
            f"WHEN {LEVELS - own} THEN CASE {self._drawn(own, slots)} END " for own in sorted(slots)
        )
        return f"CASE level {cases}END" if cases else "0"

    def _drawn(self, own: int, slots: set[int]) -> str:
        shares = self.shares(own, slots)
        *bounds, _ = accumulate(shares.values())
        some = "".join(
            f"WHEN drawn < {round(bound * 2**KEY_BITS)} THEN {slot} "
            for slot, bound in zip(shares, bounds, strict=False)
        )
        return f"{some}WHEN true THEN {list(shares)[-1]}"

    def shares(self, own: int, slots: set[int]) -> dict[int, float]:
        """The share of a level's items that goes to each slot; `slots` are those that there are, `own` is the level's."""
        reach = len(self.weights) // 2
        offsets = zip(range(-reach, reach + 1), self.weights, strict=True)
        found = {own + offset: weight for offset, weight in offsets if own + offset in slots and weight > 0}
        total = math.fsum(found.values())
        return {slot: weight / total for slot, weight in found.items()} or {own: 1.0}


class Reversed(NeuraLadder):
    """A control: the order of `neuraladder` backwards, from hard to easy, with the same items and the same mixing
    (anti-curriculum: Hacohen and Weinshall 2019, arXiv 1904.03626)."""

    strategy: Literal["reversed"] = "reversed"  # type: ignore[assignment]

    def rows(self, connection: duckdb.DuckDBPyConnection, seed: int) -> str:
        """The rows of `neuraladder`, with slots and keys mirrored."""
        forward = super().rows(connection, seed)
        return f"SELECT * EXCLUDE (slot, key), {LEVELS} - slot AS slot, -key AS key FROM ({forward})"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
