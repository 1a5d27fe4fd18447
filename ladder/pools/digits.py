"""The embedded pool: questions about small canvases that carry real handwritten digits.

The digits are the 1,797 images of scikit-learn's `load_digits` (real people's writing, UCI licence CC BY 4.0). Canvases
of training and probe rows use disjoint digit images. `write_pool` writes a *raw* pool (`rows.jsonl` and `images/`),
which is then imported like any other; the cold start (trainer.warmup) draws its demonstrations from `draw` too.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

CANVAS = 56  # pixels, square
DIGIT = 14  # pixels, a pasted digit, square
LETTERS = "ABCD"
PROBE_DIGITS = 397  # of the 1,797 digit images, kept for probe canvases


@dataclass(frozen=True)
class Canvas:
    """Digits in reading order, their centres in pixels (x, y), and the picture."""

    digits: tuple[int, ...]
    centres: tuple[tuple[int, int], ...]
    image: PILImage.Image


@dataclass(frozen=True)
class Question:
    """One question about a canvas, with a demonstration of how to think about it."""

    kind: str
    text: str
    thought: str
    answer: str
    options: tuple[str, ...] = ()


Asker = Callable[[Sequence[int], random.Random], Question]


@cache
def handwriting() -> dict[bool, dict[int, list[np.ndarray]]]:
    """Digit images (8x8, uint8) by class; key True holds those kept for probe canvases."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.RandomState(0).permutation(len(data.images))
    images = (data.images * 255 / 16).astype(np.uint8)

    def by_class(indices: np.ndarray) -> dict[int, list[np.ndarray]]:
        return {k: [images[i] for i in indices if data.target[i] == k] for k in range(10)}

    return {False: by_class(order[PROBE_DIGITS:]), True: by_class(order[:PROBE_DIGITS])}


def draw(digits: Sequence[int], rng: random.Random, probe: bool) -> Canvas:
    """Paste digits from left to right at jittered places on a black canvas."""
    images = handwriting()[probe]
    canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    slot = CANVAS // len(digits)
    centres = []
    for i, value in enumerate(digits):
        small = PILImage.fromarray(rng.choice(images[value]))
        glyph = np.asarray(small.resize((DIGIT, DIGIT), PILImage.Resampling.BILINEAR))
        x = rng.randint(i * slot, (i + 1) * slot - DIGIT)
        y = rng.randint(DIGIT, 2 * DIGIT)
        region = canvas[y : y + DIGIT, x : x + DIGIT]
        np.maximum(region, glyph, out=region)
        centres.append((x + DIGIT // 2, y + DIGIT // 2))
    return Canvas(tuple(digits), tuple(centres), PILImage.fromarray(canvas).convert("RGB"))


def _count(d: Sequence[int], rng: random.Random) -> Question:
    text = rng.choice(["How many digits are there?", "Count the digits."])
    return Question("count", text, f"{len(d)} digits", str(len(d)))


def _read(d: Sequence[int], rng: random.Random) -> Question:
    text = rng.choice(["Read the digits from left to right.", "Which digits are shown, from left to right?"])
    return Question("read", text, "copy", "".join(map(str, d)))


def _largest(d: Sequence[int], rng: random.Random) -> Question:
    text = rng.choice(["What is the largest digit?", "Which digit is the biggest?"])
    return Question("largest", text, f"max {_spaced(d)}", str(max(d)))


def _smallest(d: Sequence[int], _: random.Random) -> Question:
    return Question("smallest", "What is the smallest digit?", f"min {_spaced(d)}", str(min(d)))


def _sum(d: Sequence[int], rng: random.Random) -> Question:
    text = rng.choice(["What is the sum of the digits?", "Add up all the digits."])
    return Question("sum", text, _running_sum(d), str(sum(d)))


def _difference(d: Sequence[int], _: random.Random) -> Question:
    text = "What is the largest digit minus the smallest digit?"
    return Question("difference", text, f"{max(d)} - {min(d)}", str(max(d) - min(d)))


def _product(d: Sequence[int], _: random.Random) -> Question:
    text = "What is the product of the first and the last digit?"
    return Question("product", text, f"{d[0]} * {d[-1]}", str(d[0] * d[-1]))


def _parity(d: Sequence[int], _: random.Random) -> Question:
    text = "Is the last digit odd or even?"
    return Question("parity", text, f"last {d[-1]}", "odd" if d[-1] % 2 else "even")


def _larger(d: Sequence[int], _: random.Random) -> Question:
    text = "Is the first digit larger than the last digit?"
    return Question("larger", text, f"{d[0]} , {d[-1]}", "yes" if d[0] > d[-1] else "no")


def _contains(d: Sequence[int], rng: random.Random) -> Question:
    wanted = rng.choice(d) if rng.random() < 0.5 else rng.randrange(10)
    return Question("contains", f"Is there a {wanted}?", f"find {wanted}", "yes" if wanted in d else "no")


def _choice(d: Sequence[int], rng: random.Random) -> Question:
    right = max(d)
    others = rng.sample([v for v in range(10) if v != right], len(LETTERS) - 1)
    options = [str(v) for v in rng.sample([right, *others], len(LETTERS))]
    text = "Which option is the largest digit?"
    letter = LETTERS[options.index(str(right))]
    return Question("choice", text, f"max {_spaced(d)}", letter, tuple(options))


KINDS: dict[str, Asker] = {
    "count": _count,
    "read": _read,
    "largest": _largest,
    "smallest": _smallest,
    "sum": _sum,
    "difference": _difference,
    "product": _product,
    "parity": _parity,
    "larger": _larger,
    "contains": _contains,
    "choice": _choice,
}


def ask(kind: str, digits: Sequence[int], rng: random.Random) -> Question:
    """A question of a kind about digits in reading order."""
    return KINDS[kind](digits, rng)


def draw_digits(rng: random.Random) -> list[int]:
    """One to four digits, two and three most often."""
    return [rng.randrange(10) for _ in range(rng.choice([1, 2, 2, 3, 3, 4]))]


def write_pool(root: Path, *, items: int, probe_items: int, seed: int) -> None:
    """Write the raw pool below `root`: `images/*.png`, and `rows.jsonl` last, so that its presence means complete."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    rows = [_write_row(root, rng, i, probe=i >= items) for i in range(items + probe_items)]
    part = root / "rows.jsonl.tmp"
    part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    part.rename(root / "rows.jsonl")


def _write_row(root: Path, rng: random.Random, number: int, probe: bool) -> dict[str, Any]:
    kinds = list(KINDS)
    kind = kinds[number % len(kinds)]
    canvas = draw(draw_digits(rng), rng, probe)
    question = ask(kind, canvas.digits, rng)
    name = f"images/{number:06d}.png"
    canvas.image.save(root / name)
    return {
        "id": f"digits-{number:06d}",
        "image": name,
        "question": question.text,
        "options": list(question.options),
        "answer": question.answer,
        "kind": kind,
        "digits": len(canvas.digits),
        "split": "probe" if probe else "train",
    }


def _spaced(d: Sequence[int]) -> str:
    return " ".join(map(str, d))


def _running_sum(d: Sequence[int]) -> str:
    total, text = d[0], str(d[0])
    for value in d[1:]:
        total += value
        text += f" + {value} = {total}"
    return text
