"""Images become features, each picture once however many prompts and pieces show it. Leaves out where they go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ladder.encode import Encoded

_PATCHES_AT_ONCE = (
    65_536  # of images whose features are computed ahead, so that the tower's activations stay bounded
)
Key = tuple[str, int, int, int]  # hash and grid


@dataclass(frozen=True)
class Image:
    """One picture as the vision tower takes it: pixels (V, patch values) and its grid (3)."""

    key: Key
    pixels: np.ndarray
    grid: np.ndarray


@dataclass(frozen=True)
class Features:
    """Of each picture: its tokens' embeddings, and those that a family adds to its first layers (deepstack)."""

    pooled: Mapping[Key, torch.Tensor]
    deep: Mapping[Key, tuple[torch.Tensor, ...]]

    def of(self, keys: Sequence[Key]) -> SimpleNamespace:
        """For pictures in the order of their placeholders, as the models take `mm_encoder_outputs["image"]`."""
        return SimpleNamespace(
            pooler_output=tuple(self.pooled[key] for key in keys),
            deepstack_features=list(zip(*(self.deep[key] for key in keys), strict=True)),
        )


def images_of(prompts: Iterable[Encoded]) -> list[Image]:
    """The pictures of some prompts, in order, with those that come again."""
    return [image for prompt in prompts for image in _images(prompt)]


def _images(prompt: Encoded) -> Iterable[Image]:
    if prompt.grids is None or prompt.pixels is None:
        return
    pixels = np.split(prompt.pixels, np.cumsum(prompt.grids.prod(1))[:-1])
    for name, part, grid in zip(prompt.image_hashes, pixels, prompt.grids, strict=True):
        t, rows, columns = grid.tolist()
        yield Image((name, t, rows, columns), part, grid)


def encode(model: Any, images: Iterable[Image], device: torch.device) -> Features:
    """Features of each different picture, by the model's vision tower in one call."""
    different = list({image.key: image for image in images}.values())
    out = model.get_image_features(
        torch.from_numpy(np.concatenate([image.pixels for image in different])).to(device),
        torch.from_numpy(np.stack([image.grid for image in different])).to(device),
        return_dict=True,
    )
    keys = [image.key for image in different]
    layers = getattr(out, "deepstack_features", None) or []
    deep = zip(*layers, strict=True) if layers else ((),) * len(keys)
    return Features(
        dict(zip(keys, out.pooler_output, strict=True)), dict(zip(keys, map(tuple, deep), strict=True))
    )


@torch.no_grad()
def encode_ahead(model: Any, images: Iterable[Image], device: torch.device) -> Features:
    """As `encode`, without gradient and in calls of bounded size."""
    return encode_parts(model, parts_of(images), device)


@torch.no_grad()
def encode_parts(model: Any, parts: Iterable[Sequence[Image]], device: torch.device) -> Features:
    """As `encode_ahead`, of what `parts_of` gives."""
    pooled: dict[Key, torch.Tensor] = {}
    deep: dict[Key, tuple[torch.Tensor, ...]] = {}
    for part in parts:
        features = encode(model, part, device)
        pooled |= features.pooled
        deep |= features.deep
    return Features(pooled, deep)


def parts_of(images: Iterable[Image]) -> Iterable[list[Image]]:
    """Different images in parts of at most _PATCHES_AT_ONCE patches, or one image."""
    part: list[Image] = []
    patches = 0
    for image in {image.key: image for image in images}.values():
        if part and patches + len(image.pixels) > _PATCHES_AT_ONCE:
            yield part
            part, patches = [], 0
        part.append(image)
        patches += len(image.pixels)
    if part:
        yield part
