"""A split's training rows as columns. Items have numbers, and so have rows: an item may have several of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ladder.digest import digest
from ladder.errors import BadInput

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def elements(array: npt.NDArray[Any]) -> MutableSequence[Any]:
    """The same memory, whose single elements are Python numbers: read and written several times faster than through numpy."""
    return cast(MutableSequence[Any], memoryview(cast(Any, array)))


@dataclass(frozen=True, eq=False)
class Rows:
    """Columns over the rows, in the split's order. `items` numbers a row's item, in the order of first rows, which `first`
    holds. A pass rate that is not known is NaN."""

    ids: Sequence[str]
    slots: Ints
    tiers: Sequence[str]
    pass_rates: Floats
    items: Ints
    first: Ints

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Rows:
        """Of rows with `id`, `slot`, `tier` and `pass_rate`, as `Split.train` has them; raises BadInput where there is none."""
        columns = [(row["id"], row["slot"], row["tier"], row["pass_rate"]) for row in rows]
        if not columns:
            raise BadInput("the split has no training items")
        ids, slots, tiers, pass_rates = zip(*columns, strict=True)
        return cls.of_columns(ids, slots, tiers, pass_rates)

    @classmethod
    def of_columns(
        cls,
        ids: Sequence[str],
        slots: Sequence[int] | Ints,
        tiers: Sequence[str],
        pass_rates: Sequence[float | None] | Floats,
    ) -> Rows:
        """Of columns of one length."""
        numbers: dict[str, int] = {}
        items = np.fromiter((numbers.setdefault(i, len(numbers)) for i in ids), np.int64, len(ids))
        first = np.unique(items, return_index=True)[1]
        return cls(ids, np.asarray(slots, np.int64), tiers, np.asarray(pass_rates, np.float64), items, first)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def item_count(self) -> int:
        """How many items there are."""
        return len(self.first)

    @cached_property
    def mark(self) -> str:
        """Digest of all columns."""
        numbers = self.slots.astype("<i8").tobytes(), self.pass_rates.astype("<f8").tobytes()
        return digest("curriculum-rows", "\n".join(self.ids), "\n".join(self.tiers), *numbers)
