"""The optimiser: its schedule, what is frozen, and guards that skip a bad update and count it."""

import json
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from ladder.errors import BadInput, LadderError
from trainer.optim import Optimizer, OptimSettings, freeze, learning_rate


def rates(steps: int, **settings: object) -> list[float]:
    optim = OptimSettings(learning_rate=1.0, **settings)  # type: ignore[arg-type]
    return [learning_rate(optim, s / steps, (s + 1) / steps) for s in range(steps)]


def test_the_rate_warms_up_to_its_height_and_falls_to_its_floor() -> None:
    found = rates(100, warmup_share=0.1, min_share=0.1)
    assert found[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert all(a >= b for a, b in pairwise(found[10:]))
    assert found[55] == pytest.approx(0.1 + 0.9 * 0.5)
    assert 0.1 < found[-1] < 0.101


def test_a_linear_rate_falls_in_a_line_and_a_constant_one_stays() -> None:
    assert rates(4, schedule="linear", warmup_share=0.0, min_share=0.0) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert rates(4, schedule="constant", warmup_share=0.5) == [0.5, 1.0, 1.0, 1.0]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))


def stepped(optimizer: Optimizer, net: nn.Module, scale: float = 1.0) -> dict[str, float]:
    (net(torch.ones(4, 3)).square().sum() * scale).backward()
    return optimizer.step(0.1)


def test_only_matrices_decay() -> None:
    net = model()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = Optimizer(net, OptimSettings(weight_decay=0.5))
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step(0.1)
    for name, p in net.named_parameters():
        expected = before[name] * (1 - 0.1 * 0.5) if p.ndim == 2 else before[name]
        assert torch.allclose(p, expected), name


def test_a_gradient_that_is_not_finite_is_skipped_counted_and_cleared() -> None:
    net = model()
    optimizer = Optimizer(net, OptimSettings())
    before = [p.detach().clone() for p in net.parameters()]
    told = stepped(optimizer, net, scale=math.nan)
    assert told["skipped"] == 1.0
    assert optimizer.metrics() == {"skipped/not_finite": 1.0, "skipped/spikes": 0.0}
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert all(p.grad is None for p in net.parameters())
    assert stepped(optimizer, net)["skipped"] == 0.0


def test_a_spike_is_told_from_the_last_norms_and_only_where_asked_for() -> None:
    for spike, skipped in ((4.0, 1.0), (None, 0.0)):
        net = model()
        optimizer = Optimizer(net, OptimSettings(spike=spike, learning_rate=1e-9))
        for _ in range(8):
            for p in net.parameters():
                p.grad = torch.ones_like(p)
            assert optimizer.step(0.0)["skipped"] == 0.0
        for p in net.parameters():
            p.grad = torch.full_like(p, 5.0)
        assert optimizer.step(0.0)["skipped"] == skipped


def test_updates_without_gradient_neither_make_a_spike_of_the_next_nor_break_a_row() -> None:
    net = model()
    optimizer = Optimizer(net, OptimSettings(spike=4.0, patience=3, learning_rate=1e-9))

    def step(value: float) -> float:
        for p in net.parameters():
            p.grad = torch.full_like(p, value)
        return optimizer.step(0.0)["skipped"]

    for _ in range(20):
        assert step(0.0) == 0.0
    for _ in range(9):
        assert step(1.0) == 0.0
    assert step(math.nan) == 1.0
    assert step(0.0) == 0.0
    assert step(math.nan) == 1.0
    with pytest.raises(LadderError):
        step(math.nan)


def test_decays_outside_of_0_to_1_are_refused() -> None:
    with pytest.raises(ValueError, match="less than 1"):
        OptimSettings(betas=(1.0, 2.0))


def test_too_many_skips_in_a_row_end_the_run() -> None:
    net = model()
    optimizer = Optimizer(net, OptimSettings(patience=3))
    stepped(optimizer, net, scale=math.inf)
    stepped(optimizer, net, scale=math.inf)
    with pytest.raises(LadderError, match="diverged"):
        stepped(optimizer, net, scale=math.inf)


def test_the_guards_go_on_from_their_state() -> None:
    net = model()
    first = Optimizer(net, OptimSettings(patience=2))
    stepped(first, net)
    stepped(first, net, scale=math.nan)
    second = Optimizer(net, OptimSettings(patience=2))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.metrics() == first.metrics()
    with pytest.raises(LadderError):
        stepped(second, net, scale=math.nan)


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"visual": nn.Linear(2, 2), "language_model": nn.Linear(2, 2)})
        self.lm_head = nn.Linear(2, 3, bias=False)


def test_parts_and_patterns_are_frozen() -> None:
    net = Tower()
    assert freeze(net, ("vision",)) == 6 + 6
    assert not any(p.requires_grad for p in net.model["visual"].parameters())
    assert freeze(net, ("lm_head.*",)) == 6


def test_a_pattern_that_matches_nothing_and_nothing_left_are_told() -> None:
    with pytest.raises(BadInput, match=r"'visoin' matches no parameter; there are vision, language"):
        freeze(Tower(), ("visoin",))
    with pytest.raises(BadInput, match="nothing is left"):
        freeze(Tower(), ("vision", "language"))
