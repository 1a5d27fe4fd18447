"""Nothing lost: a build is killed at random moments, again and again, and must end as if it had not been.

    python benchmarks/kills.py 20

Kills `ladder build` with SIGKILL so many times, lets it finish, and compares with an unkilled build of the same pool:
rollouts per item, doubled keys, unreadable parts, and the catalogue's rows. Writes benchmarks/results/kills.json.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from results import write_result

from ladder.store import Store
from ladder.store.catalogue import query

K, ITEMS = 8, 600


def command(root: Path, name: str) -> list[str]:
    """The build of the embedded pool into `root/name`."""
    settings = [
        f'pool.root="{root / "pool"}"',
        f"pool.make.items={ITEMS}",
        "pool.make.probe_items=0",
        f"sampling.k={K}",
    ]
    overrides = [part for setting in settings for part in ("--set", setting)]
    return [sys.executable, "-m", "ladder.cli", "build", "digits", "--out", str(root / name), *overrides]


def kill_until_done(arguments: list[str], kills: int, rng: random.Random) -> int:
    """Kill the build at random moments, then let it finish; returns the kills that hit a running process."""
    hit = 0
    for _ in range(kills):
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.2, 9.0))
        hit += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    return hit


def rows(store: Store) -> list[tuple[object, ...]]:
    """The catalogue's ladder, as it would be compared."""
    return query(store, "SELECT position, id, tier, correct, n, complexity FROM ladder ORDER BY position")[1]


def main(kills: int) -> None:
    """Kill, compare, write."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        subprocess.run(command(root, "whole"), check=True, stdout=subprocess.DEVNULL)
        hit = kill_until_done(command(root, "killed"), kills, random.Random(0))
        whole, killed = Store.open(root / "whole"), Store.open(root / "killed")
        keys = killed.rollouts.table(["item_id", "index"]).to_pylist()
        doubled = sum(n - 1 for n in Counter((k["item_id"], k["index"]) for k in keys).values())
        counts = Counter(k["item_id"] for k in keys)
        wrong = sum(counts[item.id] != K for item in killed.load_items())
        figures = {
            "kills of a running build": {"value": hit, "unit": "kills"},
            "rollouts": {
                "value": len(keys),
                "unit": "rollouts",
                "against": "items x k",
                "against_value": ITEMS * K,
            },
            "doubled keys": {"value": doubled, "unit": "rollouts"},
            "items without exactly k rollouts": {"value": wrong, "unit": "items"},
            "catalogue equals the unkilled one": {"value": rows(whole) == rows(killed), "unit": "boolean"},
        }
    write_result("kills", figures)
    if doubled or wrong or not figures["catalogue equals the unkilled one"]["value"]:
        sys.exit(f"lost or doubled: {figures}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
