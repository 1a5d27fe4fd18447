"""Words and short phrases: equal after case, leading article, hyphens and outer punctuation; never as substrings.

Synonyms, inflection and lists in another order are left out. Yes, no, true and false are words like any other.
"""

from __future__ import annotations

from ladder.verify.rule import Judgement, Options, Rule, UnverifiableGold
from ladder.verify.text import plain

_ARTICLES = ("a ", "an ", "the ")
_JOINERS = str.maketrans("_-", "  ")


def word_key(text: str) -> str:
    """The form in which two words are equal."""
    key = " ".join(plain(text).casefold().translate(_JOINERS).strip(" .,;:!?\"'").split())
    for article in _ARTICLES:
        if key.startswith(article):
            return key.removeprefix(article)
    return key


def _read(gold: str, _: Options) -> str:
    key = word_key(gold)
    if not key:
        raise UnverifiableGold("gold_empty")
    return key


def _judge(answer: str, gold: str, _: Options) -> Judgement:
    return Judgement(word_key(answer) == gold, "word")


WORD = Rule(_read, _judge)
