"""What a fleet costs and gains: one engine with all cores against workers that share them, and a worker that is killed.

    python benchmarks/fleet.py

Samples the embedded policy's own questions. On a machine without GPUs the ratio of the rates only says that workers are
not in each other's way; the parent's own time per rollout is what bounds how many workers one process can feed. Writes
benchmarks/results/fleet.json.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import signal
import statistics
import time
from collections.abc import Sequence
from typing import Any

import psutil
from results import write_result

from ladder.encode import Prompt
from ladder.engines import model_of
from ladder.engines.base import Completion, Engine, Request, Sampling, drive
from ladder.engines.fleet import create_fleet
from ladder.engines.settings import EngineSettings
from ladder.pools.digits import draw

REQUESTS, K, TURNS = 100, 8, 3
SETTINGS = EngineSettings.model_validate(
    {"model": {"name": "digits", "min_pixels": 196, "max_pixels": 3136}, "engine": "transformers"}
)


def request(number: int) -> Request:
    """A question about a picture of its own."""
    rng = random.Random(number)
    buffer = io.BytesIO()
    draw([rng.randrange(10) for _ in range(4)], rng, probe=True).image.save(buffer, "PNG")
    text = {"type": "text", "text": "Add up all the digits.\nObserve, think, answer."}
    prompt = Prompt([{"role": "user", "content": [{"type": "image"}, text]}], [("h", buffer.getvalue())])
    seeds = tuple((number + 1) * 2**20 + j for j in range(K))
    return Request(str(number), prompt, Sampling(max_tokens=64), tuple(range(K)), seeds)


def started(workers: int) -> Engine:
    """A fleet all of whose engines have sampled."""
    fleet = create_fleet(SETTINGS, model_of(SETTINGS), workers)
    for _ in drive(fleet, [request(10_000 + i) for i in range(16 * workers)]):
        pass
    return fleet


def rate(fleet: Engine, requests: Sequence[Request]) -> tuple[float, float]:
    """Samples a second, and this process' own milliseconds per sample."""
    began, own = time.monotonic(), time.process_time()
    found = sum(1 for _ in drive(fleet, requests))
    return found / (time.monotonic() - began), 1000 * (time.process_time() - own) / found


def killed(fleet: Engine, requests: Sequence[Request]) -> int:
    """Samples drawn again because a worker was killed half-way; all must come once."""
    workers = psutil.Process(os.getpid()).children()
    keys = []
    for completion in drive(fleet, requests):
        keys.append((completion.request_id, completion.index))
        if len(keys) == len(requests) * K // 2:
            os.kill(workers[0].pid, signal.SIGKILL)
    if len(keys) != len(requests) * K or len(set(keys)) != len(keys):
        raise SystemExit("samples were lost or doubled")
    return fleet.counts["samples_drawn_again"]


def reading_ms(tokens: int) -> float:
    """Milliseconds to read one completion of so many tokens as it comes over."""
    completion = Completion("i", 0, 0, tuple(range(tokens)), tuple(-i / 7 for i in range(tokens)), "stop")
    data = pickle.dumps(completion)
    began = time.process_time()
    for _ in range(1000):
        pickle.loads(data)
    return time.process_time() - began


def main() -> None:
    """Alternate, kill, write."""
    requests = [request(i) for i in range(REQUESTS)]
    one, two = started(1), started(2)
    turns = [(rate(one, requests), rate(two, requests)) for _ in range(TURNS)]
    one.close()
    again = killed(two, requests)
    two.close()
    single, double = (statistics.median(turn[i][0] for turn in turns) for i in (0, 1))
    figures: dict[str, dict[str, Any]] = {
        "two workers": {
            "value": round(double, 1),
            "unit": "samples/s",
            "against": "one worker with all cores",
            "against_value": round(single, 1),
            "ratio": round(statistics.median(b[0] / a[0] for a, b in turns), 3),
            "runs": TURNS,
        },
        "own time of the parent": {
            "value": round(statistics.median(b[1] for _, b in turns), 3),
            "unit": "ms CPU per rollout",
            "against": "limit",
            "against_value": 0.5,
            "runs": TURNS,
        },
        "reading a completion of 2,000 tokens": {"value": round(reading_ms(2000), 3), "unit": "ms CPU"},
        "drawn again after a worker was killed half-way": {
            "value": again,
            "unit": "samples",
            "against": "samples in all",
            "against_value": REQUESTS * K,
        },
    }
    for name, figure in figures.items():
        print(name, figure["value"], figure["unit"], figure.get("against_value", ""), figure.get("ratio", ""))
    write_result("fleet", figures)


if __name__ == "__main__":
    main()
