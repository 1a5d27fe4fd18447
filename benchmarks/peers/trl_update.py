"""TRL's GRPOTrainer on responses that are given: the reference's log-probs, its own loss, backward pass and optimiser, on its
own layout of the batch; no rollouts.

`python trl_update.py SETTINGS.json` prints one JSON object as trl_train.py does.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measured import Clock, print_found, told_settings
from trl_trainer import config, torch, trainer

Batch = dict[str, Any]


def main() -> None:
    from datasets import Dataset

    told, clock = told_settings(), Clock()
    with tempfile.TemporaryDirectory() as folder:
        data = Dataset.from_dict({"prompt": ["."] * told["prompts"]})
        made = trainer(
            told, config(told, folder, max_steps=1), data, lambda prompts, **_: [0.0] * len(prompts), clock
        )
        made.current_gradient_accumulation_steps = made.args.gradient_accumulation_steps
        optimizer = made.create_optimizer()
        clock.wrap(optimizer, "step", "optimizer")
        made.model.train()
        batch = read_batch(told, made._tokenizer.pad_token_id)
        losses = [step(made, optimizer, batch, told["at_once"], clock) for _ in range(told["steps"])]
    lengths = batch["completion_mask"].sum(1)
    print_found(
        clock,
        losses=losses,
        tokens=float(lengths.float().mean()),
        prompt_tokens=int(batch["prompt_ids"].shape[1]),
    )


def read_batch(told: dict[str, Any], pad: int) -> Batch:
    """The given prompts and responses as GRPOTrainer._generate_and_score_completions lays them out."""
    given = json.loads(Path(told["given"], "given.json").read_text(encoding="utf-8"))
    arrays = np.load(Path(told["given"], "pictures.npz"))
    group = told["group"]
    prompts = torch.tensor([ids for ids in given["prompts"] for _ in range(group)])
    responses = [response for of_prompt in given["responses"] for response in of_prompt]
    longest = max(map(len, responses))
    lengths = torch.tensor([len(response) for response in responses])
    mask = (torch.arange(longest) < lengths[:, None]).int()
    return {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": torch.tensor(
            [[*response, *[pad] * (longest - len(response))] for response in responses]
        ),
        "completion_mask": mask,
        "advantages": torch.tensor(given["advantages"]).flatten(),
        "num_items_in_batch": mask.sum(),
        "pixel_values": torch.from_numpy(arrays["pixels"]).repeat_interleave(group, 0),
        "image_grid_thw": torch.from_numpy(arrays["grids"]).repeat_interleave(group, 0),
        "mm_token_type_ids": torch.nn.functional.pad((prompts == given["image_token"]).int(), (0, longest)),
        "num_images": [1] * len(responses),
    }


def step(made: Any, optimizer: Any, batch: Batch, at_once: int, clock: Clock) -> float:
    """One update, in the parts that the trainer takes one after the other."""
    responses = len(batch["prompt_ids"])
    with torch.no_grad():
        batch["ref_per_token_logps"] = reference(made, batch, at_once)
    loss = 0.0
    for start in range(0, responses, at_once):
        part = {k: v[start : start + at_once] if k != "num_items_in_batch" else v for k, v in batch.items()}
        part["pixel_values"] = part["pixel_values"].flatten(0, 1)
        share = made.compute_loss(made.model, part)
        made.accelerator.backward(share)
        loss += share.item()
    made.accelerator.clip_grad_norm_(made.model.parameters(), made.args.max_grad_norm)
    optimizer.step()
    made.model.zero_grad()
    clock.end_step()
    return loss


def reference(made: Any, batch: Batch, at_once: int) -> torch.Tensor:
    """The reference's log-probs as GRPOTrainer._generate_and_score_completions computes them."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    logprobs, _, _ = made._get_per_token_logps_and_entropies(
        made.ref_model,
        ids,
        mask,
        batch["completion_ids"].shape[1],
        batch_size=at_once,
        pixel_values=batch["pixel_values"].flatten(0, 1),
        image_grid_thw=batch["image_grid_thw"],
        num_images=batch["num_images"],
        mm_token_type_ids=batch["mm_token_type_ids"],
    )
    found: torch.Tensor = logprobs
    return found


if __name__ == "__main__":
    main()
