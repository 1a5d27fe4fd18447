"""A whole step of a run with an adapter equals one worked out in float64 on W + s B A, where autograd finds the slopes of A and
B; the reference is a second model there, and the base with its adapter off here."""

import copy
from typing import Any

import pytest
import torch
from adapters import begun, explicit, move
from families import FAMILIES, Tokens, tiny
from reference_step import Choice, whole
from test_whole_step import CHOICES, adamw, alone, judged_groups, settings_of, update_of

from ladder.engines.transformers import TransformersEngine
from trainer.curriculum import Rows
from trainer.kl import KlWeight
from trainer.loop import Learner, Step, learn
from trainer.optim import Optimizer
from trainer.policy import Policy
from trainer.rollout import JudgedGroup
from trainer.schedule import Span
from trainer.unadapted import Unadapted

BOTH = {"targets": ("language", "vision")}
BESIDE = {"train": ("vision",)}
CASES = [(CHOICES[0], BOTH), (CHOICES[1], BESIDE), (CHOICES[3], {"rslora": True})]


def by_hand(
    model: Any, base: Any, groups: list[JudgedGroup], how: Choice, rslora: bool
) -> dict[str, torch.Tensor]:
    """What learns, after a step of two updates, in float64."""
    model, base = copy.deepcopy(model).double(), copy.deepcopy(base).double()
    leaves = {name: p for name, p in model.named_parameters() if p.requires_grad}
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in leaves.values()]
    for step, part in enumerate((groups[:2], groups[2:])):
        pairs = [(g.prompt, tuple(r.completion.token_ids)) for g in part for r in g.responses]
        merged = Bound(copy.deepcopy(base), explicit(model, rslora))
        new = [alone(merged, asked, tokens) for asked, tokens in pairs]
        with torch.no_grad():
            anchor = [alone(base, asked, tokens).numpy() for asked, tokens in pairs]
        update = update_of(part, new, anchor)
        slopes = whole(update, how)[1]
        total = torch.stack([(torch.from_numpy(s) * row).sum() for s, row in zip(slopes, new, strict=True)])
        model.zero_grad()
        total.sum().backward()
        adamw(list(leaves.values()), moments, step + 1)
    return {name: p.detach() for name, p in leaves.items()}


class Bound:
    """A model with other weights, which carry their gradient, as `alone` calls one."""

    def __init__(self, model: Any, weights: dict[str, torch.Tensor]) -> None:
        self._model, self._weights = model, weights

    def __call__(self, **inputs: Any) -> Any:
        return torch.func.functional_call(self._model, self._weights, (), inputs)

    def parameters(self) -> Any:
        return self._model.parameters()


@pytest.mark.parametrize(("how", "adapter"), CASES, ids=["both", "beside", "rslora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_equals_one_on_merged_weights_in_float64(
    family: str, how: Choice, adapter: dict[str, Any]
) -> None:
    base, model = tiny(family), begun(family, **adapter)
    policy = Policy(model, Tokens(), temperature=1.0, autocast=False)  # type: ignore[arg-type]
    anchor = Unadapted(policy)
    before = {name: p.detach().clone() for name, p in move(model).named_parameters()}
    groups = judged_groups(base)
    expected = by_hand(model, base, groups, how, adapter.get("rslora", False))

    settings = settings_of(how, 60, 2, "auto")
    rows = Rows.of_columns(
        [g.item.id for g in groups], [0] * len(groups), ["t"] * len(groups), [0.5] * len(groups)
    )
    learner = Learner(
        policy=policy,
        reference=anchor if KlWeight(settings.kl.weight).ever_positive else None,
        optimizer=Optimizer(model, settings.optim),
        supply=settings.curriculum.build(rows, 0, None, len(groups)),
        rollouts=type("Sampled", (), {"engine": TransformersEngine(model, Tokens(), "tiny")})(),  # type: ignore[arg-type]
        kl=KlWeight(settings.kl.weight),
    )
    learn(learner, Step(groups, "tiny", 0), settings, Span(0.0, 1.0))
    for name, p in model.named_parameters():
        if name not in expected:
            assert torch.equal(p, before[name]), name
            continue
        way = (expected[name] - before[name].double()).norm()
        assert (p.double() - expected[name]).norm() <= 2e-4 * way + 1e-6, name
