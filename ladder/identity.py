"""What makes an item, a gold and a sample the same one again: ids, digests and seeds, in one place."""

from __future__ import annotations

from collections.abc import Sequence

from ladder.digest import base_seed, digest
from ladder.records import Item, Reference


def item_id(question: str, options: Sequence[str], image_hashes: Sequence[str]) -> str:
    """Versioned hash of what is asked: not of the gold, the source, a file name or a pixel budget."""
    return digest("item-1", question, str(len(options)), *options, *image_hashes)[:24]


def gold_digest(item: Item | Reference) -> str:
    """Digest of what a response is compared with: a corrected gold is judged anew, without sampling."""
    how = [f"{name}={value}" for name, value in (("tolerance", item.tolerance), ("unit", item.unit)) if value]
    return digest("gold-1", item.gold, item.answer_type, *item.options, *how)[:16]


def sample_seed(seed: int, item_id: str, prompt: str, sampling: str, index: int) -> int:
    """Seed of sample `index` of an item under a specification: bases far apart, samples consecutive."""
    return base_seed(str(seed), item_id, prompt, sampling) + index


def share_of(item_id: str, shares: int) -> int:
    """Which of so many shares an item belongs to, whatever other items there are."""
    return int(digest("share-1", item_id)[:15], 16) % shares
