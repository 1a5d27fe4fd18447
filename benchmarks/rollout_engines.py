"""The same training on the embedded pool with rollouts by transformers, by vLLM in this process and by a vLLM server.

    python benchmarks/rollout_engines.py --steps 40 --seeds 0 1 2

Each run is a process of its own with the pipeline's recipe, and they alternate. Of each engine: the probe before and after
with 95% intervals, the seconds of a step by part (without the first two steps), and how far the engine's log-probs are from the
trainer's. Writes benchmarks/results/rollout_engines.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from results import write_result

from ladder.engines.vllm_weights import EXTENSION
from ladder.models import resolve_model
from ladder.runtime import prepare_environment

ENGINES = ("transformers", "vllm", "server")
_SERVER = [
    *("--dtype", "float32", "--enforce-eager", "--no-enable-chunked-prefill", "--skip-mm-profiling"),
    *("--max-model-len", "512", "--max-num-seqs", "256", "--block-size", "32"),
    *("--limit-mm-per-prompt", '{"video": 0}', "--generation-config", "vllm"),
    *("--logprobs-mode", "processed_logprobs", "--served-model-name", "digits"),
    *("--worker-extension-cls", EXTENSION),
]
_LEFT_OUT = 2  # steps at the start of a run

Figures = dict[str, dict[str, Any]]
Row = dict[str, Any]


def main() -> None:
    """Train with each engine, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument(
        "--items",
        type=int,
        help="of the pool, and a quarter as many for its probe; where not given, the pipeline's",
    )
    args = parser.parse_args()
    prepare_environment()  # of all processes: it is inherited
    found: dict[str, list[list[Row]]] = {engine: [] for engine in args.engines}
    with tempfile.TemporaryDirectory() as folder:
        split = prepared(Path(folder), args.items)
        for seed in args.seeds:
            for engine in args.engines:
                out = Path(folder) / f"{engine}-{seed}"
                found[engine].append(trained(split, engine, out, args.steps, seed))
    figures: Figures = {}
    for engine, runs in found.items():
        figures |= told(engine, runs, args.seeds)
    for name, figure in figures.items():
        print(name, json.dumps(figure), file=sys.stderr)
    write_result("rollout_engines", figures)


def prepared(folder: Path, items: int | None) -> Path:
    """The split of a ladder of the embedded pool."""
    sizes = [] if items is None else [f"pool.make.items={items}", f"pool.make.probe_items={items // 4}"]
    size = [part for value in sizes for part in ("--set", value)]
    pool = ["--set", f"pool.root={json.dumps(str(folder / 'pool'))}"]
    ladder = folder / "digits"
    _ladder("build", "digits", "--out", str(ladder), *pool, *size)
    _ladder("sample", str(ladder))
    return next((ladder / "splits").iterdir())


def trained(split: Path, engine: str, out: Path, steps: int, seed: int) -> list[Row]:
    """The metrics of one run, from line 0, the probe before it."""
    with serving(out.with_suffix(".log")) if engine == "server" else nullcontext("") as url:
        chosen = [f"rollout.engine={engine}", f"steps={steps}", f"eval.every={steps}", f"seed={seed}"]
        chosen += [f"rollout.server.url={url}", "rollout.server.model=digits"] if url else []
        chosen += ["rollout.vllm.args.max_model_len=512"] if engine == "vllm" else []
        overrides = [part for value in chosen for part in ("--set", value)]
        _ladder("train", str(split), "--out", str(out), *overrides)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def told(engine: str, runs: Sequence[Sequence[Row]], seeds: Sequence[int]) -> Figures:
    """The figures of one engine's runs."""
    figures: Figures = {}
    for seed, rows in zip(seeds, runs, strict=True):
        before, after = rows[0], rows[-1]
        figures[f"{engine}, seed {seed}: probe"] = {
            "value": after["probe/all/mean"],
            "interval": [after["probe/all/low"], after["probe/all/high"]],
            "unit": "share",
            "against": "before training",
            "against_value": before["probe/all/mean"],
            "against_interval": [before["probe/all/low"], before["probe/all/high"]],
        }
    steps = [row for rows in runs for row in rows[1:]]
    for name in ("mean", "max", "kl"):
        values = [row[f"mismatch/{name}"] for row in steps if f"mismatch/{name}" in row]
        if values:
            value = max(values) if name == "max" else statistics.fmean(values)
            figures[f"{engine}: mismatch/{name}"] = {"value": value, "unit": "nats"}
    timed = [row for rows in runs for row in rows[1 + _LEFT_OUT :]]
    whole = [sum(v for k, v in row.items() if _a_part(k)) for row in timed]
    figures[f"{engine}: seconds of a step"] = {"value": statistics.median(whole), "unit": "s"}
    for part in sorted({key for row in timed for key in row if _a_part(key)}):
        seconds = statistics.median(row.get(part, 0.0) for row in timed)
        figures[f"{engine}: {part}"] = {"value": seconds, "unit": "s"}
    return figures


def _a_part(key: str) -> bool:
    return key.startswith("seconds/") and key != "seconds/probe"


@contextmanager
def serving(log: Path) -> Iterator[str]:
    """A vLLM server of the embedded model that can be sent weights."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    own = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--port", port, *_SERVER]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--model", str(resolve_model("digits"))],
            stdout=output,
            stderr=output,
            env=os.environ | own,
            start_new_session=True,
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise SystemExit("the server ended")


def _ladder(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "ladder.cli", *arguments], check=True)


if __name__ == "__main__":
    main()
