"""R1-V: image, problem, and the solution in answer tags (Deep-Agent/R1-V src/open_r1/grpo.py). Its script puts the one
image first and appends an instruction of its own, so the problem is question and options alone."""

from __future__ import annotations

from typing import Any

from ladder.export.base import Asked, Family, Row, Told, Unfit, fact_features, facts
from ladder.records import IMAGE_PLACEHOLDER


def _rows(asked: Asked) -> list[Row]:
    if len(asked.images) != 1:
        raise Unfit("not_one_image")
    row = {
        "id": asked.item.id,
        "image": asked.images[0].struct,
        "problem": asked.question.replace(IMAGE_PLACEHOLDER, "").strip(),
        "solution": f"<answer> {asked.gold} </answer>",
        "ladder": "",
        **facts(asked),
    }
    return [row]


def _features() -> Any:
    import datasets as hf

    text = hf.Value("string")
    named = {"id": text, "image": hf.Image(), "problem": text, "solution": text, "ladder": text}
    return hf.Features({**named, **fact_features()})


def _settings(told: Told) -> list[str]:
    return [
        f"--dataset_name {told.folder}",
        "def _get_train_sampler(self, *_): return torch.utils.data.SequentialSampler(self.train_dataset)",
    ]


R1V = Family(
    name="r1v",
    pipeline="r1v",
    suffix="parquet",
    rows=_rows,
    settings=_settings,
    features=_features,
    reward="trl_accuracy as accuracy_reward",
    traps=(
        "Its trainer shuffles whatever is set: the second line is to be added to Qwen2VLGRPOTrainer (and to "
        "Qwen2VLGRPOVLLMTrainer).",
        "QUESTION_TEMPLATE in its grpo.py appends its own instruction; this ladder's prompt was another one, so the pass rates "
        "here are not those of R1-V's prompt.",
        "One image to a problem, always before the text: items with none or several are left out.",
    ),
)
