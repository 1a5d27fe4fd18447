"""Numbers written in words: English ("one hundred and five", "two thirds", "half a dozen") and Chinese (一百零五, 三分之一).

A text is read only if the whole of it is one number. Ordinals other than denominators, vague amounts ("a couple", "several")
and colloquial short forms (一百二 for 120) are left out, and so is anything with digits: see `ladder.verify.literals`.
"""

from __future__ import annotations

import re
from fractions import Fraction

MAX_NUMERAL = 200  # characters

_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_SMALL = {word: value for value, word in enumerate(_UNITS.split())} | {"fourty": 40, "ninty": 90}
_SMALL |= {word: 10 * value for value, word in enumerate(_TENS.split(), start=2)}
_ENGLISH_SCALES = {
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "quadrillion": 10**15,
}
_DENOMINATORS = {"half": 2, "halves": 2, "quarter": 4, "twentieth": 20, "hundredth": 100, "thousandth": 1000}
_DENOMINATORS |= {word: value for value, word in enumerate(_ORDINALS.split(), start=3)}
_DENOMINATORS |= {word + "s": value for word, value in _DENOMINATORS.items() if not word.endswith("s")}

#: What a number may be multiplied with: "3 thousand", "1.2 billion", "2 dozen", 5万.
MAGNITUDES = {"hundred": 100, "dozen": 12, "score": 20} | _ENGLISH_SCALES
MAGNITUDES |= {word + "s": value for word, value in MAGNITUDES.items() if word != "score"}
#: All words that belong to numbers; a text that ends in one is no plain noun.
VOCABULARY = (
    frozenset(_SMALL) | frozenset(MAGNITUDES) | frozenset(_DENOMINATORS) | {"point", "minus", "negative"}
)

_CHINESE_DIGITS = {c: value for value, c in enumerate("〇一二三四五六七八九")}
_CHINESE_DIGITS |= {c: value for value, c in enumerate("零壹贰叁肆伍陆柒捌玖")} | {
    "两": 2,
    "兩": 2,
    "貳": 2,
    "參": 3,
}
_CHINESE_TENS = {"十": 10, "百": 100, "千": 1000, "拾": 10, "佰": 100, "仟": 1000}
CHINESE_SCALES = {"万": 10**4, "亿": 10**8, "萬": 10**4, "億": 10**8}
CHINESE_MAGNITUDES = {
    "十": 10,
    "百": 100,
    "千": 1000,
    "百万": 10**6,
    "千万": 10**7,
    "百萬": 10**6,
    "千萬": 10**7,
}
CHINESE_MAGNITUDES |= CHINESE_SCALES
#: All characters that belong to Chinese numbers.
CHINESE_NUMERALS = frozenset(_CHINESE_DIGITS) | frozenset(_CHINESE_TENS) | frozenset(CHINESE_SCALES) | {"半"}
_CHINESE = re.compile(rf"[{''.join(CHINESE_NUMERALS)}点點分之又负負]+")
_ZERO = "零〇"
_DIGIT = f"[{''.join(set(_CHINESE_DIGITS) - set(_ZERO))}]"
_GROUP = re.compile(
    rf"(?:(?P<thousands>{_DIGIT})[千仟])?(?:[{_ZERO}]?(?P<hundreds>{_DIGIT})[百佰])?"
    rf"(?:[{_ZERO}]?(?P<tens>{_DIGIT}?)[十拾])?(?P<zero>[{_ZERO}])?(?P<ones>{_DIGIT})?"
)
_ENGLISH = re.compile(r"[a-z]+(?:[ -][a-z]+)*")


def parse_numeral(text: str) -> Fraction | None:
    """The value of a text that is a number in words and nothing else."""
    text = " ".join(text.split()).casefold()
    if not text or len(text) > MAX_NUMERAL:
        return None
    if _CHINESE.fullmatch(text):
        return _signed_chinese(text)
    if _ENGLISH.fullmatch(text):
        return _signed_english(re.split("[ -]", text))
    return None


def _signed_english(words: list[str]) -> Fraction | None:
    if words[0] in ("minus", "negative"):
        value = _english(words[1:])
        return None if value is None else -value
    return _english(words)


def _english(words: list[str]) -> Fraction | None:
    """A number without a sign: whole, with decimals, a fraction or a mixed number."""
    if not words:
        return None
    if words[-1] in _DENOMINATORS:
        return _english_fraction(words)
    if words[-1] in ("dozen", "dozens", "score"):
        return _english_dozens(words[:-1], MAGNITUDES[words[-1]])
    if "point" in words:
        return _english_decimal(words)
    return _english_whole(words)


def _english_dozens(words: list[str], size: int) -> Fraction | None:
    if words[-1:] == ["a"] and len(words) > 1:  # half a dozen
        words = words[:-1]
    count = Fraction(1) if words in ([], ["a"]) else _english(words)
    return None if count is None else count * size


def _english_decimal(words: list[str]) -> Fraction | None:
    place = words.index("point")
    whole = _english_whole(words[:place]) if place else Fraction(0)
    digits = [0 if word == "oh" else _SMALL.get(word, 10) for word in words[place + 1 :]]
    scale = 1
    if words[-1] in _ENGLISH_SCALES:  # one point two million
        scale = _ENGLISH_SCALES[words[-1]]
        digits.pop()
    if whole is None or not digits or max(digits) > 9:
        return None
    return scale * (whole + Fraction(int("".join(map(str, digits))), 10 ** len(digits)))


