"""What several processes do for each other changes no result: dealing, fillers, sums and states, each on its own."""

import copy
import signal
from typing import Any

import pytest
import torch
from families import FAMILIES, Tokens, prompt, responses, tiny
from hypothesis import given
from hypothesis import strategies as st

from ladder.errors import LadderError
from trainer.metrics import Sums
from trainer.mismatch import Mismatch
from trainer.parallel import ALONE, Ranks, here_P, load_whole, whole, whole_state
from trainer.parallel.policy import ShardedPolicy
from trainer.policy import Batch, Group, Policy

TEMPERATURE = 0.8


def groups_of(lengths: list[list[int]]) -> list[Group]:
    return [Group(prompt([], 5, p), responses(of, p)) for p, of in enumerate(lengths)]


@given(
    lengths=st.lists(st.lists(st.integers(1, 40), min_size=3, max_size=3), min_size=1, max_size=12),
    size=st.integers(1, 12),
    count=st.integers(1, 5),
    data=st.data(),
)
def test_each_group_of_an_update_is_dealt_to_one_process(
    lengths: list[list[int]], size: int, count: int, data: st.DataObject
) -> None:
    groups = groups_of(lengths)
    live = data.draw(st.lists(st.booleans(), min_size=3 * len(groups), max_size=3 * len(groups)))
    live_PG = torch.tensor(live).view(len(groups), 3)
    parts = [slice(at, min(at + size, len(groups))) for at in range(0, len(groups), size)]
    dealt = torch.stack([here_P(groups, live_PG, parts, Ranks(index, count)) for index in range(count)])
    assert torch.equal(dealt.sum(0), torch.ones(len(groups)))


def test_groups_are_dealt_by_their_tokens_to_the_process_that_has_least() -> None:
    groups = groups_of([[40, 40], [9, 9], [10, 10], [11, 11], [90, 90]])
    live_PG = torch.ones(5, 2, dtype=torch.bool)
    live_PG[4] = False  # it costs nothing
    dealt = [here_P(groups, live_PG, [slice(0, 5)], Ranks(index, 2)) for index in range(2)]
    assert dealt[0].tolist()[:4] == [1, 0, 0, 0]
    assert dealt[1].tolist()[:4] == [0, 1, 1, 1]


def sharded_policy(family: str, frozen: bool = False) -> ShardedPolicy:
    model = copy.deepcopy(tiny(family))
    if frozen:
        model.model.visual.requires_grad_(False)
    return ShardedPolicy(model, Tokens(), ranks=ALONE, temperature=TEMPERATURE, autocast=False)


