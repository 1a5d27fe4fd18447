"""A labelled table of (answer, gold) pairs over the answer types, right and wrong, and what golds are."""

import pytest

from ladder.records import AnswerType, Outcome, Reference, Verdict
from ladder.verify import DEFAULT, infer_type
from ladder.verify.compare import MAX_ANSWER, decided
from ladder.verify.extract import Extracted
from ladder.verify.notation import brackets, components


def judge(found: Extracted, gold: str, options: tuple[str, ...], answer_type: AnswerType) -> Verdict:
    return decided(found, Reference(gold, options, answer_type), DEFAULT)


def compare(answer: str, gold: str, options: tuple[str, ...], answer_type: AnswerType) -> Verdict:
    return judge(Extracted(answer, "answer"), gold, options, answer_type)


SAMPLE = {AnswerType.WORD: "red", AnswerType.EXPRESSION: "\\sqrt{2}", AnswerType.TIME: "3:45"}
COLOURS = ("red", "blue", "light blue", "None of these")
NUMBERS = ("3", "7", "1", "9")
ANGLES = ("$30^{\\circ}$", "$\\frac{1}{2}$", "2:3", "$x+1$")
LISTS = ("A, B", "C, D", "A, D")

RIGHT: dict[AnswerType, list[tuple[str, str]]] = {
    AnswerType.INTEGER: [
        ("5", "5"),
        ("5.0", "5"),
        (" +5 ", "5"),
        ("5.", "5"),
        ("$5$", "5"),
        ("**5**", "5"),
        ("five", "5"),
        ("Five.", "5"),
        ("5", "five"),
        ("1,234", "1234"),
        ("1{,}234", "1234"),
        ("-3", "\u22123"),
        ("1e3", "1000"),
        ("\uff13", "3"),
        ("\\boxed{5}", "5"),
        ("x = 5", "5"),
        ("10/2", "5"),
        ("\\frac{10}{2}", "5"),
        ("160^\\circ", "160"),
        ("twenty", "20"),
        ("0", "zero"),
        ("3 \\times 10^{4}", "30000"),
        ("$12", "12"),
        ("\\text{7}", "7"),
    ],
    AnswerType.NUMBER: [
        ("0.5", "0.5"),
        (".50", "0.5"),
        ("1/2", "0.5"),
        ("\\frac{1}{2}", "1/2"),
        ("\\dfrac{3}{4}", "3/4"),
        ("-\\frac{3}{4}", "-0.75"),
        ("$11.43", "11.43"),
        ("28%", "28\\%"),
        ("0.28", "28%"),
        ("1,234.50", "1234.5"),
        ("2.5e-3", "0.0025"),
        ("3/19", "3/19"),
        ("\uff16\uff0e\uff15", "6.5"),
        ("2", "2.0"),
    ],
    AnswerType.WORD: [
        ("red", "red"),
        ("Red.", "red"),
        ("the red", "red"),
        ("a table", "table"),
        ("YES", "yes"),
        ("'no'", "no"),
        ("light-blue", "light_blue"),
        ("\\text{acute}", "acute"),
        ("true", "True"),
        ("bag, suitcase", "bag, suitcase"),
    ],
    AnswerType.EXPRESSION: [
        ("2\\sqrt{3}", "\\sqrt{12}"),
        ("$2\\sqrt{3}$", "2 \\sqrt 3"),
        ("72(1+\\sqrt{2})", "72+72\\sqrt{2}"),
        ("\\dfrac{\\pi}{2}", "\\frac{\\pi}{2}"),
        ("6π", "$6\\pi$"),
        ("√3", "\\sqrt{3}"),
        ("(1, 2)", "(1,2)"),
        ("(\\frac{2}{2},2)", "(1,2)"),
        ("x < -2", "x<-2"),
        ("y = x+1", "y=x+1"),
        ("1+x", "x+1"),
        ("x=3", "x=3"),
        ("4:6", "2:3"),
        ("[1,2)", "[1, 2)"),
        ("x^{2}+2x+1", "(x+1)^2"),
        ("5 cm", "5cm"),
        ("4", "\\sqrt{16}"),
        ("\\angle ABC", "∠ABC"),
        ("x=2 or x=1", "x=1 or x=2"),
        ("\\{1,2\\}", "\\{2,1\\}"),
    ],
}

