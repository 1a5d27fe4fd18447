"""Where an answer is found in a response, where it must not be, and what a sentence states."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladder.verify.extract import MAX_LINE, MAX_RESPONSE, Extracted, extract, narrow
from ladder.verify.policy import Policy
from ladder.verify.text import boxes, plain

STRICT = Policy(format="strict")

BLOCKS = [
    ("<answer>5</answer>", "5"),
    ("<think>3 + 2</think><answer>\n5\n</answer>", "5"),
    ("<observe>two digits</observe>\n<think>3</think>\n<ANSWER >5</ANSWER>", "5"),
    ("<think>a<observe>b</observe>c</think><answer>5</answer>", "5"),
    ("<think>I write <think> tags</think><answer>5</answer>", "5"),
    ("thinking that the prompt opened, \\boxed{3}</think><answer>5</answer>", "5"),
    ("<think>\\boxed{3}</think><answer>\\boxed{5}</answer>", "5"),
    ("<think>the answer is 3. <answer>3</answer></think>\\boxed{4}<answer>5</answer>", "5"),
    ("<answer>\\boxed{\\frac{1}{2}}</answer>", "\\frac{1}{2}"),
    ("<answer>The answer is B.</answer>", "B."),
    ("<answer>5</answer> so <answer> $5$ </answer>", "5"),
    ("<answer>\\boxed{5}</answer> so <answer>5.</answer>", "5"),
    ("I use <answer> tags: <answer>5</answer>", "5"),
    ("<answer>a\nb</answer>", "a\nb"),
    ("<answer>\\boxed{3}, \\boxed{4}</answer>", "3, 4"),
    ('<answer type="number">5</answer>', "5"),
    ("< answer >5</ answer >", "5"),
    ("<answer>5", "5"),
    ("<think>so</think>\n<answer>\n5\n", "5"),
    ("<answer>5</answer> once more: <answer>5", "5"),
]
ELSEWHERE = [
    ("so \\boxed{3} and then, as we see, \\boxed{4}", "4", "boxed"),
    ("so \\boxed{\\frac{1}{\\sqrt{2}}} cm", "\\frac{1}{\\sqrt{2}}", "boxed"),
    ("so \\boxed{\\text{a \\} b}} cm", "\\text{a \\} b}", "boxed"),
    ("\\boxed{5} then cut off \\boxed{6", "5", "boxed"),
    ("so \\fbox{5}", "5", "boxed"),
    ("so \\boxed 5", "5", "boxed"),
    ("so $\\boxed 5 x$ it is", "5 x", "boxed"),
    ("the answer is 3, no: \\boxed{4}", "4", "boxed"),
    ("\\boxed{3}, \\boxed{4}", "3, 4", "boxed"),
    ("$\\boxed{3}$ and $\\boxed{4}$", "3, 4", "boxed"),
    ("\\boxed{3} \\text{ and } \\boxed{4}", "3, 4", "boxed"),
    ("\\boxed{3}\\quad\\boxed{4}", "3, 4", "boxed"),
    ("$\\boxed{3}$; $\\boxed{4}$, and $\\boxed{5}$", "3, 4, 5", "boxed"),
    ("\\boxed{3} or \\boxed{4}", "3 or 4", "boxed"),
    ("$$\\boxed{3}$$\n\n$\\boxed{3}$", "3", "boxed"),
    ("\\boxed{2}, \\boxed{2}", "2, 2", "boxed"),
    ("\\boxed{2}, which is not \\boxed{1}, \\boxed{3}", "1, 3", "boxed"),
    ("\\boxed{5} \\text{ cm}", "5 \\text{ cm}", "boxed"),
    ("$\\boxed{5}$ cm.", "5 cm", "boxed"),
    ("\\boxed{28}\\%", "28\\%", "boxed"),
    ("\\boxed{5} in all", "5", "boxed"),
    ("\\boxed{5}. It is so.", "5", "boxed"),
    ("The answer is 5. I hope it helps.", "5", "phrase"),
    ("The answer is B\nD", "B\nD", "phrase"),
    ("Answer: B? C?", "B? C?", "phrase"),
    ("The answer is 5\n6", "5\n6", "phrase"),
    ("Answer: The red one rises. The red one falls.", "The red one rises. The red one falls.", "phrase"),
    ("The answer is 3.5 because 7/2 is.", "3.5", "phrase"),
    ("The answer is $5$. Note that it is odd.", "$5$", "phrase"),
    ("The answer is B. blue", "B. blue", "phrase"),
    ("The answer is St. Paul. It is a city.", "St. Paul", "phrase"),
    ("the answer is 9 a.m. sharp", "9 a.m. sharp", "phrase"),
    ("**Final answer:** B\nthanks", "B", "phrase"),
    ("**Answer**: B", "B", "phrase"),
    ("**Answer: (B)**", "(B)", "phrase"),
    ("*Answer:* 9", "9", "phrase"),
    ("Answer:\n\n(C) red", "(C) red", "phrase"),
    ("Answer - 5", "5", "phrase"),
    ("The answer to the question is no", "no", "phrase"),
    ("The answer, in cm, is 5", "5", "phrase"),
    ("The answer (in cm) is 5", "5", "phrase"),
    ("The answer is not B.", "not B.", "phrase"),
    ("First the answer is 3. Then the answer is 4.", "4.", "phrase"),
    ("The correct option is **(B)**.", "(B).", "phrase"),
    ("The correct answer should be B", "B", "phrase"),
    ("The correct option is B because the ball is red", "B", "phrase"),
    ("The answer is B, as A is too small", "B", "phrase"),
    ("the right choice would be C", "C", "phrase"),
    ("the answer is 2**3", "2**3", "phrase"),
    ("So 3 + 2 = 5.\n#### 5", "5", "phrase"),
    ("## Final Answer\n\n5 cm\n", "5 cm", "phrase"),
    ("**Final Answer**\n\n5 cm\n\nDone.", "5 cm", "phrase"),
    ("### Final Answer:\n\\[\n\\frac{1}{2}\n\\]", "\\frac{1}{2}", "phrase"),
    ("The answer is\n$$\n5\n$$\nas seen", "5", "phrase"),
    ("The answers are:\n- red\n- blue\n\nDone.", "red; blue", "phrase"),
    ("\u56e0\u6b64\u7b54\u6848\u662fB\u3002\u8c22\u8c22", "B", "phrase"),
    ("\u7b54\u6848\u4e3a\uff1a5", "5", "phrase"),
    ("\u7b54\u6848\uff1aB", "B", "phrase"),
    ("\u6240\u4ee5\u6545\u9009B\u3002", "B", "phrase"),
    ("\u5e94\u9009\uff1aC", "C", "phrase"),
    ("La respuesta es 5.", "5.", "phrase"),
    ("La r\u00e9ponse est 5", "5", "phrase"),
    ("Die Antwort lautet: 7", "7", "phrase"),
    ("Let me see.\n\n5\n", "5", "line"),
    ("42", "42", "line"),
    ("5</answer>", "5", "line"),
    ("It follows that\n$$\nx = 5\n$$", "$$ x = 5 $$", "line"),
    ("It follows that\n\\[\nx = 5\n\\]\n", "\\[ x = 5 \\]", "line"),
    ("#### A heading\nand 5", "and 5", "line"),
    ("the answer tag", "the answer tag", "line"),
    ("\\boxed{6", "\\boxed{6", "line"),
]
ABSENT = [
    ("", "none"),
    (" \n ", "none"),
    ("<think>the answer is 5 \\boxed{5}</think>", "none"),
    ("<think><answer>5</answer></think>", "none"),
    ("<think>never closed <answer>5</answer>", "none"),
    ("<observation>never closed, the answer is 5", "none"),
    ("<observe><answer>5</answer></observe>", "none"),
    ("<answer>5</answer></think>", "none"),
    ("x " * MAX_LINE, "none"),
    ("<answer>" + "so " * 1000, "none"),
    ("<answer>3</answer><answer>4</answer>", "conflict"),
    ("<answer>yes</answer> or <answer>no</answer>", "conflict"),
    ("<answer>3</answer> no, <answer>4", "conflict"),
]


@pytest.mark.parametrize(("response", "answer"), BLOCKS)
def test_an_answer_block_comes_first(response: str, answer: str) -> None:
    assert extract(response) == Extracted(answer, "answer")


@pytest.mark.parametrize(("response", "answer", "where"), ELSEWHERE)
def test_an_answer_is_found_where_the_documented_order_says(response: str, answer: str, where: str) -> None:
    assert extract(response) == Extracted(answer, where)


@pytest.mark.parametrize(("response", "where"), ABSENT)
def test_no_answer_is_made_up(response: str, where: str) -> None:
    assert extract(response) == Extracted(None, where)


@pytest.mark.parametrize(
    "response",
    ["<answer>5</answer>", "<think>3</think>\n<answer>5</answer>\n", "3</think><answer>\\boxed{5}</answer>"],
)
def test_the_strict_format_is_one_closed_block(response: str) -> None:
    assert extract(response, STRICT) == Extracted("5", "answer")


@pytest.mark.parametrize(
    "response",
    [
        "\\boxed{5}",
        "The answer is 5",
        "5",
        "<answer>5",
        "<answer>5</answer><answer>5</answer>",
        "<answer>5</answer> <answer>5",
        "<think><answer>5</answer></think>",
        "So <answer>5</answer>",
        "<answer>5</answer> I hope it helps.",
    ],
)
def test_anything_else_is_no_strict_format(response: str) -> None:
    assert extract(response, STRICT) == Extracted(None, "none")


def test_an_empty_block_hides_what_stands_elsewhere() -> None:
    assert extract("\\boxed{5} <answer> </answer>") == Extracted("", "answer")


def test_boxes_with_prose_between_them_are_not_chosen_from_within_a_block() -> None:
    block = "\\boxed{3} and so it may be \\boxed{4}"
    assert extract(f"<answer>{block}</answer>").answer == block


@pytest.mark.parametrize(
    "response",
    [
        "The answer is 5. Wait, it is 6.",
        "The answer is 5.\n\nOops, I made a mistake: 6.",
        "Answer: 5\nCorrection: 6",
    ],
)
def test_an_answer_that_is_taken_back_is_none(response: str) -> None:
    assert plain(extract(response).answer or "") != "5"


def test_a_long_response_is_read_from_its_end() -> None:
    padded = "<answer>3</answer>" + " x" * MAX_RESPONSE
    assert extract(padded + "<answer>4</answer>") == Extracted("4", "answer")


@pytest.mark.parametrize(
    "unit",
    [
        "\\boxed{",
        "\\boxed{1}",
        "\\boxed{1} and ",
        "\\boxed ",
        "<think>",
        "</observe>",
        "<answer>",
        "< answer ",
        "{",
        "answer ",
        "answer to ",
        "answer is ",
        "answer: ",
        "answer, a",
        "final answer\n",
        "#### x\n",
        "$$\n",
        "- a\n",
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


STATED = [
    ("the area is 5 cm", "5 cm"),
    ("Thus $x$ equals $5$.", "$5$."),
    ("The area is equal to 5.", "5."),
    ("So the area is $5$", "$5$"),
    ("They are red and blue", "red and blue"),
    ('The sign says "EXIT".', '"EXIT".'),
    ("The highest bar belongs to Peru", "Peru"),
    ("The bar has a value of 40.", "40."),
    ("The sandwich costs $12.50.", "$12.50"),
    ("There are 5 apples", "5 apples"),
    ("It is red because it is not blue", "red"),
    ("We get $5$ apples", "$5$ apples"),
    ("So x = 3", "x = 3"),
    ("Therefore, 5 cm", "5 cm"),
    ("The line is $y = x + 1$", "$y = x + 1$"),
    ("The perimeter is 2 + 3 + 4 = 9 cm", "9 cm"),
    ("The area is $A = \\pi r^2 = 25\\pi$", "25\\pi"),
    ("B is correct.", "B"),
    ("Option B is the correct answer", "Option B"),
    ("2 and 3 are the solutions", "2 and 3"),
    ("\u9762\u79ef\u662f5", "5"),
    ("\u6240\u4ee5\u9762\u79ef\u4e3a5", "5"),
]
UNCHANGED = [
    "5 cm",
    "red",
    "x = 3",
    "$x = 3$",
    "5 = 5 = 6",
    "It is not red",
    "It isn't red",
    "It is red or blue",
    "It is either 5 or 6",
    "Maybe it is 5",
    "It cannot be 5",
    "It is 5 unless it rains",
    "It is red, but dark",
    "Is it 5?",
    "The speed is 5 when the time is 2",
    "This follows from $AB = 5$",
    "Three of the $5$ balls",
    "In 3 steps we get $5$",
    "\u4e0d\u662f5",
    "The isle of Wight",
    "is red",
    "B is $5$",
    "Option B is 5",
    "(B) $5$",
    "B. \\(5\\)",
    "Option B: $5$",
    "It is 5. " * 60,
]


@pytest.mark.parametrize(("sentence", "stated"), STATED)
def test_a_sentence_is_narrowed_to_what_it_states(sentence: str, stated: str) -> None:
    assert narrow(sentence) == stated


@pytest.mark.parametrize("text", UNCHANGED)
def test_nothing_is_picked_out_of_any_other_text(text: str) -> None:
    assert narrow(text) == text


PLAIN = [
    ("$5$", "5"),
    ("$$5$$", "5"),
    ("\\(5\\)", "5"),
    ("\\[ 5 \\]", "5"),
    ("**5**", "5"),
    ("`5`", "5"),
    ("5.", "5"),
    ("5\u3002", "5"),
    (".5", ".5"),
    ("-.5.", "-.5"),
    ("5\\,", "5"),
    ("5\\!", "5"),
    ("\\displaystyle 5", "5"),
    ("\\rm B", "B"),
    ("{\\rm B}", "B"),
    ("\\text{\\textbf{B}}", "B"),
    ("\\boxed{\\text{(B)}}", "(B)"),
    ("\\textcolor{red}{5}", "5"),
    ("\\$12.50", "\\$12.50"),
    ("$\\$12.50$", "\\$12.50"),
    ("$12\\$", "$12\\$"),
    ("$5$ and $6$", "$5$ and $6$"),
    ("**A** or **B**", "**A** or **B**"),
    ("{1, 2}", "{1, 2}"),
    ("5!", "5!"),
    ("5\u00b2", "5\u00b2"),
    ("\uff15", "5"),
    ("\u200b5\u00a0", "5"),
    ("\u202e12", "\u202e12"),
    (":", ""),
    ("...", ""),
    ("\\boxed{}", ""),
]


@pytest.mark.parametrize(("text", "bare"), PLAIN)
def test_only_what_surrounds_an_answer_is_taken_off(text: str, bare: str) -> None:
    assert plain(text) == bare


@given(st.text(alphabet="{}\\boxed 5$", max_size=60))
def test_boxes_are_closed_and_apart(text: str) -> None:
    found = boxes(text)
    assert all(0 <= box.start < box.end <= len(text) for box in found)
    assert found == sorted(found)


_PIECES = st.sampled_from(
    ["<answer>", "</answer>", "<think>", "</think>", "\\boxed{", "}", "$", "$$", "the answer is ", "5", "B", " or ", "\n", ". ",
     "**", "#### ", "\\[", "\\]", "is ", "not "]
)  # fmt: skip


@given(st.one_of(st.text(max_size=300), st.lists(_PIECES, max_size=30).map("".join)))
def test_no_text_raises(text: str) -> None:
    found = extract(text)
    assert (found.answer is None) == (found.where in {"none", "conflict"})
    narrow(text)
    extract(text, STRICT)


LONG = "Adding up all that the table has on the many shops on both sides of the long street, the sum "


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (LONG + "takes a while. It is 5.", "It is 5."),
        (LONG + "of all the red shops in the whole of it is $5$.", "5"),
        (LONG + "by hand, with a pencil, twice, and only then looking at the result of it all again.", None),
        (LONG + "is not easy, and it may well be that the number of red shops in it is 5.", None),
    ],
)
def test_of_a_long_last_line_only_what_its_last_sentence_states_counts(
    response: str, answer: str | None
) -> None:
    found = extract(response)
    assert (found.answer or "").strip("$.") == (answer or "").strip(".")


def test_a_long_line_is_not_read_again_for_each_of_its_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of thousands of sentence ends: each end looks at what stands right before it only."""
    import ladder.verify.phrases as module

    seen: list[int] = []

    class Counting:
        @staticmethod
        def search(text: str) -> None:
            seen.append(len(text))

    monkeypatch.setattr(module, "_NO_END", Counting)
    extract("See it. " * 8000 + "It is 5")
    assert sum(seen) < 10_000
