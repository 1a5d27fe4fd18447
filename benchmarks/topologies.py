"""Which GPUs a 3B and a 7B are trained on: the tables of docs/topologies.md, as the forecast of `ladder train --dry-run` has them.

    python benchmarks/topologies.py

Qwen2.5-VL's published configurations, without weights; prompts of 1,000 tokens with an image, groups of 8. Nothing is run:
bytes and FLOPs are computed. Prints the tables as Markdown and writes benchmarks/results/topologies.json.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from results import write_result

from trainer.config import TrainSettings
from trainer.flops import Counts, Work, packed, padded, patch_pairs
from trainer.forecast.memory import parts_of, peak_of
from trainer.forecast.place import USABLE, Place
from trainer.forecast.sampler import Load, sample_bytes, weights_of
from trainer.forecast.sizes import Sizes
from trainer.optim import freeze

PROMPT, IMAGE, GROUP = 1000, (1, 60, 64), 8  # tokens; patches of its image: 960 of the tokens
RESPONSES = (512, 2048)
GPU_GB = (24, 48, 80, 141)
RANKS = (1, 2, 4, 8, 16)
LEARNS = ("all", "all, no KL", "all but vision", "LoRA")
_SAMPLES = 64  # at once, of each vLLM
_WORKING_GB = 2.0  # of its share, which a vLLM needs for its own forward
_STEP = 0.05  # of its share
_TEXT: dict[str, dict[str, Any]] = {
    "3B": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "7B": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
}
_VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14}


def model_of(size: str, learns: str) -> Any:
    """Qwen2.5-VL of a size on the `meta` device, and what of it learns; LoRA of rank 16 on the language model's layers."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    text = _TEXT[size]
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=_VISION | {"out_hidden_size": text["hidden_size"]},
        tie_word_embeddings=text["tie_word_embeddings"],
    )
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(config)
    if learns == "LoRA":
        from peft import LoraConfig, inject_adapter_in_model

        layers = r"model\.language_model\..*_proj"
        inject_adapter_in_model(LoraConfig(r=16, target_modules=layers), model, low_cpu_mem_usage=True)
    elif learns == "all but vision":
        freeze(model, ("vision",))
    return model


@cache
def sizes_of(size: str, learns: str) -> Sizes:
    """What the forecast needs to know of a model."""
    return Sizes.of(built(size, learns))


@cache
def built(size: str, learns: str) -> Any:
    """The same, once; a KL is not the model's affair."""
    return model_of(size, learns) if learns != "all, no KL" else built(size, "all")


def settings_of(learns: str, engine: str, share: float = 0.3) -> TrainSettings:
    """Settings of a run: what saves memory without changing its result is on."""
    kl = (
        0.0 if learns in ("all, no KL", "LoRA") else 0.01
    )  # the reference of an adapter is the model without it
    return TrainSettings.model_validate(
        {
            "gradient_checkpointing": True,
            "batch": {"prompts": 64, "group": GROUP, "tokens_per_micro_batch": 8192},
            "kl": {"weight": kl},
            "rollout": {"engine": engine, "vllm": {"args": {"gpu_memory_utilization": share}}},
        }
    )


@cache
def fitting(size: str, learns: str, response: int, gb: int, engine: str) -> dict[str, Any] | None:
    """The fewest GPUs that train it, the share of a vLLM beside it, and the peak of each; None where 16 are too few."""
    of, whole = sizes_of(size, learns), gb * 10**9
    load = Load(PROMPT, PROMPT, response, IMAGE[1] * IMAGE[2])
    share = _share(of, settings_of(learns, engine), load, whole)
    settings = settings_of(learns, engine, share)
    for ranks in RANKS:
        peak = peak_of(parts_of(of, settings, load, Place("cuda", ranks, whole))).value
        if peak <= USABLE * whole:
            beside = {"share": share} if engine == "vllm" else {}
            return {"value": ranks, **beside, "peak_gb": round(peak / 1e9, 1)}
    return None


def _share(of: Sizes, settings: TrainSettings, load: Load, whole: int) -> float:
    """Of a GPU, for a vLLM: its weights, and keys and values of some samples."""
    needed = weights_of(of, settings) + _SAMPLES * sample_bytes(of.text, settings, load)
    return round(math.ceil((needed / whole + _WORKING_GB * 1e9 / whole) / _STEP) * _STEP, 2)


def memory_table(engine: str) -> str:
    """The fewest GPUs by model, what learns, and length of responses, as Markdown."""
    rows = [f"| model | learns | responses | {' | '.join(f'{gb} GB' for gb in GPU_GB)} |"]
    rows.append("| --- | --- | --- |" + " --- |" * len(GPU_GB))
    for size in _TEXT:
        for learns in LEARNS:
            for response in RESPONSES:
                cells = [_cell(fitting(size, learns, response, gb, engine), engine) for gb in GPU_GB]
                rows.append(f"| {size} | {learns} | {response:,} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(found: dict[str, Any] | None, engine: str) -> str:
    if found is None:
        return "-"
    return f"{found['value']} ({found['share']:.2f})" if engine == "vllm" else str(found["value"])


def group_tera(size: str, learns: str, response: int, layout: str) -> float:
    """TFLOP of training on a group: its forward and backward pass, its image encoded once."""
    model = built(size, learns)
    made = (packed if layout == "packed" else padded)(PROMPT, [response] * GROUP)
    of = Counts(
        made.tokens,
        made.pairs,
        made.scored,
        math.prod(IMAGE),
        patch_pairs(model.config.vision_config, [IMAGE]),
    )
    work = Work.of(model)
    return (work.forward(of) + work.backward(of)) / 1e12


def flops_table() -> str:
    """TFLOP of a group, packed and padded, as Markdown."""
    rows = [
        "| model | learns | responses | packed | padded | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for size, learns, response in _trained():
        together, alone = (group_tera(size, learns, response, layout) for layout in ("packed", "padded"))
        told = f"{together:,.0f} | {alone:,.0f} | {alone / together:.2f}"
        rows.append(f"| {size} | {learns} | {response:,} | {told} |")
    return "\n".join(rows)


def _trained() -> Iterator[tuple[str, str, int]]:
    """What costs differently: the KL's reference is a forward pass apart."""
    for size in _TEXT:
        for learns in ("all", "all but vision", "LoRA"):
            for response in RESPONSES:
                yield size, learns, response


def figures() -> dict[str, dict[str, Any]]:
    """Every cell of the tables."""
    made: dict[str, dict[str, Any]] = {}
    for engine in ("vllm", "server"):
        for size in _TEXT:
            for learns in LEARNS:
                for response in RESPONSES:
                    for gb in GPU_GB:
                        found = fitting(size, learns, response, gb, engine) or {"value": None}
                        name = f"{engine}, {size}, {learns}, {response} tokens, {gb} GB"
                        made[name] = {"unit": "GPUs that train", **found}
    for size, learns, response in _trained():
        for layout in ("packed", "padded"):
            tera = round(group_tera(size, learns, response, layout), 2)
            made[f"{size}, {learns}, {response} tokens, {layout}"] = {"value": tera, "unit": "TFLOP a group"}
    return made


def main() -> None:
    """Print the tables and write the figures."""
    for engine, title in (("vllm", "vLLM beside the training"), ("server", "a server elsewhere")):
        print(f"{title}\n\n{memory_table(engine)}\n")
    print(flops_table())
    print(write_result("topologies", figures()))


if __name__ == "__main__":
    main()
