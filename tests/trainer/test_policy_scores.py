"""Log-probs and entropies of chunks: against plain double-precision autograd."""

import pytest
import torch

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
