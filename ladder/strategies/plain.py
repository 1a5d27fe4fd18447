"""`sorted`, from easy to hard without mixing, and `shuffled`, the control that has no order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ladder.digest import shuffle_key_sql
from ladder.strategies.neuraladder import Dropping

if TYPE_CHECKING:
    import duckdb


class Sorted(Dropping):
    """By (difficulty, complexity, id): Observe-R1's step 4 without its step 6, the easy-to-hard order of Bengio et al.
    2009 ("Curriculum learning"). Later epochs repeat it exactly."""

    strategy: Literal["sorted"] = "sorted"

    def rows(self, connection: duckdb.DuckDBPyConnection, seed: int) -> str:
        """The ladder's own order."""
        del connection, seed
        return "SELECT *, NULL::BIGINT AS slot, 0 AS key FROM kept"


class Shuffled(Dropping):
    """The control of every claim about order: the items that `neuraladder` keeps under the same settings, shuffled."""

    strategy: Literal["shuffled"] = "shuffled"

    def rows(self, connection: duckdb.DuckDBPyConnection, seed: int) -> str:
        """One slot."""
        del connection
        return f"SELECT *, 0 AS slot, {shuffle_key_sql(seed)} AS key FROM kept"
