"""What the sampling stage of a build costs over bare vLLM: wall time of both on the same requests, and our own CPU time.

    python benchmarks/sampling_overhead.py --pairs 5 --seconds 60

One vLLM engine in this process runs both arms, which alternate, its caches emptied before each. The bare arm is the least
that a user of vLLM can do: each item's prompt, encoded beforehand, is processed once, all samples are fed at once with the
same seeds and sampling parameters, then `step` is called until nothing is left; nothing is decoded, judged or stored. The
other arm is the stage itself on a fresh copy of an imported store: reading, encoding, sampling, decoding, verification,
Parquet. The model has the embedded one's shape, untrained weights and end markers that are never drawn, so that both arms
make the same number of tokens.

Our CPU time is, by the threads' own clocks, that of the main thread outside of vLLM's calls and that of the threads that
write and show progress; what the main thread spends in the verifier, and what is done once (reading items, asking what is
stored), is told apart. Writes benchmarks/results/sampling_overhead.json. Takes
about two minutes and 2 * pairs * seconds.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from results import write_result

from ladder.config import load, shipped
from ladder.encode import Encoder
from ladder.engines import create_engine
from ladder.engines.base import Meter
from ladder.engines.vllm import VllmEngine, prompt_of, sampling_params
from ladder.identity import gold_digest
from ladder.importing.stage import build_until_audit
from ladder.models import resolve_model
from ladder.progress import say
from ladder.runtime import prepare_environment
from ladder.sampling import Recorder, sample_missing
from ladder.sampling.passes import Pass, passes_of
from ladder.settings import BuildSettings
from ladder.store import Store

LIMIT, CPU_LIMIT = 1.05, 0.5  # of the wall time; milliseconds per rollout
_WARM_UP_ITEMS = 8
_MARGIN = 1.1  # the number of items comes of a first run, and others may be faster


class Arm(NamedTuple):
    """One arm: wall seconds, response tokens and, of the stage, more figures."""

    seconds: float
    tokens: int
    more: dict[str, float] = {}  # noqa: RUF012


class Spent:
    """CPU seconds that some functions take, by their thread's clock."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time counted."""

        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.thread_time() - start

        return counted

    def pulling(self, function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """A generator function, the time between its values counted."""

        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Iterator[Any]:
            values = function(*args, **kwargs)
            while (value := self.of(next)(values, None)) is not None:
                yield value

        return counted


def endless_model(folder: Path) -> Path:
    """A model of the embedded one's shape that draws any token but those that end a response.

    Its stream carries a constant that no layer changes much; only the output rows of the end markers look at it.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    source = resolve_model("digits")
    folder.mkdir()
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    config = AutoConfig.from_pretrained(source)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    ends = list(Encoder(source, min_pixels=196, max_pixels=3136).stop_ids)
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = 0.5
        model.get_output_embeddings().weight[:, 0] = 0.0
        model.get_output_embeddings().weight[ends, 0] = -10.0
    model.save_pretrained(folder)
    return folder


class Task(NamedTuple):
    """A store that holds items and nothing else, its settings, and how it is asked."""

    place: Path
    settings: BuildSettings
    how: Pass


def task_of(root: Path, items: int, args: argparse.Namespace) -> Task:
    """So many items of the embedded pool, imported; to be asked for long answers."""
    place = root / f"store-{items}"
    made = [f'pool.root="{root / f"pool-{items}"}"', f"pool.make.items={items}", "pool.make.probe_items=0"]
    how = [f"sampling.k={args.k}", f"sampling.max_tokens={args.tokens}", "engine=vllm"]
    model = [f'model.name="{root / "model"}"', f"vllm.args.max_num_seqs={args.running}"]
    settings = load(BuildSettings, shipped("pipelines", "digits"), made + how + model)
    build_until_audit(settings, place)
    return Task(place, settings, passes_of(settings)[0])


def forget(engine: VllmEngine) -> None:
    """Empty vLLM's caches of prompts and images."""
    engine._engine.reset_prefix_cache()
    engine._engine.reset_mm_cache()
    engine._engine.reset_encoder_cache()


def bare(engine: VllmEngine, task: Task) -> Arm:
    """All requests of the stage, given to vLLM at once."""
    store, asked, encoder = Store.open(task.place), task.how.asked, task.how.model.local[1]
    requests = [asked.request(store, item, range(task.how.view.k)) for item in store.load_items()]
    prompts = [prompt_of(request.prompt.encoded(encoder), encoder) for request in requests]
    params = sampling_params(asked.sampling, encoder)
    forget(engine)
    vllm, tokens, keys = engine._engine, 0, itertools.count()
    start = time.monotonic()
    for request, prompt in zip(requests, prompts, strict=True):
        (rendered,) = vllm.renderer.render_cmpl([prompt])
        for seed in request.seeds:
            own = copy.copy(params)
            own.seed = seed
            vllm.add_request(f"bare-{next(keys)}", rendered, own)
    while vllm.has_unfinished_requests():
        tokens += sum(len(output.outputs[0].token_ids) for output in vllm.step())
    return Arm(time.monotonic() - start, tokens)


def stage(engine: VllmEngine, task: Task) -> Arm:
    """The sampling stage of a build on a fresh copy of the store."""
    fresh = task.place.with_name("fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(task.place, fresh)
    store, how, verifying = Store.open(fresh), task.how, Spent()
    forget(engine)
    start, begun = time.monotonic(), time.thread_time()
    with task.settings.verify.pool() as verifier, inside_vllm(engine) as vllm, writing() as writers:
        setattr(verifier, "submit", verifying.of(verifier.submit))  # noqa: B010
        setattr(verifier, "completed", verifying.pulling(verifier.completed))  # noqa: B010
        items = {item.id: item for item in store.load_items()}
        recorder = Recorder(store, how.view, verifier, items)
        plan = how.plan(store, {item.id: gold_digest(item) for item in items.values()})
        meter, cpu = Meter(), time.thread_time()
        try:
            sample_missing(store, plan, how.asked, engine, recorder, items, meter)
        finally:
            recorder.close()
        own = time.thread_time() - cpu - vllm.seconds - verifying.seconds
    seconds = time.monotonic() - start
    stored = sum(path.stat().st_size for log in (store.rollouts, store.verdicts) for path in log.paths())
    each = 1000 / recorder.report.sampled
    more = {
        "rollouts": recorder.report.sampled,
        "cpu": (own + writers.seconds) * each,
        "once": (cpu - begun) * 1000,
        "writing": writers.seconds * each,
        "verifying": verifying.seconds * each,
        "waiting": meter.waiting_share,
        "bytes": stored / recorder.report.sampled,
    }
    return Arm(seconds, recorder.report.tokens, more)


@contextmanager
def inside_vllm(engine: VllmEngine) -> Iterator[Spent]:
    """CPU time of this thread inside of vLLM."""
    spent, vllm = Spent(), engine._engine
    places = [(vllm, "step"), (vllm, "add_request"), (vllm.renderer, "render_cmpl")]
    for holder, name in places:
        setattr(holder, name, spent.of(getattr(holder, name)))
    try:
        yield spent
    finally:
        for holder, name in places:
            delattr(holder, name)


@contextmanager
def writing() -> Iterator[Spent]:
    """CPU time of the threads that write and show progress, and have ended."""
    spent, run = Spent(), threading.Thread.run

    def counted(thread: threading.Thread) -> None:
        (spent.of(run) if thread.name.startswith(("write ", "live ")) else run)(thread)

    setattr(threading.Thread, "run", counted)  # noqa: B010
    try:
        yield spent
    finally:
        setattr(threading.Thread, "run", run)  # noqa: B010


def measured(root: Path, args: argparse.Namespace) -> list[tuple[Arm, Arm]]:
    """Pairs of (bare, stage); which of the two is first alternates."""
    endless_model(root / "model")
    warm = task_of(root, _WARM_UP_ITEMS, args)
    engine = create_engine(warm.settings, warm.how.model)
    assert isinstance(engine, VllmEngine)
    try:
        stage(engine, warm)
        tried = bare(engine, warm)
        items = max(ceil(_WARM_UP_ITEMS * args.seconds / tried.seconds), args.running // args.k, 1)
        task = task_of(root, items, args)
        size = bare(engine, task).seconds
        task = task_of(root, ceil(items * max(_MARGIN * args.seconds / size, 1)), args)
        return [_pair(engine, task, number) for number in range(args.pairs)]
    finally:
        engine.close()


def _pair(engine: VllmEngine, task: Task, number: int) -> tuple[Arm, Arm]:
    arms = {}
    for run in (bare, stage) if number % 2 == 0 else (stage, bare):
        arms[run] = run(engine, task)
    say(f"  pair {number + 1}: bare {arms[bare].seconds:.1f} s, stage {arms[stage].seconds:.1f} s")
    return arms[bare], arms[stage]


def figures_of(pairs: list[tuple[Arm, Arm]]) -> dict[str, dict[str, Any]]:
    """What is written; the ratio of the wall times is the median of the pairs' own."""
    ratios = [stage.seconds / bare.seconds for bare, stage in pairs]

    def median(name: str) -> float:
        return round(statistics.median(stage.more[name] for _, stage in pairs), 4)

    def runs(name: str) -> list[float]:
        return [round(stage.more[name], 4) for _, stage in pairs]

    return {
        "sampling stage": {
            "value": round(statistics.median(stage.seconds for _, stage in pairs), 2),
            "unit": "seconds",
            "against": f"bare vLLM on the same requests; the limit of the ratio is {LIMIT}",
            "against_value": round(statistics.median(bare.seconds for bare, _ in pairs), 2),
            "ratio": round(statistics.median(ratios), 4),
            "runs": [[round(bare.seconds, 2), round(stage.seconds, 2)] for bare, stage in pairs],
        },
        "shortest arm": {
            "value": round(min(arm.seconds for pair in pairs for arm in pair), 2),
            "unit": "seconds",
        },
        "tokens per arm": {
            "value": pairs[0][1].tokens,
            "unit": "tokens",
            "against": "bare vLLM",
            "against_value": pairs[0][0].tokens,
            "ratio": round(pairs[0][1].tokens / pairs[0][0].tokens, 4),
        },
        "rollouts per arm": {"value": int(median("rollouts")), "unit": "rollouts"},
        "our CPU time per rollout": {
            "value": median("cpu"),
            "unit": "milliseconds",
            "against": "limit",
            "against_value": CPU_LIMIT,
            "ratio": round(median("cpu") / CPU_LIMIT, 4),
            "runs": runs("cpu"),
        },
        "of it, in threads that write": {"value": median("writing"), "unit": "milliseconds"},
        "our CPU time once per run": {"value": median("once"), "unit": "milliseconds"},
        "verification in the main thread, per rollout": {
            "value": median("verifying"),
            "unit": "milliseconds",
        },
        "share of time in which the engine waited for us": {
            "value": median("waiting"),
            "unit": "share",
            "runs": runs("waiting"),
        },
        "store": {"value": round(median("bytes")), "unit": "bytes per rollout"},
    }


def main() -> None:
    """Measure, write; fail where a limit is exceeded."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0, help="at least, of each arm")
    parser.add_argument("--tokens", type=int, default=1024, help="of each answer")
    parser.add_argument("--running", type=int, default=64, help="samples that vLLM runs at once")
    parser.add_argument("--k", type=int, default=8, help="samples per item")
    args = parser.parse_args()
    prepare_environment()
    with tempfile.TemporaryDirectory() as place:
        figures = figures_of(measured(Path(place), args))
    write_result("sampling_overhead", figures)
    ratio, cpu = figures["sampling stage"]["ratio"], figures["our CPU time per rollout"]["value"]
    say(f"  ratio {ratio}, {cpu} ms of our own per rollout")
    if ratio > LIMIT or cpu > CPU_LIMIT:
        sys.exit(f"over the limits of {LIMIT} and {CPU_LIMIT} ms")


if __name__ == "__main__":
    main()
