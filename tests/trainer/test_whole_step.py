"""A whole step of the trainer, from judged groups to new weights, equals one worked out in float64: the model's own forward
for each response alone, rewards to gradients in plain loops, clipping and AdamW by their formulas."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES, IMAGE, Tokens, prompt, responses, tiny
from reference_step import Choice, Update, whole
from torch_step import ILL, WELL

from ladder.engines.base import Completion
from ladder.engines.transformers import TransformersEngine
from ladder.records import AnswerType, Item, Outcome, Verdict
from trainer.config import TrainSettings
from trainer.curriculum import Draw, Rows
from trainer.kl import KlWeight
from trainer.loop import Learner, Step, learn
from trainer.optim import Optimizer, freeze
from trainer.policy import Policy
from trainer.rollout import JudgedGroup, Response
from trainer.schedule import Span

RATE, EPS = 0.05, 1e-2  # a large eps: AdamW's first steps then follow the gradient, not only its sign
GROUP, LONGEST = 4, 9
PROMPTS = [([(4, 4)], 5), ([], 7), ([(4, 8), (8, 4)], 4), ([(4, 4)], 3)]
CHOICES = [
    Choice(average="token", kl="k3", place="loss", sigma=1.8, eps=1e-9),
    Choice(average="sequence", kl="k1", place="reward", ratio="token", low=0.1, high=0.3),
    Choice(average="constant", kl="k2", place="loss", ratio="sequence", estimator="rloo", max_tokens=LONGEST),
    Choice(average="token", beta=0.0, estimator="dr-grpo", mask_truncated=True, dual=3.0),
]


def settings_of(how: Choice, budget: int, updates: int, layout: str) -> TrainSettings:
    advantage: dict[str, Any] = {"kind": how.estimator}
    if how.estimator == "grpo":
        advantage |= {"eps": how.eps}
    if how.sigma is not None:
        advantage["weight"] = {"kind": "uncertainty", "sigma": how.sigma}
    values = {
        "steps": 1,
        "dtype": "float32",
        "batch": {
            "prompts": len(PROMPTS),
            "group": GROUP,
            "responses_per_update": len(PROMPTS) * GROUP // updates,
            "tokens_per_micro_batch": budget,
            "layout": layout,
        },
        "response": {"max_tokens": LONGEST},
        "reward": {
            "accuracy": {},
            "format": {"weight": 0.5, "form": "think-answer"},
            "bonus": {"amount": 0.2, "constraint": 4},
        },
        "advantage": advantage,
        "loss": {
            "ratio": how.ratio,
            "clip_low": how.low,
            "clip_high": how.high,
            "dual_clip": how.dual,
            "average": how.average,
            "mask_truncated": how.mask_truncated,
        },
        "kl": {"weight": how.beta, "estimator": how.kl, "place": how.place},
        "optim": {
            "learning_rate": RATE,
            "eps": EPS,
            "schedule": "constant",
            "warmup_share": 0.0,
            "max_grad_norm": 0.5,
        },
    }
    return TrainSettings.model_validate(values)


def moved(model: Any, seed: int, by: float) -> Any:
    """The model with every weight moved a little."""
    out = copy.deepcopy(model)
    made = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in out.parameters():
            p += by * torch.randn(p.shape, generator=made)
    return out


def judged_groups(model: Any) -> list[JudgedGroup]:
    """Ragged groups with pictures and without, sampled by a policy that is not quite the one that learns."""
    rng = np.random.default_rng(11)
    sampler, out = moved(model, 5, 0.01).double(), []
    for p, (grids, text) in enumerate(PROMPTS):
        asked = prompt(grids, text, seed=p)
        lengths = rng.integers(1, LONGEST + 1, GROUP).tolist()
        made = []
        for g, tokens in enumerate(responses(lengths, seed=100 + p)):
            with torch.no_grad():
                sampled = alone(sampler, asked, tokens).tolist()
            ended = "length" if len(tokens) == LONGEST else "stop"
            completion = Completion(str(p), g, 0, tokens, tuple(sampled), ended)
            outcome = Outcome.CORRECT if (p + g) % 2 and p != 1 else Outcome.WRONG
            made.append(Response(WELL if (p * g) % 3 else ILL, completion, Verdict(outcome)))
        item = Item(f"i{p}", "?", (), (), "1", AnswerType.NUMBER, "s", str(p))
        out.append(JudgedGroup(Draw(p, item.id, 0, 0), item, asked, tuple(made), 0))
    return out


def alone(model: Any, asked: Any, tokens: tuple[int, ...]) -> torch.Tensor:
    """Log-probs of one response by the model's own forward, positions its own."""
    ids = torch.tensor([[*asked.prompt_ids, *tokens]])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == IMAGE).long(),
    }
    if asked.pixels is not None:
        pixels = torch.from_numpy(asked.pixels).to(next(model.parameters()).dtype)
        inputs |= {"pixel_values": pixels, "image_grid_thw": torch.from_numpy(asked.grids)}
    logits = model(**inputs, use_cache=False).logits[0, len(asked.prompt_ids) - 1 : -1].double()
    logits[:, list(Tokens.banned)] = float("-inf")
    return logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0]


