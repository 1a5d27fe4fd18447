"""Which items are near-identical to held-out ones: by clusters of their images, and by what the audit flagged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np

from ladder.audit.blocks import apart, part_masks
from ladder.audit.near import DOUBT, Comparison, Lookups, NearSettings, Prints, bands
from ladder.audit.texts import SIGNATURE, exact, signatures
from ladder.importing.similar import asked
from ladder.records import Item
from ladder.store.images import ImageReader

_FRONTIER = 4096  # hashes whose neighbours are looked for at once
_PAIRS = 1 << 22  # pairs compared at once
_SIGNED = 1 << 14  # pairs whose signatures are compared at once
_MOST_LOOKS = 1 << 10  # held-out items that one item is compared with
_EVERY_BIT = ~np.uint64(0)


def clustered(phashes: np.ndarray, seeds: np.ndarray, bits: int) -> np.ndarray:
    """Which perceptual hashes (N,) int64 are within `bits` of 64 of one of the `seeds`, or of such a one, and so on.

    Exact: hashes within `bits` of each other agree in two of `bits` + 2 parts (ladder.audit.blocks). Only clusters that
    hold a seed are looked at, and what is found is not looked for again: time is about linear in N.
    """
    found = np.zeros(len(phashes), dtype=bool)
    blocks = [_Block(phashes, mask) for mask in part_masks(bits)]
    frontier = np.unique(seeds)
    while len(frontier):
        before = found.copy()
        for start in range(0, len(frontier), _FRONTIER):
            some = frontier[start : start + _FRONTIER]
            for block in blocks:
                block.forget(found)
                for a, b in block.pairs(some):
                    close = np.bitwise_count((some[a] ^ phashes[b]).view(np.uint64)) <= bits
                    found[b[close]] = True
        frontier = np.unique(phashes[found & ~before])
    return found


class _Block:
    """Hashes sorted by the bits under a mask."""

    def __init__(self, phashes: np.ndarray, mask: np.uint64) -> None:
        keys = phashes.view(np.uint64) & mask
        self._mask, self._order = mask, np.argsort(keys, kind="stable").astype(np.int32)
        self._keys = keys[self._order]

    def pairs(self, hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of places in `hashes` and of all hashes that agree under the mask, some at a time."""
        wanted = hashes.view(np.uint64) & self._mask
        low, high = (np.searchsorted(self._keys, wanted, side) for side in ("left", "right"))
        ends = np.cumsum(high - low)
        start = 0
        while start < len(hashes):
            done = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS, "right")))
            sizes = (high - low)[start:stop]
            a = np.repeat(np.arange(start, stop), sizes)
            b = (
                np.arange(len(a))
                - np.repeat(np.cumsum(sizes) - sizes, sizes)
                + np.repeat(low[start:stop], sizes)
            )
            yield a, self._order[b]
            start = stop

    def forget(self, found: np.ndarray) -> None:
        """Drop what was found."""
        kept = ~found[self._order]
        if not kept.all():
            self._order, self._keys = self._order[kept], self._keys[kept]


def near_questions(
    held: Sequence[Item],
    flagged: Sequence[Item],
    reader: ImageReader,
    phash: dict[str, int],
    near: NearSettings,
) -> list[str]:
    """The ids of `flagged` items that the audit's own comparison finds near to a held-out one, whatever their golds.

    Each is compared with the held-out ones alone, in whatever order they come: what is near only to another flagged one
    is near to nothing held out. One whose prints are close to those of more than `_MOST_LOOKS` of them is taken for near.
    """
    items = [*held, *flagged]
    texts = [asked(item.question, item.options) for item in items]
    number = dict(zip(phash, count()))
    prints = Prints(
        signatures(texts),
        exact(texts),
        [tuple(number[h] for h in item.images) for item in items],
        np.fromiter(phash.values(), np.int64, len(phash)),
    )
    names = list(phash)
    lookups = Lookups(texts.__getitem__, lambda image: reader.read(names[image]), lambda *_: True)
    compare = Comparison(prints, lookups, near)
    found, looks = np.zeros(len(items), dtype=bool), Counter[int]()
    for item, other in _close(prints, len(held), near, found):
        if not found[item]:
            looks[item] += 1
            found[item] = looks[item] > _MOST_LOOKS or compare(item, iter([other])) is not None
    return [items[item].id for item in np.flatnonzero(found).tolist()]


def _close(prints: Prints, held: int, near: NearSettings, found: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs, each once, of a later item that is not `found` and one of the first `held` whose prints are close."""
    counts = np.fromiter(map(len, prints.images), np.int64, len(prints.images))
    shown, bare = np.flatnonzero(counts), np.flatnonzero(counts == 0)
    first = np.zeros(len(counts), np.int64)
    first[shown] = prints.phashes[[prints.images[item][0] for item in shown]]
    phashes = first[shown].view(np.uint64)
    masked = (phashes & mask for mask in part_masks(near.image_bits))
    for members, texts, least in (
        (shown, masked, near.text),
        (bare, bands(prints.signatures[bare]), (1 + near.text) / 2),
    ):
        keys = [text ^ prints.exact[members] for text in texts]
        for a, b in _agreeing(keys, int((members < held).sum())):
            item, other = members[a], members[b]
            close = ~found[item] & (counts[item] == counts[other])
            close &= apart(first[item], first[other]) <= near.image_bits
            yield from _similar(prints.signatures, item[close], other[close], least)


def _agreeing(keys: list[np.ndarray], held: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs, each once, of a later place and one of the first `held` at which one of the `keys` is the same."""
    for number, key in enumerate(keys):
        hashes = key.view(np.int64)
        for late, b in _Block(hashes[:held], _EVERY_BIT).pairs(hashes[held:]):
            a = late + held
            for earlier in keys[:number]:
                new = earlier[a] != earlier[b]
                a, b = a[new], b[new]
            yield a, b


def _similar(
    signatures: np.ndarray, items: np.ndarray, others: np.ndarray, least: float
) -> Iterator[tuple[int, int]]:
    """The pairs whose texts may have a Jaccard index of `least`."""
    for start in range(0, len(items), _SIGNED):
        a, b = items[start : start + _SIGNED], others[start : start + _SIGNED]
        equal = (signatures[a] == signatures[b]).sum(axis=1, dtype=np.uint8)
        similar = equal >= (least - DOUBT) * SIGNATURE
        yield from zip(a[similar].tolist(), b[similar].tolist(), strict=True)
