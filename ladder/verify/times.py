"""Times of day: 3:45 PM, 15:45, "quarter to four", noon, 下午3点45分.

A time without am or pm is either of two, except where its hour can only be one of 24. Durations are amounts with a unit
(`ladder.verify.amounts`); dates and time zones are left out.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from ladder.records import Reference
from ladder.verify.numerals import parse_numeral
from ladder.verify.numeric import parse_number
from ladder.verify.policy import Policy
from ladder.verify.rule import Judgement, Rule, UnverifiableGold
from ladder.verify.text import plain

MAX_TIME = 80  # characters
_DAY = 24 * 3600
_HALF = _DAY // 2


class Time(NamedTuple):
    """Seconds after midnight; `either` says that twelve hours later may be meant as well.

    `ratio` is what a text such as 3:10 is otherwise.
    """

    seconds: int
    either: bool = False
    ratio: Fraction | None = None

    def readings(self) -> frozenset[int]:
        """All times of day that may be meant."""
        later = (self.seconds + _HALF) % _DAY
        return frozenset((self.seconds, later) if self.either else (self.seconds,))


_TEXT = re.compile(r"\\(?:text|textrm|mathrm|rm|mbox) ?\{([^{}]{0,30})\}")
_BLANKS = re.compile(r"\\[,;:! ]|\\q?quad(?![a-z])|~")
_LEADING = re.compile(r"(?:(?:at|is|it is|it's|about|around|approximately|exactly|=) ){1,2}|[a-z] ?= ?")
#: What a text says of the half of the day: True for pm.
_HALVES = (
    (re.compile(r" ?\b(?:p\.? ?m\b\.?|(?:in the )(?:afternoon|evening)|at night)"), True),
    (re.compile(r" ?\b(?:a\.? ?m\b\.?|in the morning)"), False),
    (re.compile(r"(?:下午|晚上|傍晚|中午) ?"), True),
    (re.compile(r"(?:上午|早上|凌晨|清晨|早晨) ?"), False),
)
_ATTACHED = re.compile(r"(?<=[0-9])(?=[ap]\.? ?m\b)")
_COLONS = re.compile(
    r"([01]?[0-9]|2[0-4]) ?: ?([0-5][0-9])(?: ?: ?([0-5][0-9]))?(?: ?(?:h|hrs?|hours|o'clock))?"
)
_CHINESE = re.compile(
    r"(?P<hour>[0-9]{1,2}|[零〇一二两三四五六七八九十]{1,3}) ?[点點时時](?:钟|鐘|整)? ?"
    r"(?:(?P<minute>[0-9]{1,2}|[零〇一二三四五六七八九十]{1,3}) ?分?|(?P<part>半|一刻|三刻))?(?: ?(?P<second>[0-9]{1,2}) ?秒)?"
)
_PAST = re.compile(
    r"(?P<minutes>[a-z0-9 -]{1,30}?)(?: minutes?)? (?P<way>past|after|to|before|till|of|until) (?P<hour>[a-z0-9]{1,12})"
)
_PARTS = {"quarter": 15, "a quarter": 15, "half": 30, "half an hour": 30}
_NAMED = {
    "noon": 12,
    "midday": 12,
    "midnight": 0,
    "12 noon": 12,
    "12 midnight": 0,
    "12:00 noon": 12,
    "12:00 midnight": 0,
}
_NAMED |= {"twelve noon": 12, "twelve midnight": 0, "正午": 12, "午夜": 0}


@lru_cache(maxsize=4096)
def read_time(text: str) -> Time | None:
    """The one time of day that a whole text is; None for anything else, and where am and pm contradict the hour."""
    text = plain(text).casefold()
    if not text or len(text) > MAX_TIME:
        return None
    text = text.replace("$", "") if text.count("$") == 2 else text
    text = " ".join(_BLANKS.sub(" ", _TEXT.sub(r" \1 ", text)).split())
    text = _LEADING.sub("", text, count=1) if _LEADING.match(text) else text
    if text in _NAMED:
        return Time(_NAMED[text] * 3600)
    bare, afternoon = _half_of_day(_ATTACHED.sub(" ", text))
    clock = _clock(bare.strip(" ,"), afternoon is not None)
    return None if clock is None else _placed(clock, afternoon)


def _half_of_day(text: str) -> tuple[str, bool | None]:
    found = [(pattern, afternoon) for pattern, afternoon in _HALVES if pattern.search(text)]
    if len(found) != 1:
        return text, None  # with two of them the rest is no time
    pattern, afternoon = found[0]
    return pattern.sub("", text, count=1), afternoon


Clock = tuple[int, int, int, Fraction | None]


def _clock(text: str, halved: bool) -> Clock | None:
    """Hour, minute and second as they are said. An hour alone needs "am" or "o'clock" beside it."""
    if match := _COLONS.fullmatch(text):
        hour, minute = int(match[1]), int(match[2])
        ratio = (
            Fraction(hour, minute)
            if hour and minute and not match[3] and match[1] == str(hour) and not halved
            else None
        )
        return hour, minute, int(match[3] or 0), ratio
    if match := _CHINESE.fullmatch(text):
        return _chinese(match)
    if match := _PAST.fullmatch(text):
        return _past(match)
    words = text.removesuffix("o'clock").removesuffix("o clock").rstrip()
    return _said(words, whole=halved or words != text)


def _chinese(match: re.Match[str]) -> Clock | None:
    numbers = [
        _small(match[name].lstrip("零〇") or "零") if match[name] else 0
        for name in ("hour", "minute", "second")
    ]
    hour, minute, second = numbers
    if hour is None or minute is None or second is None:
        return None
    minute += {"半": 30, "一刻": 15, "三刻": 45}.get(match["part"] or "", 0)
    return (hour, minute, second, None) if hour <= 24 and minute < 60 > second else None


def _past(match: re.Match[str]) -> Clock | None:
    minutes = _PARTS.get(match["minutes"], _small(match["minutes"]))
    hour = {"noon": 12, "midnight": 12}.get(match["hour"], _small(match["hour"]))
    if minutes is None or hour is None or not 0 < minutes < 60 or not 1 <= hour <= 12:
        return None
    if match["way"] in ("past", "after"):
        return hour, minutes, 0, None
    if match["way"] == "of" and minutes == 30:
        return None
    return (hour - 2) % 12 + 1, 60 - minutes, 0, None


def _said(text: str, whole: bool) -> Clock | None:
    """ "three thirty", "seven oh five"; and "three", where something else says that it is an hour."""
    words = text.replace("-", " ").split()
    hour = _small(text)
    if hour is not None:
        return (hour, 0, 0, None) if whole and 1 <= hour <= 12 else None
    first = _small(words[0]) if words else None
    if first is None or not 1 <= first <= 12 or words[0].isdigit():
        return None
    rest = words[1:]
    if rest[:1] in (["oh"], ["o"]) and len(rest) == 2:
        minute = _small(rest[1])
        return (first, minute, 0, None) if minute is not None and 0 < minute < 10 else None
    minute = _small(" ".join(rest))
    return (first, minute, 0, None) if minute is not None and 10 <= minute < 60 else None


def _small(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 2:
        return int(text)
    value = parse_numeral(text)
    return int(value) if value is not None and value.denominator == 1 and 0 <= value < 60 else None


def _placed(clock: Clock, afternoon: bool | None) -> Time | None:
    hour, minute, second, ratio = clock
    if hour == 24 and (minute or second or afternoon is not None):
        return None
    if afternoon is None:
        return Time(hour % 24 * 3600 + minute * 60 + second, 1 <= hour <= 12, ratio)
    if hour > 12:
        return Time(hour * 3600 + minute * 60 + second) if afternoon else None
    if hour == 0 and afternoon:
        return None
    return Time((hour % 12 + 12 * afternoon) * 3600 + minute * 60 + second)


_WORDS = re.compile(
    r"o'? ?clock|noon|midday|midnight|\bpast\b|quarter to|minutes to|half past|(?<![a-z])[ap]\.? ?m\b|[0-9]:[0-5][0-9]"
    r"|[点點时時]|正午|午夜",
    re.IGNORECASE,
)
_DURATION = re.compile(r"[0-9] ?(?:h|hrs?|hours?)\Z")


def looks_like_time(text: str) -> bool:
    """Whether a gold is a time of day rather than anything else: with a colon, am or pm, or in a clock's words."""
    bare = plain(text)
    return bool(_WORDS.search(bare)) and not _DURATION.search(bare) and read_time(bare) is not None


def _read(reference: Reference, _: Policy) -> Time:
    time = (
        read_time(f"{reference.gold} {reference.unit}") if reference.unit else None
    )  # "3:45", and "PM" beside it
    time = time or read_time(reference.gold)
    if time is None:
        raise UnverifiableGold("gold_not_a_time")
    return time


def _judge(answer: str, gold: Time, policy: Policy) -> Judgement:
    time = read_time(answer)
    if time is None:
        same_ratio = gold.ratio is not None and parse_number(answer) == gold.ratio
        return Judgement(same_ratio, "value" if same_ratio else "unreadable")
    if time.either and not gold.either and policy.missing_unit == "reject":
        return Judgement(False, "unit")
    return Judgement(bool(time.readings() & gold.readings()), "time")


TIME = Rule(_read, _judge)
