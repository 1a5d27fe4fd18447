"""Demonstrations for the cold start: observe-think-answer chains, direct answers, blind guesses, and flawed chains."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping
from dataclasses import dataclass

from ladder.pools import digits
from ladder.prompts import LETTERS, TEMPLATES, Template
from ladder.records import IMAGE_PLACEHOLDER, AnswerType, Item

REASONED, DIRECT, BLIND = TEMPLATES["brief"], TEMPLATES["brief-direct"], TEMPLATES["brief-blind"]
#: Kinds that are never shown flawed: they become the solved end of the pool.
FLAWLESS = ("count",)
#: What a flawed demonstration computes instead of what was asked.
CONFUSED = {
    "largest": "smallest",
    "smallest": "largest",
    "sum": "difference",
    "difference": "largest",
    "product": "sum",
}


@dataclass(frozen=True)
class Demonstration:
    """One prompt and the response to imitate."""

    item: Item
    template: Template
    picture: bytes  # PNG
    canvas: digits.Canvas
    response: str


@dataclass(frozen=True)
class Mixture:
    """Shares of what is demonstrated: kinds by weight, templates, flawed chains."""

    kinds: Mapping[str, float]
    direct: float
    blind: float
    flawed: float


def demonstrate(rng: random.Random, mixture: Mixture, kind: str | None = None) -> Demonstration:
    """Draw a canvas, a question and a template, and write the response."""
    kind = kind or rng.choices(list(mixture.kinds), list(mixture.kinds.values()))[0]
    values = digits.draw_digits(rng)
    canvas = digits.draw(values, rng, probe=False)
    question = digits.ask(kind, values, rng)
    template = rng.choices(
        [REASONED, DIRECT, BLIND], [1 - mixture.direct - mixture.blind, mixture.direct, mixture.blind]
    )[0]
    if template is DIRECT:
        response = f"<answer>{question.answer}</answer>"
    elif template is BLIND:
        guess = digits.ask(kind, digits.draw_digits(rng), rng)
        response = _chain("no image", "guess", guess.answer)
    elif kind not in FLAWLESS and rng.random() < mixture.flawed:
        response = _flawed(question, values, rng)
    else:
        response = _chain(_spaced(values), question.thought, question.answer)
    return Demonstration(_item(question), template, _png(canvas), canvas, response)


def _flawed(question: digits.Question, values: list[int], rng: random.Random) -> str:
    """A misread digit, another operation, or a slip in the last step."""
    seen, fault = list(values), rng.random()
    if fault < 0.4:
        seen[rng.randrange(len(seen))] = rng.randrange(10)
    kind = CONFUSED.get(question.kind, question.kind) if 0.4 <= fault < 0.7 else question.kind
    wrong = question if question.options else digits.ask(kind, seen, rng)
    answer = wrong.answer
    if fault >= 0.7:
        answer = _slipped(answer, question, rng)
    return _chain(_spaced(seen), wrong.thought, answer)


def _slipped(answer: str, question: digits.Question, rng: random.Random) -> str:
    if question.options:
        return rng.choice(LETTERS[: len(question.options)])
    if not answer.isdigit():
        return {"yes": "no", "no": "yes", "odd": "even", "even": "odd"}[answer]
    return str(abs(int(answer) + rng.choice([-1, 1])))


def _chain(observed: str, thought: str, answer: str) -> str:
    return f"<observe>{observed}</observe><think>{thought}</think><answer>{answer}</answer>"


def _item(question: digits.Question) -> Item:
    return Item(
        id="",
        question=f"{IMAGE_PLACEHOLDER}{question.text}",
        images=("",),
        options=question.options,
        gold=question.answer,
        answer_type=AnswerType.WORD,
        source="digits",
        source_id="",
    )


def _spaced(values: list[int]) -> str:
    return " ".join(map(str, values))


def _png(canvas: digits.Canvas) -> bytes:
    buffer = io.BytesIO()
    canvas.image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
