"""TRL reads the export and its GRPOTrainer takes steps on it, on the CPU: order, ids, prompts, images, and the reward by
Ladder's verifier, which is the one thing of Ladder that it uses."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from common import arguments, pixels, report, turns

sys.path.insert(0, str(Path(__file__).parents[2]))
STEPS, PROMPTS, GROUP = 2, 2, 4
MAX_TEXT = 4000  # characters; the embedded model has few positions


def main() -> None:
    from datasets import load_dataset

    export, expected, model = arguments()
    data = load_dataset("parquet", data_files=str(export / "train.parquet"), split="train")
    found = [
        {
            "id": row["id"],
            "turns": turns(row["prompt"]),
            "images": [pixels(image) for image in row["images"]],
            "gold": row["solution"],
        }
        for row in data
    ]
    chosen = [i for i, row in enumerate(data) if row["images"] and len(row["ladder"]) < MAX_TEXT]
    mixed = chosen[:1] + [i for i, row in enumerate(data) if not row["images"]][:1]
    told = steps(data.select(chosen), model, STEPS)
    if len(mixed) > 1:
        told["mixed_batch"] = attempt(data.select(mixed), model)
    report(found, expected, ["trl", "transformers", "datasets", "torch"], **told)


def attempt(data: Any, model: str) -> str:
    """What becomes of a batch of which only some items have images."""
    try:
        return f"{steps(data, model, 1)['steps']} step"
    except Exception as error:  # of TRL or of anything below it
        return f"{type(error).__name__}: {error}"


def steps(data: Any, model: str, count: int) -> dict[str, Any]:
    """Train on so many batches; which items it asked in which order, and what it logged."""
    import json

    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import GRPOConfig, GRPOTrainer

    from ladder.export.reward import trl_accuracy

    asked: list[str] = []

    def accuracy(completions: list[Any], ladder: list[str], **columns: Any) -> list[float | None]:
        asked.extend(json.loads(one)["id"] for one in ladder)
        return trl_accuracy(completions, ladder, **columns)

    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            shuffle_dataset=False,
            per_device_train_batch_size=PROMPTS * GROUP,
            num_generations=GROUP,
            max_completion_length=32,
            max_steps=count,
            learning_rate=1e-4,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
        )
        trainer = GRPOTrainer(
            model=AutoModelForImageTextToText.from_pretrained(model),
            processing_class=AutoProcessor.from_pretrained(model),
            reward_funcs=accuracy,
            args=config,
            train_dataset=data,
        )
        before = [p.detach().clone() for p in trainer.model.parameters()]
        trainer.train()
        moved = sum(not a.equal(b) for a, b in zip(before, trainer.model.parameters(), strict=True))
        log = [entry for entry in trainer.state.log_history if "reward" in entry]
    prompts = list(dict.fromkeys(asked))
    return {
        "steps": trainer.state.global_step,
        "in_order": prompts == list(data["id"][: len(prompts)]) and len(prompts) == count * PROMPTS,
        "rewards": [entry["reward"] for entry in log],
        "parameters_moved": moved,
    }


if __name__ == "__main__":
    main()
