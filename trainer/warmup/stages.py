"""The three stages of the cold start: learn to see, imitate, imitate imperfect demonstrations. Seeded throughout.

Supervised fine-tuning alone does not teach a random vision tower to see within minutes; a minute of classifying each
image feature by the digit whose centre it covers does.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ladder.encode import Encoder, image_inputs
from ladder.pools import digits
from ladder.prompts import render
from ladder.runtime import tune_allocator
from trainer.warmup.architecture import MERGE, PATCH, build_model, build_tokenizer, save_processor
from trainer.warmup.card import model_card
from trainer.warmup.demonstrations import FLAWLESS, Demonstration, Mixture, demonstrate
from trainer.warmup.settings import WarmupSettings

CELL = PATCH * MERGE  # pixels, the side of what one image feature covers
EMPTY = 10  # the class of a feature that no digit's centre lies in
TAUGHT = ("count", "read", "largest", "smallest", "difference")
HALF_TAUGHT = ("sum", "product")
BARELY = ("parity", "larger", "contains", "choice")  # few possible answers: left for exploration to find

Report = Callable[[str, int, int, float], None]


@dataclass
class _Run:
    config: WarmupSettings
    model: Any
    encoder: Encoder
    report: Report
    rng: random.Random
    losses: list[float] = field(default_factory=list)


def warmup(out: Path, config: WarmupSettings, report: Report) -> None:
    """Build the embedded policy in `out` (Hugging Face layout, bf16). `report(stage, step, steps, loss)` is called often."""
    tune_allocator()
    torch.manual_seed(config.seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    save_processor(tokenizer, out)
    model.config.save_pretrained(out)
    encoder = Encoder(out, min_pixels=CELL**2, max_pixels=digits.CANVAS**2)
    run = _Run(config, model, encoder, report, random.Random(config.seed))
    _learn_to_see(run)
    _imitate(run, "imitation", config.imitation_steps, config.learning_rate, mixture(config, 0.0))
    _imitate(
        run,
        "imperfect",
        config.imperfect_steps,
        config.imperfect_learning_rate,
        mixture(config, config.flawed),
    )
    model.to(torch.bfloat16).save_pretrained(out)
    kinds = {"taught": TAUGHT, "half_taught": HALF_TAUGHT, "barely_taught": BARELY, "flawless": FLAWLESS}
    parameters = sum(p.numel() for p in model.parameters())
    (out / "README.md").write_text(model_card(config, parameters, kinds), encoding="utf-8")


def mixture(settings: WarmupSettings, flawed: float) -> Mixture:
    """What is demonstrated, with a share of flawed chains."""
    kinds = dict.fromkeys(TAUGHT, 1.0)
    kinds |= dict.fromkeys(HALF_TAUGHT, settings.half) | dict.fromkeys(BARELY, settings.barely)
    return Mixture(kinds, settings.direct, settings.blind, flawed)


def _learn_to_see(run: _Run) -> None:
    """Classify every image feature by the digit whose centre it covers, with a head that is thrown away."""
    vision = run.model.model.visual
    head = torch.nn.Linear(run.model.config.text_config.hidden_size, EMPTY + 1)
    parameters = [*vision.parameters(), *head.parameters()]
    optimizer = _optimizer(parameters, run.config.learning_rate)
    weight = torch.ones(EMPTY + 1)
    weight[EMPTY] = 0.3
    for step in range(run.config.vision_steps):
        _set_rate(optimizer, run.config.learning_rate, step, 0.1 + 0.9 * (1 - step / run.config.vision_steps))
        canvases = [_canvas(run.rng) for _ in range(run.config.batch)]
        pixels, grids = run.encoder.patches([c.image for c in canvases])
        with _bf16():
            features = vision(torch.from_numpy(pixels), grid_thw=torch.from_numpy(grids)).pooler_output
            scores = head(features)
        loss = F.cross_entropy(scores.float(), _centres(canvases), weight=weight)
        _update(run, optimizer, parameters, loss, "vision", step, run.config.vision_steps)


def _imitate(run: _Run, stage: str, steps: int, rate: float, shown_as: Mixture) -> None:
    """Cross-entropy of the demonstrated responses, cosine schedule."""
    parameters = list(run.model.parameters())
    optimizer = _optimizer(parameters, rate)
    for step in range(steps):
        done = step / steps
        _set_rate(optimizer, rate, step, 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * done)))
        simple = stage == "imitation" and done < run.config.simple
        kind = (lambda: run.rng.choice(["read", "read", "count", "largest"])) if simple else (lambda: None)
        shown = [demonstrate(run.rng, shown_as, kind()) for _ in range(run.config.batch)]
        inputs, labels = _batch(run.encoder, shown)
        with _bf16():
            logits = run.model(**inputs, use_cache=False).logits[:, :-1]
        loss = F.cross_entropy(logits.float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        _update(run, optimizer, parameters, loss, stage, step, steps)


def _update(
    run: _Run, optimizer: Any, parameters: list[Any], loss: torch.Tensor, stage: str, step: int, steps: int
) -> None:
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    run.losses.append(loss.item())
    if step % 20 == 19 or step + 1 == steps:
        recent = run.losses[-20:]
        run.report(stage, step + 1, steps, sum(recent) / len(recent))


def _bf16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def _optimizer(parameters: list[Any], rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float, step: int, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * min(1.0, (step + 1) / 100) * factor


def _canvas(rng: random.Random) -> digits.Canvas:
    return digits.draw([rng.randrange(10) for _ in range(rng.choice([2, 3, 4]))], rng, probe=False)


def _centres(canvases: list[digits.Canvas]) -> torch.Tensor:
    """(features,) class of each image feature."""
    across = digits.CANVAS // CELL
    classes = torch.full((len(canvases), across * across), EMPTY)
    for row, canvas in enumerate(canvases):
        for value, (x, y) in zip(canvas.digits, canvas.centres, strict=True):
            classes[row, (y // CELL) * across + x // CELL] = value
    return classes.flatten()


def _batch(encoder: Encoder, shown: list[Demonstration]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Right-padded inputs (B, T) with labels that are -100 outside the responses."""
    prompts = [
        encoder.encode(render(d.item, d.template), [("", d.picture)] if d.template.images else [])
        for d in shown
    ]
    answers = encoder.tokenizer([d.response for d in shown], add_special_tokens=False)["input_ids"]
    rows = [
        p.prompt_ids + a + [encoder.tokenizer.eos_token_id] for p, a in zip(prompts, answers, strict=True)
    ]
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), encoder.pad_id)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
        labels[i, len(prompt.prompt_ids) : len(row)] = ids[i, len(prompt.prompt_ids) : len(row)]
    inputs = {
        "input_ids": ids,
        "attention_mask": mask,
        "mm_token_type_ids": (ids == encoder.image_token).long(),
    }
    inputs |= image_inputs(prompts, ids.device, torch.float32)
    return inputs, labels
