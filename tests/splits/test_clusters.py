"""What is near-identical to held-out items: clusters of perceptual hashes, and the audit's own comparison of texts."""

import io
import random
from dataclasses import asdict, replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PILImage

from ladder.audit.near import NearSettings
from ladder.images import canonical, hamming
from ladder.records import AnswerType, Image, Item
from ladder.splits.near import clustered, near_questions
from ladder.store import Store
from ladder.store.images import ImageReader

hashes = st.integers(-(2**63), 2**63 - 1)


@st.composite
def crowds(draw: st.DrawFn) -> np.ndarray:
    """Hashes of which many are a few bits from another one."""
    found = [draw(hashes) for _ in range(draw(st.integers(1, 4)))]
    for _ in range(draw(st.integers(0, 25))):
        near = np.array([draw(st.sampled_from(found))], np.int64).view(np.uint64)
        for bit in draw(st.lists(st.integers(0, 63), max_size=9)):
            near ^= np.uint64(1) << np.uint64(bit)
        found.append(int(near.view(np.int64)[0]))
    return np.unique(np.array(found, np.int64))


def reached(phashes: np.ndarray, seeds: np.ndarray, bits: int) -> np.ndarray:
    """By comparing all with all, until nothing is new."""
    found = (hamming(phashes, seeds) <= bits).any(1)
    while True:
        more = found | (hamming(phashes, phashes[found]) <= bits).any(1) if found.any() else found
        if (more == found).all():
            return found
        found = more


@given(crowds(), st.integers(0, 12), st.data())
def test_a_cluster_is_all_that_is_near_to_something_in_it(
    phashes: np.ndarray, bits: int, data: st.DataObject
) -> None:
    seeds = np.array(data.draw(st.lists(st.sampled_from(phashes.tolist()), max_size=3)), np.int64)
    assert (clustered(phashes, seeds, bits) == reached(phashes, seeds, bits)).all()


def test_a_chain_of_small_changes_is_one_cluster() -> None:
    chain = np.array([(1 << n) - 1 for n in range(0, 60, 3)], np.int64)
    assert clustered(chain, chain[:1], 3).all()
    assert clustered(chain, chain[:1], 2).sum() == 1


def test_many_pairs_are_compared_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ladder.splits.near._PAIRS", 7)
    monkeypatch.setattr("ladder.splits.near._FRONTIER", 3)
    phashes = np.random.default_rng(0).integers(0, 1 << 12, 300)
    phashes = np.unique(phashes).astype(np.int64)
    assert (clustered(phashes, phashes[:5], 1) == reached(phashes, phashes[:5], 1)).all()


def item(name: str, question: str, gold: str = "4") -> Item:
    return Item(name, question, (), (), gold, AnswerType.INTEGER, "pool", name)


@pytest.fixture
def reader(tmp_path: Path) -> ImageReader:
    return Store(tmp_path).image_reader


QUESTION = "A farmer has 12 sheep and sells 8 of them at the market on Sunday. How many sheep are left?"


def test_what_the_audit_flagged_is_left_out_where_it_nearly_asks_a_held_out_question(
    reader: ImageReader,
) -> None:
    flagged = [
        item("again", QUESTION.upper().replace("  ", " ")),
        item("conflict", QUESTION + " ", gold="5"),
        item("other", QUESTION.replace("12", "13")),
        item("else", "What is the capital of the country that lies between France and Spain?"),
    ]
    held = [item("unrelated", "How many sides does a hexagon have?"), item("held", QUESTION)]
    found = near_questions(held, flagged, reader, {}, NearSettings())
    assert sorted(found) == ["again", "conflict"]
    assert near_questions(held[:1], flagged, reader, {}, NearSettings()) == []


WORDS = " ".join("".join(random.Random(n).choices("bcdfghklmnprstvw", k=7)) for n in range(60))
#: Each is near to the next; the first and the last are not near.
CHAIN = (WORDS, f"{WORDS} carrots tomatoes", f"{WORDS} carrots tomatoes potatoes cucumbers")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_each_flagged_question_is_compared_with_each_held_one_and_with_no_flagged_one(
    reader: ImageReader, order: tuple[int, ...]
) -> None:
    chain = [item(str(number), CHAIN[number]) for number in order]
    for held, out in (("0", {"1"}), ("1", {"0", "2"}), ("2", {"1"}), ("01", {"2"}), ("02", {"1"})):
        parts = [i for i in chain if i.id in held], [i for i in chain if i.id not in held]
        assert set(near_questions(*parts, reader, {}, NearSettings())) == out


def test_a_flagged_question_is_found_among_many_like_it(reader: ImageReader) -> None:
    """More than the audit compares an item with: variants of one question, two held."""
    variants = [item(f"{a}{b}", f"{WORDS} carrots {a}{b}") for a in "abcdefgh" for b in "abcdefgh"]
    held = [*variants[:1], item("else", "What is the capital of France?"), item("near", f"{WORDS} carrots")]
    found = near_questions(held, variants[1:], reader, {}, NearSettings())
    assert found == [each.id for each in variants[1:]]


def test_a_flagged_question_among_too_many_to_look_at_is_left_out(
    reader: ImageReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = WORDS.split()[30]
    held = [item(str(n), WORDS.replace(middle, f"w{'i' * n}")) for n in range(1, 9)]
    flagged = [item("flagged", WORDS.replace(middle, "else")), item("other", QUESTION)]
    for most, out in ((8, []), (7, ["flagged"])):
        monkeypatch.setattr("ladder.splits.near._MOST_LOOKS", most)
        assert near_questions(held, flagged, reader, {}, NearSettings()) == out


def chart(size: int, height: int) -> Image:
    drawn = PILImage.new("RGB", (160, 120), "white")
    drawn.paste((0, 0, 128), (20, 110 - height, 60, 110))
    drawn.paste((255, 128, 0), (80, 30, 120, 110))
    written = io.BytesIO()
    drawn.resize((size, size * 3 // 4), PILImage.Resampling.LANCZOS).save(written, "PNG")
    return canonical(written.getvalue(), max_pixels=2**20, min_side=2)


def test_a_flagged_question_is_near_where_its_pictures_are_alike(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pictures = {"held": chart(160, 50), "copy": chart(120, 50), "other": chart(160, 60)}
    store.images.append([asdict(each) for each in pictures.values()])
    phash = {each.hash: each.phash for each in pictures.values()}

    def asking(name: str, *shown: str) -> Item:
        return replace(item(name, QUESTION), images=tuple(pictures[each].hash for each in shown))

    held = [asking("held", "held"), asking("bare")]
    flagged = [
        asking("copy", "copy"),
        asking("other", "other"),
        asking("two", "copy", "copy"),
        asking("again"),
    ]
    near = NearSettings(image_bits=12)
    found = near_questions(held, flagged, store.image_reader, phash, near)
    assert found == ["copy", "again"]
    assert near_questions(held[:1], flagged, store.image_reader, phash, near) == ["copy"]
