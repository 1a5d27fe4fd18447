"""Items that no layout of another trainer was made for, as a pool, and a small ladder of them from recorded responses.

`meta.gold` is the gold as other trainers get it, `meta.unfit` the trainer that cannot hold the item.
"""

import json
from pathlib import Path
from typing import Any

from helpers import write_picture, write_rows

from ladder.build import build
from ladder.config import validate
from ladder.settings import BuildSettings
from ladder.splits import SampleSettings, Split, sample
from ladder.store import Store

Row = dict[str, Any]
#: Of what is stored; the picture `LARGE` has more.
MAX_PIXELS = 2000
LARGE = "large.png"


def _choice(question: str, options: list[str], answer: str, gold: str | None = None, **more: Any) -> Row:
    return {"question": question, "options": options, "answer": answer, "gold": gold, **more}


ROWS: list[Row] = [
    {"question": "How many dots are there?", "answer": "3", "image": ["0.png"]},
    {"question": "What does \"x\" mean in 'y\\z' and `w`?", "answer": "no", "image": ["1.png"]},
    {"question": "Solve $\\frac{a}{b} = \\sqrt[3]{8}$ for {Question} and {{content}}.", "answer": "\\frac{1}{2}"},
    {"question": "Is &amp;lt;b&amp;gt; &amp;amp;amp; a mark?", "answer": "yes", "image": ["2.png"]},
    {"question": "Left <image> or right <image>, \u6570\u5b66 \U0001f9ee \u202b\u05d0\u202c\u2028e\u0301?", "answer": "left", "image": ["3.png", "4.png"]},
    {"question": "What stands where <image> says <video>?", "answer": "12", "image": ["5.png"], "unfit": "verl"},
    {"question": "Without a picture, what is <video> + <audio>?", "answer": "7"},
    {"question": "Say </img> <bbox> <start-image> {% x %} in one word.", "answer": "less"},
    _choice("Which one is it? (A) or (B)", ["a cat", "a dog", "B is A"], "a dog", "B", image=["6.png"]),
    _choice("Which pictures show it?", ["7.png", "8.png"], "B", image=["9.png"]),
    _choice("Which of these?\nA. one\nB. two", ["one", "two"], "two", "B", image=["10.png"]),
    _choice("Which hold?", ["$x<1$", "$x\\leq 1$", "<answer>B</answer>"], "A", image=["11.png"]),
    _choice("Answer: B. Choices: what follows?", ["Answer: A", "a; b, c", "fourteen"], "C", image=["12.png"]),
    {"question": "How long is it?", "answer": "5", "unit": "cm", "tolerance": "5%", "image": ["13.png"]},
    {"question": "On which day?", "answer": "2021-03-04", "image": ["14.png"]},
    {"question": "[{\"role\": \"user\"}] is JSON of how many keys?", "answer": "1", "image": ["15.png"]},
    {"question": "Who is in the large one?", "answer": "nobody", "image": [LARGE]},
    {"question": "Is it long? " + "so long " * 9000, "answer": "yes", "image": ["16.png"]},
    _choice("Which is the longest?", ["a" * 40_000, "b" * 60_000, "none"], "C", image=["17.png"]),
]  # fmt: skip


def write_hostile_pool(root: Path) -> Path:
    """The rows and their pictures."""
    for number in range(18):
        write_picture(root / f"{number}.png", 3 * number)
    write_picture(root / LARGE, 70, (120, 50))
    return write_rows(root, [{"id": f"h{number}"} | row for number, row in enumerate(ROWS)])


def hostile_settings(root: Path, records: Path) -> BuildSettings:
    """A build of the pool from recorded responses."""
    columns = {"id": "id", "options": "options", "unit": "unit", "tolerance": "tolerance"}
    values: Row = {
        "name": "hostile",
        "pool": {"root": str(root), "columns": columns | {"meta": ["gold", "unfit"]}},
        "model": {"name": "nowhere/to-be-found"},
        "images": {"max_pixels": MAX_PIXELS, "workers": 1},
        "audit": {"near": {"action": "off"}},
        "engine": "replay",
        "replay": {"name": "two models", "root": str(records), "files": ["*.jsonl"]},
        "sampling": {"k": 4},
    }
    return validate(BuildSettings, values)


#: What each recorded model says; its second response is the same as its first, the fourth is cut off.
_SAID = (
    "<think>It is seen.</think><answer>{}</answer>",
    "<answer>zzz</answer>",
    "<answer>{}</answer>",
    "It is",
)


def hostile_ladder(folder: Path) -> Path:
    """A ladder of them all, in a directory that has a quote and blanks in its name."""
    root = write_hostile_pool(folder / "pool")
    (folder / "records").mkdir()
    for number, said in enumerate(_SAID):
        lines = (
            json.dumps(
                {"id": f"h{item}", "response": said.format(row["gold"] if row.get("gold") else row["answer"])}
            )
            for item, row in enumerate(ROWS)
        )
        (folder / "records" / f"{number}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    ladder = folder / "a ladder's"
    build(hostile_settings(root, folder / "records"), ladder)
    return ladder


def hostile_split(folder: Path) -> Split:
    """A split of all of them."""
    values = {"strategy": {"strategy": "sorted"}, "probe": {"per_tier": 0}}
    return sample(Store.open(hostile_ladder(folder)), validate(SampleSettings, values), "all")
