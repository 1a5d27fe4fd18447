"""MMPR's preference pairs (arXiv 2411.10442; OpenGVLab/MMPR): a right response to an item against a wrong one of the same
model. JSON lines {image, question, chosen, rejected}, images as files."""

from __future__ import annotations

from ladder.export.base import Asked, Family, Row, Told, Unfit, facts


def _rows(asked: Asked) -> list[Row]:
    if not asked.pairs:
        raise Unfit("no_pair")
    names = [picture.name for picture in asked.images]
    text = f"{asked.system}\n{asked.text}" if asked.system else asked.text
    return [
        {
            "id": f"{asked.item.id}-{number}",
            "image": names[0] if len(names) == 1 else names or "",
            "question": text,
            "chosen": pair.chosen,
            "rejected": pair.rejected,
            "ladder": "",
            **facts(asked),
        }
        for number, pair in enumerate(asked.pairs)
    ]


def _settings(told: Told) -> list[str]:
    return [
        f'"root": "{told.folder}", "annotation": "{told.file("train")}", "data_augment": false, "repeat_time": 1',
        "--group_by_length False",
        "--train_sampling_strategy sequential",
    ]


MMPR = Family(
    name="mmpr",
    pipeline="mmpr",
    suffix="jsonl",
    rows=_rows,
    settings=_settings,
    files=True,
    traps=(
        "The first line is an entry of InternVL's data set description. Its trainer, as transformers' below it, shuffles; "
        "--train_sampling_strategy is of transformers 5, before that _get_train_sampler must be overridden.",
        "Items without a right or without a wrong response have no pair: unsolved and solved ones.",
        "An item may have several rows; importing the export again keeps the first.",
    ),
)
