r"""Units of measurement: what they measure, how they convert, and how they are taken off an amount.

A unit is read from plain text, LaTeX (`\text{ cm}`, `^{\circ}`, `\frac{m}{s}`) and Chinese, as a symbol with a prefix, a
word, a power, or a product and quotient of those. Left out are nouns that are counted ("apples"), percent, which is a
part of a number, and years in days, which nobody can convert exactly.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache

from ladder.verify import unit_table as table_of
from ladder.verify.numerals import VOCABULARY
from ladder.verify.text import plain, tidy

MAX_UNIT = 80  # characters


@dataclass(frozen=True, slots=True)
class Unit:
    """`x` of it are `x * factor * π**pi + offset` of the base unit of its dimension."""

    dimension: Hashable
    factor: Fraction
    pi: int = 0
    offset: Fraction = Fraction(0)

    def same_kind(self, other: Unit) -> bool:
        """Whether both measure the same, so that one converts into the other."""
        return self.dimension == other.dimension


Dimension = tuple[tuple[str, int], ...]

DEGREE = Unit((("rad", 1),), Fraction(1, 180), pi=1)
RADIAN = Unit((("rad", 1),), Fraction(1))
#: A unit without a name ("24 square units"): it says nothing, so it is taken off and read over.
_UNNAMED = Unit((("unnamed", 1),), Fraction(1))
_POWER_WORDS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "平方": 2, "立方": 3}
_AFTER_POWER = {"squared": 2, "cubed": 3}
#: One letter is more often a variable. These are units after a digit; the second ones only with a blank between.
_ATTACHED = frozenset("mgshLlNJWVAKCFTΩ")
_DETACHED = _ATTACHED | frozenset("tdBHy")
#: Products of letters without any sign; others ("2 m h") are more probably variables.
_LETTERS = re.compile(r"[A-Za-z](?: [A-Za-z])+")
_PRODUCTS = frozenset(("N m", "A h", "W h", "V A", "A s", "N s", "J s", "C m"))
#: Words that are seldom units: only after a digit or a bracket.
_RISKY = frozenset(
    (
        "in",
        "a",
        "as",
        "at",
        "am",
        "pm",
        "us",
        "are",
        "second",
        "my",
        "bit",
        "won",
        "mo",
        "fr",
        "rs",
        "bar",
        "turn",
        "stone",
    )
)

_CURRENCY = re.compile(
    r"(?P<sign>[+-]? ?)(?P<unit>US ?\\?\$|HK ?\\?\$|\\?\$|€|£|¥|₹|₩|₽|\\(?:pounds|euro|yen)(?![A-Za-z])"
    r"|(?:USD|EUR|GBP|CNY|RMB|JPY|Rs\.?)(?![A-Za-z]))[ ~]?(?=[+-]?[\d.\\])",
    re.IGNORECASE,
)


def _dimension(text: str) -> Dimension:
    parts = re.findall(r"([A-Za-z]+)(-?\d+)?", text)
    return tuple(sorted((base, int(power or 1)) for base, power in parts))


def _scaled(unit: Unit, factor: Fraction) -> Unit:
    return Unit(unit.dimension, unit.factor * factor, unit.pi, unit.offset)


@cache
def _symbols() -> dict[str, Unit]:
    """All units by symbol or lower-case word; built once, in the order in which they are defined by each other."""
    table = {base: Unit(((base, 1),), Fraction(1)) for base in table_of.BASES.split()} | {"°": DEGREE}
    for symbol, (dimension, prefixes) in table_of.SI.items():
        _add(table, symbol, Unit(_dimension(dimension), Fraction(1)), prefixes)
    for symbol, (factor, base, prefixes) in table_of.OTHER.items():
        _add(table, symbol, _scaled(_defined(base, table), Fraction(factor)), prefixes)
    for word, symbol in table_of.SI_WORDS.items():
        table |= _plural(word, table[symbol])
        for prefix, exponent in table_of.PREFIX_WORDS.items():
            table |= _plural(prefix + word, _scaled(table[symbol], Fraction(10) ** exponent))
    table |= _plural("month", table["month"])
    for definition in table_of.DEFINED.replace("\n", "|").split("|"):
        names, _, meaning = definition.partition("=")
        factor, _, base = meaning.strip().partition(" ")
        for name in names.split():
            table |= _plural(name, _scaled(_defined(base, table), Fraction(factor)))
    kelvin = table["K"].dimension
    for name, (factor, offset) in table_of.TEMPERATURES.items():
        table[name] = Unit(kelvin, Fraction(factor), offset=Fraction(offset))
    return table | {"unit": _UNNAMED, "units": _UNNAMED, "单位": _UNNAMED}


def _add(table: dict[str, Unit], symbol: str, unit: Unit, prefixes: str) -> None:
    table[symbol] = unit
    for prefix in prefixes.split():
        table[prefix + symbol] = _scaled(unit, Fraction(10) ** table_of.PREFIXES[prefix])


def _plural(word: str, unit: Unit) -> dict[str, Unit]:
    if len(word) < 3 or not word.isascii() or not word.isalpha():
        return {word: unit}
    plural = word + "es" if word.endswith(("ch", "x", "s")) else word + "s"
    return {word: unit, plural: unit} | ({word[:-1] + "ies": unit} if word.endswith(("ry", "ny")) else {})


def _defined(text: str, table: dict[str, Unit]) -> Unit:
    unit = _Reader(text, table).read()
    assert unit is not None, text
    return unit


@cache
def _folded() -> dict[str, Unit]:
    """Units of two letters or more by their name in lower case: CM, Kg, Hours."""
    folded: dict[str, Unit] = {}
    for name, unit in _symbols().items():
        if len(name) > 1 and (name.casefold() not in folded or name.islower()):
            folded[name.casefold()] = unit
    return folded


_TOKEN = re.compile(
    r"(?P<per>/|per(?![A-Za-z])|每)|(?P<times>[·*⋅])|(?P<open>\()|(?P<close>\))"
    r"|(?P<power>\^ ?\{? ?[+-]?\d ?\}?|(?<=[A-Za-zΩ])[23](?![0-9]))"
    r"|(?P<word>°[CF](?![A-Za-z])|°|[A-Za-z]{0,3}\$|[€£¥₹₩₽¢]|[A-Za-zµΩÅ]+(?:-[a-z]+)?)|(?P<cjk>[\u4e00-\u9fff]+)|(?P<blank>[ .]+)"
)
_DEGREES = re.compile(
    r"degrees? (celsius|fahrenheit|centigrade|c|f)(?![a-z])|(?:deg|°) ?([cf])(?![a-z])", re.IGNORECASE
)
_WORD_RUNS = re.compile(
    r"(?<![A-Za-z])(fl)\.? ?(oz|ounces?)(?![A-Za-z])|(?<![A-Za-z])(us) dollars?(?![A-Za-z])|(mm) ?hg|(?<=[a-z]) (?:an?|each|every) (?=[a-z]{2})",
    re.IGNORECASE,
)


class _Reader:
    """One unit phrase, from left to right; every token is looked at once."""

    def __init__(self, text: str, table: dict[str, Unit]) -> None:
        self.table = table
        self.tokens: list[tuple[str, str]] = []
        last = 0
        for match in _TOKEN.finditer(text):
            if match.start() != last:
                self.tokens = []
                return
            last = match.end()
            if match.lastgroup == "cjk":
                self.tokens += _chinese_words(match[0], table)
            elif match.lastgroup and match.lastgroup != "blank":
                self.tokens.append((match.lastgroup, match[0]))
        if last != len(text):
            self.tokens = []

    def read(self) -> Unit | None:
        """The unit if the whole text is one."""
        self.place = 0
        unit = self._quotient(0) if self.tokens else None
        return unit if self.place == len(self.tokens) else None

    def _next(self) -> str:
        return self.tokens[self.place][0] if self.place < len(self.tokens) else ""

    def _quotient(self, depth: int) -> Unit | None:
        """Products with "/" between them: what follows a "/" up to the next is divided by, as in J/kg K."""
        unit = None if self._next() == "per" else self._product(depth)
        if unit is None:
            return None
        while self._next() == "per":
            self.place += 1
            divisor = self._product(depth)
            if divisor is None:
                return None
            unit = _times(unit, _raised(divisor, -1))
        return unit

    def _product(self, depth: int) -> Unit | None:
        unit = self._factor(depth)
        while unit is not None and self._next() in ("times", "word", "open"):
            self.place += self._next() == "times"
            factor = self._factor(depth)
            if factor is None:
                return None
            unit = _times(unit, factor)
        return unit

    def _factor(self, depth: int) -> Unit | None:
        power = 1
        while self._next() == "word" and (more := _POWER_WORDS.get(self._word().casefold())):
            power *= more
            self.place += 1
            if power > 9:
                return None
        unit = self._atom(depth)
        if unit is None:
            return None
        if self._next() == "power":
            power *= int(re.sub(r"[^0-9-]", "", self.tokens[self.place][1]))
            self.place += 1
        elif self._next() == "word" and (more := _AFTER_POWER.get(self._word().casefold())):
            power *= more
            self.place += 1
        return _raised(unit, power)

    def _word(self) -> str:
        return self.tokens[self.place][1]

    def _atom(self, depth: int) -> Unit | None:
        kind = self._next()
        if kind == "open" and depth < 2:
            self.place += 1
            unit = self._quotient(depth + 1)
            if self._next() != "close":
                return None
            self.place += 1
            return unit
        if kind != "word":
            return None
        word = self._word()
        self.place += 1
        unit = self.table.get(word)
        return (
            _folded().get(word.casefold())
            if unit is None and len(word) > 1 and "unit" in self.table
            else unit
        )


def _chinese_words(text: str, table: dict[str, Unit]) -> list[tuple[str, str]]:
    """The longest units first: 平方 and 千米 of 平方千米. A rest that is none makes the whole unreadable."""
    words: list[tuple[str, str]] = []
    while text:
        for length in range(min(4, len(text)), 0, -1):
            word = text[:length]
            if word == "每":
                words.append(("per", word))
            elif word in table or word in _POWER_WORDS:
                words.append(("word", word))
            else:
                continue
            break
        else:
            return [("", text)]
        text = text[length:]
    return words


def _times(a: Unit, b: Unit) -> Unit:
    powers: dict[str, int] = {}
    for unit in (a, b):
        for base, power in unit.dimension:  # type: ignore[attr-defined]
            powers[base] = powers.get(base, 0) + power
    dimension = tuple(sorted((base, power) for base, power in powers.items() if power))
    return Unit(dimension, a.factor * b.factor, a.pi + b.pi)


def _raised(unit: Unit, power: int) -> Unit:
    if power == 1:
        return unit
    dimension = tuple((base, exponent * power) for base, exponent in unit.dimension if power)  # type: ignore[attr-defined]
    return Unit(dimension, unit.factor**power, unit.pi * power)


_TEXT = re.compile(
    r"\\(?:text|textrm|textbf|textit|mathrm|mathbf|mathit|mathsf|rm|operatorname|mbox|unit|si) ?\{((?:[^{}]|\{[^{}]{0,20}\}){0,60})\}"
)
_STYLED = re.compile(r"\{ ?\\rm ([^{}]{1,60})\}")
_NAMED_SIGNS = (
    ("mu", "µ"),
    ("Omega", "Ω"),
    ("degree", "°"),
    ("degrees", "°"),
    ("celsius", "°C"),
    ("circ", "°"),
    ("cdot", "·"),
)
_SIGNS = tuple((re.compile(rf"\\{name}(?![A-Za-z])"), sign) for name, sign in _NAMED_SIGNS)
_SPACES = re.compile(r"\\[,;:! ]|\\(?:quad|qquad|rm|displaystyle|left|right)(?![A-Za-z])|~|\{\}|\\(?=\Z)")
_FRACTION = re.compile(r"\\[dt]?frac ?\{([^{}]{1,40})\}\{([^{}]{1,40})\}")
_DEGREE_SIGN = re.compile(r"\^ ?(?:°|\{ ?° ?\})")
_ALIKE = str.maketrans(
    {
        "\u00b5": "µ",
        "\u03bc": "µ",
        "\u2126": "Ω",
        "\u00ba": "°",
        "\u02da": "°",
        "\u2218": "°",
        "\u2103": "°C",
        "\u2109": "°F",
        "\u22c5": "·",
    }
    | {
        "\u2032": "'",
        "\u2033": "''",
        "⁻": "^-",
        "¹": "^1",
        "²": "^2",
        "³": "^3",
        "\u212b": "Å",
        "∙": "·",
        "•": "·",
    }
    | {"㎝": "cm", "㎜": "mm", "㎞": "km", "㎏": "kg", "㎡": "m^2", "㎥": "m^3", "㎎": "mg", "㎖": "mL"}
)
_MICRO = re.compile("µ (?=[A-Za-z])")
_MARKS = {"'": "ft", '"': "in", "''": "in"}


def _spelled(text: str) -> str:
    """A unit's text without LaTeX."""
    text = _TEXT.sub(r" \1 ", _STYLED.sub(r" \1 ", text.translate(_ALIKE)))
    for pattern, sign in _SIGNS:
        text = pattern.sub(sign, text)
    text = _DEGREE_SIGN.sub("°", _FRACTION.sub(r"(\1)/(\2)", _SPACES.sub(" ", text)))
    text = text.replace("^-^", "^-").replace("\\$", "$")
    text = _DEGREES.sub(lambda found: "°" + (found[1] or found[2])[0].upper(), text)
    text = _WORD_RUNS.sub(
        lambda found: "floz" if found[1] else "usd" if found[3] else "mmhg" if found[4] else " per ", text
    )
    return _MICRO.sub("µ", " ".join(text.split()).strip(" ."))


