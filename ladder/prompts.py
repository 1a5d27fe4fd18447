"""An item becomes chat messages under a named template; the same for scoring, training and evaluation.

Knows nothing of tokens. A template is its text: another wording is another prompt fingerprint, hence other rollouts.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from ladder.digest import fingerprint
from ladder.errors import BadInput
from ladder.records import IMAGE_PLACEHOLDER, Item

Message = dict[str, Any]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PLACEHOLDER = re.compile(re.escape(IMAGE_PLACEHOLDER))


@dataclass(frozen=True)
class Template:
    """How an item is asked: an optional system turn, and an instruction after question and options."""

    name: str
    instruction: str
    system: str | None = None
    images: bool = True  # False asks blind: the same question without its images

    @property
    def fingerprint(self) -> str:
        """Digest of the wording: the name is not part of it."""
        return fingerprint("template-1", {k: v for k, v in asdict(self).items() if k != "name"})


#: The Observe-R1 format; its repository holds no system prompt, so the wording is ours.
_OBSERVE = (
    "First describe what you see that matters for the question in <observe> </observe>, then reason in "
    "<think> </think>, then give only the final answer in <answer> </answer>."
)
#: What R1-V and those that build on it ask for, in the same words as above.
_THINK = "First reason in <think> </think>, then give only the final answer in <answer> </answer>."

TEMPLATES = {
    t.name: t
    for t in (
        Template("observe-think-answer", instruction=_OBSERVE),
        Template("think-answer", instruction=_THINK),
        Template("direct", instruction="Answer at once, with only the final answer in <answer> </answer>."),
        Template("blind", instruction=_OBSERVE, images=False),
        # The short forms that the embedded policy was taught: every prompt token costs it as much as an answer's.
        Template("brief", instruction="Observe, think, answer."),
        Template("brief-direct", instruction="Answer directly."),
        Template("brief-blind", instruction="Observe, think, answer.", images=False),
    )
}


def template(name: str) -> Template:
    """The template of a name; raises BadInput naming those there are."""
    if name not in TEMPLATES:
        raise BadInput(f"no prompt template {name!r}; there are {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def render(item: Item, how: Template) -> list[Message]:
    """Chat messages: images at their placeholders, options as lettered lines, then the instruction."""
    text = "\n".join(part for part in (_with_options(item), how.instruction) if part)
    turns: list[Message] = []
    if how.system:
        turns.append({"role": "system", "content": [{"type": "text", "text": how.system}]})
    turns.append({"role": "user", "content": _parts(text, how.images)})
    return turns


def _with_options(item: Item) -> str:
    lettered = list(zip(LETTERS, item.options, strict=False))
    if lettered and all(_stated(letter, option, item.question) for letter, option in lettered):
        return item.question
    return "\n".join([item.question, *(f"{letter}. {option}" for letter, option in lettered)])


def _stated(letter: str, option: str, question: str) -> bool:
    """Whether a question lists an option itself: "(A) 3 cm", "A: 3 cm"."""
    return re.search(rf"(?<![A-Za-z]){letter}\s?[.:)]\s*{re.escape(option)}", question) is not None


def _parts(text: str, images: bool) -> list[Message]:
    """Text pieces and images in order; a placeholder becomes an image, or nothing when asked blind."""
    pieces = _PLACEHOLDER.split(text)
    parts: list[Message] = []
    for number, piece in enumerate(pieces):
        if number and images:
            parts.append({"type": "image"})
        if piece:
            parts.append({"type": "text", "text": piece})
    return parts
