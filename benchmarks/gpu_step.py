"""The training part on a GPU, packed beside padded: Qwen2.5-VL-3B's own configuration with random weights, prompts of 1,000
tokens with an image, groups of 8.

    python benchmarks/gpu_step.py --minutes 9
    python benchmarks/gpu_step.py --tiny

For responses of 512, 128 and 2,048 tokens: log-probs, backward pass and optimiser, with the images encoded once for both
sides; the speed-up is held against 0.8 of the counted G(P+R)/(P+GR). Utilisation is of the counted FLOPs, recompute and padding
not among them, and of the device's dense bfloat16 peak (--peak-tflops where it is not known here). Then the vision tower and
FlexAttention beside what they replace, for time and, on a small model, for their results; bfloat16 beside float32; and a whole
GRPO step with transformers rollouts. Where memory runs out a
smaller micro-batch, recompute and then fewer prompts are tried, and told. What --minutes has no time for is told, and
what was measured is written as it comes: benchmarks/results/gpu_step.json, of --tiny gpu_step_tiny.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from gpu_step_model import REAL, TINY, Size, Tokens, counted_flops, groups_of, model_of, prompt_of
from results import write_result

from ladder.encode import Prompt
from ladder.engines.base import Completion, Request, Sampling
from ladder.engines.transformers import TransformersEngine
from ladder.records import Outcome, Verdict
from trainer.config import TrainSettings
from trainer.curriculum import Draw
from trainer.flops import peak_of
from trainer.kl import KlWeight
from trainer.loop import Learner, Step, learn
from trainer.optim import Optimizer
from trainer.policy import Features, Group, Policy
from trainer.policy.attention import compiles
from trainer.rollout import JudgedGroup, Response
from trainer.schedule import Span

SHARE = 0.8  # of the counted ratio that the speed-up is held against
Figures = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Attempt:
    """How much is asked of the memory."""

    tokens: int
    checkpointing: bool
    prompts: int


@dataclass
class Bench:
    """What is measured on, until when, and what was found."""

    size: Size
    name: str
    device: str
    peak: float | None  # FLOP/s
    prompts: int
    repeats: int
    until: float
    figures: Figures = field(default_factory=dict)

    def left(self) -> bool:
        return time.monotonic() < self.until

    def found(self, name: str, value: Any, unit: str, **more: Any) -> None:
        """Keep a figure, and write all that there are."""
        value = round(value, 5) if isinstance(value, float) else value
        self.figures[name] = {"value": value, "unit": unit, "runs": self.repeats, **more}
        print(name, json.dumps(self.figures[name]), file=sys.stderr)
        write_result(self.name, self.figures)


def main() -> None:
    """Measure what there is time for."""
    bench = bench_of(arguments())
    device = torch.cuda.get_device_name() if bench.device == "cuda" else "cpu"
    bench.found("device", device, "name")
    first, *others = bench.size.lengths
    measures: list[tuple[str, Callable[[Bench], None]]] = [
        ("half", half_precision),
        ("kernels", kernels),
        (f"r{first}", partial(sides, length=first)),
        ("vision", vision),
        ("dense", dense_mask),
        ("whole_step", whole_step),
        *((f"r{length}", partial(sides, length=length)) for length in others),
    ]
    for name, measure in measures:
        if not bench.left():
            bench.found(f"{name}_skipped", "no time was left", "why")
            continue
        measure(bench)
        freed()
    bench.found("compiles", compiles(), "graphs of FlexAttention")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a tiny model: shows that all of it runs")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which nothing more is begun")
    parser.add_argument("--prompts", type=int, default=4, help="groups of an update")
    parser.add_argument("--repeats", type=int, default=3, help="timed updates, after one that is not")
    parser.add_argument("--peak-tflops", type=float, help="dense bfloat16 peak of the device")
    return parser.parse_args()


def bench_of(args: argparse.Namespace) -> Bench:
    """What the arguments ask for, on the device that is there."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    peak = args.peak_tflops
    if peak is None and device == "cuda":
        peak = peak_of(torch.device(device))
    return Bench(
        size=TINY if args.tiny else REAL,
        name="gpu_step_tiny" if args.tiny else "gpu_step",
        device=device,
        peak=None if peak is None else peak * 1e12,
        prompts=args.prompts,
        repeats=args.repeats,
        until=time.monotonic() + 60 * args.minutes,
    )


