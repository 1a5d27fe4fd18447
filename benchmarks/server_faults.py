"""Nothing lost behind a server that misbehaves: `ladder build` against one that fails in every way, and is dead for 20 s.

    python benchmarks/server_faults.py 400

Builds a pool of so many questions three times: on a server that is well, on one that fails one call in four, at random, and
dies for 20 s, and on one that dies for good; the last is then finished on a server that is back. Compares rollouts and the
counts of the build with what the server did. Writes benchmarks/results/server_faults.json.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
from results import write_result

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines"))

from bad_server import BadServer, Body, answers

K, DEAD_SECONDS, CALL_SECONDS, QUIET = 8, 20.0, 0.05, 100
FAULTS = ("busy", "error", "overloaded", "hang", "half", "drop", "malformed", "empty", "unfinished", "short")
COUNTED = {
    "http_429": ("busy",),
    "http_5xx": ("error", "overloaded"),
    "timeouts": ("hang",),
    "malformed": ("malformed", "empty", "unfinished"),
    "short": ("short",),
}
FAILURES = ("http_429", "http_5xx", "timeouts", "dropped", "unreachable", "malformed")


def answer(body: Body) -> tuple[int, Any]:
    """As a server that takes its time."""
    time.sleep(CALL_SECONDS)
    return answers(body)


def faults(calls: int, death: int) -> list[str]:
    """One call in four fails; none around the server's death, which would cut a fault short of being one."""
    rng = random.Random(0)
    failing = [rng.choice(FAULTS) if rng.random() < 0.25 else "" for _ in range(calls)]
    failing[death - QUIET : death + QUIET] = [""] * (2 * QUIET)
    return failing


def build(root: Path, name: str, server: BadServer, patience: float) -> tuple[int, dict[str, Any], float]:
    """(exit code, what the build told, seconds) of a build into `root/name`."""
    own = {"url": server.url, "concurrency": 8, "timeout": 1.0, "patience": patience}
    settings: dict[str, Any] = {
        "name": "faults",
        "engine": "server",
        "pool.root": str(root / "pool"),
        "model.name": "toy",
    }
    settings |= {"prompt.template": "brief", "sampling.k": K} | {f"server.{k}": v for k, v in own.items()}
    overrides = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    (root / "empty.toml").touch()
    began = time.monotonic()
    command = [sys.executable, "-m", "ladder.cli", "build", str(root / "empty.toml"), "--json"]
    done = subprocess.run(
        [*command, "--out", str(root / name), *overrides], stdout=subprocess.PIPE, text=True, check=False
    )
    told = json.loads(done.stdout) if done.returncode == 0 else {}
    return done.returncode, told, time.monotonic() - began


def stored(ladder: Path) -> dict[str, int]:
    """Rollouts and doubled keys."""
    sql = f"""SELECT count(*), count(*) - count(DISTINCT (item_id, "index")) FROM '{ladder}/rollouts/*.parquet'"""
    with duckdb.connect() as connection:
        rollouts, doubled = connection.execute(sql).fetchall()[0]
    return {"rollouts": rollouts, "doubled": doubled}


def die_after(server: BadServer, calls: int, seconds: float | None) -> None:
    """Let the server die once it has had so many calls, for so long or for good."""

    def wait() -> None:
        while len(server.bodies) < calls:
            time.sleep(0.01)
        server.stop() if seconds is None else server.die_for(seconds)

    threading.Thread(target=wait, daemon=True).start()


def misbehaving(root: Path, items: int) -> dict[str, Any]:
    """The server that fails and dies for a while."""
    death = items // 2
    with BadServer(faults(items * 2, death), answer=answer) as server:
        die_after(server, death, DEAD_SECONDS)
        code, told, seconds = build(root, "misbehaving", server, patience=120)
    counts = told.get("engine", {})
    served = {name: sum(server.served[fault] for fault in of) for name, of in COUNTED.items()}
    truthful = all(counts.get(name) == n for name, n in served.items())
    truthful &= counts.get("retries") == sum(counts.get(name, 0) for name in FAILURES)
    truthful &= counts.get("requests") == len(server.bodies) + counts.get("unreachable", 0)
    figures = {"exit": code, "seconds": round(seconds, 1), "dead_seconds": DEAD_SECONDS, "truthful": truthful}
    return figures | stored(root / "misbehaving") | {"served": dict(server.served), "counted": counts}


def gone(root: Path, items: int) -> dict[str, Any]:
    """The server that dies for good, and the same command on one that is back."""
    with BadServer(answer=answer) as server:
        die_after(server, items // 2, None)
        code, _, _ = build(root, "gone", server, patience=3)
        kept = stored(root / "gone")["rollouts"]
        server.start()
        again, told, _ = build(root, "gone", server, patience=3)
    resumed = {"kept": kept, "exit_resumed": again, "sampled_resumed": told.get("sampled")}
    return {"exit": code} | resumed | stored(root / "gone")


def main(items: int) -> None:
    """Build, compare, write."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "pool").mkdir()
        rows = [{"question": f"What is {i} + 1?", "answer": str(i % 4)} for i in range(items)]
        (root / "pool" / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        with BadServer(answer=answer) as server:
            code, _, seconds = build(root, "well", server, patience=120)
        well = {"exit": code, "seconds": round(seconds, 1)} | stored(root / "well")
        figures = {"well": well, "misbehaving": misbehaving(root, items), "gone": gone(root, items)}
    write_result("server_faults", {"wanted": {"rollouts": items * K}} | figures)
    print(json.dumps(figures, indent=1))
    for arm in figures.values():
        if arm["rollouts"] != items * K or arm["doubled"] or not arm.get("truthful", True):
            raise SystemExit("something was lost, doubled, or told wrongly")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
