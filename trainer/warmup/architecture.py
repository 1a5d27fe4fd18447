"""A Qwen2.5-VL of about 1.3 million parameters, with a tokenizer trained on the embedded pool's own language."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from ladder.pools import digits
from ladder.prompts import LETTERS, TEMPLATES

PATCH, MERGE, TEMPORAL = 7, 2, 2
VOCABULARY = 416
HEAD_DIM = 32
SPECIALS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
TAGS = ["<observe>", "</observe>", "<think>", "</think>", "<answer>", "</answer>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer() -> Any:
    """A byte-level BPE with single digits, the format's tags as plain tokens and Qwen's specials."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        _corpus(),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY - len(SPECIALS) - len(TAGS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    bpe.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    bpe.add_tokens([AddedToken(t, special=False, normalized=False) for t in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIALS[1:],
        model_max_length=2048,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: Any) -> Any:
    """The model with fresh weights, from torch's global generator."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # progress lines are ours
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIALS}
    hidden, half = 128, HEAD_DIM // 2
    spatial = 3 * half // 8
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": hidden,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": hidden // HEAD_DIM,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [half - 2 * spatial, spatial, spatial],
            },
            "tie_word_embeddings": True,
            "use_sliding_window": False,
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 3,
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_heads": 3,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL,
            "window_size": PATCH * MERGE * 8,
            "fullatt_block_indexes": [0, 1, 2],
            "out_hidden_size": hidden,
            "tokens_per_second": 2,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model


def save_processor(tokenizer: Any, out: Path) -> None:
    """Write tokenizer, chat template and processor files, as `AutoProcessor` and vLLM read them.

    Written as files and not by `Qwen2_5_VLProcessor.save_pretrained`, which needs torchvision for its video half.
    """
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(out)
    pixels = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": TEMPORAL,
        "size": {"shortest_edge": (PATCH * MERGE) ** 2, "longest_edge": 256 * 256},
        # Spelled out although they are the class's defaults: vLLM normalises by what the file says.
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": OPENAI_CLIP_MEAN,
        "image_std": OPENAI_CLIP_STD,
    }
    parts = {
        "processor_class": "Qwen2_5_VLProcessor",
        "image_processor": pixels | {"image_processor_type": "Qwen2VLImageProcessor"},
        "video_processor": pixels | {"video_processor_type": "Qwen2VLVideoProcessor"},
    }
    (out / "processor_config.json").write_text(json.dumps(parts, indent=2) + "\n", encoding="utf-8")
    image = parts["image_processor"] | {"processor_class": "Qwen2_5_VLProcessor"}  # type: ignore[operator]
    (out / "preprocessor_config.json").write_text(json.dumps(image, indent=2) + "\n", encoding="utf-8")


def _corpus() -> list[str]:
    """The pool's language: questions, options, instructions and thoughts."""
    rng = random.Random(0)
    lines = []
    for _ in range(300):
        for kind in digits.KINDS:
            question = digits.ask(kind, digits.draw_digits(rng), rng)
            options = "\n".join(f"{a}. {b}" for a, b in zip(LETTERS, question.options, strict=False))
            instruction = rng.choice(list(TEMPLATES.values())).instruction
            lines.append("\n".join(["user", question.text, options, instruction, "assistant"]))
            lines.append(f"{question.thought} {question.answer} no image guess")
    for tag in TAGS:  # tokens of their own, added after training
        lines = [line.replace(tag, " ") for line in lines]
    return lines
