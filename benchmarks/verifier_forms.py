r"""Responses made from a gold: several that are right, in other notations too, and several that are not.

What is right is derived from the gold's text by rewriting it (`\frac` to `\dfrac`, 4 to 4.0, 12 meters to 1200 cm), never
by asking a verifier: where a rewriting cannot be sure, none is made. Only for other expressions as wrong answers is
a second opinion taken, and only to leave out pairs that may be equal.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from ladder.records import AnswerType, Item

LETTERS = string.ascii_uppercase
_DELIMITED = re.compile(
    r"\$\$([^$]+)\$\$|\$([^$]+)\$|\\\(([^()]+|\([^()]*\))\\\)|\\boxed\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})+)\}"
)
_NUMBER = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d+)?(\.\d+)?(\\?%)?")
_QUOTIENT = re.compile(r"([+-]?\d+) ?/ ?(\d+)|([+-]?)\\[dt]?frac ?(?:\{(\d+)\} ?\{(\d+)\}|(\d)(\d))")
_MEASURE = re.compile(r"([+-]?\d+(?:\.\d+)?) ?(?:\\(?:mathrm|text) ?\{[ ~]*)?([a-z²³°]+|\^\{?\\circ\}?)\}?")
#: Words between formulas: what is rewritten in one of them would have to be told apart from the rest.
_MIXED = re.compile(r"\$|(?<![\\a-z])[a-z]{2,} |[\n∴→;?]|\(1\)|\d\.\d+\.\d|\\mathrm \\")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2}) ?([AP])\.?M\.?", re.IGNORECASE)
_WORDS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
_DEGREE = ("°", r"^\circ", r"^{\circ}")
#: unit: (a unit of the same kind, how many of it, a unit that the same number is wrong in)
_UNITS = {
    "m": ("cm", 100, "cm"),
    "meters": ("cm", 100, "kilometers"),
    "cm": ("mm", 10, "m"),
    "km": ("m", 1000, "m"),
    "cm²": ("mm²", 100, "m²"),
    "kg": ("g", 1000, "g"),
    "kilograms": ("g", 1000, "grams"),
    "pounds": ("ounces", 16, "ounces"),
    "miles": ("feet", 5280, "feet"),
    "minutes": ("seconds", 60, "hours"),
    "$": ("cents", 100, "€"),
}


class Form(NamedTuple):
    """A response, and in which way it was made from its gold."""

    kind: str
    response: str


def bare(gold: str) -> str:
    """The gold without what surrounds it: blanks, math delimiters, a box, a final stop."""
    text = gold.strip(" \n")
    for _ in range(4):
        text = text.rstrip(".").strip(" \n")
        match = _DELIMITED.fullmatch(text)
        text = next(filter(None, match.groups())).strip() if match else text
    return text


def value_of(text: str) -> Fraction | None:
    """The value of a plain number, percentage or fraction; None for anything else."""
    text = bare(text).removeprefix("$").replace("\u2212", "-")
    number = _NUMBER.fullmatch(text)
    if number and (number[2] or number[3]):
        value = Fraction(f"{number[1]}{(number[2] or '0').replace(',', '')}{number[3] or ''}")
        return value / 100 if number[4] else value
    quotient = _QUOTIENT.fullmatch(text)
    if quotient is None:
        return None
    sign, top, bottom = (
        ("", quotient[1], quotient[2])
        if quotient[1]
        else (quotient[3], quotient[4] or quotient[6], quotient[5] or quotient[7])
    )
    return Fraction(int(sign + top), int(bottom)) if int(bottom) else None


def decimal(value: Fraction) -> str | None:
    """A terminating decimal's digits, without an exponent; None if it does not end soon."""
    for places in range(13):
        scaled = value * 10**places
        if scaled.denominator == 1:
            digits = str(abs(scaled.numerator)).zfill(places + 1)
            whole, part = digits[: len(digits) - places], digits[len(digits) - places :]
            return ("-" if value < 0 else "") + whole + (f".{part}" if part else "")
    return None


def block(text: str) -> str:
    """As the prompt templates ask for it."""
    return f"<think>It is seen.</think>\n<answer>{text}</answer>"


def boxed(text: str) -> str:
    """As mathematical models give it."""
    return f"So we get\n\\boxed{{{bare(text)}}}"


def sentence(text: str) -> str:
    """In a sentence at the end."""
    line = ", ".join(part.strip(" ") for part in text.strip(" \n").split("\n"))
    return f"It is seen. The answer is {line.rstrip('.')}."


# Right ones