WRONG: dict[AnswerType, list[tuple[str, str]]] = {
    AnswerType.INTEGER: [
        ("6", "5"),
        ("5 or 6", "5"),
        ("5, 6", "5"),
        ("5 6", "5"),
        ("15", "5"),
        ("5.001", "5"),
        ("-5", "5"),
        ("5x", "5"),
        ("not 5", "5"),
        ("fifty", "5"),
        ("five six", "5"),
        ("\\boxed{5} \\boxed{6}", "5"),
        ("1,23", "123"),
        ("0,123", "123"),
        ("5%", "5"),
        ("5 = 5 = 6", "5"),
        ("2x = 5", "5"),
        ("5/0", "5"),
        ("1 2 3 4 5", "5"),
        ("five", "4"),
        ("5e999", "5"),
        ("9" * 200, "5"),
        ("²", "2"),
        ("5²", "52"),
        ("5$3", "53"),
    ],
    AnswerType.NUMBER: [
        ("0.33", "1/3"),
        ("0.333333333333", "1/3"),
        ("1.4142135", "1.4142136"),
        ("28", "28%"),
        ("28%", "28"),
        ("0.5 or 0.6", "0.5"),
        ("1/3", "3/1"),
        ("\\frac{1}{0}", "0.5"),
        ("3.14", "3.1416"),
        ("1.5.2", "1.5"),
        ("3,5", "3.5"),
        ("0.5x", "0.5"),
        ("7.1", "7.11"),
        ("1/2/3", "0.5"),
        ("\\frac{1}{2}\\frac{1}{2}", "0.5"),
    ],
    AnswerType.WORD: [
        ("blue", "red"),
        ("red or blue", "red"),
        ("red, blue", "red"),
        ("redder", "red"),
        ("not red", "red"),
        ("no", "yes"),
        ("yes no", "yes"),
        ("blue light", "light blue"),
        ("the", "red"),
    ],
    AnswerType.EXPRESSION: [
        ("1.4142135623731", "\\sqrt{2}"),
        ("3.14159265358979", "\\pi"),
        ("2\\sqrt{3} or 3", "2\\sqrt{3}"),
        ("(2,1)", "(1,2)"),
        ("(3,0)", "(2,1)"),
        ("1,2", "(1,2)"),
        ("\\{1,2\\}", "(1,2)"),
        ("(1,2]", "[1,2)"),
        ("(1,2,3)", "(1,2)"),
        ("5 m", "5 cm"),
        ("3", "2:3"),
        ("2", "2:3"),
        ("\\angle BAC", "\\angle ABC"),
        ("x > -2", "x<-2"),
        ("y^2+1", "x^2+1"),
        ("\\frac{", "\\sqrt{2}"),
        ("x=4", "x=3"),
        ("x=1", "x=1 or x=2"),
        ("$\\sqrt{2}$ and $\\sqrt{3}$", "\\sqrt{2}"),
        ("28", "28\\%"),
        ("__import__('os')", "\\sqrt{2}"),
        ("tca cat", "\\text{cat}+1"),
        ("1/0", "\\infty"),
    ],
}

