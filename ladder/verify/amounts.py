r"""An amount with its unit, as people write one: `x = 5\text{ cm}`, "about $3.5 million", "1 h 30 min", "12 red cars".

What is read over is listed here: an assignment, a hedge such as "about", and a counted noun. Anything that says more
than one number, or something else about it ("not 5", "5 or 6", "less than 5"), is no quantity.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from ladder.verify.literals import Literal, parse_literal
from ladder.verify.numerals import CHINESE_NUMERALS, MAGNITUDES, VOCABULARY, parse_numeral
from ladder.verify.text import plain
from ladder.verify.units import DEGREE, Unit, read_unit, split_unit

MAX_AMOUNT = 256  # characters


class Amount(NamedTuple):
    """`value * π**pi` in hundredths if `percent`, of the unit; `noun` is what was counted, where it was read over."""

    value: Fraction
    unit: Unit | None = None
    percent: bool = False
    pi: int = 0
    noun: str = ""


_NAME = (
    r"(?:(?:m ?)?(?:\\(?:angle|triangle|odot|sin|cos|tan)(?![A-Za-z])|[∠△⊙]|sin|cos|tan) ?)?"
    r"(?:\\(?![dtc]?frac|sqrt|pm|mp)[A-Za-z]{2,12}(?: ?\{[A-Za-z ]{1,20}\})?|[A-Za-z]{1,15}[0-9]?|[\u0391-\u03c9]|\|[A-Z]{2}\|)"
    r"(?:_(?:[A-Za-z0-9]|\{[^{}=]{1,20}\})|'|\^ ?\{? ?\\prime ?\}?){0,3}(?: ?\([^()=]{1,12}\))?"
)
_ASSIGNED = re.compile(rf"(?:{_NAME} ?(?:=|:=|\\equiv(?![A-Za-z])|(?=\\approx|\u2248))[ ~]?){{1,3}}(?=[^=])")
_ASSIGNED_TO = re.compile(rf"(?<=[0-9)}}%]) ?= ?{_NAME}\Z")
_STATED = re.compile(
    r"(?:=|is|equals|是|为|等于|共有?|一共) ?(?=[^=])|(?:exactly|only|just|a total of|total of) "
    r"|(?:in )?(?:the )?year (?=[0-9])|in (?=[12][0-9]{3}\Z)",
    re.IGNORECASE,
)
_HEDGED = re.compile(
    r"(?:\\approx|\\simeq|\\sim|\\thickapprox)(?![A-Za-z])[ ~]?|[\u2248\u2243~] ?|约为? ?|大约是? ?|大概是? ?"
    r"|(?:about|approximately|approx\.?|around|roughly|circa|ca\.) ?(?![a-z])",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(r"(?:negative|minus) ?(?=[0-9.$\\])|[负負] ?(?=[0-9.])", re.IGNORECASE)
_TEXT = re.compile(r"\\(?:text|textrm|textbf|mathrm|mathbf|rm|mbox|operatorname) ?\{([^{}]{0,60})\}")
_LINES = re.compile(r"[0-9][^\S\n]{0,9}\n\s{0,9}[0-9]")
_BLANKS = re.compile(r"\\[,;:! ]|\\q?quad(?![a-z])|~|\\(?=\Z)")


@lru_cache(maxsize=8192)
def read_amount(text: str, kelvin: bool = False, nouns: bool = True, hedges: bool = True) -> Amount | None:
    """The one quantity that a text states. `kelvin` says that 300K is a temperature and not 300 thousand; without
    `nouns` and `hedges`, "5 apples" and "about 5" are none."""
    lines, text = text, plain(text)
    if not text or len(text) > MAX_AMOUNT or two_lines(lines):
        return None
    text = bare_amount(text, hedges)
    found = (None if kelvin else _number(text)) or _measured(text) or _number(text) or _compound(text)
    return found or (_counted(text) if nouns else None)


def two_lines(text: str) -> bool:
    """Whether a line ends and the next begins with a digit: two numbers, though a blank may separate thousands."""
    return "\n" in text and _LINES.search(text) is not None


def bare_amount(text: str, hedges: bool = True) -> str:
    """A plain text without an assignment or a hedge before it, and with a minus sign for the word."""
    for _ in range(3):
        before = text
        text = _ASSIGNED.sub("", text, count=1) if _ASSIGNED.match(text) else text
        for pattern in (_STATED, _HEDGED) if hedges else (_STATED,):
            if match := pattern.match(text):
                text = text[match.end() :].lstrip()
        text = plain(text)
        if text == before:
            break
    return _NEGATIVE.sub("-", _ASSIGNED_TO.sub("", text), count=1)


def _number(text: str, unit: Unit | None = None, money: bool = False) -> Amount | None:
    literal = parse_literal(text, money)
    if literal is None and (numeral := parse_numeral(text)) is not None:
        literal = Literal(numeral)
    return None if literal is None else Amount(literal.value, unit, literal.percent, literal.pi)


_CLOCK = re.compile(r"([0-9]{1,3}):([0-5][0-9])(?::([0-5][0-9]))?")


def _measured(text: str) -> Amount | None:
    """An amount and its unit, or with a clock's colons: 1:30 h."""
    amount, unit = split_unit(text)
    if amount == text:
        return None
    amount = bare_amount(plain(amount))
    found = _number(amount, unit, money=text.lstrip("+-\\ ")[:1] in tuple("$€£¥₹₩₽UH"))
    if found is not None:
        return None if found.percent and unit is not None else found
    match = _CLOCK.fullmatch(amount)
    if match and unit is not None and unit.dimension == (("s", 1),) and unit.factor in (60, 3600):
        parts = [Fraction(int(part or 0)) for part in match.groups()]
        return Amount(parts[0] + parts[1] / 60 + parts[2] / 3600, unit)
    return None


