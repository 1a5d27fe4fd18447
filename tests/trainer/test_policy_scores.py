"""Log-probs and entropies of chunks: against plain double-precision autograd."""

import pytest
import torch
from policy_reference import (
    GROUPS,
    WHOLE,
    assert_close,
    assert_gradients_close,
    exact,
    fresh,
    gradients,
    policy,
    scored,
    weighed,
)

from trainer.policy import scores
from trainer.policy.scores import score

BANNED = torch.tensor([3, 7])
TARGET_N = torch.tensor([0, 5, 5, 10, 2, 1, 9])


def head(dtype: torch.dtype = torch.float64) -> torch.nn.Linear:
    torch.manual_seed(1)
    return torch.nn.Linear(6, 11, bias=False, dtype=dtype)


def hidden(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(7, 6, generator=torch.Generator().manual_seed(2), dtype=dtype).requires_grad_()


def plain(
    layer: torch.nn.Linear, states: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    kept = torch.ones(11, dtype=torch.bool)
    kept[BANNED] = False
    logprobs = (layer(states)[:, kept] / temperature).log_softmax(-1)
    place = kept.cumsum(0)[TARGET_N] - 1
    return logprobs.gather(1, place[:, None])[:, 0], -(logprobs.exp() * logprobs).sum(-1)


@pytest.mark.parametrize("at_once", [11 * 100, 11 * 3, 1])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_and_gradients_are_those_of_plain_autograd(
    monkeypatch: pytest.MonkeyPatch, at_once: int, temperature: float
) -> None:
    monkeypatch.setattr(scores, "LOGITS_AT_ONCE", at_once)
    layer, states = head(), hidden()
    expected = plain(layer, states, temperature)
    weights = torch.randn(2, 7, generator=torch.Generator().manual_seed(3))
    loss = (expected[0] * weights[0] + expected[1] * weights[1]).sum()
    wanted = torch.autograd.grad(loss, [states, layer.weight])
    logprobs_N, entropy_N = score(layer, states, TARGET_N, temperature, BANNED, True)
    assert entropy_N is not None
    torch.testing.assert_close(logprobs_N.double(), expected[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(entropy_N.double(), expected[1], rtol=0, atol=1e-6)
    loss = (logprobs_N * weights[0] + entropy_N * weights[1]).sum()
    found = torch.autograd.grad(loss, [states, layer.weight])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_without_entropy_none_is_made_and_the_log_probs_are_the_same() -> None:
    layer, states = head(), hidden()
    alone_N, none = score(layer, states, TARGET_N, 0.7, BANNED, False)
    with_N, _ = score(layer, states, TARGET_N, 0.7, BANNED, True)
    assert none is None
    assert torch.equal(alone_N, with_N)
    found = torch.autograd.grad(alone_N.sum(), states)[0]
    wanted = torch.autograd.grad(plain(layer, states, 0.7)[0].sum(), states)[0]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_no_more_than_one_chunk_of_logits_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "LOGITS_AT_ONCE", 2 * 11)
    kept: list[int] = []
    sizes = lambda tensor: kept.append(tensor.numel()) or tensor  # noqa: E731
    layer, states = head(torch.float32), hidden(torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(sizes, lambda tensor: tensor):
        logprobs_N, _ = score(layer, states, TARGET_N, 1.0, BANNED, False)
    assert max(kept) <= 2 * 6 + 6 * 11  # a chunk's states, or the head's weights: no logits
    logprobs_N.sum().backward()
    assert states.grad is not None


class Halved(torch.nn.Module):
    """A head that is no product with its weight alone."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    @property
    def weight(self) -> torch.Tensor:
        return self.layer.weight

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.layer(2 * states) / 2
        return made


@pytest.mark.parametrize("how", ["wrapped", "hooked", "biased"])
def test_a_head_that_is_more_than_its_weight_is_called(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, states = head(), hidden()
    expected = torch.autograd.grad(score(layer, states, TARGET_N, 0.7, BANNED, False)[0].sum(), states)[0]
    monkeypatch.setattr(scores, "LOGITS_AT_ONCE", 3 * 11)
    calls: list[int] = []
    if how == "biased":
        layer.bias = torch.nn.Parameter(torch.zeros(11, dtype=torch.float64))
    if how in ("hooked", "biased"):
        layer.register_forward_hook(lambda *_: calls.append(1))
    other = Halved(layer) if how == "wrapped" else layer
    found_N, _ = score(other, states, TARGET_N, 0.7, BANNED, False)
    found = torch.autograd.grad(found_N.sum(), states)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert how == "wrapped" or len(calls) == 2 * 3  # chunks, each computed again in the backward pass


@pytest.mark.parametrize("learns", ["states", "weight"])
def test_what_does_not_learn_gets_no_gradient(learns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, states = head(), hidden()
    whole = torch.autograd.grad(
        score(layer, states, TARGET_N, 0.7, BANNED, False)[0].sum(), [states, layer.weight]
    )
    monkeypatch.setattr(scores, "LOGITS_AT_ONCE", 3 * 11)
    layer.weight.requires_grad_(learns == "weight")
    states.requires_grad_(learns == "states")
    score(layer, states, TARGET_N, 0.7, BANNED, False)[0].sum().backward()
    for value, wanted, name in zip((states, layer.weight), whole, ("states", "weight"), strict=True):
        assert (value.grad is not None) == (name == learns)
        if value.grad is not None:
            torch.testing.assert_close(value.grad, wanted, rtol=0, atol=1e-6)


def test_under_autocast_chunks_are_as_near_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, states = head(torch.float32), hidden(torch.float32)
    found = []
    for at_once in (11 * 100, 11 * 3):
        monkeypatch.setattr(scores, "LOGITS_AT_ONCE", at_once)
        with torch.autocast("cpu", torch.bfloat16):
            logprobs_N, _ = score(layer, states, TARGET_N, 0.7, BANNED, False)
        found.append((logprobs_N, *torch.autograd.grad(logprobs_N.sum(), [states, layer.weight])))
    assert torch.equal(found[0][0], found[1][0])
    for whole, chunked in zip(*found, strict=True):
        assert chunked.dtype == torch.float32
        torch.testing.assert_close(chunked, whole, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_a_policy_in_chunks_has_the_models_own_gradients(
    layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "LOGITS_AT_ONCE", 5 * 96)
    model = fresh("qwen3_vl")
    learner = policy(model, layout)
    expected, slopes = exact("qwen3_vl")
    found = scored(learner, GROUPS, learner.plan(GROUPS, WHOLE))
    assert_close(found, expected)
    assert_gradients_close(gradients(model, weighed(found)), slopes)
