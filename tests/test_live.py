"""The live line of a run of the sampling stage: what it says, how wide it is, and that it is there while nothing ends."""

import sys
import time

import pytest

from ladder.engines.base import Meter
from ladder.progress import clock
from ladder.sampling.live import Ended, Live, Rates, Window
from ladder.sampling.recorder import SamplingReport

RATES = Rates(rollouts=2.0, items=0.25, tokens=1234.0)


def live(report: SamplingReport | None = None, rollouts: int = 100, items: int = 25) -> Live:
    return Live(rollouts, items, Meter(), report or SamplingReport())


def test_a_line_tells_what_is_done_how_fast_and_what_is_left() -> None:
    line = live().line(RATES, Ended(kept=40, items=9, tokens=4000))
    assert line == (
        "  sampling: 40/100 rollouts, 9/25 items, 2.0 rollouts/s, 0.25 items/s, 1,234 tokens/s, "
        "engine waited 0%, 30s left"
    )


def test_what_was_lost_is_told_with_what_was_kept_and_counts_as_done() -> None:
    report = SamplingReport(failed=7, refused={"before": "this run"})
    shown = live(report)
    report.refused["x"], report.failed = "too long", 9
    line = shown.line(RATES, Ended(kept=40, lost=10))
    assert "50/100 rollouts" in line
    assert "40 kept, 1 item refused, 2 failed" in line
    assert "25s left" in line


def test_what_earlier_passes_counted_is_not_of_this_run() -> None:
    report = SamplingReport(sampled=1000, tokens=9000)
    with live(report) as shown:
        report.sampled, report.tokens = 1003, 9060
        assert shown._ended() == Ended(kept=3, tokens=60)


def test_a_total_that_grew_is_shown_as_one_that_may_grow() -> None:
    shown = live()
    shown.more(20)
    assert "40/120+ rollouts" in shown.line(RATES, Ended(kept=40))
    assert "40s+ left" in shown.line(RATES, Ended(kept=40))
    assert "40/120 rollouts" in shown.line(RATES, Ended(kept=40), left=False)


def test_before_anything_has_ended_no_time_is_promised() -> None:
    assert "left" not in live().line(Rates(0, 0, 0), Ended())


@pytest.mark.parametrize("columns", [200, 110, 80, 40, 12])
def test_on_a_terminal_the_line_fits_and_the_least_important_goes_first(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("ladder.sampling.live._columns", lambda: columns)
    line = live().line(RATES, Ended(kept=40, items=9))
    assert len(line) <= columns
    assert ("engine waited" in line) == (columns == 200)
    assert ("left" in line) == (columns >= 40)


def test_rates_are_of_the_recent_past() -> None:
    window = Window(0.0)
    slow = [window.rates(t, Ended(kept=t // 10, tokens=t)) for t in range(0, 100, 10)]
    assert slow[-1].rollouts == pytest.approx(0.1)
    for t in range(100, 161):
        rates = window.rates(t, Ended(kept=9 + (t - 99) * 5, items=t - 99, tokens=t))
    assert rates.rollouts == pytest.approx(5.0)
    assert rates.items == pytest.approx(1.0)


def test_where_little_ends_the_window_is_longer_so_that_the_rate_stands_still() -> None:
    window = Window(0.0)
    seen = [window.rates(t, Ended(kept=t // 50)) for t in range(1, 2000)]
    assert all(r.rollouts == pytest.approx(0.02, rel=0.1) for r in seen[1000:])


def test_what_stands_still_is_seen_to_slow_down() -> None:
    window = Window(0.0)
    window.rates(10.0, Ended(kept=100))
    assert window.rates(20.0, Ended(kept=100)).rollouts > window.rates(1000.0, Ended(kept=100)).rollouts > 0


def test_plain_output_has_a_line_now_and_then_though_nothing_ends(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ladder.sampling.live._LOOK_SECONDS", 0.005)
    monkeypatch.setattr("ladder.sampling.live._PLAIN_SECONDS", 0.01)
    with live():
        time.sleep(0.5)
    *during, _last = capfd.readouterr().err.splitlines()
    assert len(during) > 2
    assert set(during) <= {
        f"  sampling: 0/100 rollouts, 0/25 items, 0.0 rollouts/s, 0.0 items/s, 0.0 tokens/s, engine waited {n}%"
        for n in range(101)
    }


def test_the_last_line_is_of_the_whole_run_also_where_an_error_ends_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    report = SamplingReport()
    with pytest.raises(KeyboardInterrupt), live(report) as shown:
        report.sampled = 12
        for _ in range(3):
            shown.item_done()
        shown.lost(2)
        raise KeyboardInterrupt
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("  sampling: 14/100 rollouts, 3/25 items, 12 kept, ")
    assert "left" not in line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (61, "1m01s"), (3600, "1h00m"), (90_000, "1d01h"), (864_000, "10d00h")],
)
def test_spans_of_time_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert clock(seconds) == text
