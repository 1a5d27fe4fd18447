"""The packed group forward is exact: against one unpadded forward per response, made by the model itself."""

from typing import Any

import pytest
import torch
from families import FAMILIES, IMAGE, Tokens, prompt, responses, tiny

from ladder.errors import BadInput
from trainer.policy import Group, Policy, micro_batches, pack

GROUPS = [
    Group(prompt([(4, 4)], 5, seed=1), responses([3, 9, 1], seed=2)),
    Group(prompt([], 7, seed=3), responses([6, 2, 8], seed=4)),  # a text-only row beside image rows
    Group(prompt([(4, 8), (8, 4)], 4, seed=5), responses([1, 1, 12], seed=6)),
]
WIDTH = 12


def policy(family: str, temperature: float = 1.0) -> Policy:
    return Policy(tiny(family), Tokens(), temperature=temperature, autocast=False)  # type: ignore[arg-type]


def alone(model: Any, group: Group, response: tuple[int, ...], temperature: float) -> torch.Tensor:
    """Log-probs of one response by the model's own forward, positions its own, in float64 from the logits on."""
    p = group.prompt
    ids = torch.tensor([p.prompt_ids + list(response)])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    inputs["mm_token_type_ids"] = (ids == IMAGE).long()
    if p.pixels is not None:
        inputs |= {"pixel_values": torch.from_numpy(p.pixels), "image_grid_thw": torch.from_numpy(p.grids)}
    logits = model(**inputs, use_cache=False).logits[0, len(p.prompt_ids) - 1 : -1].double() / temperature
    logits[:, list(Tokens.banned)] = float("-inf")
    return logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None])[:, 0]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_log_probs_equal_the_models_own(family: str, temperature: float) -> None:
    with torch.no_grad():
        packed = policy(family, temperature)(GROUPS, WIDTH)
        for g, group in enumerate(GROUPS):
            for r, response in enumerate(group.responses):
                expected = alone(tiny(family), group, response, temperature)
                assert torch.allclose(packed[g, r, : len(response)].double(), expected, atol=1e-5)
                assert (packed[g, r, len(response) :] == 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_gradients_equal_the_models_own(family: str) -> None:
    model = tiny(family)
    weights = torch.randn(3, 3, WIDTH, generator=torch.Generator().manual_seed(7))

    def gradients(total: torch.Tensor) -> dict[str, torch.Tensor]:
        model.zero_grad()
        total.backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    packed = gradients((policy(family)(GROUPS, WIDTH) * weights).sum())
    parts = [
        (alone(model, group, response, 1.0) * weights[g, r, : len(response)]).sum()
        for g, group in enumerate(GROUPS)
        for r, response in enumerate(group.responses)
    ]
    single = gradients(torch.stack(parts).sum())
    model.zero_grad()
    assert packed.keys() == single.keys()
    for name, expected in single.items():
        assert (packed[name] - expected).norm() <= 1e-4 * expected.norm() + 1e-7, name


def test_a_group_does_not_depend_on_its_neighbours() -> None:
    with torch.no_grad():
        together = policy("qwen2_5_vl")(GROUPS, WIDTH)
        for g, group in enumerate(GROUPS):
            assert torch.allclose(policy("qwen2_5_vl")([group], WIDTH)[0], together[g], atol=1e-5)


def test_chunked_logits_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        whole = policy("qwen2_5_vl")(GROUPS, WIDTH)
    monkeypatch.setattr("trainer.policy._LOGITS_AT_ONCE", 96 * 5)
    chunked = policy("qwen2_5_vl")(GROUPS, WIDTH)
    assert torch.allclose(chunked, whole, atol=1e-6)
    chunked.sum().backward()  # recomputation works
    tiny("qwen2_5_vl").zero_grad()


def test_a_response_never_sees_its_siblings() -> None:
    packed = pack(GROUPS, WIDTH, 0, torch.device("cpu"))
    length = len(GROUPS[0].prompt.prompt_ids)
    mask = packed.mask_B1TT[0, 0]
    first, second = slice(length, length + 3), slice(length + 3, length + 12)
    assert mask[second, :length].all()
    assert not mask[second, first].any()
    assert not mask[first, second].any()


def test_micro_batches_hold_every_group_once_within_the_budget() -> None:
    batches = micro_batches(GROUPS, 70)
    assert sorted(i for b in batches for i in b) == [0, 1, 2]
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(GROUPS[i].row_tokens for i in batch) <= 70
    assert len(micro_batches(GROUPS, 1)) == 3
    assert len(micro_batches(GROUPS, 10_000)) == 1


def test_what_packing_cannot_do_exactly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny("qwen2_vl").config.text_config, "attention_dropout", 0.1)
    with pytest.raises(BadInput, match="dropout"):
        policy("qwen2_vl")
