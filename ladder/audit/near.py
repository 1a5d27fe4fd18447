"""Near duplicates: items that ask the same of the same pictures, though a byte, a space or the image's encoding differ.

Two items are near duplicates where all of this holds:

- the Jaccard index of the 5-grams of question and options is at least `text`, where there are no images (1 + `text`)/2;
- they have the same numbers and signs in the same order, and no word or variable is another one
  (`texts.same_wording`): questions of one template are no duplicates;
- they have as many images, which agree in pairs: perceptual hashes within `image_bits`, and pixels (`images.alike`);
- their golds are the same answer. Where only this fails it is a near conflict: one gold is wrong, or the items differ.

The first item in order is kept, and later ones are compared with those that are kept, so that a chain of small
changes never removes what is not near to what stays (leader clustering). Exact duplicates are not dealt with here.

Work is bounded whatever the pool: items with the same texts and perceptual hashes are one class; classes that share
text (a band of the MinHash signature) and parts of the perceptual hash of the first image are compared, in a window of
`_WINDOW` neighbours in each of several orders, with at most `_MOST_NEAR` others; and of an item at most `_MOST_LOOKS`
kept ones are looked at closely. In a pool where more than that collide in both text and perceptual hash, a copy may
stay.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from ladder.audit.blocks import MOST_BITS, apart, part_masks, window_pairs
from ladder.audit.texts import SIGNATURE, jaccard, same_wording, words
from ladder.config import Settings
from ladder.images.alike import Glance, alike

_ROWS = 4  # elements of a signature in a band: a pair with Jaccard 0.9 shares one of the 16 in all but 4e-8 of cases
_WINDOW = 32
_MOST_NEAR = 8
_MOST_LOOKS = 16
DOUBT = 0.16  # four standard errors of an estimated Jaccard index
_MANY = 300_000  # pairs held before the surplus is dropped
_BASE = np.uint64(0x9E3779B97F4A7C15)


class NearSettings(Settings):
    """When an item is a near duplicate of an earlier one, and what then becomes of it."""

    action: Literal["reject", "flag", "off"] = "reject"
    text: float = Field(
        0.9, gt=0, le=1
    )  # least Jaccard index of the character 5-grams of question and options
    image_bits: int = Field(6, ge=0, le=MOST_BITS)  # most bits of 64 in which perceptual hashes differ


@dataclass(frozen=True)
class Prints:
    """What is known of N items, in order, without reading them again."""

    signatures: np.ndarray  # (N, SIGNATURE) uint32, see texts.signatures
    exact: np.ndarray  # (N,) uint64, see texts.exact
    images: Sequence[tuple[int, ...]]  # of each item, as numbers of images
    phashes: np.ndarray  # (M,) int64, of all images


class Near(NamedTuple):
    """Item `item` is near to `of`, an earlier one that is kept; a conflict where their golds differ."""

    item: int
    of: int
    conflict: bool


@dataclass(frozen=True)
class Lookups:
    """How items are read where their prints are close; called at most a few times per item."""

    text: Callable[[int], str]  # an item's question and options
    image: Callable[[int], bytes]  # canonical PNG of an image, by its number
    same_answer: Callable[[int, int], bool]  # whether two items' golds are the same answer


def near_duplicates(prints: Prints, lookups: Lookups, settings: NearSettings) -> list[Near]:
    """The near duplicates and near conflicts among items, each of one earlier item, in order.

    An item that is near to one and in conflict with another is a near duplicate; one in conflict only is kept.
    """
    if settings.action == "off" or not len(prints.exact):
        return []
    classes = _classes(prints)
    neighbours = _neighbours(prints, classes, settings)
    alone = (np.bincount(classes.of) == 1) & (np.diff(neighbours.start) == 0)
    compare = Comparison(prints, lookups, settings)
    kept: dict[int, list[int]] = {}
    found: list[Near] = []
    for item in np.flatnonzero(~alone[classes.of]).tolist():
        own = int(classes.of[item])
        near = itertools.chain.from_iterable(kept.get(each, ()) for each in (own, *neighbours.near(own)))
        verdict = compare(item, near)
        if verdict is not None:
            found.append(verdict)
        if verdict is None or verdict.conflict:
            kept.setdefault(own, []).append(item)
    return found


class Comparison:
    """Looks closely at items whose prints are close, and which have as many images."""

    def __init__(self, prints: Prints, lookups: Lookups, settings: NearSettings) -> None:
        self._prints, self._lookups, self._settings = prints, lookups, settings
        self._words = lru_cache(maxsize=1 << 13)(lambda item: words(lookups.text(item)))
        self._alike = lru_cache(maxsize=1 << 16)(self._compare_images)
        self._glance = lru_cache(maxsize=1 << 16)(self._read_glance)

    def __call__(self, item: int, others: Iterator[int]) -> Near | None:
        """What the item is to the first of the others that it is near to; a duplicate before a conflict."""
        conflict = None
        for _, other in zip(range(_MOST_LOOKS), others, strict=False):
            if not (self._same_text(item, other) and self._same_images(item, other)):
                continue
            if self._lookups.same_answer(item, other):
                return Near(item, other, False)
            conflict = conflict or Near(item, other, True)
        return conflict

    def _same_text(self, item: int, other: int) -> bool:
        if self._prints.exact[item] != self._prints.exact[other]:
            return False
        if not same_wording(self._words(item), self._words(other)):
            return False
        least = self._settings.text if self._prints.images[item] else (1 + self._settings.text) / 2
        a, b = self._lookups.text(item), self._lookups.text(other)
        return a == b or jaccard(a, b) >= least

    def _same_images(self, item: int, other: int) -> bool:
        pairs = list(zip(self._prints.images[item], self._prints.images[other], strict=True))
        return all(self._within(*pair) for pair in pairs) and all(
            a == b or self._alike(min(a, b), max(a, b)) for a, b in pairs
        )

    def _within(self, a: int, b: int) -> bool:
        phashes = self._prints.phashes
        return int(apart(phashes[a : a + 1], phashes[b : b + 1])[0]) <= self._settings.image_bits

    def _compare_images(self, a: int, b: int) -> bool:
        # Most that are not alike are told apart without decoding them again.
        return self._glance(a).may_be(self._glance(b)) and alike(
            self._lookups.image(a), self._lookups.image(b)
        )

    def _read_glance(self, image: int) -> Glance:
        return Glance.of(self._lookups.image(image))


class _Classes(NamedTuple):
    """Items with the same prints are of one class; classes are numbered by their first items."""

    of: np.ndarray  # (N,) the class of each item
    first: np.ndarray  # (K,) the first item of each class


class _Neighbours(NamedTuple):
    """Of each class those that may be near, nearest first: those of class c are `others[start[c] : start[c + 1]]`."""

    start: np.ndarray
    others: np.ndarray

    def near(self, one: int) -> list[int]:
        """The classes that may be near to one."""
        return self.others[self.start[one] : self.start[one + 1]].tolist()


def _classes(prints: Prints) -> _Classes:
    keys = _mixed(_mixed(_row_hashes(prints.signatures) ^ prints.exact) ^ _image_hashes(prints))
    _, first, of = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return _Classes(rank[of], np.sort(first))


def _row_hashes(rows: np.ndarray) -> np.ndarray:
    """A hash (N,) uint64 of each row of (N, M)."""
    found = np.zeros(len(rows), dtype=np.uint64)
    for column in rows.T:
        found = found * _BASE + column.astype(np.uint64)
    return _mixed(found)


def _image_hashes(prints: Prints) -> np.ndarray:
    """A hash (N,) uint64 of the perceptual hashes of each item's images, in order."""
    counts = np.fromiter(map(len, prints.images), dtype=np.int64, count=len(prints.images))
    found = counts.astype(np.uint64)
    for place in range(int(counts.max())):
        rows = np.flatnonzero(counts > place)
        images = np.fromiter(
            (prints.images[row][place] for row in rows.tolist()), dtype=np.int64, count=len(rows)
        )
        found[rows] = _mixed(found[rows]) + prints.phashes[images].view(np.uint64)
    return _mixed(found)


