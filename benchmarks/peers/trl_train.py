"""Steps of TRL's GRPOTrainer on an export of a split, in its order, with Ladder's verifier as the reward.

`python trl_train.py SETTINGS.json` prints one JSON object: seconds of each step, where they went, peak memory, and what the
steps were about.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version

from measured import Clock, print_found, told_settings
from trl_trainer import config, trainer

from ladder.export.reward import trl_accuracy


def main() -> None:
    from datasets import load_dataset

    told, clock = told_settings(), Clock()
    data = load_dataset("parquet", data_files=told["export"], split="train")
    with tempfile.TemporaryDirectory() as folder:
        how = config(told, folder, max_steps=told["steps"])
        made = trainer(told, how, data, trl_accuracy, clock)
        made.train()
    log = [entry for entry in made.state.log_history if "reward" in entry]
    print_found(
        clock,
        tokens=[entry["completions/mean_length"] for entry in log],
        correct=[entry["reward"] for entry in log],
        versions={name: version(name) for name in ("trl", "transformers", "torch")},
    )


if __name__ == "__main__":
    main()
