"""TRL's own rewards-to-loss code on given rewards and log-probs.

`python trl_own_loss.py CASES.json` prints one JSON object: for each case its advantages, its loss, and the loss's gradient by each
log-prob. What TRL samples and computes by the model is replaced by what is given; everything after that is TRL's.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import common  # noqa: F401 - makes torchvision importable beside a CPU torch
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import GRPOConfig, GRPOTrainer

Case = dict[str, Any]


def main() -> None:
    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        found = [of_case(case, told["model"], folder) for case in told["cases"]]
    print(json.dumps({"found": found, "versions": {name: version(name) for name in ("trl", "torch")}}))


def of_case(case: Case, model: str, folder: str) -> dict[str, Any]:
    """What TRL makes of one case."""
    made = trainer(case, model, folder)
    lengths = [len(row) for row in case["logprobs"]]
    logprobs_RT = padded(case["logprobs"]).requires_grad_()
    given = {"old": padded(case["old"]), "reference": padded(case["reference"])}
    replace_model(made, lengths, given)
    inputs = made._generate_and_score_completions([{"prompt": "."} for _ in lengths])
    given["old"] = logprobs_RT  # from here on the policy is the one that learns
    loss = made.compute_loss(made.model, inputs)
    loss.backward()
    assert logprobs_RT.grad is not None
    return {
        "advantages": inputs["advantages"].tolist(),
        "loss": loss.item(),
        "gradient": [row[:n].tolist() for row, n in zip(logprobs_RT.grad, lengths, strict=True)],
    }


def trainer(case: Case, model: str, folder: str) -> GRPOTrainer:
    """A trainer with the case's settings, in the middle of training."""
    config = GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        report_to="none",
        per_device_train_batch_size=len(case["logprobs"]),
        num_generations=case["group"],
        num_iterations=1
        if case["on_policy"]
        else 2,  # with two, TRL asks the policy for its log-probs before the first
        max_completion_length=case["max_tokens"],
        **case["trl"],
    )
    from datasets import Dataset

    made = GRPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(model),
        processing_class=AutoProcessor.from_pretrained(model),
        reward_funcs=lambda **_: case["rewards"],
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["."] * len(case["logprobs"])}),
    )
    made.current_gradient_accumulation_steps = 1
    made.model.train()
    return made


def replace_model(made: GRPOTrainer, lengths: list[int], given: dict[str, torch.Tensor]) -> None:
    """Responses of these lengths come instead of sampled ones, and given log-probs instead of computed ones."""

    def generate(prompts: list[Any]) -> tuple[Any, ...]:
        responses = [[7] * n for n in lengths]
        return [[5]] * len(prompts), responses, None, ["."] * len(prompts), None, {}, None, []

    def logprobs(model: Any, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor, None]:
        values = given["reference" if model is made.ref_model else "old"]
        return values, torch.zeros_like(values), None

    made._generate = generate
    made._get_per_token_logps_and_entropies = logprobs


def padded(rows: list[list[float]]) -> torch.Tensor:
    """(R, T), float64."""
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row, dtype=torch.float64) for row in rows], batch_first=True
    )


if __name__ == "__main__":
    main()