def _neighbours(prints: Prints, classes: _Classes, settings: NearSettings) -> _Neighbours:
    candidates = _Candidates(prints.signatures[classes.first], settings)
    firsts = classes.first.tolist()
    counts = np.array([len(prints.images[item]) for item in firsts])
    asked = prints.exact[classes.first] ^ _mixed(counts.astype(np.uint64))
    # What nobody else has as many images and the same numbers as is near to nothing.
    _, same, often = np.unique(asked, return_inverse=True, return_counts=True)
    shared = often[same] > 1
    shown, bare = np.flatnonzero(shared & (counts > 0)), np.flatnonzero(shared & (counts == 0))
    phashes = np.zeros(len(firsts), dtype=np.int64)
    phashes[shown] = prints.phashes[[prints.images[firsts[one]][0] for one in shown]]
    if len(bare):
        for band, keys in enumerate(bands(candidates.signatures[bare])):
            candidates.add(bare, _mixed(keys ^ asked[bare]), phashes, band)
    if len(shown):
        text = _mixed(_linked(candidates.signatures[shown], asked[shown]).astype(np.uint64) + _BASE)
        for number, mask in enumerate(part_masks(settings.image_bits)):
            keys = phashes[shown].view(np.uint64) & mask
            candidates.add(shown, _mixed(keys ^ text), phashes, number)
    return candidates.done()


