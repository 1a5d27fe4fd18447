"""The report's section on training: absent until a run has written outcomes, and then what `ladder show outcomes` says."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

from helpers import Run, digits_settings, told
from outcome_rows import group, scored, written

from ladder.build import build
from ladder.outcomes import CAVEATS, movement, tier_row
from ladder.store import Store

TITLE = "How difficulty moved in training"


def page(run: Run, ladder: Path) -> str:
    code, out, err = run("report", str(ladder))
    assert (code, out, err) == (0, f"{ladder / 'report.html'}\n", "")
    return (ladder / "report.html").read_text(encoding="utf-8")


class Balanced(HTMLParser):
    """Checks that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_without_outcomes_the_report_is_that_of_the_build(run: Run, ladder: Path) -> None:
    before = (ladder / "report.html").read_text(encoding="utf-8")
    assert TITLE not in before
    assert page(run, ladder) == before


def test_the_report_has_the_table_and_the_caveats(run: Run, ladder: Path) -> None:
    written(ladder, "a-run", gain=0.3)
    section = page(run, ladder).split(TITLE)[1]
    cells = [html.unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", section)]
    found = movement(Store.open(ladder))
    assert found is not None
    assert cells == [cell for tier in found.tiers for cell in tier_row(tier)]
    assert all(text in html.unescape(section) for text in CAVEATS)
    assert "of 1 that wrote outcomes" in section


def test_the_plot_leads_from_what_was_scored_to_what_training_saw(run: Run, ladder: Path) -> None:
    written(ladder, "a-run", gain=0.3)
    section = page(run, ladder).split(TITLE)[1]
    found = movement(Store.open(ladder))
    assert found is not None
    points = [int(x) for x in re.findall(r'<circle cx="(\d+)"', section)]
    ends = [rate for tier in found.tiers for rate in (tier.last.scored, tier.last.rate)]
    assert points == [round(100 + 440 * rate) for rate in ends if rate is not None]
    assert len(points) == 10


def test_the_page_is_whole_and_loads_nothing(run: Run, ladder: Path) -> None:
    written(ladder, "a-run", gain=0.3)
    text = page(run, ladder)
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert "http" not in text
    assert "<script" not in text


def test_a_tier_that_the_run_did_not_meet_has_no_line(run: Run, ladder: Path) -> None:
    item, tier, _ = scored(ladder)[0]
    Store.open(ladder).outcomes.append([group("r", 0, item, 3)])
    section = page(run, ladder).split(TITLE)[1]
    assert section.count("<circle") == 2
    assert f">{tier}</text>" in section


def test_a_runs_name_is_escaped(run: Run, ladder: Path) -> None:
    Store.open(ladder).outcomes.append([group("<script>alert(1)</script>", 0, scored(ladder)[0][0], 3)])
    text = page(run, ladder)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_a_build_writes_the_section_too(ladder: Path, digits_pool: Path) -> None:
    written(ladder, "a-run", gain=0.3)
    build(digits_settings(digits_pool, sampling__k=5), ladder)
    assert TITLE in (ladder / "report.html").read_text(encoding="utf-8")


def test_the_path_is_told_as_json(run: Run, ladder: Path) -> None:
    code, out, _ = run("report", str(ladder), "--json")
    assert (code, json.loads(out)) == (0, {"path": str(ladder / "report.html")})


def test_a_ladder_that_is_not_scored_has_no_report(run: Run, ladder: Path) -> None:
    (ladder / "ladder.duckdb").unlink()
    assert "ladder build" in told(run("report", str(ladder)))
