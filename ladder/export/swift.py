"""ms-swift: JSON lines of messages with `<image>` marks, images as files (swift/dataset/preprocessor/core.py, 4.6)."""

from __future__ import annotations

from ladder.export.base import Asked, Family, Row, Told, facts


def _rows(asked: Asked) -> list[Row]:
    row = {
        "id": asked.item.id,
        "messages": asked.turns,
        "images": [picture.file for picture in asked.images],
        "solution": asked.gold,
        "ladder": "",
        **facts(asked),
    }
    return [row]


def _settings(told: Told) -> list[str]:
    return [
        "--rlhf_type grpo",
        f"--dataset {told.path('train')}",
        f"--val_dataset {told.held_out}",
        "--dataset_shuffle false",
        "--train_dataloader_shuffle false",
        "--split_dataset_ratio 0",
        "--strict true",
        "--truncation_strategy raise",
        f"--external_plugins {told.reward}",
        "--reward_funcs ladder",
    ]


SWIFT = Family(
    name="ms-swift",
    pipeline="swift",
    suffix="jsonl",
    rows=_rows,
    settings=_settings,
    files=True,
    reward="SwiftAccuracy",
    more='from swift.rewards import orms\n\norms["ladder"] = SwiftAccuracy\n',
    version="4.6.0",
    traps=(
        "Both shuffle settings are true by default, and each alone shuffles.",
        "Without --strict true rows that cannot be read are dropped with a message; for GRPO prompts that are too long are cut "
        "from the left unless --truncation_strategy says otherwise, an image among them.",
        "Without a system turn ms-swift's template writes its own default, which for Qwen2.5-VL is the chat template's.",
        "The environment variable ROOT_IMAGE_DIR must not be set: paths are whole.",
    ),
)
