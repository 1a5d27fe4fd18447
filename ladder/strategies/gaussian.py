"""`gaussian`: the difficulty at each place of the split scatters about a target that rises along it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ladder.digest import KEY_BITS, shuffle_key_sql
from ladder.score import LEVELS
from ladder.strategies.neuraladder import Dropping

if TYPE_CHECKING:
    import duckdb

_PIECES, _PIECE_BITS = 7, KEY_BITS // 7
_MEAN = _PIECES * (2**_PIECE_BITS - 1) / 2
_DEVIATION = (_PIECES * (4**_PIECE_BITS - 1) / 12) ** 0.5
#: No item is further off: the largest value of `standard_normal_sql`.
LARGEST = _MEAN / _DEVIATION


class Gaussian(Dropping):
    """Gaussian pacing after E2H-G (Parashar et al., arXiv 2506.06632: tasks of difficulty mu are drawn with
    weight exp(-(x - mu)^2 / 2 sigma^2) about a target x that moves from easy to hard).

    There items are drawn with replacement, on a schedule. Here each occurs once: items are sorted by difficulty in levels
    plus sigma times a normal variate, so that those at one place scatter about the target with sigma, and the target
    rises as fast as there are items of each difficulty. `sigma = 0` is `sorted`; a large one shuffles.
    """

    strategy: Literal["gaussian"] = "gaussian"
    sigma: float = Field(1.0, ge=0, le=100)  # in levels, of which the pass rate has eight

    def rows(self, connection: duckdb.DuckDBPyConnection, seed: int) -> str:
        """Slots are the nearest levels of the target."""
        del connection
        target = f"{LEVELS}.0::DOUBLE * difficulty + {self.sigma!r}::DOUBLE * {standard_normal_sql(seed)}"
        slot = f"least({LEVELS}, greatest(0, floor(target + 0.5)))::BIGINT"
        return f"SELECT * EXCLUDE target, {slot} AS slot, target AS key FROM (SELECT *, {target} AS target FROM kept)"


def standard_normal_sql(seed: int, item_id: str = "id") -> str:
    """An SQL expression of a standard normal variate of each item: the sum of seven pieces of a key, which needs no
    function that platforms round differently. Its absolute value is at most LARGEST, 4.58."""
    key = shuffle_key_sql(seed, item_id, use="normal")
    mask = 2**_PIECE_BITS - 1
    pieces = " + ".join(f"(({key} >> {_PIECE_BITS * i}) & {mask})" for i in range(_PIECES))
    return f"(({pieces})::DOUBLE - {_MEAN!r}::DOUBLE) / {_DEVIATION!r}::DOUBLE"
