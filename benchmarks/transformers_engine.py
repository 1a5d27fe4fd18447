"""The transformers engine beside `model.generate(num_return_sequences=8)`, on the shipped model and the same prompts.

    python benchmarks/transformers_engine.py --pairs 5

Arms alternate in one process: ours; generate called item by item (the target: 3x its samples/s); generate called for
batches of items, left-padded, as one would write it by hand. Prompts are encoded before the clock starts, for all arms. Where a
scenario says so, stop tokens are ignored, so that all arms make exactly the same number of tokens; elsewhere they stop by chance. Peak memory is what a run adds to
the resident set. Thread count and neighbours move the rates; only the ratios are claims. Writes benchmarks/results/transformers_engine.json.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import write_result

from ladder.encode import Encoder, Prompt, image_inputs
from ladder.engines.base import Request, Sampling, drive
from ladder.engines.transformers import TransformersEngine
from ladder.models import load_model, resolve_model
from ladder.pools.digits import draw, write_pool
from ladder.prompts import template
from ladder.runtime import prepare_environment

K, ITEMS_AT_ONCE = 8, 32
BATCH_PAIRS = 1  # the arm without a target is slow at ragged lengths
SHIPPED = resolve_model("digits")


class NeverStops(Encoder):
    """An encoder without stop tokens: answers are as long as they may be."""

    stop_ids = ()


@dataclass(frozen=True)
class Scenario:
    """Prompts with the longest answer of each, and who answers them."""

    about: str
    prompts: Sequence[Prompt]
    max_tokens: Sequence[int]
    stops: bool
    trained: bool = True


def pool_prompts(count: int) -> list[Prompt]:
    """Prompts of the embedded pool."""
    import json

    with tempfile.TemporaryDirectory() as folder:
        write_pool(Path(folder), items=count, probe_items=0, seed=0)
        lines = (Path(folder) / "rows.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [_prompt(row["question"], [(Path(folder) / row["image"]).read_bytes()]) for row in rows]


def prompts_with_images(counts: Sequence[int]) -> list[Prompt]:
    """A prompt for each number of images."""
    rng = random.Random(0)
    return [_prompt("Add up all the digits.", [_canvas(rng) for _ in range(n)]) for n in counts]


def _canvas(rng: random.Random) -> bytes:
    out = io.BytesIO()
    draw([rng.randrange(10) for _ in range(3)], rng, probe=True).image.save(out, "PNG")
    return out.getvalue()


def _prompt(question: str, images: list[bytes]) -> Prompt:
    how = template("brief")
    text = f"{question}\n{how.instruction}"
    parts = [{"type": "image"} for _ in images] + [{"type": "text", "text": text}]
    return Prompt([{"role": "user", "content": parts}], [(str(i), data) for i, data in enumerate(images)])


def scenarios(scale: float) -> dict[str, Scenario]:
    """What is measured; `scale` multiplies the items."""

    def n(items: int) -> int:
        return max(1, round(items * scale))

    ragged = [200 if i % 10 == 9 else 8 for i in range(n(160))]
    return {
        "digits": Scenario(
            "the embedded pool, answers of up to 48", pool_prompts(n(160)), [48] * n(160), True
        ),
        "ragged": Scenario("9 of 10 items 8 tokens, 1 of 10 200", pool_prompts(n(160)), ragged, False),
        "ragged siblings": Scenario(
            "an untrained model stops at random", pool_prompts(n(24)), [200] * n(24), True, trained=False
        ),
        "long": Scenario("answers of 256 tokens", pool_prompts(n(24)), [256] * n(24), False),
        "images": Scenario(
            "0, 1, 2, 4, 8 images per item, 32 tokens",
            prompts_with_images([0, 1, 2, 4, 8] * n(16)),
            [32] * 5 * n(16),
            False,
        ),
    }


class Arms:
    """The three ways to answer a scenario; each returns samples, tokens."""

    def __init__(self, scenario: Scenario) -> None:
        kind = Encoder if scenario.stops else NeverStops
        self.encoder = kind(SHIPPED, min_pixels=196, max_pixels=3136)
        self.scenario, self.model = scenario, trained() if scenario.trained else untrained()
        if not scenario.stops:
            self.model.generation_config.eos_token_id = None  # generate takes it where it is told of none
        self.encoded = [prompt.encoded(self.encoder) for prompt in scenario.prompts]

    def ours(self) -> tuple[int, int]:
        engine = TransformersEngine(self.model, self.encoder, "benchmark")
        requests = [
            Request(
                str(i), prompt, Sampling(1.0, limit), tuple(range(K)), tuple(i * 2**20 + j for j in range(K))
            )
            for i, (prompt, limit) in enumerate(
                zip(self.scenario.prompts, self.scenario.max_tokens, strict=True)
            )
        ]
        lengths = [c.length for c in drive(engine, requests)]
        return len(lengths), sum(lengths)

    def by_item(self) -> tuple[int, int]:
        return self._generate([[i] for i in range(len(self.encoded))])

    def by_batch(self) -> tuple[int, int]:
        every = list(range(len(self.encoded)))
        return self._generate([every[i : i + ITEMS_AT_ONCE] for i in range(0, len(every), ITEMS_AT_ONCE)])

    def _generate(self, batches: list[list[int]]) -> tuple[int, int]:
        samples = tokens = 0
        for batch in batches:
            limits = np.repeat([self.scenario.max_tokens[i] for i in batch], K)
            out = self._call(batch, int(limits.max()))
            stops = torch.isin(out, torch.tensor(self.encoder.stop_ids, dtype=out.dtype)).numpy()
            ends = np.where(stops.any(1), stops.argmax(1) + 1, out.shape[1])
            samples += len(out)
            tokens += int(np.minimum(ends, limits).sum())
        return samples, tokens

    def _call(self, batch: list[int], limit: int) -> torch.Tensor:
        """New tokens (items * K, T) of items, left-padded."""
        encoded = [self.encoded[i] for i in batch]
        width = max(len(e.prompt_ids) for e in encoded)
        ids = torch.full((len(encoded), width), self.encoder.pad_id)
        mask = torch.zeros_like(ids)
        for row, e in enumerate(encoded):
            ids[row, width - len(e.prompt_ids) :] = torch.tensor(e.prompt_ids)
            mask[row, width - len(e.prompt_ids) :] = 1
        from transformers import GenerationConfig

        how = GenerationConfig(
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            num_return_sequences=K,
            max_new_tokens=limit,
            suppress_tokens=list(self.encoder.banned),
            eos_token_id=list(self.encoder.stop_ids) or None,
            pad_token_id=self.encoder.pad_id,
        )
        kinds = (ids == self.encoder.image_token).int()
        with torch.inference_mode():
            images = image_inputs(encoded, torch.device("cpu"), torch.float32)
            out = self.model.generate(
                input_ids=ids, attention_mask=mask, mm_token_type_ids=kinds, generation_config=how, **images
            )
        return out[:, width:]


def trained() -> Any:
    """The shipped model."""
    return load_model(SHIPPED, dtype="float32", device="cpu")


def untrained() -> Any:
    """The same model before it learnt anything."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    torch.manual_seed(0)
    return AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(SHIPPED)).float().eval()