_PIECE = re.compile(r"[0-9]+(?:[.,][0-9]+)*|°|''|['\"]|[A-Za-zµ]+|[\u4e00-\u9fff]+|[ ,]+|\.")
_DIGIT = re.compile("[0-9]")


def _compound(text: str) -> Amount | None:
    """Several units of one kind, from large to small, as one quantity in the smallest: 1 h 30 min, 5 ft 3 in, 5'3"."""
    negative, text = text.startswith("-"), text.lstrip("-").lstrip()
    text = (
        text.replace("{\\circ}", "\\circ")
        .replace("^\\circ", "°")
        .replace("\u2032", "'")
        .replace("\u2033", "''")
    )
    text = _BLANKS.sub(" ", _TEXT.sub(r" \1 ", text)).replace("^{'}", "'").replace("\\prime", "'")
    pieces = [piece[0] for piece in _PIECE.finditer(text)]
    if len(text) > 80 or "".join(pieces) != text:
        return None
    found: list[tuple[Fraction, Unit]] = []
    amount: list[str] = []
    for piece in (piece.strip(" ,.") or " " for piece in pieces):
        unit = _piece_unit(piece, found[0][1] if found else None) if amount else None
        if unit is None:
            amount += [piece] if piece != " " and (amount or piece.lower() != "and") else []
            continue
        number = _number(" ".join(amount))
        if number is None or number.percent or number.pi or number.value < 0:
            return None
        found.append((number.value, unit))
        amount = []
    return None if amount else _sum(found, negative)


def _piece_unit(piece: str, first: Unit | None) -> Unit | None:
    if piece in ("'", '"', "''"):
        if first == DEGREE:
            return read_unit("arcmin" if piece == "'" else "arcsec")
        return read_unit("ft" if piece == "'" else "in")
    if piece.lower() in VOCABULARY or piece.lower() == "and":
        return None
    return read_unit(piece)


def _sum(parts: list[tuple[Fraction, Unit]], negative: bool) -> Amount | None:
    if not 2 <= len(parts) <= 4:
        return None
    smallest = parts[-1][1]
    for (_, larger), (amount, unit) in pairwise(parts):
        if not unit.same_kind(larger) or unit.offset or unit.pi != larger.pi or unit.factor >= larger.factor:
            return None
        if amount * unit.factor >= larger.factor * 10:
            return None
    total = sum((amount * unit.factor for amount, unit in parts), Fraction(0)) / smallest.factor
    return Amount(-total if negative else total, smallest)


