"""Numbers and integers: every usual notation of the gold is right, nothing else is; and every notation reads back."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladder.records import AnswerType, Reference
from ladder.verify.amounts import read_amount
from ladder.verify.numerals import parse_numeral
from ladder.verify.numeric import INTEGER, NUMBER, parse_number
from ladder.verify.policy import Policy
from ladder.verify.rule import UnverifiableGold

DEFAULT = Policy()


def right(
    answer: str,
    gold: str,
    policy: Policy = DEFAULT,
    *,
    unit: str | None = None,
    tolerance: str | None = None,
    kind: AnswerType = AnswerType.NUMBER,
) -> bool:
    rule = INTEGER if kind is AnswerType.INTEGER else NUMBER
    read = rule.read(Reference(gold, (), kind, tolerance, unit), policy)
    judgement = rule.judge(answer, read, policy)
    if judgement is None:
        assert rule.decide is not None
        judgement = rule.decide(answer, read, policy)
    return judgement.right


#: Answers by gold, with "|" between them.
SAME: dict[str, str] = {
    "1234": (
        "1,234|1 234|1\u2009234|1'234|1{,}234|1\\,234|$1{,}234$|+1234|1234.|1234.0|"
        "\uff11\uff12\uff13\uff14|1.234e3|1.234 \\times 10^{3}|1.234x10^3|1.234\\cdot10^3|1234.00|"
        "1.234 \u00d7 10³|一千二百三十四|one thousand two hundred and thirty-four|\\text{1234}|(1234)|x = 1234|"
        "n=1,234|\\frac{2468}{2}|2468/2|1.234k|1.234 thousand|about 1234|~1234|1234 people|"
        "1,234 red cars|1234个|1234 cm|approximately 1,234|\\approx 1234|\\left(1234\\right)|1234 = x|"
        "a total of 1234|\\mathbf{1234}|1234\\text{ votes}|1,234\\ \\text{votes}|-(-1234)"
    ),
    "-0.5": (
        "-1/2|-\\frac{1}{2}|-\\frac12|\\frac{-1}{2}|\\frac{1}{-2}|\u22120.5|-.5|-0.50|- 0.5|negative 0.5|"
        "minus 1/2|-½|minus one half|负二分之一|-5e-1|-5 \\times 10^{-1}|-50%|-\\tfrac{1}{2}|(-1)/2|1/-2|"
        "{-1 \\over 2}|-(1/2)"
    ),
    "3/2": (
        "1.5|1\\frac{1}{2}|1 1/2|1½|1 ½|1½|1\\frac12|1 \\dfrac{1}{2}|one and a half|1 and a half|"
        "1 and 1/2|three halves|\\frac{3}{2}|3\u20442|150%|150\\%|一又二分之一|一点五"
    ),
    "1/3": (
        "0.\\overline{3}|0.\\dot{3}|0.3\u0305|0.(3)|0.\\bar{3}|a third|one third|⅓|三分之一|"
        "33\\frac{1}{3}\\%|0.3\\overline{3}|2/6"
    ),
    "5000000": ("5 million|5,000,000|5 000 000|$5M|$5 million|5e6|500万|five million|0.5千万|5mn"),
    "1200000000": ("1.2 billion|1.2bn|12亿|$1.2bn|1.2B|1.2 \\times 10^9"),
    "24": ("2 dozen|two dozen|24 square units|24 units^2|twenty-four|二十四|2^3 \\cdot 3|\\sqrt{576}|4!"),
    "28%": ("0.28|28 percent|28 per cent|28\\%|$28\\%$|28 %|\uff12\uff18\uff05|百分之28|百分之二十八|7/25"),
    "$12.50": ("12.5|12.50 dollars|\\$12.50|USD 12.50|12.50 USD|US$12.50|1250 cents|$12 \\frac{1}{2}"),
    "0": ("0|-0|0.0|zero|零|0 apples|0%|1-1"),
}
DIFFERENT: dict[str, str] = {
    "5": (
        "5 or 6|not 5|5, 6|5 6|5-6|15|5x|5 and 6|5; 5|fifty|five six|5 wrong|5 is wrong|5 squared|5^2|5²|"
        "5 hundred|5 million|5k|5 dozen|-5|1/5|5%|five or six|五六|less than 5|at least 5|5 less|nearly 5|"
        "5.001|5 = 6|5 = 5 = 6|2x = 5|x+1 = 5|5th|5!|5 ± 1|5 \\pm 1|5 to 6|between 5 and 6|"
        "between 4 and 6|5?|5\n6|x = 5 or x = 6|5 times 6|5 apples 3 pears|5 apples or 3|5 too many|5 i|"
        "5 pi|5\\pi|option 5 or 6|<5|> 5|5:1|5/0|\\frac{5}{0}|5e999|five and six|5 not|no 5|5 incorrect|"
        "5 half|²|??|5\n\n5 5|5.0.0|5--|5 negative|5 minus|[5, 6]|{5, 6}|(5, 5)|5,0|5,00|5 cm or 5 m|"
        "5 maybe|5 point one|5 thousandths|5+5|5 0|0 5|5\\\\6|5 \\text{or} 6|5\\text{ or }6"
    ),
    "3.5": ("3,5|35|3.50001|3 5|3.4|7/3|3\\frac{1}{3}|3.5.0|3:5"),
    "1/3": ("0.33|0.333333333333|33%|3|0.3|third|0.\\overline{33}4|1/3 or 1/4"),
    "123": ("1,23|12,3|0,123|1 23|1.23|123,456"),
    "30": ("5 6|15 2|3 0|3,0"),
    "-1": ("1|5 6|one|1 - |(1)"),
    "28%": ("28|28.1%|0.029|2.8|28 cm|72%"),
    "0.28": ("28|0.28%"),
    "28": ("28%|0.28"),
    "2/3": ("2/3 or 3/2|0.67|0.6667|3/2|\\frac{2}{3}\\frac{1}{1}x"),
    "32": ("3 2|3,2|23"),
}
LONG = [f"5.{'0' * 300}1", "9" * 200]


def flat(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(answer, gold) for gold, answers in table.items() for answer in answers.split("|")]


@pytest.mark.parametrize(("answer", "gold"), flat(SAME))
def test_a_notation_of_the_gold_is_right(answer: str, gold: str) -> None:
    assert right(answer, gold)


@pytest.mark.parametrize(("answer", "gold"), [*flat(DIFFERENT), *((long, "5") for long in LONG)])
def test_another_number_or_more_than_one_is_wrong(answer: str, gold: str) -> None:
    assert not right(answer, gold)


PREFIXES = (
    "x = |x=|\\theta = |\\angle A = |\\angle ABC=|∠ABC = |x_1 = |x_{max} = |AB = |f(2) = |y \\approx |\\text{Area} = |m\\angle B = |"
    "S_{\\triangle ABC} = |Area = |is |= |about |\\sin A = |P(A) = |AB = CD = "
)


@pytest.mark.parametrize("prefix", PREFIXES.split("|"))
def test_what_a_number_is_assigned_to_is_read_over(prefix: str) -> None:
    assert right(prefix + "40", "40")
    assert right("$" + prefix + "40$", "40")
    assert not right(prefix + "41", "40")


@pytest.mark.parametrize(
    "prefix",
    ["2x = ", "x+1 = ", "x^2 = ", "x < ", "x > ", "-x = ", "x \\neq ", "xy+z = ", "\\sqrt{x} = ", "1/x = "],
)
def test_an_equation_of_something_else_states_no_number(prefix: str) -> None:
    assert not right(prefix + "40", "40")


@pytest.mark.parametrize(
    "noun",
    [
        "apples",
        "red cars",
        "more tickets",
        "people per square mile",
        "pieces of pizza",
        "games per year",
        "(apples)",
        "个苹果",
        "times",
    ],
)
def test_a_counted_noun_is_read_over(noun: str) -> None:
    assert right(f"12 {noun}", "12")
    assert right(f"12 {noun}", "12", unit="apples")
    assert right("12", f"12 {noun}")
    assert not right(f"13 {noun}", "12")


@pytest.mark.parametrize(
    "word",
    [
        "or",
        "not",
        "wrong",
        "incorrect",
        "less",
        "squared",
        "hundred",
        "no",
        "maybe",
        "million",
        "half",
        "e",
        "x",
        "or so",
    ],
)
def test_a_word_that_says_something_about_the_number_is_not(word: str) -> None:
    assert not right(f"12 {word}", "12")


@pytest.mark.parametrize(
    ("answer", "value", "number", "either"),
    [
        ("28%", True, True, True),
        ("0.28", True, False, True),
        ("28", False, True, True),
        ("7/25", True, False, True),
        ("29%", False, False, False),
    ],
)
def test_the_policy_says_what_a_percentage_equals(
    answer: str, value: bool, number: bool, either: bool
) -> None:
    assert right(answer, "28%", Policy(percent="value")) is value
    assert right(answer, "28%", Policy(percent="number")) is number
    assert right(answer, "28%", Policy(percent="either")) is either


@pytest.mark.parametrize(
    ("policy", "gold"), [("value", "0.28"), ("number", "28"), ("either", "28"), ("either", "0.28")]
)
def test_a_percentage_as_the_answer_follows_the_same_policy(policy: str, gold: str) -> None:
    assert right("28%", gold, Policy(percent=policy))  # type: ignore[arg-type]


def test_a_percent_sign_in_the_units_column_may_be_missing() -> None:
    assert (
        right("28", "28", unit="%") and right("28%", "28", unit="%") and right("0.28", "28", unit="percent")
    )
    assert not right("28", "28", Policy(missing_unit="reject"), unit="%")
    assert right("28%", "28", Policy(missing_unit="reject"), unit="%")
    assert not right("28 cm", "28", unit="%")


@pytest.mark.parametrize(
    ("answer", "gold", "tolerance", "expected"),
    [
        ("105", "100", "5%", True), ("105.01", "100", "5%", False), ("95", "100", "0.05", True), ("3.14", "3.1416", "2 decimals", True),
        ("3.13", "3.1416", "2 decimals", False), ("10.1", "10", "±0.1", True), ("10.11", "10", "±0.1", False), ("-100", "100", "5%", False),
        (r"10\pi", "31.4", "1%", True), (r"\sqrt{2}", "1.41", "2 decimals", True), (r"\sqrt{3}", "1.41", "2 decimals", False),
        ("1.05 m", "100 cm", "5%", True), ("1.06 m", "100 cm", "5%", False), ("28.3%", "28%", "±0.5", True), ("0.283", "28%", "±0.5", True),
        ("28.6%", "28%", "±0.5", False), ("104 or 105", "100", "5%", False), ("1.00", "1", "0 decimals", True), ("10000", "100", "5%", False),
    ],
)  # fmt: skip
def test_a_tolerance_holds_in_the_golds_unit(answer: str, gold: str, tolerance: str, expected: bool) -> None:
    assert right(answer, gold, tolerance=tolerance) is expected


@pytest.mark.parametrize(
    "gold", ["", "five or six", "about 3", "1/0", "x", "5, 6", "red", "5\n6", "9" * 300, "-", "%", "$", "2x"]
)
@pytest.mark.parametrize("rule", [INTEGER, NUMBER])
def test_a_gold_that_is_no_number_is_unverifiable(gold: str, rule) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnverifiableGold, match="gold_not"):
        rule.read(Reference(gold, (), AnswerType.NUMBER), DEFAULT)


@pytest.mark.parametrize("gold", ["5.5", "1/3", r"\pi", "half"])
def test_an_integer_gold_is_whole(gold: str) -> None:
    with pytest.raises(UnverifiableGold, match="gold_not_an_integer"):
        INTEGER.read(Reference(gold, (), AnswerType.INTEGER), DEFAULT)
    assert NUMBER.read(Reference(gold, (), AnswerType.NUMBER), DEFAULT)


@pytest.mark.parametrize(
    "answer", ["5.0", "10/2", "five", "5 cm", "x=5", r"\sqrt{25}", "2+3", "2+3=5", "5 = 2+3"]
)
def test_an_integer_may_be_written_as_any_number(answer: str) -> None:
    assert right(answer, "5", kind=AnswerType.INTEGER)


@pytest.mark.parametrize("gold", [r"48\pi", r"\frac{2\pi}{3}"])
def test_a_multiple_of_pi_is_no_decimal(gold: str) -> None:
    assert right(gold.replace(r"\pi", "π"), gold)
    assert not right("150.796447", gold) and not right("48", gold) and not right(gold + r"^2", gold)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [(r"\frac{9}{\pi}", r"9\pi"), (r"9/\pi", r"9\pi"), (r"\frac{\pi}{9}", r"9\pi"), (r"9+\pi", r"9\pi")],
)
def test_pi_in_another_place_is_another_number(answer: str, gold: str) -> None:
    assert not right(answer, gold)


@pytest.mark.parametrize("gold", ["5", "5 cm", "50%"])
@pytest.mark.parametrize(
    "answer",
    ["(" * 900, "{" * 900, "\\frac{" * 150, "1/" * 400, "~" * 900, "6" + r"\ " * 120 + "cm", "5 m^" * 60, "'" * 250, "\\text{" * 150, "m " * 128,
     "9" * 900, "a " * 450, "=1" * 100, "5 per " * 40, "一百" * 100, "\\overline{1}" * 20, "\x00", "5\x00", "°" * 200, "1 m " * 60, "½" * 200],
)  # fmt: skip
def test_hostile_text_is_wrong_and_does_not_raise(answer: str, gold: str) -> None:
    assert not right(answer, gold)


def written(value: Fraction) -> list[str]:
    """Notations of a fraction, made from its numerator and denominator alone."""
    sign, top, bottom = "-" if value < 0 else "", abs(value.numerator), value.denominator
    forms = [
        f"{sign}{top}/{bottom}",
        rf"{sign}\frac{{{top}}}{{{bottom}}}",
        rf"{sign}\dfrac{{{3 * top}}}{{{3 * bottom}}}",
    ]
    forms += [
        rf"\frac{{{sign}{top}}}{{{bottom}}}",
        f"{sign}{top:,}/{bottom}" if top >= 1000 else f"{sign} {top} / {bottom}",
    ]
    whole, rest = divmod(top, bottom)
    if whole and rest:
        forms += [rf"{sign}{whole}\frac{{{rest}}}{{{bottom}}}", f"{sign}{whole} {rest}/{bottom}"]
    if bottom == 1:
        forms += [
            f"{value.numerator:,}",
            f"{value.numerator:,}".replace(",", "{,}"),
            f"{value}.000",
            f"{sign}{top}e0",
            f"{sign}0.{top}e{len(str(top))}",
        ]
    return [*forms, *(f"${form}$" for form in forms)]


@given(st.fractions(min_value=-(10**7), max_value=10**7, max_denominator=999))
def test_a_fraction_reads_back_from_any_notation(value: Fraction) -> None:
    for form in written(value):
        assert parse_number(form) == value, form
        assert parse_number(form.rstrip("$") + ("%$" if form.endswith("$") else "%")) == value / 100, form


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=4), st.integers(-6, 9))
def test_a_decimal_reads_back_with_an_exponent(number, exponent: int) -> None:  # type: ignore[no-untyped-def]
    value = Fraction(number) * Fraction(10) ** exponent
    power = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    for form in (
        rf"{number}\times10^{{{exponent}}}",
        f"{number}e{exponent}",
        f"{number} x 10^{exponent}",
        f"{number} \u00d7 10{power}",
    ):
        assert parse_number(form) == value, form
    assert parse_number(f"{number:,}") == Fraction(number)


@given(st.integers(0, 99), st.text("0123456789", max_size=4), st.text("0123456789", min_size=1, max_size=6))
def test_a_recurring_decimal_is_the_limit_of_its_digits(whole: int, fixed: str, period: str) -> None:
    value = parse_number(rf"{whole}.{fixed}\overline{{{period}}}")
    assert value == parse_number(f"{whole}.{fixed}({period})")
    near = Fraction(f"{whole}.{fixed}{period * 20}")
    assert value is not None and 0 <= value - near <= Fraction(1, 10 ** (len(fixed) + 20 * len(period)))


_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"


def in_english(number: int, link: str) -> str:
    if number < 20:
        return _ONES.split()[number]
    if number < 100:
        return _TENS.split()[number // 10 - 2] + ("-" + _ONES.split()[number % 10] if number % 10 else "")
    for size, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            joined = link if rest and rest < 100 else " "
            return f"{in_english(number // size, link)} {name}" + (
                joined + in_english(rest, link) if rest else ""
            )
    raise AssertionError


def in_chinese(number: int) -> str:
    text, gap = "", False
    for size, name in ((10**8, "亿"), (10**4, "万")):
        if number >= size:
            text, number = text + _group(number // size) + name, number % size
            gap = bool(number) and number < size // 10
            text += "零" if gap and size == 10**4 else ""
    if text and number and number < 1000 and not text.endswith("零"):
        text += "零"
    return text + _group(number) if number or not text else text.rstrip("零")


def _group(number: int) -> str:
    text = ""
    for size, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, number = divmod(number, size)
        if digit:
            text += "零一二三四五六七八九"[digit] + name
        elif text and number and not text.endswith("零"):
            text += "零"
    return text or "零"


@given(st.integers(0, 10**12 - 1), st.sampled_from([" and ", " "]))
def test_english_number_words_read_back(number: int, link: str) -> None:
    words = in_english(number, link)
    assert parse_numeral(words) == number, words
    assert parse_numeral("minus " + words.upper()) == -number


@given(st.integers(0, 9999) | st.integers(0, 10**8 - 1))
def test_chinese_number_words_read_back(number: int) -> None:
    assert parse_numeral(in_chinese(number)) == number, in_chinese(number)


@pytest.mark.parametrize(
    "words",
    ["five six", "twenty twenty", "one hundred and", "and five", "fifth", "thirty-first", "half half", "a", "thousand million", "", "-",
     "五六", "一百二", "三万五", "零五", "百", "分之", "十十", "点五五点", "负", "万", "five zero", "zero five", "point", "minus", "a couple"],
)  # fmt: skip
def test_words_that_are_not_one_number_are_none(words: str) -> None:
    assert parse_numeral(words) is None


@given(
    st.text(
        alphabet=st.sampled_from("0123456789.,/%$ ()[]{}^+-=xekmM°'\"\\½²π万百或fracdotpi texcmhin\n"),
        max_size=60,
    )
)
def test_no_text_makes_the_reader_raise(text: str) -> None:
    found = read_amount(text)
    assert found is None or isinstance(found.value, Fraction)
    for gold in ("5", "3 cm", "60°"):
        read = NUMBER.read(Reference(gold, (), AnswerType.NUMBER), DEFAULT)
        NUMBER.judge(text, read, DEFAULT)


@given(
    st.integers(-999, 999),
    st.integers(-999, 999),
    st.sampled_from([" or ", ", ", " and ", "; ", " to ", "\n", " or maybe ", " not "]),
)
def test_two_numbers_are_never_one_of_them(a: int, b: int, link: str) -> None:
    if a != b:
        assert not right(f"{a}{link}{b}", str(a)) and not right(f"{a}{link}{b}", str(b))


@pytest.mark.parametrize("text", ["~", "\\quad", "\\,", "$~$", "\\text{ }"])
def test_blanks_are_no_amount(text: str) -> None:
    assert parse_number(text) is None
    assert read_amount(text) is None