OPTION_RIGHT = [
    ("B", "B", COLOURS),
    ("(B)", "B", COLOURS),
    ("b", "B", COLOURS),
    ("B.", "B", COLOURS),
    ("\\text{B}", "B", COLOURS),
    ("option b", "B", COLOURS),
    ("Option (B).", "B", COLOURS),
    ("**B**", "B", COLOURS),
    ("blue", "B", COLOURS),
    ("The blue", "B", COLOURS),
    ("B. blue", "B", COLOURS),
    ("(B) blue", "B", COLOURS),
    ("B: blue", "blue", COLOURS),
    ("B", "blue", COLOURS),
    ("Blue.", "blue", COLOURS),
    ("light blue", "C", COLOURS),
    ("(C) light blue", "C", COLOURS),
    ("D", "None of these", COLOURS),
    ("D. None of these", "D", COLOURS),
    ("\\textbf{(B)}", "B", COLOURS),
    ("7", "B", NUMBERS),
    ("7.0", "B", NUMBERS),
    ("$7$", "7", NUMBERS),
    ("(B) 7", "7", NUMBERS),
    ("B", "7", NUMBERS),
    ("30°", "A", ANGLES),
    ("\\dfrac{1}{2}", "B", ANGLES),
    ("(C) 2:3", "C", ANGLES),
    ("$x + 1$", "D", ANGLES),
    ("C, D", "B", LISTS),
    ("B", "C, D", LISTS),
    ("E", "(E)", ()),
    ("(e)", "E", ()),
    ("B. the bigger one", "B", COLOURS),
]
OPTION_WRONG = [
    ("A", "B", COLOURS),
    ("A or B", "B", COLOURS),
    ("A, B", "B", COLOURS),
    ("A, B, C, D", "B", COLOURS),
    ("B and C", "B", COLOURS),
    ("(B) (C)", "B", COLOURS),
    ("B. or C", "B", COLOURS),
    ("red, blue, light blue", "B", COLOURS),
    ("blue or red", "B", COLOURS),
    ("red", "B", COLOURS),
    ("blue", "C", COLOURS),
    ("B. red", "B", COLOURS),
    ("(B) blue and red", "B", COLOURS),
    ("E", "B", COLOURS),
    ("not B", "B", COLOURS),
    ("BB", "B", COLOURS),
    ("B. not that", "B", COLOURS),
    ("bluebird", "B", COLOURS),
    ("all of them", "B", COLOURS),
    ("AB", "B", COLOURS),
    ("A blue thing", "A", COLOURS),
    ("7 or 9", "B", NUMBERS),
    ("3, 7, 1, 9", "B", NUMBERS),
    ("17", "B", NUMBERS),
    ("2", "B", NUMBERS),
    ("B. 9", "B", NUMBERS),
    ("9", "B", NUMBERS),
    ("31°", "A", ANGLES),
    ("0.51", "B", ANGLES),
    ("A, D", "B", LISTS),
    ("D", "E", ()),
    ("D, E", "E", ()),
    ("(D) or (E)", "E", ()),
    ("the option", "B", COLOURS),
]

UNUSABLE = [
    ("", (), AnswerType.INTEGER), ("five or six", (), AnswerType.INTEGER), ("5.5", (), AnswerType.INTEGER),
    ("about 3", (), AnswerType.NUMBER), ("1/0", (), AnswerType.NUMBER), ("...", (), AnswerType.WORD),
    (" \n", (), AnswerType.EXPRESSION), ("\\frac{", (), AnswerType.EXPRESSION), ("$$", (), AnswerType.EXPRESSION),
    ("x" * 2000, (), AnswerType.EXPRESSION), ("F", COLOURS, AnswerType.OPTION), ("green", COLOURS, AnswerType.OPTION),
    ("A or B", COLOURS, AnswerType.OPTION), ("C", ("B", "C", "A"), AnswerType.OPTION), ("", COLOURS, AnswerType.OPTION),
]  # fmt: skip

