"""Each check on items, and that none of them can be made to hang or raise."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from helpers import HANGING

from ladder.audit import audit
from ladder.records import AnswerType, Item, Reject
from ladder.verify import Policy, infer_type
from ladder.verify.pool import VerifierPool


@pytest.fixture(scope="module")
def verifier() -> Iterator[VerifierPool]:
    with VerifierPool(1, deadline=1.0) as pool:
        yield pool


def make(
    name: str, gold: str = "3", options: tuple[str, ...] = (), question: str = "q", images: int = 0
) -> Item:
    hashes = tuple(f"h{i}" for i in range(images))
    return Item(name, question, hashes, options, gold, infer_type(gold, options), "src", f"id-{name}")


def reasons(verifier: VerifierPool, *items: Item) -> dict[int, str]:
    kept, rejects = audit(dict(enumerate(items)), verifier)
    assert len(kept) + len(rejects) == len(items), "every item is kept or rejected"
    return {reject.row: reject.reason for reject in rejects}


@pytest.mark.parametrize(
    "item",
    [
        make("a"), make("b", "x^2 + \\frac{1}{2}"), make("c", "B", ("red", "blue")), make("d", "blue", ("red", "blue")),
        make("e", "yes"), make("f", "3.50 cm"), make("g", "(2, 1)"), make("h", question="<image>q", images=1),
        make("i", "A", ("<image>", "<image>"), question="which?", images=2),
    ],
    ids=lambda item: item.id,
)  # fmt: skip
def test_a_sound_item_passes_unchanged(verifier: VerifierPool, item: Item) -> None:
    assert audit({0: item}, verifier) == ([item], [])


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (make("a", question="<image>q"), "placeholders_mismatch"),
        (make("b", images=1), "placeholders_mismatch"),
        (make("c", "A", ("<image>", "x"), question="<image>q", images=1), "placeholders_mismatch"),
        (make("d", "C", ("red", "blue")), "gold_unverifiable"),
        (make("e", "\\frac{", ()), "gold_unverifiable"),
        (replace(make("f", "green"), answer_type=AnswerType.INTEGER), "gold_unverifiable"),
        (make("g", "see <think>this"), "gold_fails_itself"),
    ],
    ids=lambda value: value.id if isinstance(value, Item) else value,
)
def test_an_unsound_item_is_rejected_with_its_reason(verifier: VerifierPool, item: Item, reason: str) -> None:
    assert reasons(verifier, item) == {0: reason}


def test_a_policy_that_takes_blocks_only_rejects_no_sound_item() -> None:
    with VerifierPool(1, 20, Policy(format="strict")) as strict:
        assert reasons(strict, make("a", "7"), make("b", "x + 1"), make("c", "C", ("red", "blue"))) == {
            2: "gold_unverifiable"
        }


def test_of_equal_items_the_first_stays(verifier: VerifierPool) -> None:
    assert reasons(verifier, make("a"), make("b"), make("a"), make("a")) == {2: "duplicate", 3: "duplicate"}


def test_equal_items_with_different_golds_are_all_out(verifier: VerifierPool) -> None:
    found = reasons(verifier, make("a", "3"), make("b"), make("a", "3"), make("a", "4"))
    assert found == dict.fromkeys((0, 2, 3), "conflicting_gold")


def test_equal_items_whose_golds_are_the_same_answer_are_duplicates(verifier: VerifierPool) -> None:
    found = reasons(
        verifier,
        make("a", "pillow, blanket"),
        make("a", "blanket, pillow"),
        make("b", "0.5"),
        make("b", "1/2"),
    )
    assert found == dict.fromkeys((1, 3), "duplicate")


def test_a_reject_carries_the_rows_number_in_the_pool_and_the_items_identity(verifier: VerifierPool) -> None:
    _, rejects = audit({5: make("a"), 9: make("b", "C", ("red", "blue"))}, verifier)
    assert rejects == [Reject("src", "id-b", 9, "audit", "gold_unverifiable", "C", "b")]


@pytest.mark.usefixtures("hanging")
def test_golds_that_never_finish_are_rejected_in_time_and_cost_only_themselves() -> None:
    with VerifierPool(1, deadline=1.0) as verifier:
        found = reasons(verifier, make("a", "x + 1"), make("b", HANGING), make("c", "x + 2"))
    assert found == {1: "gold_unverifiable"}
