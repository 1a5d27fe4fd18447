r"""Find the one answer that a response gives, in a documented order.

1. the `<answer>..</answer>` block; several blocks that say different things give no single answer ("conflict");
2. else the last closed `\boxed{}`;
3. else what follows "the answer is", "answer:", "final answer ..." (the last of them);
4. else the last line, if it is short.

Thinking and observing are never searched, and an answer block inside them is none. A closing `</think>` that the
response never opened ends a block that the prompt had opened. Every step is linear in the response's length. Whether
the response keeps a format is left to the reward; what the answer means, to `ladder.verify.compare`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ladder.verify.text import boxes, plain

#: Responses longer than this (characters) are cut at the front: the answer stands at the end.
MAX_RESPONSE = 65_536
#: A last line counts as an answer up to this many characters.
MAX_LINE = 80

_HIDDEN = re.compile(r"<(/?)(think|thinking|observe|observation)\s{0,4}>", re.IGNORECASE)
_ANSWER = re.compile(r"<(/?)answer\s{0,4}>", re.IGNORECASE)
_PHRASE = re.compile(
    r"\b(?:answers?|(?:correct|right)\s{1,3}(?:option|choice))\b(?:\s{1,3}(?:to|for)\b[^.:\n]{0,100}?)?"
    r"\s{0,3}(?:\bis\b|\bare\b|=|:)\s{0,3}:?",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.(?=\s{1,9}[A-Z(])|[,;]?\s(?:because|since|therefore)\b")


@dataclass(frozen=True, slots=True)
class Extracted:
    """An answer and where it stood: answer, boxed, phrase, line; conflict and none have no answer."""

    answer: str | None
    where: str


def extract(response: str) -> Extracted:
    """The answer of a response; of one longer than MAX_RESPONSE only the end is read. Never raises."""
    seen = _visible(response[-MAX_RESPONSE:])
    blocks = _blocks(seen)
    if blocks:
        return _from_blocks(blocks)
    text = _ANSWER.sub("\n", seen)
    for where, find in (("boxed", _last_box), ("phrase", _phrase), ("line", _last_line)):
        answer = find(text)
        if answer is not None:
            return Extracted(answer, where)
    return Extracted(None, "none")


def _visible(text: str) -> str:
    """The text outside thinking and observing."""
    kept: list[str] = []
    opened: dict[
        str, None
    ] = {}  # in order; a name opened twice is open once, as models quote the tags while thinking
    known: set[str] = set()
    last = 0
    for tag in _HIDDEN.finditer(text):
        closing, name = bool(tag[1]), tag[2].lower()
        if not opened:
            kept.append(text[last : tag.start()])
        if not closing:
            opened[name] = None
        elif name in opened:
            while opened.popitem()[0] != name:
                pass
        elif not opened and name not in known:
            kept.clear()
        known.add(name)
        last = tag.end()
    return "".join(kept) + ("" if opened else text[last:])


def _blocks(text: str) -> list[str]:
    """Contents of the closed answer blocks; a tag opened again begins the block anew."""
    found: list[str] = []
    start: int | None = None
    for tag in _ANSWER.finditer(text):
        if not tag[1]:
            start = tag.end()
        elif start is not None:
            found.append(text[start : tag.start()])
            start = None
    return found


def _from_blocks(blocks: list[str]) -> Extracted:
    answers = {plain(answer): answer for answer in map(_unwrapped, reversed(blocks))}
    answers.pop("", None)
    if len(answers) > 1:
        return Extracted(None, "conflict")
    return Extracted(next(iter(answers.values()), ""), "answer")


def _unwrapped(block: str) -> str:
    """An answer block's content without a single box or an introductory phrase."""
    found = list(boxes(block))
    if found:
        # Boxes that disagree stay as they are: several answers, which no comparison accepts.
        return found[-1].strip() if len(set(map(plain, found))) == 1 else block.strip()
    phrase = _phrase(block)
    return block.strip() if phrase is None else phrase


def _last_box(text: str) -> str | None:
    last = None
    for last in boxes(text):  # noqa: B007
        pass
    return last


def _phrase(text: str) -> str | None:
    text = text.replace("**", "")
    for match in reversed(list(_PHRASE.finditer(text))):
        rest = text[match.end() : match.end() + 4 * MAX_LINE].strip()
        if rest:
            return _SENTENCE_END.split(rest.splitlines()[0], maxsplit=1)[0].strip()
    return None


def _last_line(text: str) -> str | None:
    lines = text.strip().splitlines()
    if not lines:
        return None
    line = lines[-1].strip()
    return line if len(line) <= MAX_LINE else None
