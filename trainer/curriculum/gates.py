"""Gates: which finished groups train. They go by counts of verdicts, never by a reward, whose shaping would let groups in
that say nothing (all wrong, but well-formed).

A group without any verdict is refused by all of them: there is nothing to train on.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Field

from ladder.config import Settings
from trainer.curriculum.base import GroupOutcome
from trainer.curriculum.drawn import Band
from trainer.curriculum.trees import exact

Reason = Literal["refused_solved", "refused_unsolved", "refused_empty"]


class _GateSettings(Settings):
    def build(self) -> CountingGate:
        """The gate."""
        return CountingGate(self)

    def refusal(self, n: int, correct: int) -> Reason | None:
        """Why a group of n > 0 verdicts is refused; None: it trains."""
        raise NotImplementedError


class EverythingSettings(_GateSettings):
    """Every group passes; one without signal is counted (Observe-R1 gives it weight 0)."""

    kind: Literal["everything"] = "everything"

    def refusal(self, n: int, correct: int) -> Reason | None:
        """None."""
        del n, correct
        return None


class SignalSettings(_GateSettings):
    """Groups with at least one correct and one other rollout pass: DAPO's dynamic sampling (arXiv 2503.14476)."""

    kind: Literal["signal"] = "signal"

    def refusal(self, n: int, correct: int) -> Reason | None:
        """All wrong, or all right."""
        return "refused_unsolved" if correct == 0 else "refused_solved" if correct == n else None


class BandSettings(Band, _GateSettings):
    """Groups with `low` <= correct / n <= `high` pass, both bounds included and compared exactly: MM-Eureka (2503.07365)."""

    kind: Literal["band"] = "band"

    def refusal(self, n: int, correct: int) -> Reason | None:
        """Below the band, or above it."""
        if correct < exact(self.low) * n:
            return "refused_unsolved"
        return "refused_solved" if correct > exact(self.high) * n else None


GateSettings = Annotated[EverythingSettings | SignalSettings | BandSettings, Field(discriminator="kind")]


class CountingGate:
    """Admits by its settings, and counts."""

    def __init__(self, settings: _GateSettings) -> None:
        self._settings = settings
        self._counts: Counter[str] = Counter()

    def admit(self, outcome: GroupOutcome) -> bool:
        """Whether the group trains."""
        n, correct = outcome.n, outcome.correct
        refusal = self._settings.refusal(n, correct) if n else "refused_empty"
        self._counts[refusal or "admitted"] += 1
        self._counts["without_signal"] += refusal is None and correct in (0, n)
        return refusal is None

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        return dict(self._counts)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self._counts = Counter(state)

    def metrics(self) -> dict[str, float]:
        """Groups admitted, and of them those all right or all wrong; groups refused, by side."""
        names = ("admitted", "without_signal", "refused_solved", "refused_unsolved", "refused_empty")
        return {name: float(self._counts[name]) for name in names}
