"""What each of torchrun's processes does in test_parallel_runs.py: `ladder train`, one run after the other, of which one may be
killed; and gradients of tiny models.

    python -m torch.distributed.run --nproc-per-node 2 tests/trainer/ranks_main.py ASKED.json

ASKED.json: {"runs": [[split, out, [overrides]]], "kill": moments of benchmarks/traced_train.py or "", "gradients": bool}; the
last process is the one that is killed.
"""

import copy
import json
import os
import sys
import time
from pathlib import Path

sys.path.extend([str(Path(__file__).parents[2] / "benchmarks"), str(Path(__file__).parents[1])])

import torch
from families import FAMILIES, Tokens, prompt, responses, tiny
from traced_train import Fate, watch_moments

from ladder import launched
from ladder.cli import command
from trainer.parallel import Ranks, here_P, started, whole
from trainer.parallel.policy import ShardedPolicy
from trainer.parallel.shard import shard
from trainer.policy import Group, Policy


def train(split: str, out: str, overrides: list[str]) -> None:
    sets = [word for override in overrides for word in ("--set", override)]
    sys.argv = ["ladder", "train", split, "--out", out, *sets]
    command()


def check_gradients(ranks: Ranks, family: str, bfloat16: bool) -> None:
    """Those of the sharded model are those of the whole one, of groups with and without images, one more than processes;
    and once more after an update, and without gradient in between."""
    settings = {"temperature": 0.8, "autocast": bfloat16}
    model = copy.deepcopy(tiny(family)).train()
    alone = Policy(copy.deepcopy(model), Tokens(), **settings)
    sharded = ShardedPolicy(model, Tokens(), ranks=ranks, **settings)
    shard(sharded, ranks, bfloat16)
    grids = [[], [(4, 4), (2, 6)], []]
    groups = [Group(prompt(grids[p], 8, p), responses([3 + p, 9], p)) for p in range(3)]
    here = here_P(groups, torch.ones(3, 2, dtype=torch.bool), [slice(0, 3)], ranks)
    optimizers = [torch.optim.SGD(policy.parameters(), lr=0.1) for policy in (alone, sharded)]
    for _ in range(2):
        for policy, own in ((alone, groups), (sharded, [groups[p] for p in here.nonzero()])):
            for batch in policy.plan(own, 40):
                with torch.no_grad():
                    policy(own, batch)
                (policy(own, batch).logprobs_RT.square().sum() / 100).backward()
        pairs = zip(alone.model.named_parameters(), sharded.model.named_parameters(), strict=True)
        for (name, ours), (_, theirs) in pairs:
            close = {"atol": 2e-2, "rtol": 5e-2} if bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
            assert torch.allclose(whole(theirs.grad), ours.grad, **close), f"{family} {name}"
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def check_turns(ranks: Ranks, folder: Path) -> None:
    """The first process makes its own before the others do, and goes on after them."""

    def make() -> int:
        time.sleep(0.3)  # what does not wait for the other comes too early
        there = sorted(path.name for path in folder.glob("made-*"))
        assert there == ([] if ranks.first else ["made-0"])
        (folder / f"made-{ranks.index}").touch()
        return ranks.index

    assert ranks.after_first(make) == ranks.index
    assert len(list(folder.glob("made-*"))) == 2


if __name__ == "__main__":
    given = Path(sys.argv[1])
    asked = json.loads(given.read_text(encoding="utf-8"))
    if asked["kill"] and int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1:
        watch_moments(Fate(asked["kill"]))
    for run in asked["runs"]:
        train(*run)
    if asked["gradients"]:
        with started("cpu") as together:
            check_turns(together, given.parent)
            for kind in FAMILIES:
                check_gradients(together, kind, bfloat16=False)
                check_gradients(together, kind, bfloat16=True)
    launched.leave()