@lru_cache(maxsize=4096)
def read_unit(text: str) -> Unit | None:
    """The unit that a whole text is ("cm", "$", r"\text{m/s}", "square feet"); None for anything else."""
    if not text or len(text) > MAX_UNIT:
        return None
    text = _spelled(tidy(text))
    return _Reader(text, _symbols()).read() if text else None


_START = re.compile(
    r"(?<![A-Za-z\\])(?:(?=[A-Za-zµΩ\u00b5\u03bc\u2126])|(?=\{? ?\^ ?\{? ?(?:\\circ|[\u2218°])|\{ ?\\rm |\{\} ?\^|\\degree)|(?=[°\u00ba\u02da\u2103\u2109])"
    r"|(?=\\(?:text|textrm|textbf|textit|mathrm|mathbf|mathit|mathsf|rm|operatorname|mbox|mu|Omega|[dt]?frac)(?![A-Za-z]))"
    r"|(?=[$€£¥¢₹₩₽㎝-㎥])|(?=['\"\u2032\u2033])|(?<= )(?=\([A-Za-z°\\])|(?<![\u4e00-\u9fff])(?=[\u4e00-\u9fff])"
    r"|(?<=[零〇一二两三四五六七八九十百千万亿])(?=[\u4e00-\u9fff]))|(?=\\(?:text|mathrm|circ)(?![A-Za-z]))"
)
_STARTS = 24  # places where a unit may begin that are tried
_GAP = re.compile(r"(?: |~|\\[,;:! ]|\\q?quad|\{\}|\\(?![,;:! A-Za-z])){0,20}\Z")
_COMMANDS = re.compile(r"\\[A-Za-z]+")
_RUNS = re.compile(r"[A-Za-z]+")
_FUNCTIONS = frozenset(("sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "and"))
_ENDS = frozenset("0123456789})]|π½⅓⅔¼¾⅛⅜⅝⅞⅕⅖⅗⅘⅙⅚²³%!")
_ENDS_CHINESE = frozenset("零〇一二两三四五六七八九十百千万亿半几")


@lru_cache(maxsize=4096)
def split_unit(text: str) -> tuple[str, Unit | None]:
    r"""An amount and its unit: ("5", cm) of "5 cm", r"5\text{ cm}" or "5 centimeters", ("12.50", $) of "$12.50".

    The text is returned as it is, with None, where it has no unit. A unit without a name is taken off, and is None too:
    ("24", None) of "24 square units".
    """
    bare = _unwrapped(plain(text))
    if len(bare) > 400:
        return text, None
    found = _leading(bare) or _trailing(bare)
    if found is None:
        return text, None
    amount, unit = found
    return amount, None if _is_unnamed(unit) else unit


def _is_unnamed(unit: Unit) -> bool:
    return any(base == "unnamed" for base, _ in unit.dimension)  # type: ignore[attr-defined]


_MATH = re.compile(
    r"\$([^$]{1,200})(?<![-+*/, \\])\$(?= ?[A-Za-z\\°µ\u4e00-\u9fff])|\\\(([^()]{1,200})\\\)(?= ?[A-Za-z\\°µ\u4e00-\u9fff])"
)


def _unwrapped(text: str) -> str:
    """`$5$ cm` without its dollar signs, which are no currency."""
    match = _MATH.match(text)
    return (match[1] or match[2]) + text[match.end() :] if match else text


def _leading(text: str) -> tuple[str, Unit] | None:
    """A currency sign before an amount, which may be followed by its name again or by "per hour"."""
    match = _CURRENCY.match(text)
    if match is None:
        return None
    name = match["unit"].replace("\\", "").replace(" ", "").casefold().rstrip(".")
    unit = read_unit({"pounds": "£", "euro": "€", "yen": "¥"}.get(name, name))
    if unit is None:
        return None
    amount = match["sign"] + text[match.end() :]
    rate = _RATE.search(amount)
    if rate is not None:
        divisor = read_unit(rate[1])
        return (amount[: rate.start()].rstrip(), _times(unit, _raised(divisor, -1))) if divisor else None
    again = None if _MAGNITUDE.search(amount) else _trailing(amount)
    if again is not None and not _is_unnamed(again[1]):
        return again if again[1] == unit else None
    return amount, unit


_MAGNITUDE = re.compile(r"[0-9] ?[kKmMbBtT]\Z")
_RATE = re.compile(r" ?(?:/ ?|(?<![A-Za-z])(?:per|an?|each|every) )([A-Za-z][A-Za-z ]{0,30})\Z")


def _trailing(text: str) -> tuple[str, Unit] | None:
    starts = [match.start() for match in _START.finditer(text, max(1, len(text) - MAX_UNIT))]
    for start in starts[-_STARTS:]:
        unit = read_unit(text[start:])
        if unit is None:
            unit = read_unit(_MARKS.get(text[start:].replace("\u2032", "'").replace("\u2033", '"'), ""))
            if unit is not None and not text[start - 1].isdigit():
                unit = None
        if unit is not None and _follows(text[:start], text[start:]):
            return _GAP.sub("", text[:start]), unit
    return None


def _follows(head: str, suffix: str) -> bool:
    """Whether the text before a unit may be an amount, and the unit no variable or other word."""
    gap = _GAP.search(head)
    assert gap is not None
    amount = head[: gap.start()]
    if not amount:
        return False
    runs = _RUNS.findall(_COMMANDS.sub(" ", amount.rpartition("=")[2]))
    known = all(
        len(run) == 1 or run.casefold() in VOCABULARY | _FUNCTIONS or (len(run) < 5 and run.isupper())
        for run in runs
    )
    if not known:
        known = all(
            run.casefold() in VOCABULARY or read_unit(run) is not None or run == "and" for run in runs
        )
    firm = amount[-1] in _ENDS or amount.endswith("\\pi")
    name = _spelled(suffix)
    if not known or (name.casefold() in _RISKY and not firm):
        return False
    if suffix.startswith("\\") or not re.fullmatch(r"[A-Za-zΩ]|[A-Za-z](?: [A-Za-z])+", name):
        return firm or amount[-1] in _ENDS_CHINESE or amount[-1].isalpha()
    if _LETTERS.fullmatch(name):
        return firm and name in _PRODUCTS
    if suffix.startswith("(") and not gap[0]:
        return False
    numeric = all(run in ("e", "E", "x", "pi") for run in runs)
    return firm and numeric and name in (_DETACHED if gap[0] else _ATTACHED)
