"""The verifier against labels that were written from docs/verifier.md without looking at its code.

`cases/labelled.jsonl` holds right and wrong responses of every answer type, `cases/adversarial.jsonl` responses that no
verifier may call correct. Both have the fields of `ladder verify CASES.jsonl`, and `policy`, `right` and `kind`.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ladder.records import AnswerType, Item, Outcome, Verdict
from ladder.verify import Policy, answer_type, infer_type
from ladder.verify.pool import VerifierPool

CASES = Path(__file__).parent / "cases"
FIELDS = {"gold", "response", "options", "answer_type", "tolerance", "unit", "policy", "right", "kind"}


@cache
def cases(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def item_of(case: dict[str, Any]) -> Item:
    gold, options = case["gold"], tuple(case.get("options", ()))
    named = case.get("answer_type")
    kind = answer_type(named) if named else infer_type(gold, options)
    return Item(
        "case",
        "?",
        (),
        options,
        gold,
        kind,
        "cases",
        "case",
        tolerance=case.get("tolerance"),
        unit=case.get("unit"),
    )


@cache
def verdicts(name: str) -> dict[int, Verdict]:
    """The verdict on every case of a file, by its place there."""
    found: dict[int, Verdict] = {}
    by_policy: dict[str, list[int]] = {}
    for index, case in enumerate(cases(name)):
        by_policy.setdefault(json.dumps(case.get("policy", {}), sort_keys=True), []).append(index)
    for settings, indices in by_policy.items():
        with VerifierPool(workers=2, deadline=2.0, policy=Policy(**json.loads(settings))) as pool:
            for index in indices:
                case = cases(name)[index]
                pool.submit(index, case["response"], item_of(case))
            while pool.pending:
                found.update(pool.completed(block=True))
    return found


def kinds(name: str) -> list[str]:
    return sorted({case["kind"] for case in cases(name)})


def disagreements(name: str, kind: str) -> list[str]:
    """The cases of a kind that the verifier and the label see differently, one line each."""
    return [
        f"gold {case['gold']!r}, answer_type {case.get('answer_type')}, {case.get('policy', {})}: "
        f"{case['response'][:200]!r} labelled {'right' if case['right'] else 'not right'}, "
        f"judged {verdict.outcome} ({verdict.extracted[:80]!r}, {verdict.reason})"
        for index, case in enumerate(cases(name))
        if case["kind"] == kind
        and ((verdict := verdicts(name)[index]).outcome is Outcome.CORRECT) != case["right"]
    ]


@pytest.mark.parametrize("kind", kinds("labelled"))
def test_the_verifier_agrees_with_the_label(kind: str) -> None:
    assert not (wrong := disagreements("labelled", kind)), "\n".join(["", *wrong])


@pytest.mark.parametrize("kind", kinds("adversarial"))
def test_no_adversarial_response_is_correct(kind: str) -> None:
    assert not (fooled := disagreements("adversarial", kind)), "\n".join(["", *fooled])


@pytest.mark.parametrize("name", ["labelled", "adversarial"])
def test_every_gold_can_be_verified(name: str) -> None:
    golds = {
        cases(name)[index]["gold"]
        for index, verdict in verdicts(name).items()
        if verdict.outcome is Outcome.UNVERIFIABLE
    }
    assert not golds


def test_labelled_cases_are_many_and_half_of_them_are_wrong() -> None:
    labels = [case["right"] for case in cases("labelled")]
    assert len(labels) >= 600
    assert 2 * labels.count(False) >= len(labels)
    assert labels.count(True) >= 200


def test_adversarial_cases_are_many_and_none_is_right() -> None:
    assert len(cases("adversarial")) >= 150
    assert not any(case["right"] for case in cases("adversarial"))


def test_every_answer_type_has_right_and_wrong_responses() -> None:
    seen = Counter((item_of(case).answer_type, case["right"]) for case in cases("labelled"))
    assert all(seen[kind, right] >= 10 for kind in AnswerType for right in (True, False)), seen


@pytest.mark.parametrize("name", ["labelled", "adversarial"])
def test_cases_have_known_fields_and_are_there_once(name: str) -> None:
    rows = [json.dumps(case, sort_keys=True) for case in cases(name)]
    assert len(set(rows)) == len(rows)
    assert all(case.keys() <= FIELDS for case in cases(name))
