"""The loss of Ladder's trainer beside TRL's own, on the same rewards and log-probs: advantages, loss, and the gradient by each
log-prob.

    python benchmarks/trl_loss.py

TRL's side is its GRPOTrainer from rewards to loss (peers/trl_own_loss.py), in its own environment. What the settings are called
(`NAMES`):

| TRL | Ladder |
| --- | --- |
| loss_type = "dapo", "bnpo" | loss.average = "token" |
| loss_type = "grpo" | loss.average = "sequence" |
| loss_type = "dr_grpo" | loss.average = "constant" |
| importance_sampling_level | loss.ratio |
| epsilon, epsilon_high | loss.clip_low, loss.clip_high |
| delta | loss.dual_clip is of negative advantages alone; with these TRL's delta and dual_clip are the same |
| beta | kl.weight, with kl.estimator = "k3" and kl.place = "loss" |
| use_bias_correction_kl | kl.by_ratio |
| scale_rewards = "group" | advantage.kind = "grpo", advantage.eps = 1e-4 |
| scale_rewards = "none" | advantage.kind = "dr-grpo" |
| scale_rewards = "batch" | none: it divides by the std of rewards over the batch, reinforce++-baseline by that of what is centred |
| num_iterations = 1 | loss.old = "policy" with one update per step |
| mask_truncated_completions | loss.mask_truncated |
| bnpo and dapo | differ in how TRL accumulates gradients; Ladder's denominators are those of the whole update |

Writes benchmarks/results/trl_loss.json; fails where something differs by more than 1e-5 of it.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from environments import call, environment
from results import write_result

from ladder.models import resolve_model
from trainer.advantage import DrGrpo, Grpo, advantages_PG
from trainer.kl import KlSettings
from trainer.loss import LossInputs, LossSettings, policy_loss, token_weights_R

GROUP, PROMPTS, MAX_TOKENS = 8, 4, 24
TOLERANCE = 1e-5
AVERAGE = {"grpo": "sequence", "dr_grpo": "constant", "dapo": "token", "bnpo": "token"}
NAMES = {
    "loss_type": "loss.average",
    "importance_sampling_level": "loss.ratio",
    "epsilon": "loss.clip_low",
    "epsilon_high": "loss.clip_high",
    "delta": "loss.dual_clip",
    "beta": "kl.weight",
    "use_bias_correction_kl": "kl.by_ratio",
    "scale_rewards": "advantage.kind",
    "num_iterations": "loss.old",
}
Case = dict[str, Any]
Found = dict[str, Any]


def main() -> None:
    """Compare, and write the figures."""
    made = list(cases())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cases.json"
        file.write_text(json.dumps({"cases": made, "model": str(resolve_model("digits"))}), encoding="utf-8")
        theirs = call(environment("trl"), "trl_own_loss.py", [file])
    figures = {
        case["name"]: compared(ours(case), their) for case, their in zip(made, theirs["found"], strict=True)
    }
    for name, figure in figures.items():
        print(name, json.dumps(figure), file=sys.stderr)
    about = {"names": {"value": NAMES, "unit": "TRL's settings and Ladder's", "versions": theirs["versions"]}}
    write_result("trl_loss", about | figures)
    wrong = [name for name, figure in figures.items() if figure["value"] > TOLERANCE]
    if wrong:
        raise SystemExit(f"they differ: {', '.join(wrong)}")


def cases() -> Iterator[Case]:
    """Losses, KL weights, levels of the ratio and clips in all combinations, off-policy; and some of them on-policy."""
    rng = random.Random(0)
    for loss, beta, level, high in itertools.product(
        AVERAGE, (0.0, 0.01), ("token", "sequence"), (0.2, 0.28)
    ):
        yield case(rng, loss, beta, level, high)
    yield case(rng, "dapo", 0.01, "token", 0.2, on_policy=True)
    yield case(rng, "grpo", 0.01, "sequence", 0.2, on_policy=True)
    for loss, level in itertools.product(AVERAGE, ("token", "sequence")):
        yield case(rng, loss, 0.01, level, 0.2, by_ratio=True)
    yield case(rng, "grpo", 0.01, "token", 0.2, on_policy=True, by_ratio=True)
    yield case(rng, "dr_grpo", 0.0, "token", 0.2, scale="none")
    yield case(rng, "dr_grpo", 0.01, "token", 0.28, scale="none", on_policy=True)


def case(
    rng: random.Random,
    loss: str,
    beta: float,
    level: str,
    high: float,
    *,
    scale: str = "group",
    on_policy: bool = False,
    by_ratio: bool = False,
) -> Case:
    """Rewards, a group of equal ones among them, and log-probs far enough from the old ones that many ratios are clipped."""
    lengths = [rng.randint(1, MAX_TOKENS) for _ in range(GROUP * PROMPTS)]
    spread = 0.5 if level == "token" else 2.0
    old = [[-rng.expovariate(1.0) for _ in range(n)] for n in lengths]
    rewards = [float(rng.choice((0.0, 0.5, 1.0, 1.5))) for _ in lengths]
    rewards[:GROUP] = [1.0] * GROUP
    policy = " on-policy" * on_policy + " by ratio" * by_ratio
    return {
        "name": f"{loss} beta {beta} {level} high {high} {scale}{policy}",
        "group": GROUP,
        "max_tokens": MAX_TOKENS,
        "on_policy": on_policy,
        "rewards": rewards,
        "old": old,
        "logprobs": old if on_policy else [[v + rng.gauss(0, spread) for v in row] for row in old],
        "reference": [[v + rng.gauss(0, 0.5) for v in row] for row in old],
        "trl": {
            "loss_type": loss,
            "beta": beta,
            "use_bias_correction_kl": by_ratio,
            "importance_sampling_level": level,
            "epsilon": 0.2,
            "epsilon_high": high,
            "scale_rewards": scale,
        },
    }


def ours(case: Case) -> Found:
    """What Ladder's trainer makes of a case."""
    told = case["trl"]
    settings = LossSettings(
        ratio=told["importance_sampling_level"],
        clip_low=told["epsilon"],
        clip_high=told["epsilon_high"],
        average=AVERAGE[told["loss_type"]],  # type: ignore[arg-type]
    )
    kl = KlSettings(estimator="k3", place="loss", by_ratio=told["use_bias_correction_kl"])
    rewards_PG = torch.tensor(case["rewards"]).view(-1, GROUP)
    how = Grpo(eps=1e-4) if told["scale_rewards"] == "group" else DrGrpo()
    advantages_R = advantages_PG(rewards_PG, (rewards_PG > 1).float(), how).flatten()
    lengths_R = torch.tensor([len(row) for row in case["logprobs"]])
    logprobs_RT = padded(case["logprobs"]).requires_grad_()
    inputs = LossInputs(
        logprobs_RT=logprobs_RT,
        old_RT=None if case["on_policy"] else padded(case["old"]),
        reference_RT=padded(case["reference"]) if told["beta"] else None,
        advantages_RT=advantages_R[:, None].expand_as(logprobs_RT),
        weights_R=token_weights_R(lengths_R, torch.ones(len(lengths_R)), settings, MAX_TOKENS),
        mask_RT=(torch.arange(logprobs_RT.shape[1]) < lengths_R[:, None]).double(),
    )
    loss, _ = policy_loss(inputs, settings, kl, told["beta"])
    loss.backward()
    assert logprobs_RT.grad is not None
    gradient = [row[:n].tolist() for row, n in zip(logprobs_RT.grad, lengths_R.tolist(), strict=True)]
    return {"advantages": advantages_R.tolist(), "loss": loss.item(), "gradient": gradient}


def padded(rows: list[list[float]]) -> torch.Tensor:
    """(R, T), float64."""
    tensors = [torch.tensor(row, dtype=torch.float64) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)


def compared(our: Found, their: Found) -> dict[str, Any]:
    """The largest relative difference of the loss, of the gradient as a whole, and of the advantages."""
    found = {
        "loss": _apart([our["loss"]], [their["loss"]]),
        "gradient": _apart(*([v for row in one["gradient"] for v in row] for one in (our, their))),
        "advantages": _apart(our["advantages"], their["advantages"]),
    }
    return {
        "value": max(found.values()),
        "unit": "largest relative difference",
        "against": f"TRL's loss {their['loss']:.9f}",
        "against_value": TOLERANCE,
        "ratio": max(found.values()) / TOLERANCE,
        "runs": 1,
        **found,
    }


def _apart(one: list[float], other: list[float]) -> float:
    a, b = torch.tensor(one, dtype=torch.float64), torch.tensor(other, dtype=torch.float64)
    return float((a - b).norm() / b.norm().clamp_min(1e-12))


if __name__ == "__main__":
    main()
