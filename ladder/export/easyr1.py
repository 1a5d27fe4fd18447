"""EasyR1: Parquet, as its `RLHFDataset` reads it (hiyouga/EasyR1 verl/utils/dataset.py; layout of hiyouga/geometry3k).
It has no system turn: what a template says there stands before the question."""

from __future__ import annotations

from typing import Any

from ladder.export.base import Asked, Family, Row, Told, fact_features, facts


def _rows(asked: Asked) -> list[Row]:
    text = f"{asked.system}\n{asked.text}" if asked.system else asked.text
    row = {
        "id": asked.item.id,
        "images": [
            picture.struct for picture in asked.images
        ],  # none: an empty list, for it takes their length
        "problem": text,
        "answer": asked.gold,
        "ladder": "",
        **facts(asked),
    }
    return [row]


def _features() -> Any:
    import datasets as hf

    text = hf.Value("string")
    images = hf.List(hf.Image())
    return hf.Features(
        {"id": text, "images": images, "problem": text, "answer": text, "ladder": text, **fact_features()}
    )


def _settings(told: Told) -> list[str]:
    return [
        f"data.train_files={told.path('train')}",
        f"data.val_files={told.held_out}",
        "data.shuffle=false",
        "data.prompt_key=problem",
        "data.answer_key=ladder",
        "data.image_key=images",
        "data.format_prompt=null",
        "data.filter_overlong_prompts=false",
        f"worker.reward.reward_function={told.reward}:compute_score",
    ]


EASYR1 = Family(
    name="easyr1",
    pipeline="easyr1",
    suffix="parquet",
    rows=_rows,
    settings=_settings,
    features=_features,
    reward="easyr1_scores as compute_score",
    more='REWARD_NAME = "ladder"\nREWARD_TYPE = "batch"\n',
    forbidden="@",
    traps=(
        "data.shuffle is true in its examples, and data.format_prompt appends an instruction of its own to ours.",
        "data.answer_key=ladder hands the whole item to the reward function here; EasyR1's own reward functions need "
        "data.answer_key=answer.",
        "Versions that do not read REWARD_TYPE in reward.py need worker.reward.reward_type=batch.",
        "Its filter of overlong prompts drops items; without it they stop the run: set data.max_prompt_length.",
        "data.min_pixels and data.max_pixels scale images again.",
    ),
)
