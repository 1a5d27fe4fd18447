"""The loss: its averages, ratios, clips and masks, each by what it is for."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference_step import Choice, made
from torch_step import flat_advantages, settings_of
from torch_step import loss_and_gradient as trained

from trainer.kl import KlSettings
from trainer.loss import LossInputs, LossSettings, policy_loss, token_weights_R

NO_KL = KlSettings(weight=0)


def weights(lengths: list[int], counted: list[int], average: Any, max_tokens: int = 10) -> list[float]:
    settings = LossSettings(average=average)
    made: list[float] = token_weights_R(
        torch.tensor(lengths), torch.tensor(counted), settings, max_tokens
    ).tolist()
    return made


def test_the_averages_of_one_update() -> None:
    lengths, counted = [1, 4, 5], [1, 1, 1]
    assert weights(lengths, counted, "token") == pytest.approx([1 / 10] * 3)
    assert weights(lengths, counted, "sequence") == pytest.approx([1 / 3, 1 / 12, 1 / 15])
    assert weights(lengths, counted, "constant") == pytest.approx([1 / 30] * 3)


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=30))
def test_what_does_not_count_is_in_no_denominator(drawn: list[tuple[int, bool]]) -> None:
    lengths, counted = [n for n, _ in drawn], [int(c) for _, c in drawn]
    kept = [n for n, c in drawn if c]
    for average in ("token", "sequence", "constant"):
        got = weights(lengths, counted, average)
        assert [w for w, c in zip(got, counted, strict=True) if not c] == [0.0] * counted.count(0)
        if kept:
            assert [w for w, c in zip(got, counted, strict=True) if c] == pytest.approx(
                weights(kept, [1] * len(kept), average)
            )
        if average != "constant" and any(kept):
            shares = [w * n for w, n in zip(got, lengths, strict=True)]
            filled = 1.0 if average == "token" else sum(n > 0 for n in kept) / len(kept)
            assert sum(shares) == pytest.approx(filled)


def test_an_update_of_which_nothing_counts_has_no_loss() -> None:
    update = made(0)
    gone = replace(update, truncated=[[True] * 4] * 3)
    for average in ("token", "sequence", "constant"):
        loss, gradient, _ = trained(gone, Choice(average=average, mask_truncated=True))
        assert loss == 0
        assert not any(row.any() for row in gradient)


def one(logprob: float, old: float | None, advantage: float, **knobs: Any) -> tuple[float, float]:
    """The loss of a single token and its derivative."""
    new = torch.tensor([[logprob]], dtype=torch.float64, requires_grad=True)
    inputs = LossInputs(
        logprobs_RT=new,
        old_RT=None if old is None else torch.tensor([[old]], dtype=torch.float64),
        reference_RT=None,
        advantages_RT=torch.tensor([[advantage]]),
        weights_R=torch.ones(1),
        mask_RT=torch.ones(1, 1),
    )
    loss, _ = policy_loss(inputs, LossSettings(**knobs), NO_KL, 0.0)
    loss.backward()
    assert new.grad is not None
    return float(loss.detach()), float(new.grad)


def test_on_policy_the_ratio_is_one_and_the_gradient_is_the_advantage() -> None:
    assert one(-3.0, None, 2.0) == (-2.0, -2.0)
    assert one(-3.0, None, -0.5, ratio="sequence") == (0.5, 0.5)


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_clipping_stops_a_gradient_only_where_it_would_go_further(ratio: str) -> None:
    far_up, far_down = (0.0, -1.0), (-1.0, 0.0)  # ratios e and 1/e
    assert one(*far_up, 1.0, ratio=ratio)[1] == 0
    assert one(*far_down, -1.0, ratio=ratio)[1] == 0
    assert one(*far_up, -1.0, ratio=ratio)[1] == pytest.approx(2.71828, abs=1e-4)
    assert one(*far_down, 1.0, ratio=ratio)[1] == pytest.approx(-0.36788, abs=1e-4)


def test_low_and_high_bound_their_own_side() -> None:
    knobs = {"clip_low": 0.1, "clip_high": 0.5}
    assert one(0.4, 0.0, 1.0, **knobs)[1] == pytest.approx(-1.49182, abs=1e-4)
    assert one(0.41, 0.0, 1.0, **knobs) == (pytest.approx(-1.5), 0.0)
    assert one(-0.11, 0.0, -1.0, **knobs) == (pytest.approx(0.9), 0.0)
    assert one(-0.1, 0.0, -1.0, **knobs)[1] == pytest.approx(0.90484, abs=1e-4)


def test_dual_clip_bounds_what_a_bad_response_costs() -> None:
    assert one(2.0, 0.0, -1.0)[0] == pytest.approx(7.389, abs=1e-3)
    assert one(2.0, 0.0, -1.0, dual_clip=3.0) == (3.0, 0.0)
    assert one(1.0, 0.0, -1.0, dual_clip=3.0) == one(1.0, 0.0, -1.0), "a ratio below it is left alone"
    assert one(2.0, 0.0, 1.0, dual_clip=3.0) == one(2.0, 0.0, 1.0), "and so is a good response"


@given(st.floats(-3, 3), st.floats(-2, 2))
def test_a_ratio_clamped_to_0_and_3_is_a_dual_clip_of_3(log_ratio: float, advantage: float) -> None:
    ratio = min(3.0, float(torch.tensor(log_ratio, dtype=torch.float64).exp()))
    clipped = min(max(ratio, 0.8), 1.2)
    expected = -min(ratio * advantage, clipped * advantage)
    assert one(log_ratio, 0.0, advantage, dual_clip=3.0)[0] == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_a_sequence_ratio_is_the_geometric_mean_and_moves_all_its_tokens_alike() -> None:
    new = torch.tensor([[0.1, -0.3, 0.35], [0.05, 9.0, 9.0]], dtype=torch.float64, requires_grad=True)
    inputs = LossInputs(
        logprobs_RT=new,
        old_RT=torch.zeros(2, 3).double(),
        reference_RT=None,
        advantages_RT=torch.ones(2, 3),
        weights_R=torch.tensor([1 / 6, 1 / 2]).double(),
        mask_RT=torch.tensor([[1.0, 1, 1], [1.0, 0, 0]]),
    )
    loss, told = policy_loss(inputs, LossSettings(ratio="sequence", average="sequence"), NO_KL, 0.0)
    loss.backward()
    s = torch.tensor([0.05, 0.05]).double().exp()
    assert float(loss.detach()) == pytest.approx(-float(s.mean()))
    assert new.grad is not None
    assert torch.allclose(new.grad[0], -s[0] / 2 / 3 * torch.ones(3).double())
    assert new.grad[1].tolist() == pytest.approx([-float(s[1]) / 2, 0, 0])
    assert float(told["ratio"]) == pytest.approx(float(4 * s[0]))


def test_a_truncated_response_counts_nowhere() -> None:
    update = made(4)
    flat = [t for row in update.truncated for t in row]
    assert any(flat), "the update has one"
    rows = range(len(flat))
    changed = replace(
        update, new=[row + 0.3 if flat[i] else row for i, row in zip(rows, update.new, strict=True)]
    )
    for average in ("token", "sequence", "constant"):
        how = Choice(average=average, mask_truncated=True)
        loss, gradient, _ = trained(update, how)
        again, moved, _ = trained(changed, how)
        assert again == loss
        assert not any(gradient[i].any() or moved[i].any() for i in rows if flat[i])
        assert all((gradient[i] == moved[i]).all() for i in rows)


def test_a_dropped_response_without_gradient_changes_nothing() -> None:
    update = made(6)
    update.correct[0], update.formed[0] = [0] * 4, [1] * 4
    how = Choice(place="reward", beta=0.0)
    loss, gradient, _ = trained(update, how)
    still = [i for i, row in enumerate(gradient) if row.any()]
    assert 0 < len(still) < len(gradient)
    again, kept, _ = trained(update, how, [still])
    assert again == pytest.approx(loss)
    assert all((kept[i] == gradient[i]).all() for i in still)


def test_entropy_is_added_to_what_is_maximised_and_told() -> None:
    update = made(8)
    plain, _, _ = trained(update, Choice())
    more, _, told = trained(update, Choice(entropy=0.5))
    mean = sum(row.sum() for row in update.entropy) / sum(map(len, update.entropy))
    assert plain - more == pytest.approx(0.5 * mean)
    assert told["entropy"] == pytest.approx(sum(row.sum() for row in update.entropy))


def test_the_kl_is_told_wherever_it_enters_and_its_weight_0_adds_nothing() -> None:
    update = made(9)
    told = [
        trained(update, Choice(place=place, beta=beta))[2]["kl"]
        for place, beta in product(("loss", "reward"), (0.0, 0.3))
    ]
    assert told == pytest.approx([told[0]] * 4)
    assert told[0] > 0
    assert trained(update, Choice(beta=0.0))[0] == pytest.approx(
        trained(update, Choice(beta=0.0, place="reward"))[0]
    )


def test_what_there_is_no_input_for_is_not_told() -> None:
    inputs = LossInputs(
        torch.zeros(1, 2, requires_grad=True), None, None, torch.ones(1, 2), torch.ones(1), torch.ones(1, 2)
    )
    _, told = policy_loss(inputs, LossSettings(), NO_KL, 0.0)
    assert set(told) == {"ratio", "clipped_low", "clipped_high", "dual_clipped", "approx_kl"}
    assert not any(value.requires_grad for value in told.values())


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_what_is_told_of_clipping_is_what_a_plain_count_finds(ratio: str) -> None:
    update = made(11, groups=6, apart=1.2)
    how = Choice(ratio=ratio, low=0.15, high=0.3, dual=1.2, beta=0.0)
    flat = flat_advantages(update, settings_of(how))
    counts = dict.fromkeys(("clipped_low", "clipped_high", "dual_clipped", "ratio"), 0.0)
    for new, old, a in zip(update.new, update.old, flat, strict=True):
        log_ratios = new - old if ratio == "token" else np.full(len(new), (new - old).mean())
        for r in np.exp(log_ratios):
            counts["ratio"] += r
            counts["clipped_low"] += a < 0 and r < 0.85
            counts["clipped_high"] += a > 0 and r > 1.3
            counts["dual_clipped"] += a < 0 and r > 1.2
    told = trained(update, how)[2]
    assert {name: told[name] for name in counts} == pytest.approx(counts)
    assert min(counts.values()) > 0
    gaps = np.concatenate(update.new) - np.concatenate(update.old)
    assert told["approx_kl"] == pytest.approx((np.exp(gaps) - 1 - gaps).sum()), (
        "of tokens, whatever the ratio"
    )
