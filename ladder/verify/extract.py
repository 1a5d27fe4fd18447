r"""Find the one answer that a response gives, in a documented order (docs/verifier.md).

1. the `<answer>..</answer>` block; several blocks that say different things give no single answer ("conflict");
2. else the last `\boxed{}`, or the boxes that directly follow each other there;
3. else what follows the last final-answer phrase (`ladder.verify.phrases`);
4. else the last line, if it is short; of a long one the last sentence, or what that states.

Thinking and observing are never searched, and an answer block inside them is none. A closing `</think>` that the
response never opened ends a block that the prompt had opened. Every step is linear in the response's length. Whether
the response keeps a format is left to the reward; what the answer means, to `ladder.verify.compare`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from ladder.verify.numeric import parse_number
from ladder.verify.phrases import after_phrase, last_sentence, narrow
from ladder.verify.policy import DEFAULT, Policy
from ladder.verify.text import Box, boxes, plain
from ladder.verify.units import split_unit

__all__ = ["MAX_LINE", "MAX_RESPONSE", "Extracted", "extract", "narrow"]

#: Responses longer than this (characters) are cut at the front: the answer stands at the end.
MAX_RESPONSE = 65_536
#: A last line counts as an answer up to this many characters.
MAX_LINE = 80
#: A last formula over several lines counts up to this many.
_MAX_DISPLAY = 320
#: What follows an answer tag that is never closed is an answer up to this many.
_MAX_UNCLOSED = 1_000

_HIDDEN = re.compile(r"<(/?)(think|thinking|observe|observation)\s{0,4}>", re.IGNORECASE)
_ANSWER = re.compile(r"<\s{0,4}(/?)\s{0,4}answer(?:\s[^<>]{0,100})?>", re.IGNORECASE)
#: What may stand between boxes that are parts of one answer.
_BETWEEN_BOXES = re.compile(
    r"(?:[\s,;&$]|\\(?:[,;:! ()\[\]]|q?quad(?![A-Za-z]))|\band\b|\bor\b|\\text\s?\{\s{0,4}(?:and|or)\s{0,4}\}|[\u548c\u4e0e\u6216\u3001\uff0c\uff1b])*"
)
_MAX_BETWEEN = 40
_AFTER_BOX = re.compile(
    r"[ $]{0,3}((?:\\[,; ]|~){0,2}(?:\\text\s?\{[^{}]{1,20}\}|[^\s${},.;]{1,20}))(?=[$.,;)]|\s{0,3}(?:\n|\Z))"
)
#: Blanks for units, but words in prose.
_NO_UNITS = frozenset(("in", "a", "A"))


@dataclass(frozen=True, slots=True)
class Extracted:
    """An answer and where it stood: answer, boxed, phrase, line; conflict and none have no answer."""

    answer: str | None
    where: str


def extract(response: str, policy: Policy = DEFAULT) -> Extracted:
    """The answer of a response; of one longer than MAX_RESPONSE only the end is read. Never raises."""
    # A swallowed escape ("\\f" read as a form feed) is put back before blanks are taken off.
    seen = _visible(response[-MAX_RESPONSE:].replace("\x0crac", "\\frac"))
    blocks, outside, unclosed = _blocks(seen)
    if policy.format == "strict":
        kept = len(blocks) == 1 and unclosed is None and not outside.strip()
        return Extracted(_unwrapped(blocks[0]), "answer") if kept else Extracted(None, "none")
    if unclosed is not None and unclosed.strip() and len(unclosed) <= _MAX_UNCLOSED:
        blocks.append(unclosed)
    if blocks:
        return _from_blocks(blocks)
    text = _ANSWER.sub("\n", seen)
    for where, find in (("boxed", _last_boxes), ("phrase", after_phrase), ("line", _last_line)):
        answer = find(text)
        if answer is not None:
            return Extracted(answer, where)
    return Extracted(None, "none")


def _visible(text: str) -> str:
    """The text outside thinking and observing."""
    kept: list[str] = []
    # In order; a name opened twice is open once, as models quote the tags while thinking.
    opened: dict[str, None] = {}
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


def _blocks(text: str) -> tuple[list[str], str, str | None]:
    """Contents of the closed answer blocks, all text outside of them, and what follows a tag that is never closed.

    A tag opened again begins the block anew.
    """
    found: list[str] = []
    outside: list[str] = []
    start: int | None = None
    last = 0
    for tag in _ANSWER.finditer(text):
        if not tag[1]:
            outside.append(text[last : tag.start()])
            start = last = tag.end()
        elif start is not None:
            found.append(text[start : tag.start()])
            start, last = None, tag.end()
    unclosed = None if start is None else text[start:]
    return found, "".join(outside) + text[last:], unclosed


def _from_blocks(blocks: list[str]) -> Extracted:
    answers = {plain(answer): answer for answer in map(_unwrapped, reversed(blocks))}
    answers.pop("", None)
    if len(answers) > 1:
        return Extracted(None, "conflict")
    return Extracted(next(iter(answers.values()), ""), "answer")


def _unwrapped(block: str) -> str:
    """An answer block's content without its boxes or an introductory phrase."""
    groups = _grouped(block)
    if groups:
        answers = [_joined(block, group) for group in groups]
        # Boxes that disagree stay as they are: several answers, which no comparison accepts.
        return answers[-1].strip() if len(set(map(plain, answers))) == 1 else block.strip()
    phrase = after_phrase(block)
    return block.strip() if phrase is None else phrase