TYPES = [
    ("B", COLOURS, "option"), ("5", (), "integer"), ("$$280$$", (), "integer"), ("10.", (), "integer"),
    ("seven", (), "integer"), ("F", (), "option"), ("(C)", (), "option"), ("A, C", (), "option"), ("1,950", (), "integer"), ("5.0", (), "number"), ("3/19", (), "number"),
    ("$\\boxed{\\frac{16}{7}}$", (), "number"), ("12%", (), "number"), ("yes", (), "word"), ("pen_cup, book", (), "list"), ("3, 4", (), "list"), ("x=1 or x=2", (), "list"), ("(1,2), (3,4)", (), "list"), ("red and blue", (), "list"),
    ("3:45 PM", (), "time"), ("half past four", (), "time"), ("Yes, it is", (), "word"), ("x<1 or x>3", (), "expression"), ("\\{1,2\\}", (), "expression"),
    ("When it rains, it pours on the old town of the plain, I think", (), "word"), ("3 apples", (), "number"), ("90 minutes", (), "number"), ("$12.50", (), "number"),
    ("4 boats of Type 1", (), "word"), ("Facebook (app)", (), "word"), ("\\text{acute}", (), "word"),
    ("2\\sqrt{3}", (), "expression"), ("5 cm", (), "number"), ("OE=4EF", (), "expression"), ("π", (), "number"),
    ("2:3", (), "expression"), ("(1200, 0)", (), "expression"), ("x<1", (), "expression"), ("", (), "expression"),
]  # fmt: skip


def _flat(table: dict[AnswerType, list[tuple[str, str]]]) -> list[tuple[AnswerType, str, str]]:
    return [(answer_type, *pair) for answer_type, pairs in table.items() for pair in pairs]


@pytest.mark.parametrize(("answer_type", "answer", "gold"), _flat(RIGHT))
def test_another_way_of_writing_the_gold_is_correct(answer_type: AnswerType, answer: str, gold: str) -> None:
    assert compare(answer, gold, (), answer_type).outcome is Outcome.CORRECT


@pytest.mark.parametrize(("answer_type", "answer", "gold"), _flat(WRONG))
def test_what_is_not_the_gold_is_wrong(answer_type: AnswerType, answer: str, gold: str) -> None:
    assert compare(answer, gold, (), answer_type).outcome is Outcome.WRONG


@pytest.mark.parametrize(("answer", "gold", "options"), OPTION_RIGHT)
def test_naming_the_right_option_is_correct(answer: str, gold: str, options: tuple[str, ...]) -> None:
    assert compare(answer, gold, options, AnswerType.OPTION).outcome is Outcome.CORRECT


@pytest.mark.parametrize(("answer", "gold", "options"), OPTION_WRONG)
def test_naming_no_single_right_option_is_wrong(answer: str, gold: str, options: tuple[str, ...]) -> None:
    assert compare(answer, gold, options, AnswerType.OPTION).outcome is Outcome.WRONG


def test_the_table_holds_at_least_as_many_negatives_as_positives() -> None:
    assert len(_flat(WRONG)) + len(OPTION_WRONG) >= len(_flat(RIGHT)) + len(OPTION_RIGHT)


@pytest.mark.parametrize(("gold", "options", "answer_type"), UNUSABLE)
@pytest.mark.parametrize("answer", ["", "5", "B", None])
def test_a_gold_that_cannot_be_used_pays_nobody(
    gold: str, options: tuple[str, ...], answer_type: AnswerType, answer: str | None
) -> None:
    verdict = compare(gold if answer is None else answer, gold, options, answer_type)
    assert verdict.outcome is Outcome.UNVERIFIABLE
    assert verdict.reason.startswith("gold_")


@pytest.mark.parametrize(("gold", "options", "expected"), TYPES)
def test_the_type_of_a_gold(gold: str, options: tuple[str, ...], expected: str) -> None:
    assert infer_type(gold, options) == expected


@pytest.mark.parametrize("answer_type", AnswerType)
@pytest.mark.parametrize("answer", ["", "  ", "$$", "**", "."])
def test_blank_answers_are_no_answer(answer_type: AnswerType, answer: str) -> None:
    gold = SAMPLE.get(answer_type, "1")
    options = ("1", "2") if answer_type is AnswerType.OPTION else ()
    outcome = compare(answer, gold, options, answer_type).outcome
    assert outcome is (Outcome.WRONG if answer in {"$$", "**"} else Outcome.NO_ANSWER)


@pytest.mark.parametrize("answer_type", AnswerType)
def test_an_essay_is_wrong_and_not_kept_whole(answer_type: AnswerType) -> None:
    options = ("1", "2") if answer_type is AnswerType.OPTION else ()
    verdict = compare("1 " * MAX_ANSWER, SAMPLE.get(answer_type, "1"), options, answer_type)
    assert verdict.outcome is Outcome.WRONG
    assert len(verdict.extracted) == MAX_ANSWER