def bands(signatures: np.ndarray) -> Iterator[np.ndarray]:
    """A hash (N,) uint64 of each band of signatures (N, SIGNATURE): similar texts share one."""
    for start in range(0, SIGNATURE, _ROWS):
        yield _row_hashes(signatures[:, start : start + _ROWS])


def _linked(signatures: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """A number for each text; any two that share a band and `asked` have the same, also by way of others."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    labels = np.arange(len(asked))
    for band in bands(signatures):
        keys = _mixed(band ^ asked)
        order = np.argsort(keys, kind="stable")
        same = keys[order][1:] == keys[order][:-1]
        ends = labels[order[1:][same]], labels[order[:-1][same]]
        links = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(len(labels),) * 2)
        labels = connected_components(links, directed=False)[1][labels]
    return labels


class _Candidates:
    """Collects pairs of classes whose signatures and perceptual hashes are close, the closest of each class."""

    def __init__(self, signatures: np.ndarray, settings: NearSettings) -> None:
        self.signatures = signatures
        self._settings = settings
        self._pairs = np.empty((3, 0), dtype=np.int32)  # class, other, bits apart; each pair both ways
        self._new: list[np.ndarray] = []
        self._texts = _row_hashes(signatures)
        self._full = np.zeros(len(signatures), dtype=bool)  # classes that have enough

    def add(self, members: np.ndarray, keys: np.ndarray, phashes: np.ndarray, number: int) -> None:
        """Compare neighbours of equal key, in an order that is another one for every number."""
        turned = _turned(phashes[members].view(np.uint64), 7 * number % 64)
        order = np.lexsort((self.signatures[members, number % SIGNATURE], turned, keys))
        starts = np.append(True, keys[order][1:] != keys[order][:-1])
        for a, b in window_pairs(members[order], starts, _WINDOW):
            bits = apart(phashes[a], phashes[b])
            close = np.flatnonzero((bits <= self._settings.image_bits) & ~(self._full[a] & self._full[b]))
            close = close[self._similar(a[close], b[close])]
            self._take(a[close], b[close], bits[close])

    def _similar(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        found = self._texts[a] == self._texts[b]
        others = np.flatnonzero(~found)
        for start in range(0, len(others), 1 << 14):
            part = others[start : start + (1 << 14)]
            equal = (self.signatures[a[part]] == self.signatures[b[part]]).sum(axis=1, dtype=np.uint8)
            found[part] = equal >= (self._settings.text - DOUBT) * SIGNATURE
        return found

    def _take(self, a: np.ndarray, b: np.ndarray, bits: np.ndarray) -> None:
        if len(a):
            self._new.append(
                np.array([(a, b, bits), (b, a, bits)], dtype=np.int32).swapaxes(0, 1).reshape(3, -1)
            )
        if sum(each.shape[1] for each in self._new) > _MANY:
            self._drop_surplus()

    def _drop_surplus(self) -> None:
        of, other, bits = pairs = np.concatenate([self._pairs, *self._new], axis=1)
        order = np.lexsort((other, bits, of))
        pairs = pairs[:, order]
        new = np.ones(pairs.shape[1], dtype=bool)
        new[1:] = (np.diff(pairs[:2], axis=1) != 0).any(axis=0)
        pairs = pairs[:, new]
        place = np.arange(pairs.shape[1]) - np.searchsorted(pairs[0], pairs[0])
        self._pairs, self._new = pairs[:, place < _MOST_NEAR], []
        self._full = np.bincount(self._pairs[0], minlength=len(self._full)) == _MOST_NEAR

    def done(self) -> _Neighbours:
        """The neighbours of all classes."""
        self._drop_surplus()
        start = np.searchsorted(self._pairs[0], np.arange(len(self.signatures) + 1))
        return _Neighbours(start, self._pairs[1])


def _turned(values: np.ndarray, by: int) -> np.ndarray:
    """Unsigned 64-bit numbers with their bits rotated."""
    return (values << np.uint64(by)) | (values >> np.uint64((64 - by) % 64))


def _mixed(values: np.ndarray) -> np.ndarray:
    """Every bit of a uint64 comes to depend on every other, one to one."""
    values = (values ^ (values >> np.uint64(32))) * _BASE
    values = (values ^ (values >> np.uint64(29))) * _BASE
    return values ^ (values >> np.uint64(32))
