"""`balanced`: equal shares of tiers, subjects, sources or answer types all along the split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ladder.digest import shuffle_key_sql
from ladder.strategies.neuraladder import Dropping

if TYPE_CHECKING:
    import duckdb


class Balanced(Dropping):
    """Class-balanced sampling (Kang et al. 2020, arXiv 1910.09217, equation 1 with q = 0; the `balanced` schedule of E2H,
    arXiv 2506.06632) without replacement: round after round, one item of each class, in shuffled order.

    The smallest class says how long that lasts. With `rest = "drop"` the split ends there; with `"keep"` the other
    classes go on, in equal shares of those that still have items.
    """

    strategy: Literal["balanced"] = "balanced"
    by: Literal["tier", "level", "source", "subject", "answer_type"] = "tier"
    rest: Literal["drop", "keep"] = "drop"  # of the classes that are larger than the smallest

    def rows(self, connection: duckdb.DuckDBPyConnection, seed: int) -> str:
        """A slot is a round."""
        key = shuffle_key_sql(seed)
        rounds = f"row_number() OVER (PARTITION BY {self.by} ORDER BY {key}, place) - 1"
        numbered = f"SELECT *, {rounds} AS slot, {shuffle_key_sql(seed, use='round')} AS key FROM kept"
        if self.rest == "keep":
            return numbered
        sizes = f"SELECT count(*) AS size FROM kept GROUP BY {self.by}"
        ((fewest,),) = connection.execute(f"SELECT coalesce(min(size), 0) FROM ({sizes})").fetchall()
        return f"SELECT * FROM ({numbered}) WHERE slot < {fewest}"
