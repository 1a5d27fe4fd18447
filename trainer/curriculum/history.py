"""How often the policy is right on each item: the split's pass rate as a start, then what training has shown, where the older
counts less. Nothing else is kept of an item."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.curriculum.rows import Floats, Rows, elements


class History:
    """Discounted counts per item. They start as `prior` rollouts at the split's pass rate (none where it is not known); an
    outcome multiplies what is there by `discount` and adds its own counts, so that they follow a policy that learns."""

    def __init__(self, rows: Rows, prior: float, discount: float) -> None:
        pass_rates_N = rows.pass_rates[rows.first]
        known_N = ~np.isnan(pass_rates_N)
        self._right_N, self._total_N = prior * np.where(known_N, pass_rates_N, 0.0), prior * known_N
        self._observed_N = np.zeros(rows.item_count, np.bool_)
        self._right, self._total = elements(self._right_N), elements(self._total_N)
        self._observed, self._seen, self._discount = elements(self._observed_N), 0, discount

    def observe(self, item: int, correct: int, n: int) -> None:
        """Add a group's counts; one without verdicts says nothing."""
        if n:
            self._seen += not self._observed[item]
            self._right[item] = self._right[item] * self._discount + correct
            self._total[item] = self._total[item] * self._discount + n
            self._observed[item] = True

    def p(self, item: int) -> float:
        """The posterior mean under Jeffreys' prior: never 0 or 1, 1/2 where nothing is known."""
        return float((self._right[item] + 0.5) / (self._total[item] + 1.0))

    @property
    def p_N(self) -> Floats:
        """`p` of every item."""
        return (self._right_N + 0.5) / (self._total_N + 1.0)

    @property
    def coverage(self) -> float:
        """The share of items that training has seen."""
        return self._seen / len(self._observed_N)

    def mastered(self, item: int, bound: float) -> bool:
        """Whether an item that training has seen is right in at least this share of its discounted rollouts."""
        return bool(self._observed[item] and self._right[item] >= bound * self._total[item])

    def state_dict(self) -> dict[str, Any]:
        """The items that training has seen."""
        items = np.flatnonzero(self._observed_N)
        right, total = self._right_N[items], self._total_N[items]
        return {"items": items.tolist(), "right": right.tolist(), "total": total.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        items = np.asarray(state["items"], np.int64)
        self._right_N[items], self._total_N[items] = state["right"], state["total"]
        self._observed_N[items] = True
        self._seen = len(items)
