"""Tolerances: what their texts say, and which answers they let pass."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladder.verify import DEFAULT, Policy, fingerprint
from ladder.verify.policy import parse_tolerance

NEAR = [
    ("5%", "100", "105"), ("5 %", "100", "95"), ("0.05", "100", "104.9"), (".05", "-100", "-96"), ("±0.1", "3", "3.1"),
    ("+-0.1", "3", "2.9"), ("+/- 0.1", "0", "-0.1"), ("2 decimals", "3.14159", "3.1449"), ("0 decimals", "2.5", "3"),
    ("1 decimal", "0.25", "0.3"), ("1 decimals", "-0.25", "-0.3"), ("1e-3", "1000", "1001"), ("±2", "10", "12"),
]  # fmt: skip
FAR = [
    ("5%", "100", "105.01"), ("5%", "0", "0.0001"), ("0.05", "100", "94.9"), ("±0.1", "3", "3.11"), ("±0", "3", "3.0001"),
    ("2 decimals", "3.14159", "3.145"), ("0 decimals", "2.4", "3"), ("2 decimals", "3.14", "-3.14"), ("5%", "100", "-100"),
]  # fmt: skip


@pytest.mark.parametrize(("tolerance", "gold", "answer"), NEAR)
def test_an_answer_within_the_tolerance_passes(tolerance: str, gold: str, answer: str) -> None:
    assert parse_tolerance(tolerance).allows(Fraction(gold), Fraction(answer))


@pytest.mark.parametrize(("tolerance", "gold", "answer"), FAR)
def test_an_answer_outside_the_tolerance_does_not(tolerance: str, gold: str, answer: str) -> None:
    assert not parse_tolerance(tolerance).allows(Fraction(gold), Fraction(answer))


@pytest.mark.parametrize(
    "text", ["", "five", "-0.1", "1.0", "100%", "±5%", "2.5 decimals", "99 decimals", "1/3"]
)
def test_what_is_no_tolerance_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"tolerance|decimals"):
        parse_tolerance(text)


@given(st.decimals(-1000, 1000, places=3), st.decimals(-1000, 1000, places=3))
def test_equal_decimals_are_those_that_half_up_rounding_makes_equal(gold: object, answer: object) -> None:
    from decimal import ROUND_HALF_UP, Decimal

    def rounded(value: object) -> Decimal:
        return Decimal(str(value)).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)

    allowed = parse_tolerance("2 decimals").allows(Fraction(str(gold)), Fraction(str(answer)))
    assert allowed == (rounded(gold) == rounded(answer))


def test_every_policy_has_its_own_fingerprint() -> None:
    policies = [DEFAULT, Policy(format="strict"), Policy(missing_unit="reject"), Policy(percent="either")]
    assert len({fingerprint(policy) for policy in policies}) == len(policies)