def right_forms(item: Item) -> list[Form]:
    """Responses that are all correct: at least a block, a box, a sentence and another notation."""
    if item.answer_type is AnswerType.OPTION:
        return _right_options(item)
    gold = item.gold
    forms = [Form("block", block(gold)), Form("boxed", boxed(gold))]
    # A gold of several sentences is no part of another one.
    prose = ". " in gold or "∴" in gold
    forms.append(
        Form("block over lines", block(f"\n{gold}\n")) if prose else Form("sentence", sentence(gold))
    )
    for i, (kind, text) in enumerate(dict.fromkeys(_notations(item))):
        forms.append(Form(f"notation: {kind}", (block, boxed, sentence)[i % 3](text)))
    return forms


def right_option(item: Item) -> int | None:
    """The place of the gold among the options, if it names one as a letter or by its text."""
    gold = item.gold.strip()
    if gold in item.options and item.options.count(gold) == 1:
        return item.options.index(gold)
    letter = re.fullmatch(r"\(?([A-Z])\)?\.?", gold)
    place = LETTERS.index(letter[1]) if letter else len(item.options)
    return place if place < len(item.options) else None


def _right_options(item: Item) -> list[Form]:
    place = right_option(item)
    if place is None:
        return [Form("block", block(item.gold))]
    letter, text = LETTERS[place], item.options[place]
    forms = [
        Form("block", block(letter)),
        Form("boxed", boxed(letter)),
        Form("sentence", sentence(f"({letter})")),
        Form("notation: option b", block(f"option {letter.lower()}")),
        Form("notation: text{B}", boxed(f"\\text{{{letter}}}")),
    ]
    if text.strip().upper() not in LETTERS and text.strip("()") not in LETTERS:
        forms += [
            Form("notation: option text", block(text)),
            Form("notation: letter and text", block(f"({letter}) {text}")),
            Form("notation: text in a sentence", sentence(text)),
        ]
    return forms


def _notations(item: Item) -> Iterator[tuple[str, str]]:
    text, value = bare(item.gold), value_of(item.gold)
    if "\n" in text:
        yield "on one line", ", ".join(part.strip() for part in text.split("\n"))
        return
    yield "bold", f"**{text}**"
    if value is not None:
        yield from _number_notations(text, value)
        if item.unit:
            yield (
                "with its unit",
                f"${text}" if item.unit == "$" and text[0] != "-" else f"{text} {item.unit}",
            )
    elif measure := _MEASURE.fullmatch(text):
        yield from _measure_notations(Fraction(measure[1]), measure[2])
    elif clock := _CLOCK.fullmatch(text):
        afternoon = 12 * (clock[3].upper() == "P")
        yield "24 hours", f"{int(clock[1]) % 12 + afternoon}:{clock[2]}"
        yield "no stops", f"{clock[1]}:{clock[2]} {clock[3].lower()}m"
    elif item.answer_type is not AnswerType.EXPRESSION and (parts := split_list(text)):
        yield from _list_notations(parts, item.answer_type)
    elif item.answer_type is AnswerType.WORD:
        yield from _word_notations(text)
    elif not _MIXED.search(text):
        yield from _expression_notations(text)


def _number_notations(text: str, value: Fraction) -> Iterator[tuple[str, str]]:
    digits = decimal(value)
    twice = rf"\frac{{{2 * abs(value.numerator)}}}{{{2 * value.denominator}}}"
    yield "fraction", ("-" if value < 0 else "") + twice
    if digits is None:
        yield "quotient", f"{3 * value.numerator}/{3 * value.denominator}"
        return
    yield "trailing zero", digits + ("0" if "." in digits else ".0")
    yield "plain decimal", digits
    if abs(value) >= 1000:
        whole, _, part = digits.partition(".")
        grouped = f"{int(whole):,}" + (f".{part}" if part else "")
        yield "thousands", grouped
        yield "LaTeX thousands", "$" + grouped.replace(",", "{,}") + "$"
    if abs(value) >= 100:
        exponent = len(str(int(abs(value)))) - 1
        yield "scientific", rf"${decimal(value / 10**exponent)} \times 10^{{{exponent}}}$"
        yield "e-notation", f"{decimal(value / 10**exponent)}e{exponent}"
    if value.denominator == 1 and 0 <= value < len(_WORDS):
        yield "number word", _WORDS[int(value)]
    if text.endswith("%"):
        yield "percent in LaTeX", text.rstrip("%\\") + r"\%"
    if "/" in text and digits is not None:
        yield "decimal of a fraction", digits


