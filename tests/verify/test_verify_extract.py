"""Where an answer is found in a response, and where it must not be."""

import pytest

from ladder.verify.extract import MAX_RESPONSE, Extracted, extract

FOUND = [
    ("<answer>5</answer>", "5", "answer"),
    ("<think>3 + 2</think><answer>\n5\n</answer>", "5", "answer"),
    ("<observe>two digits</observe>\n<think>3</think>\n<ANSWER >5</ANSWER>", "5", "answer"),
    ("<think>a<observe>b</observe>c</think><answer>5</answer>", "5", "answer"),
    ("<think>I write <think> tags</think><answer>5</answer>", "5", "answer"),
    ("thinking that the prompt opened, \\boxed{3}</think><answer>5</answer>", "5", "answer"),
    ("<think>\\boxed{3}</think><answer>\\boxed{5}</answer>", "5", "answer"),
    ("<answer>\\boxed{\\frac{1}{2}}</answer>", "\\frac{1}{2}", "answer"),
    ("<answer>The answer is B.</answer>", "B.", "answer"),
    ("<answer>5</answer> so <answer> $5$ </answer>", "5", "answer"),
    ("I use <answer> tags: <answer>5</answer>", "5", "answer"),
    ("<answer>a\nb</answer>", "a\nb", "answer"),
    ("so \\boxed{3} and then \\boxed{4}", "4", "boxed"),
    ("so \\boxed{\\frac{1}{\\sqrt{2}}} cm", "\\frac{1}{\\sqrt{2}}", "boxed"),
    ("so \\boxed{\\text{a \\} b}} cm", "\\text{a \\} b}", "boxed"),
    ("\\boxed{5} then cut off \\boxed{6", "5", "boxed"),
    ("The answer is 5. I hope it helps.", "5", "phrase"),
    ("The answer is 3.5 because 7/2 is.", "3.5", "phrase"),
    ("**Final answer:** B\nthanks", "B", "phrase"),
    ("Answer:\n\n(C) red", "(C) red", "phrase"),
    ("The answer to the question is no", "no", "phrase"),
    ("First the answer is 3. Then the answer is 4.", "4.", "phrase"),
    ("Let me see.\n\n5\n", "5", "line"),
    ("<answer>5", "5", "line"),
    ("42", "42", "line"),
]
ABSENT = [
    ("", "none"),
    (" \n ", "none"),
    ("<think>the answer is 5 \\boxed{5}</think>", "none"),
    ("<think><answer>5</answer></think>", "none"),
    ("<think>never closed <answer>5</answer>", "none"),
    ("<observe><answer>5</answer></observe>", "none"),
    ("<answer>5</answer></think>", "none"),
    ("x " * 100, "none"),
    ("<answer>3</answer><answer>4</answer>", "conflict"),
    ("<answer>yes</answer> or <answer>no</answer>", "conflict"),
]


@pytest.mark.parametrize(("response", "answer", "where"), FOUND)
def test_an_answer_is_found_where_the_documented_order_says(response: str, answer: str, where: str) -> None:
    assert extract(response) == Extracted(answer, where)


@pytest.mark.parametrize(("response", "where"), ABSENT)
def test_no_answer_is_made_up(response: str, where: str) -> None:
    assert extract(response) == Extracted(None, where)


def test_an_empty_block_hides_what_stands_elsewhere() -> None:
    assert extract("\\boxed{5} <answer> </answer>") == Extracted("", "answer")


def test_boxes_that_disagree_within_a_block_are_not_chosen_from() -> None:
    assert extract("<answer>\\boxed{3} \\boxed{4}</answer>").answer == "\\boxed{3} \\boxed{4}"


def test_a_long_response_is_read_from_its_end() -> None:
    padded = "<answer>3</answer>" + " x" * MAX_RESPONSE
    assert extract(padded + "<answer>4</answer>") == Extracted("4", "answer")


@pytest.mark.parametrize(
    "unit",
    [
        "\\boxed{",
        "<think>",
        "</observe>",
        "<answer>",
        "{",
        "answer ",
        "answer to ",
        "answer is ",
        "\\",
        "<",
        "**",
        "$",
    ],
)
def test_repetition_does_not_blow_up(unit: str) -> None:
    """The test's own time limit is the assertion: anything superlinear would take minutes here."""
    for text in (unit * 40_000, unit * 20_000 + "x", "</think>" + unit * 20_000 + "}" * 20_000):
        assert extract(text).where in {"answer", "boxed", "phrase", "line", "none", "conflict"}
