"""TRL's GRPOTrainer on the CPU as the measurements set it up, with its own methods timed. Of Ladder it has the allocator's
settings and the verifier."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import common  # noqa: F401 - makes torchvision importable beside a CPU torch
import torch
from measured import Clock
from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from ladder.runtime import tune_allocator


def config(told: dict[str, Any], folder: str, **more: Any) -> GRPOConfig:
    """The settings that `told` asks for; everything that only costs time is off."""
    responses = told["prompts"] * told["group"]
    parts = responses // told["at_once"]
    return GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        shuffle_dataset=False,
        remove_unused_columns=False,
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        per_device_train_batch_size=told["at_once"],
        steps_per_generation=parts,
        gradient_accumulation_steps=parts,
        num_generations=told["group"],
        num_iterations=1,
        max_completion_length=told["max_tokens"],
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        beta=told["beta"],
        use_bias_correction_kl=False,
        loss_type="dapo",
        scale_rewards="group",
        learning_rate=told["learning_rate"],
        lr_scheduler_type="constant",
        adam_beta2=told["beta_2"],
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=0,
        **more,
    )


class Steps(TrainerCallback):
    """Tells the clock of TRL's steps, and of the optimiser that it makes late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
        """The optimiser is there."""
        self._clock.wrap(more["optimizer"], "step", "optimizer")

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
        """The weights were updated, and are to be cleared of gradients: that counts for the next step."""
        self._clock.end_step()


def trainer(told: dict[str, Any], how: GRPOConfig, data: Any, reward: Any, clock: Clock) -> GRPOTrainer:
    """The trainer of a model's directory, timed."""
    tune_allocator()
    torch.set_num_threads(told["threads"])
    made = GRPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(told["model"], dtype=torch.float32),
        processing_class=AutoProcessor.from_pretrained(told["model"]),
        reward_funcs=reward,
        args=how,
        train_dataset=data,
        callbacks=[Steps(clock)],
    )
    clock.wrap(made, "_tokenize_prompts", "rollout")
    clock.wrap(made, "_generate_single_turn", "rollout")
    clock.wrap(made, "_calculate_rewards", "verify")
    clock.wrap(
        made,
        "_get_per_token_logps_and_entropies",
        lambda model, *_, **__: "reference" if model is made.ref_model else "log-probs",
    )
    clock.wrap(made.accelerator, "backward", "backward")
    clock.wrap(made.accelerator, "clip_grad_norm_", "optimizer")
    return made