def attempts(bench: Bench) -> Iterator[Attempt]:
    """From what is fastest to what takes least memory."""
    for prompts in sorted({bench.prompts, max(1, bench.prompts // 4)}, reverse=True):
        for checkpointing in (False, True):
            for tokens in bench.size.tokens:
                yield Attempt(tokens, checkpointing, prompts)


def sides(bench: Bench, length: int) -> None:
    """Packed beside padded, with the first attempt that memory holds for both."""
    for attempt in attempts(bench):
        with suppress(torch.OutOfMemoryError):
            found = [trained(bench, length, attempt, packed) for packed in (True, False)]
            told_sides(bench, length, attempt, *found)
            return
        print(f"out of memory: {attempt}", file=sys.stderr)
        freed()
    bench.found(f"r{length}_out_of_memory", True, "every attempt")


def told_sides(
    bench: Bench, length: int, attempt: Attempt, packed: dict[str, float], padded: dict[str, float]
) -> None:
    """The figures of a length of response."""
    size, how = bench.size, vars(attempt)
    counted = size.group * (size.prompt + length) / (size.prompt + size.group * length)
    speedup, asked = padded["seconds"] / packed["seconds"], SHARE * counted
    bench.found(
        f"r{length}_speedup",
        speedup,
        "padded seconds / packed seconds",
        against=f"{SHARE} x G(P+R)/(P+GR)",
        against_value=round(asked, 4),
        ratio=round(speedup / asked, 3),
        counted=round(counted, 4),
        counted_flops=round(padded["flops"] / packed["flops"], 4),
        **how,
    )
    for name, unit in (
        ("seconds", "s an update"),
        ("tokens_per_second", "response tokens/s"),
        ("peak_gib", "GiB"),
        ("utilisation", "of the peak"),
    ):
        if name in packed:
            value, against = packed[name], padded[name]
            ratio = round(value / against, 3) if against else None
            told = {"against": "padded", "against_value": round(against, 5), "ratio": ratio}
            bench.found(f"r{length}_{name}", value, unit, **told)


def trained(
    bench: Bench, length: int, attempt: Attempt, packed: bool, attention: Any = "auto"
) -> dict[str, float]:
    """Updates of one layout: the best of some, after one that compiles and fills the allocator."""
    model = model_of(bench.size, bench.device)
    if attempt.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy = policy_of(bench, model, "packed" if packed else "padded", attention)
    optimizer = Optimizer(model, settings(bench, attempt).optim)
    groups = groups_of(bench.size, attempt.prompts, length)
    features = policy.features(groups)
    policy.train()
    update(policy, optimizer, groups, features, attempt.tokens)
    reset_peak(bench)
    times = []
    for _ in range(bench.repeats):
        start = now(bench)
        update(policy, optimizer, groups, features, attempt.tokens)
        times.append(now(bench) - start)
    seconds = min(times)
    flops = counted_flops(model, groups, packed)
    tokens = attempt.prompts * bench.size.group * length
    found = {"seconds": seconds, "flops": float(flops), "tokens_per_second": tokens / seconds}
    found["peak_gib"] = peak_gib(bench)
    if bench.peak:
        found["utilisation"] = flops / seconds / bench.peak
    return found


def update(
    policy: Policy, optimizer: Optimizer, groups: list[Group], features: Features | None, tokens: int
) -> None:
    """Log-probs, their gradient, and a step of the optimiser."""
    for batch in policy.plan(groups, tokens):
        scored = policy(groups, batch, features)
        (scored.logprobs_RT.sum() * -1e-4).backward()
    optimizer.step(1e-6)


def dense_mask(bench: Bench) -> None:
    """A dense mask beside what is taken by itself, packed, at the first length."""
    length = bench.size.lengths[0]
    for attempt in attempts(bench):
        with suppress(torch.OutOfMemoryError):
            own, dense = (trained(bench, length, attempt, True, name) for name in ("auto", "dense"))
            bench.found(
                "seconds_with_the_mask_of_its_own_choice",
                own["seconds"],
                "s an update",
                against="a dense mask",
                against_value=round(dense["seconds"], 5),
                ratio=round(own["seconds"] / dense["seconds"], 3),
                peak_gib=[round(own["peak_gib"], 3), round(dense["peak_gib"], 3)],
                **vars(attempt),
            )
            return
        freed()


def whole_step(bench: Bench) -> None:
    """Rollouts by the transformers engine and what the trainer does with them: the seconds of each part of a step."""
    for attempt in attempts(bench):
        with suppress(torch.OutOfMemoryError):
            model, chosen = model_of(bench.size, bench.device), settings(bench, attempt)
            if attempt.checkpointing:
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            tokens: Any = Tokens(bench.size)
            engine = TransformersEngine(model, tokens, "random", autocast=True)
            learner = Learner(
                policy_of(bench, model, "auto", "auto"),
                None,
                Optimizer(model, chosen.optim),
                SimpleNamespace(),  # type: ignore[arg-type]
                SimpleNamespace(engine=engine),  # type: ignore[arg-type]
                KlWeight(chosen.kl.weight),
            )
            for _ in range(2):  # the first compiles
                step = one_step(bench, learner, engine, chosen)
            total = sum(step.clock.seconds.values())
            tokens_made = attempt.prompts * bench.size.group * bench.size.rollout
            split = {name: round(seconds, 4) for name, seconds in step.clock.seconds.items()}
            bench.found("whole_step", total, "s", split=split, response_tokens=tokens_made, **vars(attempt))
            return
        freed()


def one_step(bench: Bench, learner: Learner, engine: TransformersEngine, chosen: TrainSettings) -> Step:
    """Sample groups, call every other response correct, and learn."""
    step = Step([], "random", learner.updates)
    prompts = [prompt_of(bench.size, seed) for seed in range(chosen.batch.prompts)]
    many = tuple(range(bench.size.group))
    for p, encoded in enumerate(prompts):
        asked = Prompt([], _encoded=encoded)
        seeds = tuple(1000 * p + g for g in many)
        engine.submit(Request(str(p), asked, Sampling(1.0, bench.size.rollout), many, seeds))
    made = [event for event in engine.completed() if isinstance(event, Completion)]
    for p, encoded in enumerate(prompts):
        own = sorted((c for c in made if c.request_id == str(p)), key=lambda c: c.index)
        judged = [
            Response(
                "", replace(c, finish_reason="stop"), Verdict((Outcome.WRONG, Outcome.CORRECT)[c.index % 2])
            )
            for c in own
        ]
        item: Any = None  # no reward looks at it
        step.groups.append(JudgedGroup(Draw(p, str(p), 0, 0), item, encoded, tuple(judged), learner.updates))
    synchronized(bench)
    step.clock.lap("rollout")
    learn(learner, step, chosen, Span(0.5, 0.5))
    synchronized(bench)
    step.clock.lap("optimizer")
    return step


def vision(bench: Bench) -> None:
    """The images of an update through the tower, frozen: as it is on the device, beside transformers' sdpa."""
    model = model_of(bench.size, bench.device)
    policy = policy_of(bench, model, "auto", "auto")
    groups = groups_of(bench.size, bench.prompts, 1)
    own = model.config.vision_config._attn_implementation
    seconds, pooled = [], []
    for name in (own, "sdpa"):
        model.config.vision_config._attn_implementation = name
        policy.features(groups)
        start = now(bench)
        features = policy.features(groups)
        seconds.append(now(bench) - start)
        pooled.append(torch.cat(list(features.pooled.values())).float() if features else torch.zeros(1))
    bench.found(
        "vision_seconds",
        seconds[0],
        f"s for {bench.prompts} images",
        against="sdpa, segment by segment",
        against_value=round(seconds[1], 5),
        ratio=round(seconds[0] / seconds[1], 3),
        attention=own,
        relative_difference=float((pooled[0] - pooled[1]).norm() / pooled[1].norm()),
    )


def half_precision(bench: Bench) -> None:
    """On a small model: how far bfloat16 is from float32, packed beside padded."""
    groups = groups_of(TINY, 2, TINY.lengths[-1])
    errors: dict[str, float] = {}
    for layout in ("packed", "padded"):
        squares = []
        for seed in range(4):
            model = loud(bench, seed)
            with torch.no_grad():
                own, half = (logprobs(bench, model, groups, layout, "auto", cast) for cast in (False, True))
            squares.append((own - half).square().mean())
        errors[layout] = float(torch.stack(squares).mean().sqrt())
    bench.found(
        "bf16_error_packed",
        errors["packed"],
        "root mean square of log-probs, nats",
        against="padded",
        against_value=round(errors["padded"], 5),
        ratio=round(errors["packed"] / errors["padded"], 3),
    )


def kernels(bench: Bench) -> None:
    """On a small model in float32: how far packed rows are from padded ones, log-probs and gradients, in the attention that
    is taken by itself and under a dense mask."""
    groups = groups_of(TINY, 2, TINY.lengths[-1])
    found = {}
    for name, layout, attention in (
        ("own", "packed", "auto"),
        ("dense", "packed", "dense"),
        ("padded", "padded", "auto"),
    ):
        model = loud(bench, seed=0)
        values = logprobs(bench, model, groups, layout, attention, autocast=False)
        (values * torch.linspace(-1, 1, len(values), device=values.device)).sum().backward()
        slopes = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found[name] = values.detach(), torch.cat(slopes)
    for part, name in enumerate(("log_probs", "gradients")):
        own, dense, padded = (found[side][part] for side in ("own", "dense", "padded"))
        value, against = (float((side - padded).norm() / padded.norm()) for side in (own, dense))
        told = {"against": "under a dense mask", "against_value": against, "ratio": None}
        bench.figures[f"fp32_{name}"] = {"value": value, "unit": "of padded rows' norm", "runs": 1, **told}


def loud(bench: Bench, seed: int) -> Any:
    """A small model whose weights are no longer near to nothing."""
    model = model_of(TINY, bench.device, seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * parameter.std(correction=0))
    return model


def logprobs(
    bench: Bench, model: Any, groups: list[Group], layout: Any, attention: Any, autocast: bool
) -> torch.Tensor:
    """(N): of all responses, in the order of groups and responses."""
    policy = policy_of(bench, model, layout, attention, autocast, TINY)
    found: dict[tuple[int, int], torch.Tensor] = {}
    for batch in policy.plan(groups, 10_000):
        scored = policy(groups, batch)
        found |= dict(zip(batch.members, scored.logprobs_RT, strict=True))
    return torch.cat([found[member] for member in sorted(found)])


def policy_of(
    bench: Bench, model: Any, layout: Any, attention: Any, autocast: bool = True, size: Size | None = None
) -> Policy:
    tokens: Any = Tokens(size or bench.size)
    return Policy(model, tokens, temperature=1.0, autocast=autocast, layout=layout, attention=attention)


def settings(bench: Bench, attempt: Attempt) -> TrainSettings:
    """Of a step without a reference."""
    batch = {"prompts": attempt.prompts, "group": bench.size.group}
    return TrainSettings.model_validate(
        {
            "batch": batch | {"tokens_per_micro_batch": attempt.tokens},
            "response": {"max_tokens": bench.size.rollout},
            "reward": {"accuracy": {}},
            "kl": {"weight": 0.0},
        }
    )


def now(bench: Bench) -> float:
    synchronized(bench)
    return time.perf_counter()


def synchronized(bench: Bench) -> None:
    if bench.device == "cuda":
        torch.cuda.synchronize()


def reset_peak(bench: Bench) -> None:
    if bench.device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_gib(bench: Bench) -> float:
    """The most that was allocated on the GPU; 0 on the CPU, where nobody counts."""
    return torch.cuda.max_memory_allocated() / 2**30 if bench.device == "cuda" else 0.0


def freed() -> None:
    """Give back the memory of the GPU that a measurement held."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