def by_hand(model: Any, reference: Any, groups: list[JudgedGroup], how: Choice, updates: int) -> Any:
    """The model after the step, in float64."""
    model, reference = copy.deepcopy(model).double(), copy.deepcopy(reference).double()
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()]
    size = len(groups) // updates
    for step in range(updates):
        part = groups[step * size : (step + 1) * size]
        pairs = [(g.prompt, tuple(r.completion.token_ids)) for g in part for r in g.responses]
        new = [alone(model, asked, tokens) for asked, tokens in pairs]
        with torch.no_grad():
            anchor = [alone(reference, asked, tokens).numpy() for asked, tokens in pairs]
        update = update_of(part, new, anchor)
        slopes = whole(update, how)[1]
        model.zero_grad()
        torch.stack(
            [(torch.from_numpy(s) * row).sum() for s, row in zip(slopes, new, strict=True)]
        ).sum().backward()
        adamw(list(model.parameters()), moments, step + 1)
    return model


def update_of(part: list[JudgedGroup], new: list[torch.Tensor], anchor: list[np.ndarray]) -> Update:
    """What the reference of the mathematics needs, given log-probs of the policy and of its reference, response by response."""
    responses = [r for g in part for r in g.responses]
    return Update(
        correct=[[int(r.correct) for r in g.responses] for g in part],
        formed=[[int(r.text == WELL) for r in g.responses] for g in part],
        truncated=[[r.truncated for r in g.responses] for g in part],
        new=[row.detach().numpy() for row in new],
        old=[np.array(r.completion.logprobs) for r in responses],
        reference=anchor,
        entropy=[np.zeros(len(row)) for row in new],
    )


def adamw(parameters: list[Any], moments: list[Any], t: int) -> None:
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    scale = min(1.0, 0.5 / float(norm))
    with torch.no_grad():
        for p, g, (m, v) in zip(parameters, gradients, moments, strict=True):
            m.mul_(0.9).add_(0.1 * scale * g)
            v.mul_(0.95).add_(0.05 * (scale * g) ** 2)
            p -= RATE * (m / (1 - 0.9**t)) / ((v / (1 - 0.95**t)).sqrt() + EPS)


def by_trainer(
    model: Any, reference: Any, groups: list[JudgedGroup], settings: TrainSettings
) -> tuple[Any, Step]:
    model, reference = copy.deepcopy(model), copy.deepcopy(reference).requires_grad_(False)
    policies = [
        Policy(m, Tokens(), temperature=1.0, autocast=False, layout=settings.batch.layout)  # type: ignore[arg-type]
        for m in (model, reference)
    ]
    engine = TransformersEngine(model, Tokens(), "tiny")  # type: ignore[arg-type]
    rows = Rows.of_columns(
        [g.item.id for g in groups], [0] * len(groups), ["t"] * len(groups), [0.5] * len(groups)
    )
    learner = Learner(
        policy=policies[0],
        reference=policies[1] if KlWeight(settings.kl.weight).ever_positive else None,
        optimizer=Optimizer(model, settings.optim),
        supply=settings.curriculum.build(rows, 0, None, len(groups)),
        rollouts=type("Sampled", (), {"engine": engine})(),  # the groups are there already
        kl=KlWeight(settings.kl.weight),
    )
    step = Step(groups, "tiny", 0)
    learn(learner, step, settings, Span(0.0, 1.0))
    assert learner.updates == len(settings.batch.updates(len(groups)))
    return model, step


def assert_equal_steps(before: Any, ours: Any, theirs: Any) -> None:
    """The same way from the same weights: relative to the length of the way."""
    for (name, a), b, start in zip(
        ours.named_parameters(), theirs.parameters(), before.parameters(), strict=True
    ):
        way = (b - start.double()).norm()
        assert (a.double() - b).norm() <= 2e-4 * way + 1e-6, name


@pytest.mark.parametrize(
    "how", CHOICES, ids=lambda how: f"{how.estimator}-{how.average}-{how.ratio}-{how.place}"
)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_equals_one_in_float64(family: str, how: Choice) -> None:
    model = tiny(family)
    reference, groups = moved(model, 3, 0.02), judged_groups(model)
    expected = by_hand(model, reference, groups, how, updates=2)
    ours, _ = by_trainer(model, reference, groups, settings_of(how, 16_384, 2, "auto"))
    assert_equal_steps(model, ours, expected)


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("budget", [1, 60, 16_384])
def test_a_step_does_not_depend_on_budget_or_layout(layout: str, budget: int) -> None:
    model, how = tiny("qwen2_5_vl"), CHOICES[0]
    reference, groups = moved(model, 3, 0.02), judged_groups(model)
    one, told = by_trainer(model, reference, groups, settings_of(how, 16_384, 2, "auto"))
    other, same = by_trainer(model, reference, groups, settings_of(how, budget, 2, layout))
    assert_equal_steps(model, other, copy.deepcopy(one).double())
    for name, value in told.metrics.items():
        assert same.metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_a_step_does_not_depend_on_the_order_of_its_groups() -> None:
    model, how = tiny("qwen2_vl"), CHOICES[0]
    reference, groups = moved(model, 3, 0.02), judged_groups(model)
    one, _ = by_trainer(model, reference, groups, settings_of(how, 60, 1, "auto"))
    other, _ = by_trainer(model, reference, groups[::-1], settings_of(how, 60, 1, "auto"))
    assert_equal_steps(model, other, copy.deepcopy(one).double())


