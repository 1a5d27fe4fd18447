"""The embedded pool: reproducible, honest about its probe, and right about its golds."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from helpers import read_pool_rows

from ladder.pools.digits import CANVAS, KINDS, ask, draw, draw_digits, handwriting, write_pool
from ladder.records import Item, Outcome
from ladder.verify import infer_type, renderings, verify


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_pool_is_a_function_of_its_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_pool(tmp_path / name, items=11, probe_items=11, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a") != files(tmp_path / "c")


def test_probe_canvases_carry_digit_images_of_their_own() -> None:
    train, probe = (
        {image.tobytes() for images in handwriting()[part].values() for image in images}
        for part in (False, True)
    )
    assert not train & probe
    assert min(len(images) for part in (False, True) for images in handwriting()[part].values()) >= 20


def test_a_pool_has_every_kind_in_both_splits(digits_pool: Path) -> None:
    rows = read_pool_rows(digits_pool)
    assert {(row["kind"], row["split"]) for row in rows} == {
        (k, s) for k in KINDS for s in ("train", "probe")
    }
    assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gold_of_every_kind_is_verified_and_another_one_is_not(kind: str) -> None:
    rng = random.Random(kind)
    for _ in range(30):
        question = ask(kind, draw_digits(rng), rng)
        answer_type = infer_type(question.answer, question.options)
        item = Item("i", question.text, (), question.options, question.answer, answer_type, "s", "1")
        assert {verify(response, item).outcome for response in renderings(item)} == {Outcome.CORRECT}
        wrong = {"yes": "no", "no": "yes", "odd": "even", "even": "odd", "A": "B"}.get(question.answer, "A")
        if question.answer.isdigit():
            wrong = str(int(question.answer) + 1)
        assert verify(f"<answer>{wrong}</answer>", item).outcome == Outcome.WRONG


@pytest.mark.parametrize(
    ("kind", "digits", "answer"),
    [
        ("count", [3, 0, 7], "3"), ("read", [0, 7], "07"), ("largest", [3, 9, 1], "9"), ("smallest", [3, 9, 1], "1"),
        ("sum", [3, 9, 1], "13"), ("difference", [3, 9, 1], "8"), ("product", [3, 9, 2], "6"), ("parity", [2, 3], "odd"),
        ("parity", [3, 0], "even"), ("larger", [5, 9, 4], "yes"), ("larger", [4, 4], "no"),
    ],
)  # fmt: skip
def test_questions_are_answered_by_their_digits(kind: str, digits: list[int], answer: str) -> None:
    assert ask(kind, digits, random.Random(0)).answer == answer


def test_a_choice_has_one_right_letter_among_distinct_options() -> None:
    rng = random.Random(0)
    for _ in range(50):
        digits = draw_digits(rng)
        question = ask("choice", digits, rng)
        assert len(set(question.options)) == 4
        assert question.options["ABCD".index(question.answer)] == str(max(digits))


def test_digits_stand_on_the_canvas_in_reading_order() -> None:
    rng = random.Random(0)
    for _ in range(20):
        canvas = draw(draw_digits(rng), rng, probe=False)
        xs = [x for x, _ in canvas.centres]
        assert canvas.image.size == (CANVAS, CANVAS)
        assert xs == sorted(xs)
        assert all(
            np.asarray(canvas.image)[y - 7 : y + 7, x - 7 : x + 7].max() > 100 for x, y in canvas.centres
        )


def test_an_interrupted_pool_has_no_rows_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = json.dumps, []

    def dumps(row: object) -> str:
        written.append(row)
        if len(written) == 5:
            raise KeyboardInterrupt
        return real(row)

    monkeypatch.setattr("ladder.pools.digits.json.dumps", dumps)
    with pytest.raises(KeyboardInterrupt):
        write_pool(tmp_path, items=8, probe_items=0, seed=0)
    assert not (tmp_path / "rows.jsonl").exists()
