"""Times of day in digits and words, and what looks like one."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladder.records import AnswerType, Reference
from ladder.verify.policy import Policy
from ladder.verify.rule import UnverifiableGold
from ladder.verify.times import TIME, looks_like_time, read_time

DEFAULT, STRICT = Policy(), Policy(missing_unit="reject")
_HOURS = "twelve one two three four five six seven eight nine ten eleven".split()  # noqa: SIM905


def right(answer: str, gold: str, policy: Policy = DEFAULT) -> bool:
    judgement = TIME.judge(answer, TIME.read(Reference(gold, (), AnswerType.TIME), policy), policy)
    assert judgement is not None
    return judgement.right


SAME = {
    "3:45 PM": "15:45|3:45 p.m.|3:45PM|3:45 pm|3:45|03:45 PM|3:45:00 PM|quarter to four|a quarter to 4|three forty-five pm|3:45 in the afternoon"
    "|3:45 \\text{ PM}|$3:45$ PM|\uff13\uff1a\uff14\uff15 PM|下午3点45分|15点45分|at 3:45 PM|3:45 P.M.|3点45分|15:45:00|下午三点三刻|fifteen minutes to four|15 : 45",
    "9:00 AM": "9 am|9am|9 a.m.|9 o'clock|nine o'clock|09:00|9:00|上午9点|早上九点|9:00 in the morning|nine o'clock in the morning",
    "12:00 PM": "noon|12 noon|12 pm|midday|12:00|中午12点|正午|twelve o'clock|12:00 noon",
    "midnight": "0:00|00:00|24:00|12 am|12:00 AM|午夜",
    "4:30": "half past four|half past 4|16:30|4:30 pm|4:30 am|four thirty|四点半|四点三十分|下午四点半|thirty minutes past four",
    "10:05": "five past ten|10:05 am|ten oh five|5 minutes past 10|十点零五分|22:05|five after ten",
    "3:45:30": "3:45:30|15:45:30|3点45分30秒",
}
OTHER = {
    "3:45 PM": "3:45 AM|3:44 PM|4:45|3:54|15:54|5:34|quarter past four|quarter to three|noon|3:45 or 4:45|3:45 PM or 4 PM|not 3:45|3|45|3 pm|3.45 pm|3:45 AM PM"
    "|3:45, 4:45|15:45 AM|3:4|25:45|3:65|上午3点45分|PM|3:45:01|3/45|3-45|3:45 PM 3:46 PM|four|before 3:45 PM|3:45 cm|345",
    "9:00 AM": "21:00|9 pm|9|nine|10 o'clock|9:00 AM or 10|9:10",
    "midnight": "noon|12:00 PM|12:01|24:01|mid",
    "4:30": "4:03|4|half past three|half past five|30:4|4:30:30|4.30|4 1/2|half four",
}


@pytest.mark.parametrize(
    ("answer", "gold"), [(answer, gold) for gold, texts in SAME.items() for answer in texts.split("|")]
)
def test_a_time_is_right_however_it_is_said(answer: str, gold: str) -> None:
    assert right(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"), [(answer, gold) for gold, texts in OTHER.items() for answer in texts.split("|")]
)
def test_another_time_or_more_than_one_is_wrong(answer: str, gold: str) -> None:
    assert not right(answer, gold)


def test_an_answer_without_am_or_pm_follows_the_policy() -> None:
    assert right("3:45", "3:45 PM") and not right("3:45", "3:45 PM", STRICT)
    assert (
        right("15:45", "3:45 PM", STRICT)
        and right("3:45 PM", "3:45", STRICT)
        and right("3:45", "3:45", STRICT)
    )


def test_am_or_pm_may_stand_in_the_units_column() -> None:
    for unit, expected in (("PM", "3:45 PM"), ("a.m.", "3:45 AM"), (None, "3:45"), ("hours", "3:45")):
        found, same = (
            TIME.read(Reference("3:45", (), AnswerType.TIME, None, unit), DEFAULT),
            read_time(expected),
        )
        assert same is not None and found.readings() == same.readings()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("3/10", True), (r"\frac{3}{10}", True), ("3:10", True), ("10/3", False), ("3/11", False)],
)
def test_a_gold_that_may_be_a_ratio_is_right_as_a_fraction(answer: str, expected: bool) -> None:
    assert right(answer, "3:10") is expected
    assert not right("3/10", "3:10 PM") and not right("3/10", "03:10")


@pytest.mark.parametrize(
    "gold",
    [
        "",
        "5",
        "3.45",
        "25:00",
        "3:60",
        "15:45 AM",
        "0:30 PM",
        "noon or midnight",
        "1:30 or 2:30",
        "three",
        "24:30",
        "x",
        "3 cm",
    ],
)
def test_a_gold_that_is_no_time_is_unverifiable(gold: str) -> None:
    with pytest.raises(UnverifiableGold, match="gold_not_a_time"):
        TIME.read(Reference(gold, (), AnswerType.TIME), DEFAULT)


TIMES = "3:45|3:45 PM|3 pm|3pm|15:45|noon|3 o'clock|quarter past three|half past 4|ten minutes to five|3点45分|下午3点|12:30:15|9:10|$9:10$|24:00"
OTHERS = (
    "5|2:3|1:2:3|3:60|25:10|3.45|three|ten to one|2 to 1|1:30 h|90 minutes|red|pm|past|x = 3|10:100|3:45 or 4"
    "|1 h 30 min|afternoon|5 am I|"
)


@pytest.mark.parametrize("text", TIMES.split("|"))
def test_what_looks_like_a_time(text: str) -> None:
    assert looks_like_time(text)


@pytest.mark.parametrize("text", OTHERS.split("|"))
def test_what_does_not_look_like_a_time(text: str) -> None:
    assert not looks_like_time(text)


@given(st.times())
def test_every_format_of_a_time_is_that_time_and_no_other(time: dt.time) -> None:
    time = time.replace(microsecond=0)
    seconds = (time.hour * 60 + time.minute) * 60 + time.second
    for pattern in (
        "%H:%M:%S",
        "%I:%M:%S %p",
        "%I:%M:%S%p",
        "%I:%M:%S {}m".format("p." if time.hour > 11 else "a."),
    ):
        found = read_time(time.strftime(pattern))
        assert found is not None and seconds in found.readings(), pattern
        assert "%I" not in pattern or found.readings() == {seconds}
    later = (dt.datetime.combine(dt.date(2000, 1, 1), time) + dt.timedelta(minutes=1)).time()
    assert not right(later.strftime("%I:%M:%S %p"), time.strftime("%I:%M:%S %p"))


@given(
    st.integers(0, 11),
    st.sampled_from(
        [
            (0, "{} o'clock"),
            (15, "quarter past {}"),
            (30, "half past {}"),
            (5, "five past {}"),
            (20, "twenty minutes past {}"),
        ]
    ),
)
def test_words_for_a_time_add_to_the_hour(hour: int, said: tuple[int, str]) -> None:
    found = read_time(said[1].format(_HOURS[hour]))
    assert found is not None and found.readings() == {
        (hour * 60 + said[0]) * 60,
        (hour * 60 + said[0] + 720) * 60,
    }


@given(
    st.integers(0, 11),
    st.sampled_from(
        [
            (15, "a quarter to {}"),
            (10, "ten to {}"),
            (25, "twenty-five minutes to {}"),
            (1, "one minute before {}"),
        ]
    ),
)
def test_words_for_a_time_subtract_from_the_hour(hour: int, said: tuple[int, str]) -> None:
    found = read_time(said[1].format(_HOURS[hour]))
    seconds = (hour * 60 - said[0]) % 720 * 60
    if "one minute before" in said[1]:
        assert found is None or seconds in found.readings()
    else:
        assert found is not None and found.readings() == {seconds, seconds + 43200}


@given(st.text(alphabet="0123456789: apmno'clkpastquertf点半下午时分.\\{}$", max_size=40))
def test_no_text_makes_the_reader_raise(text: str) -> None:
    found = read_time(text)
    assert found is None or 0 <= found.seconds < 86400
    assert right(text, "3:10") in (True, False)