#: Words after a number that say something about it, or another number: then it is no plain count.
_NO_NOUNS = (
    frozenset(
        """or and not no nor but neither either none nothing wrong incorrect false true right correct squared cubed square
    cubic less fewer greater least most than almost nearly minus plus over under above below between to through until
    except without versus vs if unless maybe perhaps possibly probably likely unsure unknown guess approximately about
    roughly around is are was were be been isn aren wasn isn't aren't wasn't cannot can't can could may might should
    would will won't never rather instead actually wait hmm otherwise also both all any another other others else
    pi theta alpha beta sqrt root sin cos tan log ln exp mod modulo infinity inf factorial power raised divided
    multiplied too many much few enough short several added subtracted remainder double triple twice first second-guess double-check percent per-cent
    equals equal solution answer answers option choice undefined impossible invalid error half-way plus-or-minus
    maximum minimum max min inclusive exclusive onwards onward upwards upward up down off""".split()  # noqa: SIM905
    )
    | VOCABULARY
)
#: After a unit these go on with what was measured; anything else makes the whole a noun ("5 pound cakes").
_GOES_ON = frozenset(
    """of tall long wide high deep thick old away apart each per in by a an the from longer taller wider higher deeper
    older farther further more late early left remaining total altogether ago earlier later long""".split()  # noqa: SIM905
)
_NOUN = re.compile(
    r"(.*[0-9)}%]) ?-?(?:\(?([A-Za-z][A-Za-z']{1,19}(?:[ -][A-Za-z']{1,20}){0,5})\)?|([\u4e00-\u9fff]{1,8}))",
    re.DOTALL,
)
_PART_OF = re.compile(r"(?:of )?(?:an?|one) ([a-z]{1,20}(?: [a-z]{1,20}){0,2})")
_NO_CHINESE_NOUNS = CHINESE_NUMERALS | frozenset("或和与及不非没至到错多余倍分之以左右约")


def _counted(text: str) -> Amount | None:
    """A number and what it counts: 5 apples, five red cars, 12 meters tall, 5个."""
    text = " ".join(_BLANKS.sub(" ", _TEXT.sub(r" \1 ", text)).split())
    if not text:
        return None
    match = _NOUN.fullmatch(text)
    if match is None and "\u4e00" <= text[0] <= "\u9fff":
        return _counted_in_chinese(text)
    if match is None:
        return _counted_in_words(text)
    head, words, chinese = match[1], match[2], match[3]
    if chinese:
        found = None if set(chinese) & _NO_CHINESE_NOUNS else _number(head) or _measured(head)
        return found and found._replace(noun=chinese)
    if text[len(head) : len(head) + 1] not in " -(" and len(words) < 3:
        return None  # 5th, 5xy
    following = re.split("[ -]", words)
    if following[0].lower() in MAGNITUDES:
        head = f"{head} {following.pop(0)}"
    return _of(_number(head) or _measured(head) or _compound(head), following)


def _counted_in_words(text: str) -> Amount | None:
    words = text.split(" ")
    for length in range(min(len(words) - 1, 8), 0, -1):
        value = parse_numeral(" ".join(words[:length]))
        if value is not None:
            return _of(Amount(value), words[length:])
    return None


def _counted_in_chinese(text: str) -> Amount | None:
    """五个苹果: the longest number that the text begins with."""
    for length in range(min(len(text) - 1, 12), 0, -1):
        value = parse_numeral(text[:length])
        if value is not None:
            noun = text[length:]
            return None if len(noun) > 8 or set(noun) & _NO_CHINESE_NOUNS else Amount(value, noun=noun)
    return None


def _of(found: Amount | None, words: list[str]) -> Amount | None:
    """The quantity, if the words are only what it counts; a unit may come first: 12 meters tall."""
    if found is None or not 0 < len(words) <= 6:
        return found if not words else None
    low = [word.lower() for word in words]
    if found.unit is None and (part := _PART_OF.fullmatch(" ".join(low))) and (unit := read_unit(part[1])):
        return found._replace(unit=unit)  # half an hour
    for length in range(len(words) - 1, 0, -1):
        unit = read_unit(" ".join(words[:length])) if found.unit is None and not found.percent else None
        if unit is not None and len(words[0]) > 1 and words[length].lower() in _GOES_ON:
            found, low = found._replace(unit=unit), low[length:]
            break
    return found._replace(noun=" ".join(low)) if _is_noun(low) else None


def _is_noun(words: list[str]) -> bool:
    """Whether words only name something; "people per square mile" does too."""
    if "per" in words[:-1]:
        divisor = " ".join(words[words.index("per") + 1 :])
        words = words[: words.index("per")] if read_unit(divisor) else words
    if any(word in _NO_NOUNS or (len(word) < 2 and word != "a") for word in words):
        return False
    linked = len(words) <= 3 or bool({"of", "per", "in", "each"} & set(words))
    return linked and "times" not in words[:-1] and all(word.replace("'", "").isalpha() for word in words)


def names_a_unit(noun: str) -> bool:
    """Whether a counted noun holds a unit: then it is not the noun of an amount in another unit."""
    return any(read_unit(word) is not None for word in noun.split() if len(word) > 1 and word not in _GOES_ON)
