"""OpenRLHF's PromptDataset reads the export, its load_images the pictures; and the edit that keeps the order does what it
says on the released file. Its strategy needs DeepSpeed and GPUs: here it is only what the data set asks of one, its
arguments."""

from __future__ import annotations

import ast
import shlex
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from common import arguments, pixels, report


def main() -> None:
    from openrlhf.datasets.prompts_dataset import PromptDataset
    from openrlhf.datasets.utils import blending_datasets
    from openrlhf.utils.vlm_utils import load_images
    from transformers import AutoTokenizer

    export, expected, model = arguments()
    options = SimpleNamespace(
        input_key="prompt", label_key="label", image_key="images", apply_chat_template=True
    )
    strategy = SimpleNamespace(
        args=SimpleNamespace(data=options, use_ms=False), is_rank_0=lambda: True, print=lambda *_: None
    )
    tokenizer = AutoTokenizer.from_pretrained(model)
    raw = blending_datasets(str(export / "train.jsonl"), None, strategy)
    data = PromptDataset(raw, tokenizer, strategy)
    for row in expected:
        row["turns"] = tokenizer.apply_chat_template(row["turns"], tokenize=False, add_generation_prompt=True)
    found = [
        {
            "id": row["id"],
            "turns": prompt,
            "images": [pixels(one) for one in load_images(images)],
            "gold": label,
        }
        for row, (_, prompt, label, images) in zip(raw, data, strict=True)
    ]
    packages = ["openrlhf", "transformers", "datasets", "torch"]
    report(found, expected, packages, shuffles=[shuffles(released()), shuffles(edited(export))])


def released() -> Path:
    """The installed file that hands shuffle=True to the data loader."""
    spec = find_spec("openrlhf")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "trainer" / "ppo_trainer.py"


def edited(export: Path) -> Path:
    """A copy of it after the edit that the export's README names."""
    copy = export / "openrlhf" / "trainer" / "ppo_trainer.py"
    copy.parent.mkdir(parents=True)
    shutil.copy(released(), copy)
    lines = (export / "README.md").read_text(encoding="utf-8").splitlines()
    (command,) = (line for line in lines if line.startswith("sed "))
    subprocess.run(shlex.split(command), check=True, cwd=export)
    return copy


def shuffles(path: Path) -> Any:
    """What a file's first call of setup_dataloader, that of the training prompts, is handed as `shuffle`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setup_dataloader"
    ]
    return ast.literal_eval(min(calls, key=lambda call: call.lineno).args[3])


if __name__ == "__main__":
    main()