def timed(arm: Callable[[], tuple[int, int]]) -> dict[str, float]:
    """Rates of one run, and the MiB that it added to the resident set at its peak."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, start, cpu = _resident("VmRSS"), time.perf_counter(), time.process_time()
    samples, tokens = arm()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = _resident("VmHWM") - before
    return {"seconds": seconds, "cpu": cpu, "samples": samples, "tokens": tokens, "peak_mib": peak / 1024}


def _resident(name: str) -> int:
    """KiB, as the kernel counts them."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def measure(scenario: Scenario, pairs: int) -> dict[str, Any]:
    """Medians over alternating runs, and the ratio of each pair."""
    arms = Arms(scenario)
    arms.ours()
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "by item": [], "by batch": []}
    for pair in range(pairs):
        runs["ours"].append(timed(arms.ours))
        runs["by item"].append(timed(arms.by_item))
        if pair < BATCH_PAIRS:
            runs["by batch"].append(timed(arms.by_batch))
    figures: dict[str, Any] = {"about": scenario.about, "items": len(scenario.prompts), "k": K}
    for name, of in runs.items():
        figures[name] = {
            "samples/s": round(statistics.median(r["samples"] / r["seconds"] for r in of), 1),
            "tokens/s": round(statistics.median(r["tokens"] / r["seconds"] for r in of)),
            "tokens": [r["tokens"] for r in of],
            "peak_mib": round(max(r["peak_mib"] for r in of)),
        }
    for name in ("by item", "by batch"):
        for clock, unit in (("seconds", ""), ("cpu", ", in CPU time")):
            both = zip(runs["ours"], runs[name], strict=False)
            figures[f"times {name}{unit}"] = _summary([theirs[clock] / ours[clock] for ours, theirs in both])
    return figures


def _summary(ratios: list[float]) -> dict[str, Any]:
    return {"median": round(statistics.median(ratios), 2), "pairs": [round(r, 2) for r in ratios]}


def main() -> None:
    """Measure every scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the items")
    parser.add_argument("--only", nargs="*", help="scenarios to run, without writing a result")
    args = parser.parse_args()
    prepare_environment()
    figures: dict[str, dict[str, Any]] = {}
    for name, scenario in scenarios(args.scale).items():
        if not args.only or name in args.only:
            figures[name] = measure(scenario, args.pairs)
            print(name, figures[name], flush=True)
    if not args.only:
        write_result("transformers_engine", figures | {"threads": {"torch": torch.get_num_threads()}})


if __name__ == "__main__":
    main()
