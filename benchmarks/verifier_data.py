"""Golds and real answers that the verifier is measured on: public pools in their raw layouts, and the embedded pool.

Read are `pool_open/<source>/` and `rollouts/open/` below a directory that the caller names. Images are left out: a
verdict does not depend on them. Items are made here by hand, not by an import, so that every gold is measured, also
one that an audit would reject.
"""

from __future__ import annotations

import ast
import csv
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from ladder.pools.digits import KINDS, ask, draw_digits
from ladder.records import Item
from ladder.verify import infer_type


class Answered(NamedTuple):
    """A real answer of a model to an item, with the upstream grader's verdict."""

    model: str
    item: Item
    response: str
    upstream: bool
    upstream_answer: str


def hide_paths(*paths: Path | None) -> None:
    """Take these paths out of the command that a result names: they mean nothing on another machine."""
    hidden = {str(path) for path in paths if path}
    sys.argv[:] = ["PATH" if argument in hidden else argument for argument in sys.argv]


def make_item(source: str, name: str, question: str, gold: Any, options: Any = (), unit: Any = None) -> Item:
    """An item as an import would make it, its answer type inferred."""
    gold, options = str(gold), tuple(map(str, options or ()))
    kind = infer_type(gold, options)
    return Item(f"{source}:{name}", question, (), options, gold, kind, source, name, unit=unit or None)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_lines(path: Path) -> list[Any]:
    # Not splitlines: a response may hold other line separators than a newline.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _mathv(root: Path) -> Iterator[Item]:
    for row in _read_lines(root / "data" / "test.jsonl"):
        yield make_item("mathv", row["id"], row["question"], row["answer"], row["options"])


def _k12(root: Path) -> Iterator[Item]:
    for row in _read_json(root / "eval" / "k12" / "k12.json"):
        yield make_item("mm_eureka_k12", row["id"], row["question"], row["answer"])


def _tabmwp(root: Path) -> Iterator[Item]:
    for part in ("dev1k", "test1k"):
        for name, row in _read_json(root / "data" / "tabmwp" / f"problems_{part}.json").items():
            yield make_item("tabmwp", name, row["question"], row["answer"], row["choices"], row["unit"])


def _chartqa(root: Path) -> Iterator[Item]:
    for part in ("train", "val"):
        rows = _read_json(root / "ChartQADataset" / part / f"{part}_converted.json")
        for i, row in enumerate(rows):
            yield make_item("chartqa_subset", f"{part}-{i}", row["question"], row["label"])


def _chartqa_vcot(root: Path) -> Iterator[Item]:
    for row in _read_lines(root / "chartqa_vcot" / "train.jsonl"):
        yield make_item("chartqa_vcot", row["id"], row["question"], row["answer"])


def _daquar(root: Path) -> Iterator[Item]:
    with (root / "dataset" / "data.csv").open(encoding="utf-8", newline="") as file:
        for i, row in enumerate(csv.DictReader(file)):
            yield make_item("daquar", str(i), row["question"], row["answer"])


def _easy_vqa(root: Path) -> Iterator[Item]:
    rows = _read_json(root / "easy_vqa" / "data" / "train" / "questions.json")
    for i, (question, answer, _) in enumerate(rows):
        yield make_item("easy_vqa", str(i), question, answer)


def _puzzlevqa(root: Path) -> Iterator[Item]:
    for path in sorted((root / "PuzzleVQA" / "data").glob("*.json")):
        for i, row in enumerate(_read_lines(path)):
            name = f"{path.stem}-{i}"
            yield make_item("puzzlevqa", name, row["question"], row["answer"], row["options"])


def _mmmu(root: Path) -> Iterator[Item]:
    columns = ["id", "question", "options", "answer"]
    for path in sorted(root.glob("*/*.parquet")):
        for row in pq.read_table(path, columns=columns).to_pylist():
            gold = row["answer"]
            if gold.startswith("["):  # alternatives: the first of them
                gold = ast.literal_eval(gold)[0]
            yield make_item("mmmu", row["id"], row["question"], gold, ast.literal_eval(row["options"]))


SOURCES: dict[str, Callable[[Path], Iterator[Item]]] = {
    "mathv": _mathv,
    "mm_eureka_k12": _k12,
    "tabmwp": _tabmwp,
    "chartqa_subset": _chartqa,
    "chartqa_vcot": _chartqa_vcot,
    "daquar": _daquar,
    "easy_vqa": _easy_vqa,
    "puzzlevqa": _puzzlevqa,
    "mmmu": _mmmu,
}


def pool_items(data: Path, source: str) -> list[Item]:
    """All items of one source of `data/pool_open`, also repeated ones."""
    return list(SOURCES[source](data / "pool_open" / source))


def digits_items(number: int = 2860, seed: int = 0) -> list[Item]:
    """Questions of the embedded pool, without drawing their canvases."""
    rng, kinds = random.Random(seed), list(KINDS)
    asked = (ask(kinds[i % len(kinds)], draw_digits(rng), rng) for i in range(number))
    return [make_item("digits", str(i), q.text, q.answer, q.options) for i, q in enumerate(asked)]


def mathv_answers(data: Path) -> Iterator[Answered]:
    """The stored answers to MATH-V items; the model "Random-Chance" is a baseline of the set's authors."""
    items = {item.source_id: item for item in pool_items(data, "mathv")}
    for path in sorted((data / "rollouts" / "open" / "mathv").rglob("*.jsonl")):
        for row in _read_lines(path):
            item, found = items[row["id"]], str(row["model_answer"])
            yield Answered(path.stem, item, row["response"], bool(row["correct"]), found)


def tabmwp_answers(data: Path) -> Iterator[Answered]:
    """The stored answers to TabMWP items (of models that saw the table as text)."""
    items = {item.source_id: item for item in pool_items(data, "tabmwp")}
    for path in sorted((data / "rollouts" / "open" / "tabmwp").rglob("*.json")):
        for name, row in _read_json(path)["results"].items():
            model, found = f"{path.parent.name}/{path.stem}", str(row["prediction"])
            output = row["output"].replace("\\n", "\n")  # stored with their newlines escaped
            yield Answered(model, items[name], output, bool(row["true_false"]), found)
