"""The key-value store: whatever enters and leaves, attention is that over each sample's own prompt and answer."""

import random
from types import SimpleNamespace

import pytest
import torch

from ladder.engines.kv import KeyValueStore

LAYERS, HEADS, GROUP, SIZE = 2, 2, 3, 8
SCALE = SIZE**-0.5


class Sample:
    """A sample with everything that was ever said to it, held plainly: per layer, keys and values (heads, T, size)."""

    def __init__(self, layers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.layers = layers


def model() -> SimpleNamespace:
    return SimpleNamespace(config=SimpleNamespace(_attn_implementation="sdpa"))


def add(store: KeyValueStore, lengths: list[int], siblings: list[int]) -> list[Sample]:
    layers = [
        (
            torch.randn(len(lengths), HEADS, max(lengths), SIZE),
            torch.randn(len(lengths), HEADS, max(lengths), SIZE),
        )
        for _ in range(LAYERS)
    ]
    groups = [
        [Sample([(k[i, :, :n], v[i, :, :n]) for k, v in layers]) for _ in range(count)]
        for i, (n, count) in enumerate(zip(lengths, siblings, strict=True))
    ]
    store.add(layers, lengths, groups)
    return [sample for group in groups for sample in group]


def step(store: KeyValueStore, samples: list[Sample]) -> None:
    """One position more, and what the store attends to compared with plain attention."""
    with store.step(model(), samples):
        for layer in range(LAYERS):
            query = torch.randn(len(samples), HEADS * GROUP, 1, SIZE)
            keys, values = torch.randn(2, len(samples), HEADS, 1, SIZE)
            seen = store.attend(layer, query, keys, values, SCALE)
            for i, sample in enumerate(samples):
                before = sample.layers[layer]
                sample.layers[layer] = (
                    torch.cat([before[0], keys[i]], 1),
                    torch.cat([before[1], values[i]], 1),
                )
                assert torch.allclose(seen[i, 0], plain(query[i, :, 0], *sample.layers[layer]), atol=1e-5)


def plain(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """(heads * group, size)."""
    grouped = query.view(HEADS, GROUP, SIZE)
    return ((grouped @ keys.mT * SCALE).softmax(-1) @ values).view(HEADS * GROUP, SIZE)


@pytest.mark.parametrize("seed", range(4))
def test_attention_is_that_over_a_samples_own_prompt_and_answer(seed: int) -> None:
    torch.manual_seed(seed)
    rng = random.Random(seed)
    store, running = KeyValueStore(), []
    for _ in range(12):
        count = rng.randint(1, 4)
        running += add(
            store,
            [rng.choice([1, 5, 128, 129, 300]) for _ in range(count)],
            [rng.randint(1, 5) for _ in range(count)],
        )
        rng.shuffle(running)
        for _ in range(rng.choice([1, 3, 70])):
            step(store, running)
        left = [sample for sample in running if rng.random() < 0.5]
        store.drop(set(running) - set(left))
        running = left
        if running:
            step(store, running)
    store.drop(set(running))
    assert store.bytes == 0, "who leaves leaves nothing behind"


def test_a_prompt_is_held_once_for_its_samples() -> None:
    one, many = KeyValueStore(), KeyValueStore()
    add(one, [1000], [1])
    add(many, [1000], [16])
    assert many.bytes < 2 * one.bytes


def test_one_long_answer_does_not_lengthen_the_others() -> None:
    store = KeyValueStore()
    (long,) = add(store, [8], [1])
    for _ in range(600):
        step(store, [long])
    alone = store.bytes
    short = add(store, [8] * 63, [1] * 63)
    step(store, [long, *short])
    assert store.bytes < 64 * alone / 8


def test_more_than_the_limit_is_out_of_memory() -> None:
    store = KeyValueStore(limit=100_000)
    add(store, [40], [2])
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        add(store, [400], [2])


def test_the_model_is_left_as_it_was_also_after_an_error() -> None:
    store, text = KeyValueStore(), model()
    samples = add(store, [3], [2])
    with pytest.raises(ZeroDivisionError), store.step(text, samples):
        assert text.config._attn_implementation != "sdpa"
        raise ZeroDivisionError
    assert text.config._attn_implementation == "sdpa"
    step(store, samples)
