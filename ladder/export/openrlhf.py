"""OpenRLHF itself (openrlhf/datasets/prompts_dataset.py, 0.11.2), and its multimodal forks: LMM-R1, MM-Eureka and
Observe-R1, whose messages are a text that holds the chat turns as JSON. Images are files."""

from __future__ import annotations

import json

from ladder.export.base import Asked, Family, Row, Told, facts


def _rows(asked: Asked) -> list[Row]:
    row = {
        "id": asked.item.id,
        "prompt": asked.messages,
        "images": [picture.file for picture in asked.images],
        "label": asked.gold,
        "datasource": asked.item.source,
        "ladder": "",
        **facts(asked),
    }
    return [row]


def _settings(told: Told) -> list[str]:
    return [
        "sed -i '/prompts_dataloader = strategy.setup_dataloader(/{n;n;n;n;s/True/False/}' openrlhf/trainer/ppo_trainer.py",
        f"--data.prompt_dataset {told.path('train')}",
        "--data.input_key prompt",
        "--data.label_key ladder",
        "--data.image_key images",
        f"--data.max_images_per_prompt {told.most_images}",
        "--data.apply_chat_template",
        f"--reward.remote_url {told.reward}",
    ]


OPENRLHF = Family(
    name="openrlhf",
    pipeline="openrlhf_prompt",
    suffix="jsonl",
    rows=_rows,
    settings=_settings,
    files=True,
    reward="openrlhf_rewards as reward_func",
    forbidden=",@",
    version="0.11.2",
    traps=(
        "Training prompts are always shuffled: prepare_datasets in openrlhf/trainer/ppo_trainer.py hands setup_dataloader a "
        "literal True as its fourth argument, and no setting reaches it. Without the first line, which makes it False in "
        "the installed file, the order is lost.",
        "--data.label_key ladder hands the whole item to the reward function here; other rewards need --data.label_key label.",
        "An image file that is missing is passed over with a warning: the export must stay where it was written.",
    ),
)


def _message_rows(asked: Asked) -> list[Row]:
    files = iter(asked.images)
    turns = [
        {
            "role": turn["role"],
            "content": [
                part if part["type"] == "text" else {"type": "image", "image": f"file://{next(files).file}"}
                for part in turn["content"]
            ],
        }
        for turn in asked.messages
    ]
    row = {
        "id": asked.item.id,
        "message": json.dumps(turns, ensure_ascii=False),
        "question": asked.question,
        "answer": _latex(asked.gold),
        "datasource": asked.item.source,
        "ladder": "",
        **facts(asked),
    }
    return [row]


def _latex(gold: str) -> str:
    return gold if "$" in gold or "\\boxed" in gold else f"${gold}$"


def _message_settings(told: Told) -> list[str]:
    return [
        f"--prompt_data {told.path('train')}",
        "--input_key message",
        "--label_key ladder",
        "--shuffle",
        f"--remote_rm_url {told.reward}",
    ]


LMM_R1 = Family(
    name="lmm-r1",
    pipeline="openrlhf",
    suffix="jsonl",
    rows=_message_rows,
    settings=_message_settings,
    files=True,
    reward="lmm_r1_rewards as reward_func",
    forbidden=",@",
    traps=(
        "--shuffle is declared store_false: giving it turns shuffling OFF, leaving it out shuffles.",
        "Do not give --apply_chat_template: a message is a text that the fork reads itself.",
        "--label_key ladder hands the whole item to reward.py; the forks' own verifiers need --label_key answer, and some pay "
        "for an answer that they cannot read (a word, an option).",
        "Its default limit is one image to a prompt.",
    ),
)
