"""LLaVA's conversations, which LLaMA-Factory (sharegpt) and others read too: a JSON list, the gold as the answer. Made for
supervised training; the answer is the gold alone, without reasoning."""

from __future__ import annotations

from ladder.export.base import Asked, Family, Row, Told, facts


def _rows(asked: Asked) -> list[Row]:
    names = [picture.name for picture in asked.images]
    conversation = [
        {"from": "human", "value": asked.text},
        {"from": "gpt", "value": asked.gold},
    ]
    if asked.system:
        conversation.insert(0, {"from": "system", "value": asked.system})
    shown = {"image": names[0] if len(names) == 1 else names} if names else {}
    return [{"id": asked.item.id, **shown, "conversations": conversation, "ladder": "", **facts(asked)}]


def _settings(told: Told) -> list[str]:
    return [
        f"--data_path {told.path('train')}",
        f"--image_folder {told.folder}",
        "--group_by_modality_length False",
        "--train_sampling_strategy sequential",
    ]


LLAVA = Family(
    name="llava",
    pipeline="llava",
    suffix="json",
    rows=_rows,
    settings=_settings,
    files=True,
    traps=(
        "The Trainer below it shuffles. --train_sampling_strategy is of transformers 5; LLaVA's own repository pins an older "
        "one, where only an edit keeps the order: LLaVATrainer._get_train_sampler must return "
        "torch.utils.data.SequentialSampler(self.train_dataset).",
        "In LLaMA-Factory: disable_shuffling: true, formatting: sharegpt, columns: {messages: conversations, images: image}.",
        "LLaVA moves every <image> to the front of its turn.",
        "The file is one JSON list, which trainers read whole.",
    ),
)
