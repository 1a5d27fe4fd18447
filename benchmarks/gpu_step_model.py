"""The models, prompts and counted FLOPs of benchmarks/gpu_step.py: Qwen2.5-VL-3B's own sizes with random weights, and a
tiny one; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ladder.encode import Encoded, rotary_positions
from trainer.flops import Work, packed, padded
from trainer.policy import Group


@dataclass(frozen=True)
class Size:
    """A model's configuration, and the prompts that are put to it: an image of a grid of patches, and text after it."""

    text: dict[str, Any]
    vision: dict[str, Any]
    image: int  # the id of an image's placeholder; video, start and end of vision are told by it
    grid: tuple[int, int]
    prompt: int  # tokens
    group: int
    lengths: tuple[int, ...]  # of responses, the first is measured first
    rollout: int  # tokens a response in the whole step
    tokens: tuple[int, ...]  # at once, the most first


_ROPE = {"rope_type": "default", "rope_theta": 1_000_000.0}
REAL = Size(
    text={
        "vocab_size": 151_936,
        "hidden_size": 2048,
        "intermediate_size": 11_008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128_000,
        "tie_word_embeddings": True,
        "rope_parameters": _ROPE | {"mrope_section": [16, 24, 24]},
    },
    vision={
        "depth": 32,
        "hidden_size": 1280,
        "num_heads": 16,
        "intermediate_size": 3420,
        "out_hidden_size": 2048,
        "patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "tokens_per_second": 2,
    },
    image=151_655,
    grid=(60, 64),
    prompt=1000,
    group=8,
    lengths=(512, 128, 2048),
    rollout=256,
    tokens=(20_480, 8192),
)
TINY = Size(
    text={
        "vocab_size": 96,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "rope_parameters": _ROPE | {"mrope_section": [4, 6, 6]},
    },
    vision={
        "depth": 2,
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 48,
        "out_hidden_size": 64,
        "patch_size": 4,
        "window_size": 16,
        "fullatt_block_indexes": [1],
    },
    image=90,
    grid=(8, 16),
    prompt=48,
    group=4,
    lengths=(16, 8, 32),
    rollout=6,
    tokens=(1024, 256),
)


class Tokens:
    """What a policy and an engine ask of an encoder, without a tokenizer. Responses end at their limit alone."""

    pad_id = 0
    stop_ids: tuple[int, ...] = ()

    def __init__(self, size: Size) -> None:
        self.image_token = size.image
        self.banned = (size.image - 3, size.image - 2, size.image, size.image + 1)


def model_of(size: Size, device: str, seed: int = 0) -> Any:
    """A model with random float32 weights, its vision tower frozen."""
    import transformers as hf

    tokens: dict[str, Any] = {"image_token_id": size.image, "video_token_id": size.image + 1}
    tokens |= {"vision_start_token_id": size.image - 3, "vision_end_token_id": size.image - 2}
    config = hf.Qwen2_5_VLConfig(
        text_config=size.text, vision_config=size.vision, tie_word_embeddings=True, **tokens
    )
    torch.manual_seed(seed)
    with torch.device(device):
        model = hf.Qwen2_5_VLForConditionalGeneration(config).eval()
    model.model.visual.requires_grad_(False)
    return model


def prompt_of(size: Size, seed: int) -> Encoded:
    """An image of its own, and random text up to the prompt's length."""
    rng = np.random.default_rng(seed)
    rows, columns = size.grid
    grids = np.array([[1, rows, columns]], np.int64)
    ids = [size.image - 3, *[size.image] * (rows * columns // 4), size.image - 2]
    ids += rng.integers(3, size.image - 4, size.prompt - len(ids)).tolist()
    values = 3 * 2 * size.vision["patch_size"] ** 2
    pixels = rng.standard_normal((rows * columns, values)).astype(np.float32)
    return Encoded(ids, ids, rotary_positions(ids, size.image, grids, 2), grids, pixels, (), (f"{seed}",))


def groups_of(size: Size, prompts: int, length: int) -> list[Group]:
    """Prompts with responses of random tokens, all of one length."""
    rng = np.random.default_rng(length)
    responses = rng.integers(3, size.image - 4, (prompts, size.group, length)).tolist()
    return [Group(prompt_of(size, p), tuple(map(tuple, of))) for p, of in enumerate(responses)]


def counted_flops(model: Any, groups: Sequence[Group], as_packed: bool) -> int:
    """Of log-probs and their gradients (trainer.flops); vision, which is frozen, is left out."""
    work, total = Work.of(model), 0
    for group in groups:
        lengths = [len(response) for response in group.responses]
        counts = (packed if as_packed else padded)(len(group.prompt.prompt_ids), lengths)
        total += work.forward(counts) + work.backward(counts)
    return total
