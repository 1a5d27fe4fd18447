"""Gradient checkpointing in a run: layers are recomputed, and nothing else changes."""

import copy
from typing import Any

import pytest
import torch
from families import tiny
from test_whole_step import CHOICES, by_trainer, judged_groups, moved, settings_of


def counted(model: Any) -> tuple[Any, list[int]]:
    """A copy of the model, and a list that grows with each pass through its first decoder layer."""
    model = copy.deepcopy(model)
    passes: list[int] = []
    model.model.language_model.layers[0].mlp.register_forward_pre_hook(lambda *_: passes.append(1))
    return model, passes


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_layers_are_recomputed_and_the_step_is_the_same(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    base, how = tiny(family), CHOICES[0]
    groups, reference = judged_groups(base), moved(base, 3, 0.02)
    plain, passes = counted(base)
    monkeypatch.setattr(copy, "deepcopy", lambda model: model)  # hooks count on the model that learns itself
    settings = settings_of(how, 16_384, 1, "packed")
    by_trainer(plain, reference, groups, settings)
    once = len(passes)
    monkeypatch.undo()
    saving, again = counted(base)
    saving.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    monkeypatch.setattr(copy, "deepcopy", lambda model: model)
    by_trainer(saving, reference, groups, settings)
    assert len(again) == 2 * once > 0
    assert not saving.training  # as rollouts need it
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5), name
