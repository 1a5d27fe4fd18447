"""Rewards of other trainers: each signature pays what this verifier says, as the ladder judges."""

import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from export_files import exported, kept_of, part_rows

from ladder.errors import BadInput
from ladder.export.reward import (
    SwiftAccuracy,
    easyr1_scores,
    lmm_r1_rewards,
    openrlhf_rewards,
    scores,
    trl_accuracy,
    verl_score,
)
from ladder.splits import Split
from ladder.store import Store

KEPT = {"ladder_item": 1, "id": "ab", "question": "Which?", "answer_type": "option", "gold": "B"}
CHOICE = json.dumps(KEPT | {"options": ["a cat", "a dog"]})
LENGTH = json.dumps(KEPT | {"answer_type": "number", "gold": "5", "unit": "cm", "tolerance": "5%"})
SAID = ["<answer>a dog</answer>", "<answer>A</answer>", "The answer is 50 mm."]
LADDER = [CHOICE, CHOICE, LENGTH]
PAID = [1.0, 0.0, 1.0]


def loaded(path: Path) -> ModuleType:
    """A module loaded by its path, as trainers do."""
    spec = importlib.util.spec_from_file_location("reward", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_signature_pays_the_same() -> None:
    assert scores(SAID, LADDER) == PAID
    assert trl_accuracy(completions=SAID, ladder=LADDER, prompts=[1, 2, 3], solution=["x"] * 3) == PAID
    chats = [[{"role": "assistant", "content": one}] for one in SAID]
    assert trl_accuracy(completions=chats, ladder=LADDER) == PAID
    assert SwiftAccuracy(args=None)(SAID, ladder=LADDER, solution=["x"] * 3) == PAID
    verl = [
        verl_score("s", one, "x", {"ladder": item}, extra=1) for one, item in zip(SAID, LADDER, strict=True)
    ]
    assert [one["score"] for one in verl] == [one["acc"] for one in verl] == PAID
    inputs = [
        {"response": a, "response_length": 3, "ground_truth": b} for a, b in zip(SAID, LADDER, strict=True)
    ]
    assert [one["overall"] for one in easyr1_scores(inputs)] == PAID
    assert [one["format"] for one in easyr1_scores(inputs)] == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("prompt", ["<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n", "[turns]"])
def test_openrlhf_queries_are_cut_where_the_response_begins(prompt: str) -> None:
    head = "<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n"
    queries = [f"{head}{one}<|im_end|><|endoftext|>" for one in SAID]
    found = openrlhf_rewards(queries, [prompt] * 3, LADDER)
    assert found["rewards"].tolist() == found["scores"].tolist() == PAID
    assert found["extra_logs"]["timeout"].tolist() == [0.0, 0.0, 0.0]
    assert lmm_r1_rewards(queries, [prompt] * 3, LADDER).tolist() == PAID


def test_other_templates_are_cut_too_and_a_query_without_a_turn_is_told() -> None:
    head = "<start_of_turn>user\nWhich?<end_of_turn>\n<start_of_turn>model\n"
    queries = [f"{head}{one}<end_of_turn>\n<eos>" for one in SAID]
    assert lmm_r1_rewards(queries, ["[turns]"] * 3, LADDER).tolist() == PAID
    with pytest.raises(BadInput, match="cannot tell prompt and response apart"):
        lmm_r1_rewards(["Which? a dog"], ["[turns]"], [CHOICE])


def test_a_response_that_opens_another_turn_is_judged_whole() -> None:
    head = "<|im_start|>assistant\n"
    query = f"{head}<answer>A</answer>{head}<answer>B</answer>"
    assert openrlhf_rewards([query], ["[turns]"], [CHOICE])["rewards"].tolist() == [0.0]


def test_what_is_no_item_is_told() -> None:
    for cell in ("B", "", None, "{}"):
        with pytest.raises(BadInput, match="needs the column `ladder`"):
            scores(["x"], [cell])  # type: ignore[list-item]


def test_a_reward_needs_nothing_of_what_trainers_pin(tmp_path: Path) -> None:
    heavy = (
        "torch",
        "transformers",
        "datasets",
        "duckdb",
        "typer",
        "huggingface_hub",
        "pandas",
        "rich",
        "httpx2",
    )
    blocked = f"import sys; [sys.modules.__setitem__(name, None) for name in {heavy}]"
    judged = f"from ladder.export.reward import scores; print(scores({SAID!r}, {LADDER!r}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{blocked}; {judged}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(PAID), done.stderr


def test_threads_may_ask_at_once() -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(scores(SAID, LADDER))) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [PAID] * 8


@pytest.mark.parametrize("to", ["trl", "openrlhf", "easyr1"])
def test_an_export_pays_as_its_ladder_judged(digits_split: Split, to: str, tmp_path: Path) -> None:
    exported(digits_split, to, tmp_path / "out")
    kept = {kept_of(row)["id"]: row["ladder"] for row in part_rows(tmp_path / "out", to)}
    store = Store.open(digits_split.ladder)
    texts = {
        (r["item_id"], r["index"]): r["text"]
        for r in store.rollouts.table(["item_id", "index", "text"]).to_pylist()
    }
    judged = store.verdicts.table(["item_id", "index", "outcome"]).to_pylist()
    rows = [
        (texts[v["item_id"], v["index"]], kept[v["item_id"]], v["outcome"])
        for v in judged
        if v["item_id"] in kept
    ]
    assert len(rows) > 20
    assert scores([r[0] for r in rows], [r[1] for r in rows]) == [float(r[2] == "correct") for r in rows]


@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("verl", "compute_score"),
        ("easyr1", "compute_score"),
        ("openrlhf", "reward_func"),
        ("trl", "accuracy"),
    ],
)
def test_the_file_beside_an_export_has_what_the_trainer_loads(
    digits_split: Split, to: str, name: str, tmp_path: Path
) -> None:
    exported(digits_split, to, tmp_path / "out")
    assert callable(getattr(loaded(tmp_path / "out" / "reward.py"), name))