def by_policy(settings: TrainSettings) -> TrainSettings:
    return settings.model_copy(update={"loss": settings.loss.model_copy(update={"old": "policy"})})


def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the responses of each forward of any policy."""
    seen: list[int] = []
    forward = Policy.forward

    def noted(self: Policy, groups: Any, batch: Any, *rest: Any, **named: Any) -> Any:
        seen.append(len(batch.members))
        return forward(self, groups, batch, *rest, **named)

    monkeypatch.setattr(Policy, "forward", noted)
    return seen


def test_the_policys_own_old_log_probs_make_the_first_update_on_policy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny("qwen2_5_vl")
    groups, count = judged_groups(model), len(PROMPTS) * GROUP
    seen = forwards(monkeypatch)
    _, step = by_trainer(
        model, moved(model, 3, 0.02), groups, by_policy(settings_of(CHOICES[0], 16_384, 1, "auto"))
    )
    assert step.metrics["ratio"] == pytest.approx(1, abs=1e-6)
    assert sum(seen) == 2 * count  # the policy and the reference: no pass for what is on-policy
    seen.clear()
    _, step = by_trainer(
        model, moved(model, 3, 0.02), groups, by_policy(settings_of(CHOICES[0], 16_384, 2, "auto"))
    )
    assert abs(step.metrics["ratio"] - 1) > 1e-6  # the second update is not
    assert sum(seen) == 2 * count + count // 2  # and only what it trains on is asked again


def test_old_log_probs_are_not_asked_of_responses_without_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("qwen2_5_vl")
    groups = [silenced(g) for g in judged_groups(model)]
    seen = forwards(monkeypatch)
    _, step = by_trainer(model, model, groups, by_policy(settings_of(CHOICES[3], 16_384, 2, "auto")))
    assert seen == []
    assert step.metrics["tokens_forwarded"] == 0


def test_a_group_that_older_weights_sampled_keeps_its_own_log_probs(monkeypatch: pytest.MonkeyPatch) -> None:
    del monkeypatch
    model, how = tiny("qwen2_5_vl"), CHOICES[0]
    groups = judged_groups(model)
    settings = settings_of(how, 16_384, 1, "auto")
    older = [replace(g, updates=-1) for g in groups]
    kept, _ = by_trainer(model, model, older, by_policy(settings))
    sampled, _ = by_trainer(model, model, groups, settings)
    for (name, a), b in zip(kept.named_parameters(), sampled.parameters(), strict=True):
        assert torch.equal(a, b), name
    mixed = [*older[:2], *groups[2:]]
    _, step = by_trainer(model, model, mixed, by_policy(settings))
    assert abs(step.metrics["ratio"] - 1) > 1e-6
    assert step.metrics["staleness"] == 0.5


def silenced(group: JudgedGroup) -> JudgedGroup:
    """The group with all of its responses wrong and ill-formed."""
    wrong = Verdict(Outcome.WRONG)
    return replace(group, responses=tuple(replace(r, verdict=wrong, text=ILL) for r in group.responses))


def test_a_vision_tower_alone_learns_from_groups_with_pictures_and_lets_others_be() -> None:
    model, how = copy.deepcopy(tiny("qwen2_5_vl")), CHOICES[0]
    freeze(model, ("language",))
    groups = judged_groups(tiny("qwen2_5_vl"))
    ours, _ = by_trainer(model, model, groups, settings_of(how, 1, 2, "auto"))
    for (name, a), b in zip(ours.named_parameters(), model.named_parameters(), strict=True):
        assert torch.equal(a, b[1]) != name.startswith("model.visual."), name


def test_responses_without_gradient_are_not_forwarded() -> None:
    model = tiny("qwen2_5_vl")
    groups = judged_groups(model)
    silent = [silenced(g) for g in groups[:1]]
    _, step = by_trainer(model, model, silent + groups[1:], settings_of(CHOICES[3], 16_384, 1, "auto"))
    lengths = [r.completion.length for g in groups[1:] for r in g.responses if not r.truncated]
    assert 0 < step.metrics["tokens_forwarded"] <= sum(lengths)
    _, pulled = by_trainer(model, model, silent + groups[1:], settings_of(CHOICES[0], 16_384, 1, "auto"))
    assert pulled.metrics["tokens_forwarded"] == sum(r.completion.length for g in groups for r in g.responses)
