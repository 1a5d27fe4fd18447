"""The shipped pipelines: each imports a small pool of its layout and, where LADDER_DATA names them, the real ones."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import ROOT, write_picture

from ladder.config import load, shipped
from ladder.importing import pools_of
from ladder.pools.mapping import Mapped
from ladder.records import Item, Reject
from ladder.settings import BuildSettings


def imported(name: str, root: Path) -> list[Item | Reject]:
    settings = load(BuildSettings, shipped("pipelines", name), [f"pool.root={json.dumps(str(root))}"])
    (pool,) = pools_of(settings)
    pool.prepare()
    return [found.item if isinstance(found, Mapped) else found for found in pool.read()]


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def chartqa_subset(root: Path) -> None:
    base = root / "ChartQADataset" / "val"
    row = {
        "image": "a.png",
        "question": "How tall?",
        "answer": "<think>..</think><answer>3</answer>",
        "label": "3",
    }
    write(base / "val_augmented.json", [row])
    write(base / "val_converted.json", [row])
    write_picture(base / "png" / "a.png")


def chartqa_vcot(root: Path) -> None:
    path = "ChartQA/ChartQA Dataset/train/png/a.png"
    row = {
        "id": "a",
        "question": "How tall?",
        "answer": "3",
        "image": path,
        "split": "train",
        "source": "bars",
    }
    write(root / "chartqa_vcot" / "train.jsonl", json.dumps(row))
    write_picture(root / path)


def daquar(root: Path) -> None:
    write(root / "dataset" / "data_train.csv", 'question,answer,image_id\nwhich colours,"red, blue",image1\n')
    write(root / "dataset" / "data.csv", 'question,answer,image_id\nwhich colours,"red, blue",image1\n')
    write_picture(root / "dataset" / "images" / "image1.png")


def easy_vqa(root: Path) -> None:
    write(root / "easy_vqa" / "data" / "train" / "questions.json", [["is it red?", "no", 7]])
    write_picture(root / "easy_vqa" / "data" / "train" / "images" / "7.png")


def mathv(root: Path) -> None:
    row = {
        "id": "4",
        "question": "Turn <image1> into <image2>.",
        "options": ["A", "B"],
        "answer": "B",
        "level": 1,
    }
    write(root / "data" / "test.jsonl", json.dumps(row | {"image": "images/4.jpg", "subject": "logic"}))
    write_picture(root / "images" / "4.jpg")


def mm_eureka_k12(root: Path) -> None:
    row = {
        "id": "u-1",
        "question": "Then x is ___.",
        "answer": "$$\\dfrac{3}{2}$$",
        "image_path": "images/u-1.png",
    }
    write(root / "eval" / "k12" / "k12.json", [row])
    write_picture(root / "eval" / "k12" / "images" / "u-1.png")


def mmmu(root: Path) -> None:
    data = write_picture(root / "made.png").read_bytes()
    row = {"id": "v_1", "question": "Is <image 1> a tree?", "options": "['Yes', 'No']", "answer": "A"}
    images: dict[str, Any] = {f"image_{i}": None for i in range(2, 8)}
    (root / "Math").mkdir()
    rows = [row | {"image_1": {"bytes": data, "path": "1.png"}} | images]
    pq.write_table(pa.Table.from_pylist(rows), root / "Math" / "validation-00000-of-00001.parquet")


def puzzlevqa(root: Path) -> None:
    row = {"image": "images/venn/1.png", "question": "Which number?", "answer": 1, "options": ["4", "1"]}
    write(root / "PuzzleVQA" / "data" / "venn.json", json.dumps(row))
    write_picture(root / "PuzzleVQA" / "data" / "images" / "venn" / "1.png")


def tabmwp(root: Path) -> None:
    row = {"question": "How much?", "choices": None, "answer": "8.20", "unit": "$", "split": "dev"}
    base = root / "data" / "tabmwp"
    write(base / "problems_dev1k.json", {"33": row | {"ans_type": "decimal_number", "grade": 3}})
    write(base / "splits.json", {"dev": ["33"]})
    write_picture(base / "tables" / "33.png")


#: How a small pool of each layout is made, and its only item: gold, number of images, split, subject.
LAYOUTS: dict[Callable[[Path], None], tuple[str, int, str | None, str | None]] = {
    chartqa_subset: ("3", 1, "val", None),
    chartqa_vcot: ("3", 1, "train", "bars"),
    daquar: ("red, blue", 1, "data_train", None),
    easy_vqa: ("no", 1, "train", None),
    mathv: ("B", 1, "test", "logic"),
    mm_eureka_k12: ("$$\\dfrac{3}{2}$$", 1, None, None),
    mmmu: ("A", 1, None, "Math"),
    puzzlevqa: ("1", 1, None, "venn"),
    tabmwp: ("8.20", 1, "dev", "decimal_number"),
}


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_a_shipped_pipeline_imports_its_layout(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    (found,) = imported(make.__name__, tmp_path)
    assert isinstance(found, Item), found
    assert (found.gold, len(found.images), found.split, found.subject) == LAYOUTS[make]
    assert found.question.count("<image>") == 1


def test_every_shipped_pipeline_is_valid_and_tried_here() -> None:
    names = {path.stem for path in (ROOT / "pipelines").glob("*.toml")}
    for name in names:
        assert load(BuildSettings, shipped("pipelines", name)).name == name
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    untried = {name for name in names - {make.__name__ for make in LAYOUTS} if f'"{name}"' not in tests}
    assert not untried, f"no test imports a pool of {untried}"


#: Rows of the public excerpts, and what of them is rejected before the audit.
PUBLIC: dict[str, tuple[int, dict[str, int]]] = {
    "chartqa_subset": (201, {}),
    "chartqa_vcot": (75, {"image_missing": 30}),
    "daquar": (136, {}),
    "easy_vqa": (277, {}),
    "mathv": (374, {}),
    "mm_eureka_k12": (160, {"image_too_small": 3}),
    "mmmu": (30, {}),
    "puzzlevqa": (96, {}),
    "tabmwp": (520, {}),
}


@pytest.mark.pools
@pytest.mark.parametrize("name", PUBLIC)
def test_every_row_of_a_public_pool_is_accounted_for(name: str) -> None:
    found = imported(name, Path(os.environ["LADDER_DATA"]) / "pool_open" / name)
    rejects = Counter(one.reason for one in found if isinstance(one, Reject))
    assert (len(found), dict(rejects)) == PUBLIC[name]
