"""One rendering of an item for scoring, training and evaluation; its fingerprint is its wording."""

from dataclasses import replace

import pytest

from ladder.errors import BadInput
from ladder.prompts import TEMPLATES, Message, Template, render, template
from ladder.records import AnswerType, Item

ITEM = Item(
    "i", "In <image> and <image>, which?", ("a", "b"), ("red", "blue"), "A", AnswerType.OPTION, "s", "1"
)
PLAIN = Template("plain", instruction="Answer.")


def flat(messages: list[Message]) -> str:
    parts = messages[-1]["content"]
    return "".join("[I]" if part["type"] == "image" else part["text"] for part in parts)


def test_images_stand_where_the_question_has_them_and_options_get_letters() -> None:
    assert flat(render(ITEM, PLAIN)) == "In [I] and [I], which?\nA. red\nB. blue\nAnswer."


def test_asked_blind_the_wording_is_the_same_without_images() -> None:
    blind = render(ITEM, replace(PLAIN, images=False))
    assert flat(blind) == flat(render(ITEM, PLAIN)).replace("[I]", "")
    assert {part["type"] for part in blind[-1]["content"]} == {"text"}


def test_options_may_be_images() -> None:
    item = replace(ITEM, question="Which?", options=("<image>", "<image>"))
    assert flat(render(item, PLAIN)) == "Which?\nA. [I]\nB. [I]\nAnswer."


def test_no_gold_source_or_subject_reaches_the_prompt() -> None:
    other = replace(
        ITEM, gold="blue", source="secret", source_id="secret", subject="secret", meta={"secret": 1}
    )
    assert render(other, PLAIN) == render(ITEM, PLAIN)


def test_a_system_turn_comes_first_if_there_is_one() -> None:
    assert [m["role"] for m in render(ITEM, PLAIN)] == ["user"]
    first, second = render(ITEM, replace(PLAIN, system="Be brief."))
    assert first == {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert second == render(ITEM, PLAIN)[0]


def test_a_template_without_instruction_adds_no_line() -> None:
    assert flat(render(replace(ITEM, options=()), replace(PLAIN, instruction=""))) == "In [I] and [I], which?"


def test_a_fingerprint_is_of_the_wording_and_not_of_the_name() -> None:
    assert replace(PLAIN, name="other").fingerprint == PLAIN.fingerprint
    changed = [
        replace(PLAIN, instruction="Answer!"),
        replace(PLAIN, system="s"),
        replace(PLAIN, images=False),
    ]
    assert len({PLAIN.fingerprint, *(t.fingerprint for t in changed)}) == 4
    assert len({t.fingerprint for t in TEMPLATES.values()}) == len(TEMPLATES)


def test_shipped_fingerprints_are_frozen() -> None:
    """A change of wording orphans every ladder's rollouts: it must be meant."""
    assert {name: t.fingerprint for name, t in TEMPLATES.items()} == FROZEN


FROZEN = {
    "observe-think-answer": "6cddc73497e1028b",
    "think-answer": "a45c00758bc5eca5",
    "direct": "f691aad8b8c1c5aa",
    "blind": "f357e3e3c2035e42",
    "brief": "1dfd8bb67a5084c5",
    "brief-direct": "0d6cff384e629025",
    "brief-blind": "e498adf039f2c045",
}


def test_an_unknown_template_names_those_there_are() -> None:
    with pytest.raises(BadInput, match=r"'brie'; there are .*brief"):
        template("brie")
