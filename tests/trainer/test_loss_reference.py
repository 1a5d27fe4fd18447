"""A whole update, from verdicts to the gradient, equals an independent float64 computation, in every combination."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_step import Choice, Update, advantages, loss_and_gradient, made, rewards, whole
from torch_step import answers_of, flat_advantages, settings_of
from torch_step import loss_and_gradient as trained

from trainer.reward import rewards_PG

ESTIMATORS = ("grpo", "dr-grpo", "rloo", "reinforce++-baseline")
KL = [("reward", "k1"), ("reward", "k2"), ("reward", "k3"), ("loss", "k2"), ("loss", "k3")]


def assert_equal(how: Choice, update: Update, **knobs: object) -> None:
    loss, gradient = whole(update, how)
    got, got_gradient, _ = trained(update, how, **knobs)  # type: ignore[arg-type]
    assert got == pytest.approx(loss, rel=1e-10, abs=1e-12)
    for row, got_row in zip(gradient, got_gradient, strict=True):
        assert np.allclose(got_row, row, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("place", "kl"), KL)
@pytest.mark.parametrize("average", ["token", "sequence", "constant"])
@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_an_update_equals_the_reference(
    ratio: str, average: str, place: str, kl: str, estimator: str
) -> None:
    for seed, sigma, dual, masked in product((0, 1), (None, 1.8), (None, 1.5), (False, True)):
        how = Choice(
            estimator=estimator, sigma=sigma, ratio=ratio, high=0.28, dual=dual, average=average, mask_truncated=masked,
            entropy=0.01, kl=kl, place=place,
        )  # fmt: skip
        assert_equal(how, made(seed))


@pytest.mark.parametrize("kl", ["k1", "k2", "k3"])
@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_a_divergence_times_the_ratio_equals_the_reference(ratio: str, kl: str) -> None:
    for seed, average in product((0, 1), ("token", "sequence", "constant")):
        how = Choice(ratio=ratio, average=average, kl=kl, by_ratio=True)
        assert_equal(how, made(seed))
        assert_equal(how, replace(made(seed), old=made(seed).new), on_policy=True)


def test_every_branch_of_the_clip_is_met_in_these_updates() -> None:
    for ratio, apart in (("token", 0.4), ("sequence", 1.0)):
        how = Choice(ratio=ratio, dual=1.3)
        told: dict[str, float] = {}
        for seed in range(4):
            for name, value in trained(made(seed, apart=apart), how)[2].items():
                told[name] = told.get(name, 0.0) + value
        assert min(told["clipped_low"], told["clipped_high"], told["dual_clipped"]) > 0


@pytest.mark.parametrize("std", ["unbiased", "population", "none"])
def test_each_std_equals_the_reference(std: str) -> None:
    assert_equal(Choice(std=std), made(3))


@pytest.mark.parametrize("average", ["token", "sequence", "constant"])
@pytest.mark.parametrize("ratio", ["token", "sequence"])
@pytest.mark.parametrize("place", ["reward", "loss"])
def test_on_policy_is_the_reference_with_its_own_log_probs_as_the_old(
    ratio: str, average: str, place: str
) -> None:
    update = made(5)
    same = replace(update, old=update.new)
    assert_equal(Choice(ratio=ratio, average=average, place=place), same, on_policy=True)
    _, _, sums = trained(update, Choice(ratio=ratio, average=average, place=place), on_policy=True)
    assert sums["ratio"] == sum(map(len, update.new)), "exactly 1 at every token"
    assert sums["approx_kl"] == 0


def test_in_float32_it_is_the_reference_to_1e_5() -> None:
    for ratio, average, (place, kl) in product(("token", "sequence"), ("token", "sequence", "constant"), KL):
        how, update = Choice(ratio=ratio, average=average, place=place, kl=kl), made(7)
        loss, gradient = whole(update, how)
        got, got_gradient, _ = trained(update, how, dtype=torch.float32)
        assert got == pytest.approx(loss, rel=1e-5, abs=1e-6)
        assert all(
            np.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(got_gradient, gradient, strict=True)
        )


def test_the_references_own_gradient_is_that_of_central_differences() -> None:
    for ratio, (place, kl) in product(("token", "sequence"), KL):
        update, how = made(2, groups=2), Choice(ratio=ratio, place=place, kl=kl, dual=1.5)
        flat = [a for row in advantages(rewards(update), update.correct, how) for a in row]
        _, gradient = loss_and_gradient(update, flat, how)
        for i, row in enumerate(update.new):
            for t in range(len(row)):
                ends = []
                for step in (1e-6, -1e-6):
                    moved = [r.copy() for r in update.new]
                    moved[i][t] += step
                    ends.append(loss_and_gradient(replace(update, new=moved), flat, how)[0])
                assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(gradient[i][t], abs=1e-7)


def test_rewards_and_advantages_equal_the_reference() -> None:
    for seed, estimator in product(range(5), ESTIMATORS):
        update, how = made(seed, groups=4, group=6), Choice(estimator=estimator, sigma=1.8)
        maths = settings_of(how)
        total = rewards_PG(answers_of(update), maths.reward)["total"]
        assert np.allclose(total.numpy(), rewards(update), atol=1e-12)
        expected = [a for row in advantages(rewards(update), update.correct, how) for a in row]
        assert np.allclose(flat_advantages(update, maths), expected, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_neither_loss_nor_gradient_depends_on_micro_batches_or_order(data: st.DataObject) -> None:
    how = Choice(
        ratio=data.draw(st.sampled_from(["token", "sequence"])),
        average=data.draw(st.sampled_from(["token", "sequence", "constant"])),
        place=data.draw(st.sampled_from(["reward", "loss"])),
        mask_truncated=data.draw(st.booleans()),
        entropy=0.02,
    )
    update = made(data.draw(st.integers(0, 1000)))
    order = data.draw(st.permutations(range(len(update.new))))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(order) - 1))))
    batches = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    loss, gradient, sums = trained(update, how)
    got, got_gradient, got_sums = trained(update, how, batches)
    assert got == pytest.approx(loss, rel=1e-10, abs=1e-13)
    assert all(np.allclose(a, b, rtol=1e-10, atol=1e-14) for a, b in zip(gradient, got_gradient, strict=True))
    assert got_sums == pytest.approx(sums, rel=1e-9)
