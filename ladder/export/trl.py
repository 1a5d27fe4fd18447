"""TRL's GRPOTrainer: Parquet of chat turns with image parts, images beside, and columns for its reward functions
(trl/trainer/grpo_trainer.py and data_utils.py, 1.16)."""

from __future__ import annotations

from typing import Any

from ladder.export.base import Asked, Family, Row, Told, fact_features, facts


def _rows(asked: Asked) -> list[Row]:
    row = {
        "id": asked.item.id,
        "prompt": asked.messages,
        "images": [picture.struct for picture in asked.images],
        "solution": asked.gold,
        "ladder": "",
        **facts(asked),
    }
    return [row]


def _features() -> Any:
    import datasets as hf

    text = hf.Value("string")
    return hf.Features(
        {
            "id": text,
            "prompt": hf.List({"role": text, "content": hf.List({"type": text, "text": text})}),
            "images": hf.List(hf.Image()),
            "solution": text,
            "ladder": text,
            **fact_features(),
        }
    )


def _settings(told: Told) -> list[str]:
    return [
        f'train_dataset=load_dataset("parquet", data_files={told.file("train")!r}, split="train")',
        "GRPOConfig(shuffle_dataset=False, remove_unused_columns=False)",
        "reward_funcs=[ladder.export.reward.trl_accuracy]",
    ]


TRL = Family(
    name="trl",
    pipeline="trl",
    suffix="parquet",
    rows=_rows,
    settings=_settings,
    features=_features,
    reward="trl_accuracy as accuracy",
    version="1.16.0",
    traps=(
        "shuffle_dataset is True by default.",
        "A batch in which only some items have images stops TRL 1.16 with a TypeError: export with --set images_only=true, or "
        "train on the others apart.",
        "A text part of an image part is null in Parquet: the chat template must ask for a part's type first, as those of "
        "Qwen2-VL, Qwen2.5-VL and Qwen3-VL do.",
        "Resuming in the middle of an epoch leans on the Trainer's skipping of batches: keep num_generations and batch sizes.",
    ),
)
