"""Words and short phrases: equal after case, articles, hyphens, punctuation, regular plurals and number words.

Yes, true and y are the same answer, and no, false and n; a reply that begins with one of them may go on ("Yes, it
is") unless it goes on with the other. Words are never compared as substrings. Synonyms, other inflection and lists in
another order are left out.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from ladder.records import Reference
from ladder.verify.numerals import parse_numeral
from ladder.verify.plurals import singular
from ladder.verify.policy import Policy
from ladder.verify.rule import Judgement, Rule, UnverifiableGold
from ladder.verify.text import plain

_ARTICLES = frozenset(("a", "an", "the"))
#: Words before an article; elsewhere "a" may be a name (vitamin A).
_BEFORE_ARTICLES = frozenset(
    [
        "of",
        "in",
        "on",
        "with",
        "and",
        "is",
        "are",
        "at",
        "to",
        "by",
        "for",
        "from",
        "near",
        "like",
        "as",
        "under",
        "over",
        "behind",
    ]
)
_COMMAND = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s?\{([^{}]{0,200})\}")
_FORMULA = re.compile(r"(?<!\\)\$([^$]{1,200})\$")
_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])")
#: Punctuation between digits has a meaning: 3.5, 2:3, 3,5.
_DROPPED = re.compile(r"(?<!\d)[.,:]|[.,:](?!\d)|['\"`;!?()\[\]*]|\\[,;! ]")
_JOINERS = re.compile(r"_|-(?!\d)|(?<=\w)-")
_MAX_NUMERAL = 12  # words
_AMERICAN = dict(
    pair.split("/")
    for pair in [
        "grey/gray",
        "colour/color",
        "coloured/colored",
        "centre/center",
        "metre/meter",
        "litre/liter",
        "theatre/theater",
        "fibre/fiber",
        "favourite/favorite",
        "flavour/flavor",
        "neighbour/neighbor",
        "harbour/harbor",
        "labour/labor",
        "honour/honor",
        "behaviour/behavior",
        "vapour/vapor",
        "odour/odor",
        "humour/humor",
        "armour/armor",
        "rumour/rumor",
        "tyre/tire",
        "aluminium/aluminum",
        "aeroplane/airplane",
        "pyjama/pajama",
        "moustache/mustache",
        "jewellery/jewelry",
        "programme/program",
        "kerb/curb",
        "plough/plow",
        "mould/mold",
        "doughnut/donut",
        "yoghurt/yogurt",
        "kilometre/kilometer",
        "centimetre/centimeter",
        "millimetre/millimeter",
        "millilitre/milliliter",
        "catalogue/catalog",
        "dialogue/dialog",
        "defence/defense",
        "licence/license",
        "organisation/organization",
        "sulphur/sulfur",
        "traveller/traveler",
        "okay/ok",
        "sceptical/skeptical",
        "grey-haired/gray-haired",
        "parallelepiped/parallelepiped",
        "first/1st",
        "second/2nd",
        "third/3rd",
        "fourth/4th",
        "fifth/5th",
        "sixth/6th",
        "seventh/7th",
        "eighth/8th",
        "ninth/9th",
        "tenth/10th",
    ]
)
_YES = frozenset(
    ("yes", "true", "y", "yeah", "yep", "\u662f", "\u662f\u7684", "\u5bf9", "\u5bf9\u7684", "\u6b63\u786e")
)
_NO = frozenset(
    ("no", "false", "n", "nope", "\u5426", "\u4e0d", "\u4e0d\u662f", "\u4e0d\u5bf9", "\u9519", "\u9519\u8bef")
)
_REPLY = re.compile(
    r"(yes|true|yeah|yep|no|false|nope)\b(?:\s?[,.;:!-]\s{0,3}|\s(?=(?:it|they|there|this|that|he|she|we|i)\b))(\S.*)",
    re.DOTALL,
)
#: "On the left" is left; articles are gone already.
_PREPOSITION = re.compile(r"\A(?:on|in|at|to) (?!a\b)")
_SUBSCRIPT = re.compile(r"_ ?\{? ?([0-9]{1,3}) ?\}?")
_LOWERED = {0x2080 + digit: str(digit) for digit in range(10)}
_HEDGES = re.compile(
    r"\b(?:or|maybe|perhaps|but|either|neither|depends|unless|however|wait|actually|sorry|correction)\b"
)
_AGAINST = {
    True: re.compile(r"\b(?:no|not|none|never|false|nor|cannot|without|nope|incorrect|wrong)\b|n't\b"),
    False: re.compile(r"\b(?:yes|true|yeah|yep|correct|right)\b"),
}


@lru_cache(maxsize=8192)
def word_key(text: str) -> str:
    """The form in which two words or phrases are equal; a number in words becomes digits."""
    text = unicodedata.normalize("NFC", plain(text)).casefold().translate(_LOWERED)
    if "\\" in text or "$" in text:
        text = _SUBSCRIPT.sub(r"\1", _FORMULA.sub(r"\1", _COMMAND.sub(r"\1", text)))
    text = _THOUSANDS.sub(lambda m: m[0].replace(",", ""), text).replace("&", " and ")
    text = " ".join(_without_articles(text.split()))
    return " ".join(_spelled(_JOINERS.sub(" ", _DROPPED.sub(_blank, text)).split()))


def _blank(match: re.Match[str]) -> str:
    # U.S. is US and St. Paul is St Paul, but "red,blue" is two words.
    return "" if match[0] in ".'`*" else " "


def _without_articles(tokens: list[str]) -> list[str]:
    # Before punctuation goes: in "A, red" the letter is a label.
    kept = []
    for i, token in enumerate(tokens):
        leads = i == 0 or token == "the" or tokens[i - 1] in _BEFORE_ARTICLES
        if token not in _ARTICLES or not leads or not tokens[i + 1 : i + 2] or not tokens[i + 1][0].isalnum():
            kept.append(token)
    return kept


def _spelled(tokens: list[str]) -> list[str]:
    """The words in one spelling: numbers in digits, American, singular."""
    spelled = []
    i = 0
    while i < len(tokens):
        used, digits = _numeral(tokens[i : i + _MAX_NUMERAL])
        spelled.append(digits if used else _one_spelling(tokens[i]))
        i += used or 1
    return spelled


def _one_spelling(token: str) -> str:
    one = singular(_AMERICAN.get(token, token))
    return _AMERICAN.get(one, one)


def _numeral(tokens: list[str]) -> tuple[int, str]:
    """How many of the first tokens are one number in words, and its digits; 0 if none are."""
    run = 0
    while run < len(tokens) and ((tokens[run] in {"and", "a"} and run) or _value(tokens[run])):
        run += 1
    for used in range(run, 0, -1):
        digits = _value(" ".join(tokens[:used]))
        if digits:
            return used, digits
    return 0, ""


@lru_cache(maxsize=4096)
def _value(text: str) -> str:

    value = parse_numeral(text)
    return "" if value is None else str(value)


class Wording(NamedTuple):
    """A gold's key, and what it says where it is a yes or a no."""

    key: str
    boolean: bool | None


def boolean(key: str) -> bool | None:
    """What a word key says, where it is a yes or a no and nothing else."""
    return True if key in _YES else False if key in _NO else None


def _read(reference: Reference, _: Policy) -> Wording:
    key = word_key(reference.gold)
    if not key:
        raise UnverifiableGold("gold_empty")
    return Wording(key, boolean(key))


def _judge(answer: str, gold: Wording, _: Policy) -> Judgement:
    key = word_key(answer)
    if key == gold.key or gold.boolean is None:
        return Judgement(gold.key in {key, _PREPOSITION.sub("", key)}, "word")
    said = {"t": True, "f": False}.get(key) if gold.key in {"true", "false"} else None
    return Judgement((reply(answer) if said is None else said) is gold.boolean, "boolean")


def reply(answer: str) -> bool | None:
    """What an answer says, where it is a yes or a no, or begins with one and does not take it back."""
    said = boolean(word_key(answer))
    if said is not None:
        return said
    match = _REPLY.fullmatch(plain(answer).casefold())
    if match is None or _HEDGES.search(match[2]):
        return None
    said = match[1] in _YES
    return None if _AGAINST[said].search(match[2]) else said


WORD = Rule(_read, _judge)
