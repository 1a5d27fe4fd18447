"""Sample rollouts as Parquet and as a page: what is read back is what was given, and nothing foreign runs."""

import io
from html.parser import HTMLParser
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image as PILImage

from ladder.errors import LadderError
from ladder.images import canonical
from trainer.track import SampleRow, TrackSettings, open_trackers
from trainer.track.page import CHARACTERS, STEPS
from trainer.track.samples import SIDE, sample_files, write_samples

HOSTILE = '</pre><script>alert(1)</script><img src=x onerror=alert(2)> & "quoted" {{ 7*7 }} \x00 \ud800'


def image(seed: int = 0, side: int = 40) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    PILImage.fromarray(pixels).save(out, "PNG")
    return canonical(out.getvalue(), max_pixels=10**6, min_side=8).data


def row(item_id: str = "a", **changes: object) -> SampleRow:
    values = {
        "item_id": item_id,
        "tier": "hard",
        "question": "<image> What is it?",
        "images": (image(),),
        "gold": "7",
        "response": "<think>6 + 1</think><answer>7</answer>",
        "outcome": "correct",
        "correct": True,
        "rewards": {"accuracy": 1.0, "format": 0.5, "total": 1.5},
        "advantage": 0.75,
        "tokens": 12,
        "truncated": False,
    }
    return SampleRow(**values | changes)  # type: ignore[arg-type]


class Tags(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [value or "" for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.text += data


def page_after(out: Path, *steps: tuple[int, list[SampleRow]]) -> Tags:
    with open_trackers(TrackSettings(), out, 0, {}, "a-run") as trackers:
        for step, rows in steps:
            trackers.samples(step, rows)
    return Tags((out / "samples.html").read_text())


def test_samples_come_back_with_their_images(tmp_path: Path) -> None:
    several = row(
        "b", images=(image(1), image(2, 32)), rewards={"accuracy": 0.0}, correct=False, truncated=True
    )
    page_after(tmp_path, (10, [row(), several, row("c", images=())]))
    file = tmp_path / "samples" / "step-000010.parquet"
    table = datasets.Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "cache"))
    assert table.features["images"] == datasets.List(datasets.Image())
    rows = list(table)
    assert [[picture.size for picture in r["images"]] for r in rows] == [[(40, 40)], [(40, 40), (32, 32)], []]
    assert np.array_equal(np.asarray(rows[0]["images"][0]), np.asarray(PILImage.open(io.BytesIO(image()))))
    assert [r["reward_format"] for r in rows] == [0.5, None, 0.5]
    assert [(r["step"], r["item_id"], r["truncated"], r["correct"]) for r in rows] == [
        (10, "a", False, True),
        (10, "b", True, False),
        (10, "c", False, True),
    ]


def test_a_resumed_run_drops_the_files_that_it_repeats(tmp_path: Path) -> None:
    page_after(tmp_path, (5, [row()]), (10, [row()]), (15, [row()]))
    with open_trackers(TrackSettings(), tmp_path, 11, {}, "a-run"):
        assert [path.name for path in sample_files(tmp_path / "samples")] == [
            "step-000005.parquet",
            "step-000010.parquet",
        ]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    names = dict.fromkeys(("item_id", "tier", "question", "gold", "response", "outcome"), HOSTILE)
    bare = page_after(tmp_path / "bare", (1, [row(images=())]))
    found = page_after(tmp_path / "<b>run", (1, [row(images=(), rewards={HOSTILE[:40]: 1.0}, **names)]))
    assert found.tags == bare.tags
    assert found.attributes == bare.attributes
    assert found.text.count("<script>alert(1)</script>") == len(names) + 1
    assert "49" not in found.text
    assert "<b>run" in found.text


def test_the_page_is_self_contained_and_forbids_everything_else(tmp_path: Path) -> None:
    found = page_after(tmp_path, (1, [row(), row("b", images=(image(3, 900),))]))
    assert len(found.sources) == 2
    assert all(source.startswith("data:image/webp;base64,") for source in found.sources)
    assert "script" not in found.tags and "link" not in found.tags
    assert "default-src 'none'" in (tmp_path / "samples.html").read_text()


def test_pictures_on_the_page_are_small_and_stand_once_for_an_item(tmp_path: Path) -> None:
    import base64

    found = page_after(tmp_path, (1, [row(images=(image(4, 900),), response=str(i)) for i in range(3)]))
    (source,) = found.sources
    shown = PILImage.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    assert max(shown.size) == SIDE


def test_the_page_holds_the_newest_steps_first_and_not_all(tmp_path: Path) -> None:
    found = page_after(tmp_path, *((step, [row(question=f"asked at {step}")]) for step in range(STEPS + 3)))
    places = [found.text.find(f"Step {step}\n") for step in range(STEPS + 3)]
    assert places[:3] == [-1, -1, -1]
    assert places[3:] == sorted(places[3:], reverse=True)
    assert len(sample_files(tmp_path / "samples")) == STEPS + 3


def test_a_step_that_a_resumed_run_repeats_is_shown_as_it_is_now(tmp_path: Path) -> None:
    page_after(tmp_path, (1, [row(gold="first")]), (2, [row(gold="second")]))
    with open_trackers(TrackSettings(), tmp_path, 2, {}, "a-run") as trackers:
        trackers.samples(2, [row(gold="third")])
    text = Tags((tmp_path / "samples.html").read_text()).text
    assert [word in text for word in ("first", "second", "third")] == [True, False, True]


def test_a_long_response_is_cut_on_the_page_and_whole_in_the_file(tmp_path: Path) -> None:
    text = "x" * (3 * CHARACTERS)
    found = page_after(tmp_path, (1, [row(response=text)]))
    assert f"{2 * CHARACTERS:,} more characters" in found.text
    assert "x" * (CHARACTERS + 1) not in found.text
    table = datasets.Dataset.from_parquet(
        str(tmp_path / "samples" / "step-000001.parquet"), cache_dir=str(tmp_path / "cache")
    )
    assert table[0]["response"] == text


def test_a_disk_that_takes_no_samples_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("a file where the folder should be")
    with pytest.raises(LadderError, match="cannot write"):
        write_samples(tmp_path / "samples" / "step-000001.parquet", 1, [row()])