def gradients(policy: Policy) -> dict[str, torch.Tensor | None]:
    return {name: p.grad for name, p in policy.model.named_parameters()}


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("filler", ["text", "picture"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_filler_changes_neither_scores_nor_gradients_and_a_picture_gives_the_vision_tower_zero_ones(
    family: str, filler: Any, layout: Any
) -> None:
    plain, filled = sharded_policy(family), sharded_policy(family)
    groups = [Group(prompt([], 6, 1), responses([3, 5], 1)), Group(prompt([], 4, 2), responses([7], 2))]
    plain._layout = layout
    (batch,) = plain.plan(groups, 1000)
    more = Batch(batch.rows, batch.layout, filler)
    scores = [policy(groups, b, entropy=True) for policy, b in ((plain, batch), (filled, more))]
    for scored in scores:
        (scored.logprobs_RT.sum() + scored.entropy_RT.square().sum()).backward()
    assert torch.equal(scores[0].mask_RT, scores[1].mask_RT)
    torch.testing.assert_close(scores[0].logprobs_RT, scores[1].logprobs_RT, atol=2e-6, rtol=0)
    torch.testing.assert_close(scores[0].entropy_RT, scores[1].entropy_RT, atol=2e-6, rtol=0)
    theirs = gradients(filled)
    for name, ours in gradients(plain).items():
        if ours is not None:
            torch.testing.assert_close(ours, theirs[name], atol=1e-5, rtol=1e-5)
        else:
            assert name.startswith("model.visual.")
            assert (theirs[name] is not None) == (filler == "picture")
            assert theirs[name] is None or not theirs[name].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_forward_of_nothing_but_a_filler_reaches_every_module_with_gradients_of_zero(family: str) -> None:
    policy = sharded_policy(family)
    scored = policy([], Batch((), "padded", "picture"), entropy=True)
    assert scored.logprobs_RT.shape == scored.mask_RT.shape == (0, 1)
    scored.logprobs_RT.sum().backward()
    for gradient in gradients(policy).values():
        assert gradient is not None
        assert not gradient.any()


class Pair(Ranks):
    """The first of two processes, with what the other one said."""

    def __init__(self, other: Any) -> None:
        super().__init__(0, 2)
        self.other = other

    def gather(self, value: Any) -> list[Any]:
        return [value, self.other]


def test_a_plan_is_filled_up_to_the_longest_and_looks_where_another_looks() -> None:
    seen = Group(prompt([(4, 4)], 4, 1), responses([3], 1))
    unseen = Group(prompt([], 4, 2), responses([3], 2))
    policy = sharded_policy("qwen2_vl")
    policy._ranks = Pair([True, False, True, False])
    plan = policy.plan([seen, unseen], 8)
    images = [any(g.group == 0 for g in batch.pieces) for batch in plan]
    looks = [True, False, True, False]
    fillers = ["picture" if look and not image else None for look, image in zip(looks, images, strict=True)]
    assert [batch.filler for batch in plan] == [*fillers[:2], "picture", "text"]
    assert [len(batch.members) for batch in plan] == [1, 1, 0, 0]

    frozen = sharded_policy("qwen2_vl", frozen=True)
    frozen._ranks = Pair([False] * 3)
    assert [batch.filler for batch in frozen.plan([seen, unseen], 8)] == [None, None, "text"]


def test_features_are_made_in_as_many_calls_as_another_process_makes() -> None:
    policy = sharded_policy("qwen3_vl", frozen=True)
    calls: list[int] = []
    policy.model.model.visual.register_forward_hook(lambda *_: calls.append(1))
    policy._ranks = Pair(3)
    unseen = Group(prompt([], 4, 2), responses([3], 2))
    seen = Group(prompt([(4, 4)], 4, 1), responses([3], 1))
    assert policy.features([unseen]) is not None
    assert len(calls) == 3
    policy._ranks = Pair(0)
    assert policy.features([unseen]) is None
    assert policy.features([seen]) is not None
    assert len(calls) == 4


def test_the_sums_of_all_processes_are_those_of_one() -> None:
    def summed(seeds: range) -> Sums:
        sums = Sums()
        for seed in seeds:
            torch.manual_seed(seed)
            mask_RT = torch.ones(2, 3 + seed)
            sums.add(torch.rand(()), {"kl": torch.rand(()), "ratio": torch.rand(())}, mask_RT)
            sums.mismatch.add(torch.rand(4), torch.rand(4))
        sums.after_update({"grad_norm": 2.0})
        return sums

    whole, own, other = summed(range(5)), summed(range(2)), summed(range(2, 5))
    own.share(Pair((other._sums, other._tokens, other._loss, other.mismatch)))
    assert own.means() == pytest.approx(whole.means())
    assert own.mean("kl") == pytest.approx(whole.mean("kl"))
    assert Mismatch.of([]).metrics() == {}


def test_what_is_not_sharded_is_itself() -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert whole(model.weight) is model.weight
    other = torch.optim.AdamW(model.parameters(), fused=True)
    load_whole(other, whole_state(optimizer, keep=True))
    for parameter in model.parameters():
        assert torch.equal(optimizer.state[parameter]["exp_avg"], other.state[parameter]["exp_avg"])
    assert whole_state(optimizer, keep=False)["state"] == {0: {}, 1: {}}


def test_alone_a_process_waits_for_nobody() -> None:
    assert ALONE.gather(3) == [3]
    assert ALONE.by_first(lambda: 4) == 4
    assert ALONE.share([1, 2]) == [1, 2]
    ALONE.stop_together()


def test_until_it_has_told_why_it_ends_a_process_does_not_end_by_the_signal_of_another_that_died() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(LadderError, match="another process"), Ranks(0, 2).stoppable():
            raise LadderError("another process of this run ended")
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_of_a_run_that_ended_well_no_handler_is_left() -> None:
    before = [signal.getsignal(sign) for sign in (signal.SIGTERM, signal.SIGINT)]
    with Ranks(0, 2).stoppable():
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(sign) for sign in (signal.SIGTERM, signal.SIGINT)] == before
