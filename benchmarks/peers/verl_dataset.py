"""verl's RLHFDataset reads the export, and its sampler keeps the order under the settings that the export names."""

from __future__ import annotations

from common import arguments, pixels, report, turns


def main() -> None:
    from omegaconf import OmegaConf
    from transformers import AutoProcessor
    from verl.trainer.ppo.utils import create_rl_sampler
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    export, expected, model = arguments()
    config = OmegaConf.create(
        {
            "prompt_key": "prompt",
            "image_key": "images",
            "shuffle": False,
            "filter_overlong_prompts": False,
            "return_raw_chat": True,
            "truncation": "error",
            "cache_dir": str(export / "cache"),
        }
    )
    processor = AutoProcessor.from_pretrained(model)
    data = RLHFDataset(str(export / "train.parquet"), processor.tokenizer, config, processor)
    order = list(create_rl_sampler(config, data))
    rows = [data[index] for index in order]
    collate_fn(rows)
    found = [
        {
            "id": row["extra_info"]["id"],
            "turns": turns(row["raw_prompt"]),
            "images": [
                pixels(part["image"])
                for turn in row["raw_prompt"]
                if not isinstance(turn["content"], str)
                for part in turn["content"]
                if part["type"] == "image"
            ],
            "gold": row["reward_model"]["ground_truth"],
        }
        for row in rows
    ]
    indices = [row["index"] for row in rows]
    kept = sum(row["extra_info"]["ladder"] != "" for row in rows) * (indices == sorted(set(indices)))
    report(found, expected, ["verl", "transformers", "datasets", "tensordict", "torch"], kept=kept)


if __name__ == "__main__":
    main()