def _english_fraction(words: list[str]) -> Fraction | None:
    """The last word is a denominator: "half", "two thirds", "one and a half", "two and three quarters"."""
    bottom, top = _DENOMINATORS[words[-1]], words[:-1]
    if "and" in top:
        last = len(top) - 1 - top[::-1].index("and")
        count, before = _top(top[last + 1 :]), _english_whole(top[:last])
        if count is not None and before is not None and 0 < count < bottom:
            return before + count / bottom
    if not top and words[-1] not in ("half", "quarter"):
        return None  # "fifth" alone is a place in an order
    count = _top(top)
    if count is None or (count == 1) == words[-1].endswith("s"):
        return None  # "twenty-fifth" too
    return count / bottom


def _top(words: list[str]) -> Fraction | None:
    return Fraction(1) if words in ([], ["a"], ["an"]) else _english_whole(words)


def _english_whole(words: list[str]) -> Fraction | None:
    """Groups below a thousand, each with a smaller scale than the one before; the last has none."""
    total, group, limit = 0, [], 10**18
    for word in words:
        scale = _ENGLISH_SCALES.get(word)
        if scale is None:
            group.append(word)
            continue
        value = 1 if group in (["a"], []) and not total else _below_thousand(group)
        if value is None or not value or scale >= limit:
            return None
        total, group, limit = total + value * scale, [], scale
    if group[:1] == ["and"] and total:
        group = group[1:]
        if not group:
            return None
    last = 0 if not group and total else _below_thousand(group)
    if last is None or (total and group and (not last or last >= limit)):
        return None
    return Fraction(total + last)


def _below_thousand(words: list[str]) -> int | None:
    if "hundred" not in words:
        return _below_hundred(words)
    place = words.index("hundred")
    hundreds = 1 if words[:place] in ([], ["a"]) else _below_hundred(words[:place])
    rest = words[place + 1 :]
    if rest[:1] == ["and"]:
        rest = rest[1:] or ["and"]
    below = _below_hundred(rest) if rest else 0
    if not hundreds or below is None or (rest and not below):
        return None
    return 100 * hundreds + below


def _below_hundred(words: list[str]) -> int | None:
    values = [_SMALL.get(word) for word in words]
    if len(values) == 1:
        return values[0]
    if len(values) == 2 and None not in values:
        tens, unit = int(values[0] or 0), int(values[1] or 0)
        return tens + unit if tens >= 20 and 0 < unit < 10 else None
    return None


def _signed_chinese(text: str) -> Fraction | None:
    value = _chinese(text.lstrip("负負")) if len(text) - len(text.lstrip("负負")) <= 1 else None
    return -value if value is not None and text[0] in "负負" else value


def _chinese(text: str) -> Fraction | None:
    if text in ("半", "一半"):
        return Fraction(1, 2)
    if "分之" in text:
        return _chinese_fraction(text)
    whole, point, decimals = text.replace("點", "点").partition("点")
    if not point:
        value = _chinese_whole(whole)
        return None if value is None else Fraction(value)
    digits = [_CHINESE_DIGITS.get(c) for c in decimals]
    value = _chinese_whole(whole)
    if value is None or not digits or None in digits:
        return None
    return value + Fraction(int("".join(map(str, digits))), 10 ** len(digits))


def _chinese_fraction(text: str) -> Fraction | None:
    before, mixed, fraction = text.rpartition("又")
    bottom, _, top = fraction.partition("分之")
    whole = _chinese_whole(before) if mixed else 0
    values = _chinese_whole(bottom), _chinese_whole(top)
    if whole is None or values[0] is None or values[1] is None or not values[0]:
        return None
    return whole + Fraction(values[1], values[0])


def _chinese_whole(text: str) -> int | None:
    """A whole number: digits one by one (二〇二六), or groups of four places with 万 and 亿 between them."""
    if len(text) > 1 and all(c in _CHINESE_DIGITS for c in text):
        if text[0] in _ZERO or (len(text) == 2 and text[1] not in _ZERO):
            return None  # 五六 is "five or six"
        return int("".join(str(_CHINESE_DIGITS[c]) for c in text))
    parts = re.split(f"([{''.join(CHINESE_SCALES)}])", text)
    total, limit = 0, 10**12
    for group, scale_sign in zip(parts[::2], [*parts[1::2], ""], strict=True):
        scale = CHINESE_SCALES.get(scale_sign, 1)
        if not group and scale == 1 and total:
            break
        value = _chinese_group(group, first=not total)
        if value is None or scale >= limit or (value == 0 and (total or scale > 1)):
            return None
        total, limit = total + value * scale, scale
    return total


def _chinese_group(text: str, first: bool) -> int | None:
    """A number below ten thousand: each place at most once, from the highest; 零 may stand for places left out."""
    match = _GROUP.fullmatch(text)
    if match is None or not text:
        return None
    thousands, hundreds, tens, zero, ones = (
        match["thousands"],
        match["hundreds"],
        match["tens"],
        match["zero"],
        match["ones"],
    )
    if first and (text[0] in _ZERO and text[1:]):
        return None
    # 一百二 and 三万五 say 120 and 35000 in speech, and nobody can be sure: the place or 零 must be written.
    if zero and not ones and len(text) > 1:
        return None
    if ones and not zero and tens is None and (thousands or hundreds or not first):
        return None
    digits = [_CHINESE_DIGITS[digit] if digit else 0 for digit in (thousands, hundreds, tens, ones)]
    if tens == "":
        digits[2] = 1  # 十二
    return int("".join(map(str, digits)))
