"""Tiny random models of the three families, and prompts for them: shared by the tests of engines and trainer."""

from functools import cache
from typing import Any

import numpy as np
import torch

from ladder.encode import Encoded, rotary_positions

IMAGE, VIDEO, START, END = 90, 91, 92, 93
VOCABULARY, PATCH, MERGE = 96, 4, 2


def text_config() -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


@cache
def tiny(family: str) -> Any:
    """A random float32 model in evaluation mode."""
    import transformers as hf

    torch.manual_seed(0)
    tokens = {
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "vision_start_token_id": START,
        "vision_end_token_id": END,
    }
    if family == "qwen2_vl":
        vision = {"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2, "hidden_size": 64}
        vision |= {"patch_size": PATCH, "spatial_merge_size": MERGE, "temporal_patch_size": 2}
        config = hf.Qwen2VLConfig(text_config=text_config(), vision_config=vision, **tokens)
        return hf.Qwen2VLForConditionalGeneration(config).eval()
    if family == "qwen2_5_vl":
        vision = {
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 48,
            "out_hidden_size": 64,
        }
        vision |= {"patch_size": PATCH, "spatial_merge_size": MERGE, "temporal_patch_size": 2}
        vision |= {"window_size": 16, "fullatt_block_indexes": [1]}
        config = hf.Qwen2_5_VLConfig(text_config=text_config(), vision_config=vision, **tokens)
        return hf.Qwen2_5_VLForConditionalGeneration(config).eval()
    vision = {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "out_hidden_size": 64}
    vision |= {"patch_size": PATCH, "spatial_merge_size": MERGE, "temporal_patch_size": 2}
    vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    config = hf.Qwen3VLConfig(text_config=text_config(), vision_config=vision, **tokens)
    return hf.Qwen3VLForConditionalGeneration(config).eval()


class Tokens:
    """What a policy asks of an encoder, without a tokenizer."""

    banned = (IMAGE, VIDEO, START, END)
    image_token = IMAGE
    pad_id = 0
    stop_ids = (2,)


def prompt(grids: list[tuple[int, int]], text: int, seed: int) -> Encoded:
    """A prompt with images of some (rows, columns) of patches between runs of random text."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(3, 80, text).tolist()
    for rows, columns in grids:
        ids += [START, *[IMAGE] * (rows * columns // MERGE**2), END, *rng.integers(3, 80, 2).tolist()]
    grid = np.array([[1, r, c] for r, c in grids], np.int64) if grids else None
    pixels = None
    if grids:
        patches = sum(r * c for r, c in grids)
        pixels = rng.standard_normal((patches, 3 * 2 * PATCH * PATCH)).astype(np.float32)
    positions = rotary_positions(ids, IMAGE, grid, MERGE)
    return Encoded(ids, ids, positions, grid, pixels, (), tuple(f"{seed}-{i}" for i in range(len(grids))))


def responses(lengths: list[int], seed: int) -> tuple[tuple[int, ...], ...]:
    rng = np.random.default_rng(seed)
    return tuple(tuple(rng.integers(3, 80, n).tolist()) for n in lengths)


FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
