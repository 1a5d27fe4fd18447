"""The mismatch between engine and trainer: what is measured, and that the weights undo it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from families import tiny
from hypothesis import given
from hypothesis import strategies as st
from test_whole_step import CHOICES, by_trainer, judged_groups, moved, settings_of

from ladder.engines.transformers import TransformersEngine
from trainer.config import TrainSettings
from trainer.kl import KlSettings
from trainer.loss import LossInputs, LossSettings, policy_loss
from trainer.mismatch import Mismatch, NoCorrection, Truncated, importance_RT

NO_KL = KlSettings(weight=0)
POLICY = torch.tensor([[-1.0, -2.0, -0.5], [-0.1, -3.0, 9.0]])
ENGINE = torch.tensor([[-1.5, -1.0, -0.5], [-4.0, -3.0, float("nan")]])
INSIDE = torch.tensor([[True, True, True], [True, True, False]])


def test_weights_are_ratios_cut_at_the_cap() -> None:
    weights = importance_RT(POLICY, ENGINE, INSIDE, Truncated(cap=2.0)).numpy()
    assert weights[0] == pytest.approx(np.minimum(2.0, np.exp([0.5, -1.0, 0.0])))
    assert weights[1, :2] == pytest.approx([2.0, 1.0])


def test_weights_of_a_sequence_are_of_all_of_its_tokens() -> None:
    weights = importance_RT(POLICY, ENGINE, INSIDE, Truncated(cap=10.0, per="sequence")).numpy()
    assert weights[0] == pytest.approx([np.exp(-0.5)] * 3)
    assert weights[1] == pytest.approx([10.0] * 3)


def gradient(logits: torch.Tensor, token: int, engine: torch.Tensor | None, gain: float) -> torch.Tensor:
    """Of the loss of one response of one token."""
    leaf = logits.clone().requires_grad_()
    one = torch.ones(1, 1)
    inputs = LossInputs(
        logprobs_RT=torch.log_softmax(leaf, -1)[token].view(1, 1),
        old_RT=None,
        reference_RT=None,
        advantages_RT=one * gain,
        weights_R=torch.ones(1),
        mask_RT=one,
        engine_RT=None if engine is None else engine[token].view(1, 1),
    )
    settings = LossSettings(correction=Truncated(cap=1e6))
    policy_loss(inputs, settings, NO_KL, 0.0, correcting=engine is not None)[0].backward()
    assert leaf.grad is not None
    return leaf.grad


@given(st.integers(0, 10_000))
def test_the_mean_gradient_under_the_engine_is_that_under_the_policy(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, other, gains = torch.randn(3, 5, generator=generator).unbind()
    policy, engine = torch.softmax(logits, -1), torch.log_softmax(logits + 0.5 * other, -1)
    exact = sum(policy[t] * gradient(logits, t, None, float(gains[t])) for t in range(5))
    corrected = sum(engine[t].exp() * gradient(logits, t, engine, float(gains[t])) for t in range(5))
    assert torch.allclose(torch.as_tensor(corrected), torch.as_tensor(exact), atol=1e-5)


@given(st.lists(st.tuples(st.floats(-8, -0.01), st.floats(-8, -0.01)), min_size=1, max_size=40))
def test_what_is_told_does_not_depend_on_how_tokens_come(pairs: list[tuple[float, float]]) -> None:
    policy, engine = torch.tensor(pairs, dtype=torch.float64).T
    whole, parts = Mismatch(), Mismatch()
    whole.add(policy, engine)
    for i in range(len(policy)):
        parts.add(policy[i : i + 1], engine[i : i + 1])
    r = (engine - policy).numpy()
    expected = {
        "mismatch/mean": np.abs(r).mean(),
        "mismatch/max": np.abs(r).max(),
        "mismatch/kl": (np.exp(-r) - 1 + r).mean(),
    }
    assert whole.metrics() == pytest.approx(expected, abs=1e-9)
    assert parts.metrics() == pytest.approx(expected, abs=1e-9)


def test_without_a_token_there_is_nothing_to_tell() -> None:
    assert Mismatch().metrics() == {}


class Inexact(TransformersEngine):
    exact = False


def settings(updates: int, **loss: Any) -> TrainSettings:
    plain = settings_of(CHOICES[0], 16_384, updates, "auto")
    return plain.model_copy(update={"loss": plain.loss.model_copy(update=loss)})


def off_by(groups: list[Any], amount: float) -> list[Any]:
    """As if the engine had said other log-probs of the same tokens than the model has."""
    model = tiny("qwen2_5_vl")
    said = iter(own_logprobs(model, groups))
    return [
        replace(
            group,
            responses=tuple(
                replace(r, completion=replace(r.completion, logprobs=tuple(next(said) + amount)))
                for r in group.responses
            ),
        )
        for group in groups
    ]


def own_logprobs(model: Any, groups: list[Any]) -> list[np.ndarray]:
    from families import Tokens

    from trainer.policy import Policy

    policy = Policy(model, Tokens(), temperature=1.0, autocast=False)  # type: ignore[arg-type]
    found = {}
    plain = [group.group for group in groups]
    with torch.no_grad():
        for batch in policy.plan(plain, 10_000):
            for (p, g), row in zip(batch.members, policy(plain, batch).logprobs_RT, strict=True):
                found[p, g] = row[: len(plain[p].responses[g])].double().numpy()
    return [found[place] for place in sorted(found)]


def test_a_step_measures_the_engine_and_corrects_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("qwen2_5_vl")
    monkeypatch.setattr("test_whole_step.TransformersEngine", Inexact)
    groups = off_by(judged_groups(model), 0.25)
    _, step = by_trainer(model, moved(model, 3, 0.02), groups, settings(1))
    assert step.metrics["mismatch/mean"] == pytest.approx(0.25, abs=1e-5)
    assert step.metrics["mismatch/max"] == pytest.approx(0.25, abs=1e-5)
    assert step.metrics["correction"] == pytest.approx(np.exp(-0.25), abs=1e-5)
    assert step.metrics["correction_capped"] == 0
    assert step.metrics["clipped_low"] == step.metrics["clipped_high"] == 0, "the first update is on-policy"


def test_an_exact_engine_and_one_that_is_not_asked_to_are_not_corrected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny("qwen2_5_vl")
    groups = off_by(judged_groups(model), 0.25)
    _, exact = by_trainer(model, moved(model, 3, 0.02), groups, settings(1))
    monkeypatch.setattr("test_whole_step.TransformersEngine", Inexact)
    _, left = by_trainer(
        model, moved(model, 3, 0.02), groups, settings(1, correction=NoCorrection(kind="none"))
    )
    for step in (exact, left):
        assert "correction" not in step.metrics
        assert step.metrics["mismatch/mean"] == pytest.approx(0.25, abs=1e-5)
        assert step.metrics["ratio"] < 0.9, "the ratio's denominator is what the engine said"


def test_several_updates_are_corrected_by_the_policy_before_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny("qwen2_5_vl")
    monkeypatch.setattr("test_whole_step.TransformersEngine", Inexact)
    told = []
    for amount in (0.0, 0.25):
        groups = off_by(judged_groups(model), amount)
        _, step = by_trainer(model, moved(model, 3, 0.02), groups, settings(2))
        told.append(step.metrics)
    assert told[1]["correction"] == pytest.approx(told[0]["correction"] * np.exp(-0.25), abs=1e-4)
    assert told[1]["mismatch/mean"] == pytest.approx(0.25, abs=1e-5), "measured before anything moved"