def _measure_notations(value: Fraction, unit: str) -> Iterator[tuple[str, str]]:
    if unit in _DEGREE:
        yield "degree sign", f"{decimal(value)}°"
        yield "degrees", f"{decimal(value)} degrees"
        yield "degrees in LaTeX", rf"${decimal(value)}^\circ$"
        ratio = value / 180
        top = "" if ratio.numerator == 1 else ratio.numerator
        yield "radians", rf"$\frac{{{top}\pi}}{{{ratio.denominator}}}$ rad"
        return
    square = "^2" if unit.endswith("²") else ""
    yield "unit in LaTeX", rf"${decimal(value)}\ \text{{{unit.rstrip('²')}}}{square}$"
    yield "trailing zero with unit", f"{decimal(value)}.0 {unit}"
    if unit in _UNITS:
        other, factor, _ = _UNITS[unit]
        yield "converted unit", f"{decimal(value * factor)} {other}"


def split_list(text: str) -> list[str]:
    """The parts of a plain list such as "red, blue" or "[1, 2]"; empty for anything else."""
    if re.search(r"[\\(){}=<>]", text):
        return []
    parts = [part.strip() for part in text.strip("[]").split(",")]
    return parts if len(parts) > 1 and all(parts) and not re.fullmatch(r"[\d,]+", text) else []


def _list_notations(parts: list[str], kind: AnswerType) -> Iterator[tuple[str, str]]:
    yield "list in brackets", f"[{', '.join(parts)}]"
    yield "list with and", f"{', '.join(parts[:-1])} and {parts[-1]}"
    yield "list with semicolons", "; ".join(parts)
    if kind is not AnswerType.SEQUENCE:
        yield "list in another order", ", ".join(reversed(parts))


def _word_notations(text: str) -> Iterator[tuple[str, str]]:
    yield "upper case", text.upper()
    yield "lower case", text.lower()
    if "_" in text:
        yield "blank for underscore", text.replace("_", " ")
    if len(text.split()) == 1 and text.islower():
        yield "article", f"the {text}"
        yield "text{}", rf"\text{{{text}}}"


def _expression_notations(text: str) -> Iterator[tuple[str, str]]:
    rewritings: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("dfrac", lambda t: re.sub(r"\\[dt]?frac(?![a-z])", r"\\dfrac", t)),
        ("frac", lambda t: re.sub(r"\\dfrac(?![a-z])", r"\\frac", t)),
        ("left and right", _sized),
        ("pi sign", lambda t: re.sub(r"\\pi(?![a-z])", "π", t)),
        ("root sign", lambda t: re.sub(r"\\sqrt\{(\d+)\}", "√\\1", t)),
        ("power of a half", lambda t: re.sub(r"(?<![\w}) ])\\sqrt\{(\d+)\}", r"{\1}^{\\frac{1}{2}}", t)),
        ("braces of one digit", lambda t: re.sub(r"(\\sqrt)\{(\d)\}", r"\1 \2", t)),
        ("thin spaces", lambda t: re.sub(r"(?<=[\w}]) ?([+=<>]) ?(?=[\w\\])", r"\\,\1\\,", t)),
        ("swapped terms", _swapped_terms),
        ("swapped sides", _swapped_sides),
        ("ratio as a fraction", lambda t: re.sub(r"\A(\d+): ?(\d+)\Z", r"\\frac{\1}{\2}", t)),
        ("times one", lambda t: rf"1 \cdot ({t})" if _is_term(t) else t),
    )
    for kind, rewrite in rewritings:
        other = rewrite(text)
        if other != text:
            yield kind, f"${other}$"


def _is_term(text: str) -> bool:
    """A plain value of roots, fractions and letters: no relation, tuple, words, degrees or ratio."""
    return not re.search(r"[=<>,:;?\n∴]|\\[lg]eq|\\circ|[A-Za-z]{2,}(?<!frac)(?<!sqrt)(?<!pi)(?<!text)", text)


def _sized(text: str) -> str:
    if "\\left" in text or any(ord(c) > 127 for c in text) or re.search(r"[A-Za-z]{3,} ", text):
        return text
    return re.sub(r"(?<!\\)([)\]])", r"\\right\1", re.sub(r"(?<!\\)([(\[])", r"\\left\1", text))


def _swapped_terms(text: str) -> str:
    """a+b as b+a, where the plus is the only sign outside of brackets."""
    if not _is_term(text):
        return text
    depth, places = 0, []
    for i, character in enumerate(text):
        depth += (character in "{([") - (character in "})]")
        if depth == 0 and character in "+-":
            places.append(i)
    if len(places) != 1 or text[places[0]] != "+" or places[0] == 0:
        return text
    return f"{text[places[0] + 1 :].strip()}+{text[: places[0]].strip()}"


