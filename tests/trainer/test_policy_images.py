"""Each picture goes through the vision tower once, and its features reach every prompt that shows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from families import FAMILIES, prompt, responses
from policy_reference import (
    GROUPS,
    WHOLE,
    assert_close,
    assert_gradients_close,
    exact,
    fresh,
    gradients,
    policy,
    reference,
    scored,
    weighed,
)

from trainer.policy import Group, images
from trainer.policy.images import Features, encode_ahead, images_of

TWICE = [
    Group(prompt([(4, 4), (4, 8)], 4, seed=11), responses([3, 2], seed=1)),
    Group(prompt([(4, 4), (4, 8)], 4, seed=11), responses([5, 1, 2], seed=2)),  # the same pictures
    Group(prompt([(8, 4)], 6, seed=12), responses([2], seed=3)),
]
PATCHES = 16 + 32 + 32


@contextmanager
def counted(model: Any) -> Iterator[list[int]]:
    """Patches of each call of the vision tower."""
    seen: list[int] = []
    hook = model.model.visual.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    yield seen
    hook.remove()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_a_picture_that_many_rows_show_is_encoded_once_and_learns_from_all(family: str, layout: str) -> None:
    model = fresh(family)
    learner = policy(model, layout)
    assert not learner.vision_frozen
    assert learner.features(TWICE) is None
    with counted(model) as seen:
        found = scored(learner, TWICE, learner.plan(TWICE, WHOLE))
    assert seen == [PATCHES]
    double = fresh(family).double()
    expected = reference(double, TWICE)
    assert_close(found, expected)
    assert_gradients_close(gradients(model, weighed(found)), gradients(double, weighed(expected)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_a_frozen_tower_gives_the_same_values_and_gradients(family: str, ahead: bool, layout: str) -> None:
    model = fresh(family)
    model.model.visual.requires_grad_(False)
    learner = policy(model, layout)
    assert learner.vision_frozen
    batches = learner.plan(GROUPS, 60)
    assert len(batches) > 1
    with counted(model) as seen:
        features = learner.features(GROUPS) if ahead else None
        found = scored(learner, GROUPS, batches, features)
    assert len(seen) == 1 or not ahead
    expected, slopes = exact(family)
    assert_close(found, expected)
    kept = {name: slope for name, slope in slopes.items() if "visual" not in name}
    assert_gradients_close(gradients(model, weighed(found)), kept)


@pytest.mark.parametrize("part", ["merger.", "blocks.0."])
def test_a_tower_of_which_a_part_learns_is_not_frozen(part: str) -> None:
    model = fresh("qwen3_vl")
    for name, parameter in model.model.visual.named_parameters():
        parameter.requires_grad_(name.startswith(part))
    learner = policy(model)
    assert not learner.vision_frozen
    assert learner.features(GROUPS) is None


def test_prompts_without_pictures_have_no_features() -> None:
    model = fresh("qwen2_vl")
    model.requires_grad_(False)
    assert policy(model).features([GROUPS[1]]) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_the_same_in_parts_and_carry_no_gradient(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, shown = fresh(family).model, images_of(group.prompt for group in TWICE)
    whole = encode_ahead(model, shown, torch.device("cpu"))
    monkeypatch.setattr(images, "_PATCHES_AT_ONCE", 40)
    with counted(fresh(family)) as _:
        parts = encode_ahead(model, shown, torch.device("cpu"))
    assert len(whole.pooled) == 3
    for key, tensor in whole.pooled.items():
        assert torch.allclose(parts.pooled[key], tensor, atol=1e-5)
        assert not tensor.requires_grad
        assert len(tensor) == key[1] * key[2] * key[3] // 4


def test_one_picture_at_two_sizes_is_two() -> None:
    small, large = prompt([(4, 4)], 3, seed=1), prompt([(8, 8)], 3, seed=1)
    assert small.image_hashes == large.image_hashes
    assert len({image.key for image in images_of([small, large, small])}) == 2


def test_deep_features_left_out_would_be_found_out() -> None:
    model = fresh("qwen3_vl")
    model.requires_grad_(False)
    learner = policy(model)
    features = learner.features(GROUPS)
    assert features is not None
    blank = {key: tuple(map(torch.zeros_like, layers)) for key, layers in features.deep.items()}
    assert all(len(layers) == 2 for layers in features.deep.values())
    batches = learner.plan(GROUPS, WHOLE)
    right = scored(learner, GROUPS, batches, features)
    wrong = scored(learner, GROUPS, batches, Features(features.pooled, blank))
    shown = [member for member in right if GROUPS[member[0]].prompt.grids is not None]
    assert all((right[m] - wrong[m]).abs().max() > 1e-4 for m in shown)
    assert all(torch.equal(right[m], wrong[m]) for m in right if m not in shown)


def test_pictures_go_where_their_placeholders_are() -> None:
    model = fresh("qwen2_5_vl")
    learner = policy(model)
    first = prompt([(4, 4), (4, 4)], 4, seed=21)
    assert first.made is not None
    swapped = replace(first, image_hashes=first.image_hashes[::-1])
    group, other = Group(first, ((5, 6),)), Group(swapped, ((5, 6),))
    model.requires_grad_(False)
    features = learner.features([group])
    with torch.no_grad():
        right = scored(learner, [group], learner.plan([group], WHOLE), features)
        wrong = scored(learner, [other], learner.plan([other], WHOLE), features)
    assert (right[0, 0] - wrong[0, 0]).abs().max() > 1e-4