def test_several_answers_are_wrong_and_not_missing() -> None:
    assert judge(Extracted(None, "conflict"), "5", (), AnswerType.INTEGER) == Verdict(
        Outcome.WRONG, "", "conflict"
    )


def test_the_reason_says_where_and_how() -> None:
    assert judge(Extracted("5", "boxed"), "5", (), AnswerType.INTEGER).reason == "boxed/string"
    assert judge(Extracted("5.0", "boxed"), "5", (), AnswerType.INTEGER).reason == "boxed/value"


def test_options_with_the_same_text_are_the_same_option() -> None:
    assert compare("A", "B", ("4", "$4$"), AnswerType.OPTION).outcome is Outcome.CORRECT


def test_options_that_differ_in_case_only_are_told_apart_by_it() -> None:
    options = ("$a$b", "$A$b", "c")
    assert compare("$A$b", "B", options, AnswerType.OPTION).outcome is Outcome.CORRECT
    assert compare("$a$b", "B", options, AnswerType.OPTION).outcome is Outcome.WRONG


@pytest.mark.parametrize("gold", ["5", "-1,234", "3/4", "0.125", "28%", "1e3"])
@pytest.mark.parametrize(
    "wrapper", ["${}$", "\\({}\\)", "\\[{}\\]", "\\boxed{{{}}}", "\\mathbf{{{}}}", "**{}**", "`{}`", " {}."]
)
def test_what_surrounds_a_number_does_not_matter(gold: str, wrapper: str) -> None:
    assert compare(wrapper.format(gold), gold, (), AnswerType.NUMBER).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    "spelling", ["x\\leq 2", "x≤2", "x \\leqslant 2", "x\\le 2", "$x \\leq 2$.", "x\\, \\leq ~2"]
)
def test_spellings_of_one_expression_are_equal_as_strings(spelling: str) -> None:
    verdict = compare(spelling, "x \\le 2", (), AnswerType.EXPRESSION)
    assert (verdict.outcome, verdict.reason) == (Outcome.CORRECT, "answer/string")


@pytest.mark.parametrize(
    ("text", "outer", "parts"),
    [
        ("(1,2)", "()", 2),
        ("[1,(2,3))", "[)", 2),
        ("\\{1,2,3\\}", "{}", 3),
        ("(1+2)", "", 0),
        ("(1,2)+(3,4)", "", 0),
        ("1,2", "", 0),
        (")1,2(", "", 0),
        ("(", "", 0),
        ("", "", 0),
    ],
)
def test_only_brackets_around_a_whole_tuple_count(text: str, outer: str, parts: int) -> None:
    assert brackets(text) == outer
    assert not outer or len(components(text.strip("\\{}[]()") if outer == "{}" else text[1:-1])) == parts


@pytest.mark.parametrize(
    "answer", ["\\max(5)", "\\min(6)", "max(5, 6)", "gcd(4)", "\\sqrt[0]{5}", "\\log_1 5", "\\binom{5}{}"]
)
def test_odd_functions_have_a_value_or_none_and_no_error(answer: str) -> None:
    for kind in (AnswerType.INTEGER, AnswerType.EXPRESSION):
        verdict = compare(answer, "5", (), kind)
        assert "error" not in verdict.reason
        assert (verdict.outcome is Outcome.CORRECT) == (answer == "\\max(5)")


def test_what_fails_inside_costs_the_answer_and_not_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    from ladder.verify import compare as module

    def fail(answer: str, *_: object) -> None:
        raise RuntimeError(answer)

    rule = module.RULES[AnswerType.WORD]
    monkeypatch.setitem(module.RULES, AnswerType.WORD, rule._replace(judge=fail))
    assert compare("blue", "red", (), AnswerType.WORD) == Verdict(Outcome.WRONG, "blue", "answer/error")