def _swapped_sides(text: str) -> str:
    """x = 1 as 1 = x, a > b > c as c < b < a; texts without words only."""
    if re.search(r"[a-z]{2,}|[,:?]|\\", text):
        return text
    parts = re.split(r" ?([=<>]) ?", text)
    flipped = {"<": ">", ">": "<"}
    return " ".join(flipped.get(part, part) for part in reversed(parts)) if len(parts) > 2 else text


# Wrong ones


def wrong_forms(item: Item, others: Sequence[str], rng: random.Random) -> list[Form]:
    """Responses of which none is correct; `others` are golds of other items that differ from this one's."""
    wrappers = (block, boxed, sentence)
    texts = _wrong_options(item) if item.answer_type is AnswerType.OPTION else _wrong_texts(item, rng)
    made = [*texts, *(("another gold", other) for other in others)]
    return [Form(kind, wrappers[i % 3](text)) for i, (kind, text) in enumerate(dict.fromkeys(made))]


def _wrong_options(item: Item) -> list[tuple[str, str]]:
    right = right_option(item)
    if right is None:
        return []
    texts = []
    for i, option in enumerate(item.options):
        if option != item.options[right]:
            texts.append(("another letter", LETTERS[i]))
            if option.strip("() ").upper() not in LETTERS:
                texts.append(("another option's text", option))
    return texts


def _wrong_texts(item: Item, rng: random.Random) -> list[tuple[str, str]]:
    text, value = bare(item.gold), value_of(item.gold)
    texts: list[tuple[str, str]] = []
    if value is not None:
        texts += _wrong_numbers(text, value)
        unit = (item.unit or "").split(" ")
        if unit[0] in _UNITS:
            other = " ".join([_UNITS[unit[0]][2], *unit[1:]])
            texts.append(("another unit", f"{text} {other}"))
    elif measure := _MEASURE.fullmatch(text):
        number, unit_name = measure[1], measure[2]
        other = "radians" if unit_name in _DEGREE else _UNITS.get(unit_name, ("", 1, "kg"))[2]
        texts += [
            ("another unit", f"{number} {other}"),
            ("plus one", f"{decimal(Fraction(number) + 1)} {unit_name}"),
        ]
    elif item.answer_type in (AnswerType.WORD, AnswerType.LIST, AnswerType.SEQUENCE):
        texts.append(("negated", f"not {text}"))
        if parts := split_list(text):
            texts += [
                ("part missing", ", ".join(parts[:-1])),
                ("part doubled", ", ".join([*parts, parts[0]])),
            ]
    elif item.answer_type is AnswerType.EXPRESSION and (changed := perturbed(text, rng)) != text:
        texts.append(("changed digit", changed if _MIXED.search(text) else f"${changed}$"))
    return texts


def _wrong_numbers(text: str, value: Fraction) -> list[tuple[str, str]]:
    def show(number: Fraction) -> str:
        return decimal(number) or f"{number.numerator}/{number.denominator}"

    digits = decimal(value)
    place = Fraction(1, 10 ** len(digits.partition(".")[2])) if digits else Fraction(1, 100)
    percent = "%" if text.endswith("%") else ""
    shown = value * 100 if percent else value
    texts = [("plus one", show(shown + 1) + percent), ("last digit", show(shown + place) + percent)]
    if value:
        texts += [("sign", show(-shown) + percent), ("ten times", show(shown * 10) + percent)]
    return texts


def perturbed(text: str, rng: random.Random) -> str:
    """The text with one of its digits changed; unchanged if it has none."""
    places = [i for i, character in enumerate(text) if character in string.digits]
    if not places:
        return text
    place = rng.choice(places)
    return text[:place] + str(int(text[place]) % 9 + 1) + text[place + 1 :]


def gold_key(item: Item) -> object:
    """Two golds with different keys have different meanings, as far as plain text can tell."""
    value = value_of(item.gold)
    if value is not None:
        return value
    text = (
        re.sub(r"[_\s-]+", " ", bare(item.gold).casefold()).replace(r"^{\circ}", "°").replace(r"^\circ", "°")
    )
    parts = split_list(text) or [text]
    same = {"true": "yes", "false": "no", "y": "yes", "n": "no"}
    return tuple(sorted(same.get(part, part.rstrip("s")) for part in parts))
