"""FlexAttention for packed rows: the same as a dense mask, compiled a few times, and nothing else is changed by it.

Torch has no kernels for it on the CPU, and refuses gradients there; what it computes from the mask, and the gradient of that, it
has. The blocks that the kernels go by are compared with those that torch makes.
"""

from typing import Any

import pytest
import torch
from families import FAMILIES, prompt, responses
from hypothesis import given, settings
from hypothesis import strategies as st
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
from test_policy_plan import SMALL, WIDE, groups_of
from torch.nn.attention import flex_attention as torch_flex

from ladder.errors import BadInput
from trainer.policy import Batch, Group, Piece, Policy, attention
from trainer.policy.attention import BLOCK, SHORTEST, block_mask, choose, why_dense
from trainer.policy.plan import Cost, cut
from trainer.policy.rows import Rows, lay_out

CPU = torch.device("cpu")
SPLIT = Batch(
    (
        (Piece(0, (1,)), Piece(2, (2, 0))),
        (Piece(1, (3, 1)), Piece(0, (2, 0)), Piece(1, (0,))),
        (Piece(3, (0,)), Piece(2, (1,)), Piece(1, (2,))),
    ),
    "packed",
)
LONG = [  # over several blocks, with blocks that are seen as a whole
    Group(prompt([(16, 16)], 150, seed=1), responses([140, 3, 260], seed=2)),
    Group(prompt([(4, 4), (8, 4)], 2, seed=3), responses([1], seed=4)),
    Group(prompt([], 130, seed=5), responses([90, 200], seed=6)),
]


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let FlexAttention be taken on the CPU, with the gradient of its dense mathematics."""
    monkeypatch.setattr(attention, "why_dense", lambda _: None)
    monkeypatch.setattr(torch_flex, "_validate_device", lambda *_: None)
    monkeypatch.setattr(torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)


def flexible(model: Any, layout: Any = "packed", autocast: bool = False) -> Policy:
    made = policy(model, layout, autocast=autocast, attention="flex")
    assert made.flex
    return made


def one_row(groups: list[Group]) -> Rows:
    row = tuple(Piece(g, tuple(range(len(group.responses)))) for g, group in enumerate(groups))
    return lay_out(groups, Batch((row,), "packed"), 0, CPU, BLOCK, SHORTEST)


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", ["whole", "split", "checkpointed"])
def test_log_probs_and_gradients_are_the_models_own(family: str, how: str) -> None:
    model = fresh(family)
    learner = flexible(model)
    batches = [SPLIT] if how == "split" else learner.plan(GROUPS, 60 if how == "checkpointed" else WHOLE)
    if how == "checkpointed":
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
        assert len(batches) > 1
    expected, slopes = exact(family)
    found = scored(learner, GROUPS, batches)
    assert_close(found, expected)
    assert_gradients_close(gradients(model, weighed(found)), slopes)


@pytest.mark.usefixtures("on_cpu")
def test_rows_of_several_blocks_are_as_with_a_dense_mask() -> None:
    model, other = fresh("qwen3_vl"), fresh("qwen3_vl")
    for m in (model, other):
        m.config.text_config.max_position_embeddings = 2048
    dense, flex = policy(other, "packed"), flexible(model)
    expected = scored(dense, LONG, dense.plan(LONG, WHOLE))
    found = scored(flex, LONG, flex.plan(LONG, WHOLE))
    assert_close(found, expected)
    assert_gradients_close(gradients(model, weighed(found)), gradients(other, weighed(expected)))


@pytest.mark.usefixtures("on_cpu")
@torch.no_grad()
def test_under_autocast_it_loses_no_more_than_a_dense_mask() -> None:
    whole = fresh("qwen2_5_vl")
    with torch.no_grad():
        whole.lm_head.weight.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    state = whole.state_dict()
    errors = {}
    exactly = policy(whole, "packed")
    expected = scored(exactly, GROUPS, exactly.plan(GROUPS, WHOLE))
    for name in ("dense", "flex"):
        model = fresh("qwen2_5_vl")
        model.load_state_dict(state)
        learner = policy(model, "packed", autocast=True, attention=name)
        found = scored(learner, GROUPS, learner.plan(GROUPS, WHOLE))
        errors[name] = max(float((found[m] - expected[m]).abs().max()) for m in expected)
    assert 0 < errors["flex"] < 2 * errors["dense"] < 0.5


@pytest.mark.usefixtures("on_cpu")
@torch.no_grad()
def test_whatever_has_no_block_mask_stays_with_sdpa_to_the_bit() -> None:
    model, plain = fresh("qwen2_vl"), fresh("qwen2_vl")
    learner, dense = flexible(model, "auto"), policy(plain, "padded")
    padded = dense.plan(GROUPS, WHOLE)
    found, expected = scored(learner, GROUPS, padded), scored(dense, GROUPS, padded)
    assert all(torch.equal(found[m], expected[m]) for m in expected)
    ids = torch.tensor([[0, 0, 5, 6, 7], [4, 5, 6, 7, 8]])
    said = {"input_ids": ids, "attention_mask": (ids > 0).long(), "do_sample": False, "max_new_tokens": 4}
    assert torch.equal(model.generate(**said), plain.generate(**said))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(1, 300), st.lists(st.integers(1, 300), min_size=1, max_size=4)),
        min_size=1,
        max_size=4,
    )
)
def test_the_blocks_are_those_that_torch_makes_of_the_mask(sizes: list[tuple[int, list[int]]]) -> None:
    rows = one_row(groups_of([of for _, of in sizes], [p for p, _ in sizes]))
    made = block_mask(rows)
    tokens = rows.ids_BT.shape[1]
    expected = torch_flex.create_block_mask(made.mask_mod, 1, 1, tokens, tokens, device="cpu")
    assert made.shape == expected.shape
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert torch.equal(getattr(made, name), getattr(expected, name)), name
    assert torch.equal(made.to_dense(), expected.to_dense())
    seen = torch_flex.create_mask(made.mask_mod, 1, 1, tokens, tokens, device="cpu")
    assert torch.equal(seen, rows.block_mask(torch.float32) == 0)


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("grad", [True, False])
def test_lengths_are_compiled_for_twice_however_many_there_are(
    grad: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", False)
    torch._dynamo.reset()
    attend, before = attention._compiled("eager"), attention.compiles()
    counts = []
    for length in (2, 3, 6, 4, 5, 8, 2):
        rows = one_row(groups_of([[BLOCK * length // 3] * 2], [BLOCK * length // 3]))
        shape = (1, rows.ids_BT.shape[1], 4, 16)
        states = [torch.randn(shape).transpose(1, 2).requires_grad_(grad) for _ in range(3)]
        for _ in range(2):  # layers
            out = attend(*states, block_mask=block_mask(rows), enable_gqa=True)
        assert out.shape == states[0].shape
        counts.append(attention.compiles() - before)
    assert counts[0] == 1
    assert counts[-1] == 2 == counts[1]
    torch._dynamo.reset()


@given(
    st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=9), min_size=1, max_size=12),
    st.integers(1, 80),
    st.integers(1, 400),
)
def test_a_sparse_plan_takes_every_response_once_in_one_row_a_forward_within_the_budget(
    lengths: list[list[int]], prompt_tokens: int, tokens: int
) -> None:
    groups = groups_of(lengths, [prompt_tokens] * len(lengths))
    batches = cut(groups, tokens, Cost.of(SMALL, sparse=True), "packed")
    members = [member for batch in batches for member in batch.members]
    assert sorted(members) == [(g, r) for g, of in enumerate(lengths) for r in range(len(of))]
    for batch in batches:
        assert len(batch.rows) == 1
        assert batch.tokens(groups) <= tokens or len(batch.members) == 1


def test_a_group_is_cut_for_the_cost_of_a_dense_mask_and_not_where_blocks_are_passed_by() -> None:
    groups = groups_of([[3000] * 8], [300])
    dense = cut(groups, 10**6, Cost.of(SMALL), "packed")
    sparse = cut(groups, 10**6, Cost.of(SMALL, sparse=True), None)
    assert len([piece for batch in dense for piece in batch.pieces]) > 1
    assert [batch.pieces for batch in sparse] == [(Piece(0, tuple(range(8))),)]
    assert Cost.of(SMALL, sparse=True).piece(5, [2, 3]) < Cost.of(SMALL).piece(5, [2, 3])
    assert WIDE.piece(5, [2, 3]) == WIDE.row(10, "packed")


def test_without_kernels_packed_rows_are_dense_and_flex_is_refused() -> None:
    assert not choose("auto", CPU)
    assert not choose("dense", CPU)
    assert "backward" in (why_dense(CPU) or "")
    with pytest.raises(BadInput, match=r'batch.attention = "flex".*cpu.*take "auto"'):
        policy(fresh("qwen2_vl"), attention="flex")
    learner = policy(fresh("qwen2_vl"))
    assert not learner.flex
    assert learner.told() == {}


@pytest.mark.usefixtures("on_cpu")
def test_what_is_padded_asks_for_no_flex_and_compiles_are_told_where_it_is_taken() -> None:
    assert not policy(fresh("qwen2_vl"), "padded", attention="flex").flex
    assert set(flexible(fresh("qwen2_vl")).told()) == {"compiles"}
