"""Tiny random models of the three families as directories that every engine loads: the shipped model's tokenizer and template,
weights of their own. Shared by the tests of weight updates."""

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ladder.digest import digest
from ladder.encode import Encoder, Prompt
from ladder.models import resolve_model

_COMPANIONS = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "preprocessor_config.json")
_PROCESSORS = {
    "qwen2_vl": "Qwen2VLProcessor",
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
    "qwen3_vl": "Qwen3VLProcessor",
}
_PATCH, _HIDDEN = 7, 64
QUESTIONS = ("What is the sum?", "What is the largest digit?", "Count the digits.")
SIZES: tuple[list[tuple[int, int]], ...] = ([], [(56, 56)], [(56, 70)], [(84, 56), (56, 56)])


def checkpoint(folder: Path, family: str, tied: bool) -> Path:
    """A model directory."""
    shipped = resolve_model("digits")
    folder.mkdir(parents=True)
    for name in _COMPANIONS:
        shutil.copyfile(shipped / name, folder / name)
    processor = json.loads((shipped / "processor_config.json").read_text())
    processor["processor_class"] = _PROCESSORS[family]
    if family == "qwen3_vl":
        processor["video_processor"]["video_processor_type"] = "Qwen3VLVideoProcessor"
    (folder / "processor_config.json").write_text(json.dumps(processor))
    torch.manual_seed(0)
    model = _model(family, tied, json.loads((shipped / "config.json").read_text()))
    scramble(model, 0)
    model.save_pretrained(folder)
    return folder


def _model(family: str, tied: bool, shipped: dict[str, Any]) -> Any:
    import transformers as hf

    ids = {name: value for name, value in shipped.items() if name.endswith("_token_id")}
    text = {name: shipped["text_config"][name] for name in ("vocab_size", "pad_token_id", "eos_token_id")}
    text |= {"hidden_size": _HIDDEN, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 32}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
    text |= {"rope_parameters": rope, "tie_word_embeddings": tied, "bos_token_id": text["pad_token_id"]}
    vision = {
        "depth": 2,
        "num_heads": 2,
        "patch_size": _PATCH,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    if family == "qwen2_vl":
        vision |= {"embed_dim": 64, "hidden_size": _HIDDEN, "mlp_ratio": 2}
        kind: Any = hf.Qwen2VLForConditionalGeneration
        config: Any = hf.Qwen2VLConfig
    elif family == "qwen2_5_vl":
        vision |= {"hidden_size": 64, "intermediate_size": 96, "out_hidden_size": _HIDDEN}
        vision |= {"window_size": 112, "fullatt_block_indexes": [1]}
        kind, config = hf.Qwen2_5_VLForConditionalGeneration, hf.Qwen2_5_VLConfig
    else:
        vision |= {"hidden_size": 64, "intermediate_size": 96, "out_hidden_size": _HIDDEN}
        vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
        rope |= {"mrope_section": [6, 5, 5], "mrope_interleaved": True}
        kind, config = hf.Qwen3VLForConditionalGeneration, hf.Qwen3VLConfig
    made = config(text_config=text, vision_config=vision, tie_word_embeddings=tied, **ids)
    return kind(made).eval()


@torch.no_grad()
def scramble(model: Any, seed: int) -> None:
    """Other weights throughout, of a size at which every layer matters."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() < 2:
            parameter.copy_(0.3 * noise + float(parameter.dim() == 1 and seed >= 0))
        else:
            parameter.copy_(noise / math.sqrt(parameter[0].numel()))


def encoder_of(folder: Path) -> Encoder:
    return Encoder(folder, min_pixels=3136, max_pixels=16_384)


def picture(width: int, height: int, seed: int) -> bytes:
    pixels = np.random.default_rng([width, height, seed]).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def prompts() -> list[Prompt]:
    """Every question with no image, one, and two."""
    return [_prompt(question, sizes) for question in QUESTIONS for sizes in SIZES]


def _prompt(question: str, sizes: list[tuple[int, int]]) -> Prompt:
    images = [picture(*size, seed) for seed, size in enumerate(sizes)]
    text = {"type": "text", "text": f"{question}\nObserve, think, answer."}
    content = [*({"type": "image"} for _ in images), text]
    return Prompt([{"role": "user", "content": content}], [(digest("test", i), i) for i in images])
