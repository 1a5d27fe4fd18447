"""Every gold, written as people and models write it, is correct; what is near it or belongs to another item is not."""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from ladder.records import Item, Outcome

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from verifier_agreement import Made, make_cases
from verifier_data import SOURCES, digits_items, pool_items
from verifier_forms import right_forms
from verifier_peers import judge

#: What of the wrong forms must not be correct, in a pool of other people's golds.
WRONG_SHARE = 0.995


def outcomes(items: list[Item]) -> list[tuple[Made, Outcome]]:
    made = make_cases(items)
    verdicts = judge([case.case for case in made])
    return [(case, verdict.outcome) for case, verdict in zip(made, verdicts, strict=True)]


@pytest.fixture(scope="module")
def judged_digits() -> list[tuple[Made, Outcome]]:
    return outcomes(digits_items())


def shown(case: Made) -> tuple[str, str, str]:
    return case.kind, case.case.item.gold, case.case.response


def test_every_gold_of_the_embedded_pool_has_four_forms_and_one_in_another_notation() -> None:
    for item in digits_items():
        forms = right_forms(item)
        assert len({form.response for form in forms}) >= 4, item
        assert any(form.kind.startswith("notation") for form in forms), item


def test_every_gold_of_the_embedded_pool_is_correct_in_every_form(
    judged_digits: list[tuple[Made, Outcome]],
) -> None:
    right = [(case, outcome) for case, outcome in judged_digits if case.right]
    assert [shown(case) for case, outcome in right if outcome is not Outcome.CORRECT] == []


def test_no_perturbed_or_foreign_gold_of_the_embedded_pool_is_correct(
    judged_digits: list[tuple[Made, Outcome]],
) -> None:
    wrong = [(case, outcome) for case, outcome in judged_digits if not case.right]
    assert {"plus one", "sign", "another letter", "another gold"} <= {case.kind for case, _ in wrong}
    assert [shown(case) for case, outcome in wrong if outcome is not Outcome.WRONG] == []


@pytest.mark.pools
@pytest.mark.parametrize("source", SOURCES)
def test_every_verifiable_gold_of_a_public_pool_is_correct_in_every_form(source: str) -> None:
    judged = outcomes(pool_items(Path(os.environ["LADDER_DATA"]), source))
    seen = Counter(outcome for _, outcome in judged)
    assert seen[Outcome.UNVERIFIABLE] < 0.05 * len(judged), seen
    failures = [
        shown(case)
        for case, outcome in judged
        if case.right and outcome not in (Outcome.CORRECT, Outcome.UNVERIFIABLE)
    ]
    assert failures == []


@pytest.mark.pools
@pytest.mark.parametrize("source", SOURCES)
def test_no_perturbed_or_foreign_gold_of_a_public_pool_is_correct(source: str) -> None:
    judged = [
        (case, outcome)
        for case, outcome in outcomes(pool_items(Path(os.environ["LADDER_DATA"]), source))
        if not case.right
    ]
    failures = [shown(case) for case, outcome in judged if outcome is Outcome.CORRECT]
    assert len(failures) <= (1 - WRONG_SHARE) * len(judged), failures