def _last_boxes(text: str) -> str | None:
    groups = _grouped(text)
    return _joined(text, groups[-1]) if groups else None


def _grouped(text: str) -> list[list[Box]]:
    """The boxes of a text, those together that directly follow each other."""
    groups: list[list[Box]] = []
    for box in boxes(text):
        between = text[groups[-1][-1].end : box.start] if groups else ""
        if groups and len(between) <= _MAX_BETWEEN and _BETWEEN_BOXES.fullmatch(between):
            groups[-1].append(box)
        else:
            groups.append([box])
    return groups


def _joined(text: str, group: list[Box]) -> str:
    """One answer of boxes that follow each other; a box that only repeats the one before is the same answer."""
    answer = _with_unit(text, group[0])
    for last, box in pairwise(group):
        between = text[last.end : box.start]
        if not between.strip(" \n$") and plain(last.content) == plain(box.content):
            continue
        answer += (" or " if "or" in between or "或" in between else ", ") + _with_unit(text, box)
    return answer


def _with_unit(text: str, box: Box) -> str:
    r"""A box's content; a number together with the unit that follows its box (`\boxed{5}\text{ cm}`)."""
    after = _AFTER_BOX.match(text, box.end)
    if after is None or plain(after[1]) in _NO_UNITS or parse_number(box.content) is None:
        return box.content
    joined = f"{box.content} {after[1]}" if after[1].strip("\\%°") else f"{box.content}{after[1]}"
    rest, unit = split_unit(joined)
    known = unit is not None and plain(rest) == plain(box.content)
    return joined if known or plain(after[1]) in {"%", "\\%"} else box.content


def _last_line(text: str) -> str | None:
    text = text.strip()
    for opening, closing in (("$$", "$$"), ("\\[", "\\]")):
        body = text.removesuffix(".").rstrip()
        start = body.rfind(opening, 0, len(body) - len(closing))
        if body.endswith(closing) and start >= 0 and "\n" in body[start:]:
            line = " ".join(body[start:].split())
            return line if len(line) <= _MAX_DISPLAY else None
    line = text.rsplit("\n", 1)[-1].strip()
    if len(line) > MAX_LINE:
        line = last_sentence(line)
    if len(line) > MAX_LINE:
        line = narrow(line)
    return line if line and len(line) <= MAX_LINE else None
