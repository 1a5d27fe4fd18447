"""Gates decide by counts of verdicts."""

from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from curricula import through_json
from hypothesis import given
from hypothesis import strategies as st

from ladder.config import validate
from ladder.errors import BadInput
from trainer.curriculum import CountingGate, CurriculumSettings, Draw, GroupOutcome


def gate_of(kind: str, **settings: float) -> CountingGate:
    return CurriculumSettings.model_validate({"gate": {"kind": kind, **settings}}).gate.build()


def outcome(correct: int, n: int) -> GroupOutcome:
    return GroupOutcome(Draw(0, "x", 0, 0), n, correct, 10.0)


def admitted(gate: CountingGate, n: int) -> list[int]:
    return [correct for correct in range(n + 1) if gate.admit(outcome(correct, n))]


def test_everything_passes_and_silent_groups_are_counted() -> None:
    gate = gate_of("everything")
    assert admitted(gate, 8) == list(range(9))
    told = gate.metrics()
    assert (told["admitted"], told["without_signal"]) == (9, 2)


def test_signal_needs_a_correct_and_another_rollout() -> None:
    gate = gate_of("signal")
    assert admitted(gate, 8) == [1, 2, 3, 4, 5, 6, 7]
    told = gate.metrics()
    assert (told["admitted"], told["refused_solved"], told["refused_unsolved"]) == (7, 1, 1)
    assert told["without_signal"] == 0


@pytest.mark.parametrize(
    ("low", "high", "n", "expected"),
    [
        (0.1, 0.9, 8, [1, 2, 3, 4, 5, 6, 7]),  # MM-Eureka: exactly what has a signal at 8
        (0.1, 0.9, 10, [1, 2, 3, 4, 5, 6, 7, 8, 9]),  # both bounds included
        (0.1, 0.9, 16, list(range(2, 15))),
        (0.3, 0.7, 10, [3, 4, 5, 6, 7]),
        (0.0, 1.0, 3, [0, 1, 2, 3]),
    ],
)
def test_a_band_includes_its_bounds(low: float, high: float, n: int, expected: list[int]) -> None:
    assert admitted(gate_of("band", low=low, high=high), n) == expected


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 300), st.data())
def test_a_band_is_compared_exactly(low: int, high: int, n: int, data: st.DataObject) -> None:
    """With the bounds as the decimals that they were written as, at any number of rollouts."""
    low, high = sorted((low, high))
    correct = data.draw(st.integers(0, n))
    gate = gate_of("band", low=low / 100, high=high / 100)
    share = Fraction(correct, n)
    assert gate.admit(outcome(correct, n)) == (Fraction(low, 100) <= share <= Fraction(high, 100))


@pytest.mark.parametrize("kind", ["everything", "signal", "band"])
def test_a_group_without_verdicts_never_trains(kind: str) -> None:
    gate = gate_of(kind)
    assert not gate.admit(outcome(0, 0))
    assert gate.metrics()["refused_empty"] == 1


@pytest.mark.parametrize("kind", ["everything", "signal", "band"])
@given(seen=st.lists(st.integers(0, 8)), later=st.lists(st.integers(0, 8)))
def test_counts_add_up_and_go_on_after_a_resume(kind: str, seen: list[int], later: list[int]) -> None:
    gate = gate_of(kind)
    passed = Counter(gate.admit(outcome(correct, 8)) for correct in seen)
    told = gate.metrics()
    refused = sum(value for name, value in told.items() if name.startswith("refused"))
    assert (told["admitted"], refused) == (passed[True], passed[False])
    resumed = gate_of(kind)
    resumed.load_state_dict(through_json(gate.state_dict()))
    for correct in later:
        assert gate.admit(outcome(correct, 8)) == resumed.admit(outcome(correct, 8))
    assert gate.metrics() == resumed.metrics()


def test_settings_are_told_what_is_wrong_with_them() -> None:
    def problem(**values: dict[str, Any]) -> str:
        with pytest.raises(BadInput) as error:
            validate(CurriculumSettings, dict(values))
        return str(error.value)

    assert "low must not be above high" in problem(gate={"kind": "band", "low": 0.9, "high": 0.1})
    assert "'signl' is none of" in problem(gate={"kind": "signl"})
    assert "did you mean 'sampler.coverage'" in problem(sampler={"kind": "weighted", "covrage": 2})
    assert "did you mean 'sampler.replay.share'" in problem(
        sampler={"kind": "order", "replay": {"shar": 0.1}}
    )
