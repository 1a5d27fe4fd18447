"""verl: Parquet, as its `RLHFDataset` reads it (verl/utils/dataset/rl_dataset.py, 0.9.1; layout of its
examples/data_preprocess/geo3k.py). The prompt's text has `<image>` where an image goes."""

from __future__ import annotations

from typing import Any

from ladder.export.base import Asked, Family, Row, Told, Unfit, fact_features, facts

_OTHER_MEDIA = ("<video>", "<audio>")


def _rows(asked: Asked) -> list[Row]:
    if asked.images and any(mark in turn["content"] for turn in asked.turns for mark in _OTHER_MEDIA):
        # verl asserts that there is a medium for each mark of a prompt that has any.
        raise Unfit("names_other_media")
    row = {
        "data_source": asked.item.source,
        "prompt": asked.turns,
        "images": [picture.struct for picture in asked.images],
        "ability": asked.item.subject or asked.item.source,
        "reward_model": {"style": "rule", "ground_truth": asked.gold},
        "extra_info": {
            "split": asked.part,
            "index": asked.position,
            "id": asked.item.id,
            "question": asked.question,
            "answer": asked.gold,
            "ladder": "",
            **facts(asked),
        },
    }
    return [row]


def _features() -> Any:
    import datasets as hf

    text = hf.Value("string")
    return hf.Features(
        {
            "data_source": text,
            "prompt": hf.List({"role": text, "content": text}),
            "images": hf.List(hf.Image()),
            "ability": text,
            "reward_model": {"style": text, "ground_truth": text},
            "extra_info": {
                "split": text,
                "index": hf.Value("int64"),
                "id": text,
                "question": text,
                "answer": text,
                "ladder": text,
                **fact_features(),
            },
        }
    )


def _settings(told: Told) -> list[str]:
    return [
        f"data.train_files={told.path('train')}",
        f"data.val_files={told.held_out}",
        "data.shuffle=False",
        "data.prompt_key=prompt",
        "data.image_key=images",
        "data.return_raw_chat=True",
        "data.filter_overlong_prompts=False",
        "data.truncation=error",
        "actor_rollout_ref.actor.shuffle=False",
        f"custom_reward_function.path={told.reward}",
        "custom_reward_function.name=compute_score",
    ]


VERL = Family(
    name="verl",
    pipeline="verl",
    suffix="parquet",
    rows=_rows,
    settings=_settings,
    features=_features,
    reward="verl_score as compute_score",
    version="0.9.1",
    traps=(
        "data.shuffle is True by default.",
        "data.filter_overlong_prompts=True drops items without a count; with data.truncation=error they stop the run instead: "
        "set data.max_prompt_length to what your images take.",
        "verl's own reward functions know `data_source` names of its examples only, and raise for any other: hence the "
        "reward.py here.",
        "Its data loader drops the last incomplete batch, and data.train_max_samples takes a random sample if data.shuffle is set.",
    ),
)
