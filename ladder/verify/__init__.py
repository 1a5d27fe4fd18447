"""The verifier: (response, item) -> verdict. Importing it imports nothing heavy.

`verify` judges in this process and has no time limit for expressions; `ladder.verify.pool` judges many, with one.
Rewards, formats and model judges are left out.
"""

from __future__ import annotations

from functools import cache

from ladder.digest import fingerprint as _fingerprint
from ladder.records import AnswerType, Item, Verdict
from ladder.verify.compare import compare, infer_type, judge
from ladder.verify.extract import Extracted, extract
from ladder.verify.options import option_index, option_letter

__all__ = [
    "VERSION",
    "Extracted",
    "compare",
    "extract",
    "fingerprint",
    "infer_type",
    "judge",
    "renderings",
    "verify",
]

#: Changes whenever any verdict may.
VERSION = "1"

_LIBRARIES = ("math-verify", "latex2sympy2_extended", "sympy")


def verify(response: str, item: Item) -> Verdict:
    """The verdict on a response. Never raises, whatever the text; may never end for a hostile expression."""
    return judge(extract(response), item.gold, item.options, item.answer_type)


@cache
def fingerprint() -> str:
    """Identifies what decides verdicts: this verifier's version and those of the libraries it asks."""
    from importlib.metadata import version

    return _fingerprint("verifier-1", {"verifier": VERSION} | {name: version(name) for name in _LIBRARIES})


def renderings(item: Item) -> list[str]:
    """The gold as responses that a right answer could look like; a usable gold is correct in all of them."""
    return list(dict.fromkeys(form for gold in _golds(item) for form in _forms(gold)))


def _golds(item: Item) -> list[str]:
    index = option_index(item.gold, item.options) if item.answer_type is AnswerType.OPTION else None
    if index is None:
        return [item.gold]
    letter = option_letter(index)
    return [letter, item.options[index], f"({letter}) {item.options[index]}"]


def _forms(gold: str) -> list[str]:
    forms = [f"<answer>{gold}</answer>", f"<think>It is seen.</think>\n<answer>\n{gold}\n</answer>"]
    if gold.count("{") == gold.count("}"):
        forms.append(f"So \\boxed{{{gold}}}")
    if "\n" not in gold and ". " not in gold:
        forms.append(f"It is seen. The answer is {gold}.")
    return forms
