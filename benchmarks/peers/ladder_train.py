"""`ladder train` on a split, timed as TRL's trainer is.

`python ladder_train.py SETTINGS.json` prints one JSON object, as trl_train.py does.
"""

from __future__ import annotations

import json
import tempfile
from importlib.metadata import version
from pathlib import Path

from ladder_timed import RECIPE, overrides, timed
from measured import print_found, told_settings

from ladder.cli.app import app


def main() -> None:
    told = told_settings()
    clock = timed(told)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [
            "train",
            told["split"],
            "--model",
            told["model"],
            "--recipe",
            str(RECIPE),
            "--out",
            str(out),
        ]
        for one in overrides(told):
            command += ["--set", one]
        app(command, standalone_mode=False)
        log = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    print_found(
        clock,
        tokens=[entry["tokens"] for entry in log],
        correct=[entry["correct"] for entry in log],
        versions={name: version(name) for name in ("transformers", "torch")},
    )


if __name__ == "__main__":
    main()
