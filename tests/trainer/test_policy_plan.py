"""What plan() promises: every response once, within the budget, and the same result whatever the plan."""

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from families import prompt, responses
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_reference import (
    GROUPS,
    WHOLE,
    assert_close,
    assert_gradients_close,
    fresh,
    gradients,
    policy,
    scored,
)

from trainer.policy import Group, Policy
from trainer.policy.plan import Cost, cut
from trainer.policy.rows import lay_out

LENGTHS = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=9), min_size=1, max_size=12)
SMALL = SimpleNamespace(
    num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1, hidden_size=64, intermediate_size=96
)


WIDE = Cost.of(SimpleNamespace(**vars(SMALL) | {"hidden_size": 4096, "intermediate_size": 4096}))


def groups_of(lengths: list[list[int]], prompts: list[int]) -> list[Group]:
    return [
        Group(prompt([], p, seed=i), responses(of, seed=i))
        for i, (of, p) in enumerate(zip(lengths, prompts, strict=False))
    ]


@given(LENGTHS, st.integers(1, 80), st.integers(1, 400), st.sampled_from([None, "packed", "padded"]))
def test_every_response_is_taken_once_and_batches_keep_to_the_budget(
    lengths: list[list[int]], prompt_tokens: int, tokens: int, layout: Any
) -> None:
    groups = groups_of(lengths, [prompt_tokens] * len(lengths))
    batches = cut(groups, tokens, Cost.of(SMALL), layout)
    members = [member for batch in batches for member in batch.members]
    assert sorted(members) == [(g, r) for g, of in enumerate(lengths) for r in range(len(of))]
    for batch in batches:
        assert batch.tokens(groups) <= tokens or len(batch.members) == 1
        assert layout in (None, batch.layout)
        if batch.layout == "padded":
            assert all(len(row) == 1 and len(row[0].responses) == 1 for row in batch.rows)


@cache
def learner(layout: str) -> Policy:
    return policy(fresh("qwen3_vl"), layout)


@cache
def whole() -> Any:
    found = scored(learner("packed"), GROUPS, learner("packed").plan(GROUPS, WHOLE))
    slopes = gradients(learner("packed").model, torch.cat([v for _, v in sorted(found.items())]).sum())
    return {k: v.detach() for k, v in found.items()}, slopes


@settings(max_examples=20, deadline=None)
@given(
    st.permutations(range(len(GROUPS))), st.integers(1, 300), st.sampled_from(["auto", "packed", "padded"])
)
def test_values_and_gradients_depend_neither_on_the_budget_nor_the_layout_nor_the_order(
    order: list[int], tokens: int, layout: str
) -> None:
    groups = [GROUPS[g] for g in order]
    found = scored(learner(layout), groups, learner(layout).plan(groups, tokens))
    expected, slopes = whole()
    total = torch.cat([v for _, v in sorted(found.items())]).sum()
    assert_gradients_close(gradients(learner(layout).model, total), slopes)
    assert_close({(order[g], r): v for (g, r), v in found.items()}, expected)


def test_a_group_shares_its_prompt_unless_repeating_it_is_cheaper() -> None:
    cost = Cost.of(SMALL)
    short = groups_of([[8] * 8], [40])
    assert [batch.layout for batch in cut(short, WHOLE, cost, None)] == ["packed"]
    assert len(cut(short, WHOLE, cost, None)[0].pieces) == 1
    long = groups_of([[900] * 8], [2])
    assert {batch.layout for batch in cut(long, WHOLE, cost, None)} == {"padded"}
    assert {batch.layout for batch in cut(short, WHOLE, cost, "padded")} == {"padded"}


def test_a_group_that_is_too_long_for_one_row_is_split_evenly() -> None:
    groups = groups_of([[20] * 8], [10])
    batches = cut(groups, 90, WIDE, "packed")
    assert [piece.length(groups) for batch in batches for piece in batch.pieces] == [90, 90]


def test_small_groups_fill_the_padding_beside_a_long_one() -> None:
    groups = groups_of([[40] * 4, [38] * 4, [3, 3], [3, 3]], [40, 12, 4, 4])
    batches = cut(groups, WHOLE, WIDE, "packed")
    assert sorted(len(row) for batch in batches for row in batch.rows) == [1, 3]
    assert sum(batch.tokens(groups) for batch in batches) == 2 * 200


def test_rows_of_much_shorter_groups_become_a_forward_of_their_own() -> None:
    groups = groups_of([[50] * 8] * 3 + [[45] * 6] * 6, [50] * 9)
    widths = [batch.width(groups) for batch in cut(groups, WHOLE, WIDE, "packed")]
    assert widths == [450, 320]


@pytest.mark.parametrize("size", [None, 64])
def test_costs_are_the_multiply_adds_of_the_model(size: int | None) -> None:
    text = SimpleNamespace(**vars(SMALL), **({"head_dim": size} if size else {}))
    cost, size = Cost.of(text), size or 32
    layer = fresh("qwen3_vl").model.language_model.layers[0]
    if size == 32:
        linear = sum(m.weight.numel() for m in layer.modules() if isinstance(m, torch.nn.Linear))
        assert cost.per_token == 3 * linear
    assert cost.per_pair == 3 * 2 * 2 * size
    assert cost.row(10, "packed") == 10 * cost.per_token + 100 * cost.per_pair
    assert cost.row(10, "padded") == 10 * cost.per_token + 55 * cost.per_pair


def test_what_sees_what_is_the_prompt_and_itself() -> None:
    batch = policy(fresh("qwen2_vl"), "packed").plan(GROUPS, WHOLE)[0]
    rows = lay_out(GROUPS, batch, 0, torch.device("cpu"))
    mask = rows.block_mask(torch.float32)[:, 0] == 0
    for b, row in enumerate(batch.rows):
        owner, at = [(-1, -1)] * mask.shape[1], 0
        for piece in row:
            for r, n in [(-1, len(GROUPS[piece.group].prompt.prompt_ids))] + [
                (r, len(GROUPS[piece.group].responses[r])) for r in piece.responses
            ]:
                owner[at : at + n] = [(piece.group, r)] * n
                at += n
        for q, (group, r) in enumerate(owner[:at]):
            seen = [k <= q and owner[k] in ((group, -1), (group, r)) for k in range(mask.shape[1])]
            assert mask[b, q].tolist() == seen
        assert mask[b].any(-1).all()  # a row of -inf alone would be no number
