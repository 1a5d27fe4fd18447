"""Golds: where the answer stands in its cell, which option it names, and what is done with several."""

from typing import Any

import pytest

from ladder.pools.cells import CellError
from ladder.pools.golds import Golds, read_gold

OPTIONS = ("red", "green", "blue", "white")


def gold(value: Any, options: tuple[str, ...] = (), **settings: Any) -> str:
    return read_gold(value, options, Golds(**settings)).text


@pytest.mark.parametrize(
    ("value", "extract", "expected"),
    [
        ("<think>2+1</think><answer> 3 </answer>", ["tags"], "3"),
        ("<answer>1</answer> no: <ANSWER>3</ANSWER>", ["tags"], "3"),
        ("<answer>3", ["tags"], "3"),
        (r"so \boxed{\frac{1}{2}} it is", ["boxed"], r"\frac{1}{2}"),
        (r"\answer{12 cm} because ...", ["boxed"], "12 cm"),
        (r"\boxed{1} then \boxed{\{1,2\}}", ["boxed"], r"\{1,2\}"),
        (r"\boxed{\left\{1\right.}", ["boxed"], r"\left\{1\right."),
        ("1+2=3\n#### 3\n", ["hashes"], "3"),
        ("Explanation. The answer is B. Because", [r"answer is ([A-E])\."], "B"),
        ("12 cm", ["tags", "boxed", "whole"], "12 cm"),
        (r"\boxed{7}", ["tags", "boxed", "whole"], "7"),
    ],
)
def test_an_answer_is_taken_out_of_its_cell(value: str, extract: list[str], expected: str) -> None:
    assert gold(value, extract=extract) == expected


@pytest.mark.parametrize("value", ["no tags", "<answer></answer>", r"\boxed{3", "#### "])
def test_an_answer_that_is_not_there_is_told(value: str) -> None:
    with pytest.raises(CellError) as refusal:
        gold(value, extract=["tags", "boxed", "hashes"])
    assert refusal.value.reason == "gold_not_found"


@pytest.mark.parametrize("way", ["tag", "answer is", "([A-E]) or ([A-E])", "(unclosed"])
def test_a_way_is_a_name_or_a_pattern_of_one_group(way: str) -> None:
    with pytest.raises(ValueError, match="neither tags"):
        Golds(extract=[way])


@pytest.mark.parametrize(
    ("value", "names", "expected"),
    [
        ("C", "any", "C"),
        ("blue", "any", "blue"),
        (2, "index0", "C"),
        ("3", "index1", "C"),
        (2.0, "index0", "C"),
        ("C", "letter", "C"),
        ("(c)", "letter", "C"),
        ("blue", "value", "blue"),
        ("purple", "value", "purple"),  # the audit's affair
    ],
)
def test_an_answer_names_its_option(value: Any, names: str, expected: str) -> None:
    assert gold(value, OPTIONS, names=names) == expected


@pytest.mark.parametrize(
    ("value", "names"),
    [(4, "index0"), (0, "index1"), (-1, "index0"), ("E", "letter"), ("red", "letter"), ("x", "index0")],
)
def test_an_answer_that_names_no_option_is_told(value: Any, names: str) -> None:
    with pytest.raises(CellError) as refusal:
        gold(value, OPTIONS, names=names)
    assert refusal.value.reason == "gold_not_an_option"


def test_a_letter_that_is_also_another_options_text_is_told_apart() -> None:
    shuffled = ("B", "A", "C")
    assert gold("A", shuffled, names="letter") == "(A) B"
    assert gold("A", shuffled, names="value") == "(B) A"
    assert gold(2, shuffled, names="index0") == "C"
    assert gold("A", ("A", "B"), names="letter") == "A"


@pytest.mark.parametrize(
    ("value", "options", "settings", "expected"),
    [
        (["A", "C"], OPTIONS, {}, ("A, C", 2)),
        ("AC", OPTIONS, {}, ("A, C", 2)),
        ("A, C", OPTIONS, {}, ("A, C", 2)),
        ("A and C", OPTIONS, {}, ("A, C", 2)),
        ([0, 2], OPTIONS, {"names": "index0"}, ("A, C", 2)),
        ("AE", OPTIONS, {}, ("AE", 1)),
        ("AC", (), {}, ("AC", 1)),
        ("AB", ("AB", "CD"), {}, ("AB", 1)),
        ("black, white", (), {"separator": ","}, ("black, white", 2)),
        ("black, white", (), {}, ("black, white", 1)),
        (["1,000", "2"], (), {}, ("1,000; 2", 2)),
        (["42"], (), {}, ("42", 1)),
        ("ABBA", OPTIONS, {}, ("ABBA", 1)),
        ("['24/7', '3.429']", (), {"written_list": True, "several": "first"}, ("24/7", 1)),
        ("[Russia, Egypt]", (), {"written_list": True}, ("Russia, Egypt", 2)),
        ("[3, 5]", (), {}, ("[3, 5]", 1)),
        (["a", "", None], (), {}, ("a", 1)),
    ],
)
def test_several_answers_are_counted(
    value: Any, options: tuple[str, ...], settings: dict[str, Any], expected: tuple[str, int]
) -> None:
    assert read_gold(value, options, Golds(**settings)) == expected


def test_values_stand_for_others() -> None:
    values = {"0": "no", "1": "yes", "true": "yes", "?": ""}
    assert [gold(v, values=values) for v in (0, "1", True)] == ["no", "yes", "yes"]
    with pytest.raises(CellError) as refusal:
        gold("?", values=values)
    assert refusal.value.reason == "gold_missing"
