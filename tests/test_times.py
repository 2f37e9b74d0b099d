"""Points in time as people type them."""

import io
import os
import re
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from taskdb_cli.output.formats import TASKS, timestamp
from taskdb_cli.output.tables import _cell, print_detail, print_table
from taskdb_cli.system.clock import describe, in_minutes
from taskdb_cli.times import (
    ACCEPTED,
    parse_exact,
    parse_expiry,
    parse_iso,
    parse_keeping,
    parse_when,
    parse_written,
)

# A Sunday.
NOW = datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def zone(monkeypatch):
    """Sets the local zone for the test."""

    def set_zone(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    set_zone("UTC")
    yield set_zone
    monkeypatch.undo()
    time.tzset()


def when(text, *, end_of_day=False, now=NOW, forward=True):
    moment = parse_when(text, now=now, end_of_day=end_of_day, forward=forward)
    assert moment.utcoffset() == timedelta(0)
    return timestamp(moment)


MOMENTS = {
    "2026-12-01T17:00": "2026-12-01T17:00:00Z",
    "2026-12-01 17:00": "2026-12-01T17:00:00Z",
    "2026-12-01T17:00:01": "2026-12-01T17:00:01Z",
    "2026-12-01t17:00z": "2026-12-01T17:00:00Z",
    "2026-12-01T17:00:00Z": "2026-12-01T17:00:00Z",
    "2026-12-01T17:00:00.5Z": "2026-12-01T17:00:00.500000Z",
    "2026-12-01T17:00:00,123456Z": "2026-12-01T17:00:00.123456Z",
    "2026-12-01T17:00+05:30": "2026-12-01T11:30:00Z",
    "2026-12-01T17:00-0800": "2026-12-02T01:00:00Z",
    "  2026-12-01T17:00Z ": "2026-12-01T17:00:00Z",
    "2026-12-01  17:00": "2026-12-01T17:00:00Z",
    "2026-12-01T17:00:00.1234567890123Z": "2026-12-01T17:00:00.123456Z",
    "2026-12-01T17:00-08": "2026-12-02T01:00:00Z",
    "20261201T170000.5+0530": "2026-12-01T11:30:00.500000Z",
    "2026-W49-2T17:00Z": "2026-12-01T17:00:00Z",
    "2026335T1700Z": "2026-12-01T17:00:00Z",
    "now": "2026-11-22T12:30:15.123456Z",
    "+0d": "2026-11-22T12:30:15.123456Z",
    "+3d": "2026-11-25T12:30:15.123456Z",
    "-2w": "2026-11-08T12:30:15.123456Z",
    "+36h": "2026-11-24T00:30:15.123456Z",
    "tomorrow 17:00": "2026-11-23T17:00:00Z",
    "tomorrow at 5pm": "2026-11-23T17:00:00Z",
    "in 2 hours": "2026-11-22T14:30:15.123456Z",
}


@pytest.mark.parametrize("text", MOMENTS)
def test_moments(zone, text):
    """A text with a time of day means that moment, whatever a day without one would mean."""
    assert {when(text, end_of_day=end_of_day) for end_of_day in (False, True)} == {MOMENTS[text]}


DAYS = {
    "2026-12-01": "2026-12-01",
    "2028-02-29": "2028-02-29",
    "today": "2026-11-22",
    "Tomorrow": "2026-11-23",
    "friday": "2026-11-27",
    "sunday": "2026-11-29",
    "in 2 weeks": "2026-12-06",
    "december 24": "2026-12-24",
    "may 1": "2027-05-01",
}


@pytest.mark.parametrize("text", DAYS)
def test_days(zone, text):
    """A text without a time of day means its first or its last second, and looks to the future."""
    assert when(text) == f"{DAYS[text]}T00:00:00Z"
    assert when(text, end_of_day=True) == f"{DAYS[text]}T23:59:59Z"


@pytest.mark.parametrize(
    ("name", "day", "moment", "today"),
    [
        ("Europe/Berlin", "2026-11-30T23:00:00Z", "2026-12-01T16:00:00Z", "2026-11-21T23:00:00Z"),
        ("America/New_York", "2026-12-01T05:00:00Z", "2026-12-01T22:00:00Z", "2026-11-22T05:00:00Z"),
        ("Asia/Kolkata", "2026-11-30T18:30:00Z", "2026-12-01T11:30:00Z", "2026-11-21T18:30:00Z"),
        ("Pacific/Kiritimati", "2026-11-30T10:00:00Z", "2026-12-01T03:00:00Z", "2026-11-22T10:00:00Z"),
    ],
)
def test_local_zone(zone, name, day, moment, today):
    """Without a zone the local one is meant, also by 'today'."""
    zone(name)
    assert when("2026-12-01") == day
    assert when("2026-12-01T17:00") == moment
    assert when("2026-12-01T17:00Z") == "2026-12-01T17:00:00Z"
    assert when("today") == today
    assert when("+1d") == "2026-11-23T12:30:15.123456Z"


def test_summer_time(zone):
    """A day has its own offset, which is not that of now."""
    zone("Europe/Berlin")
    assert when("2027-07-01T12:00") == "2027-07-01T10:00:00Z"
    assert when("2027-03-28", end_of_day=True) == "2027-03-28T21:59:59Z"


def test_the_ends_of_time(zone):
    """The first and the last second of the calendar are read; what lies beyond is refused."""
    assert when("0001-01-01T00:00Z") == "0001-01-01T00:00:00Z"
    assert when("0001-01-01") == "0001-01-01T00:00:00Z"
    assert when("9999-12-31", end_of_day=True) == "9999-12-31T23:59:59Z"
    far = ("0001-01-01T00:00+01:00", "9999-12-31T23:59-01:00", "+999999999w", "-999999999h", "in 9000 years")
    for text in far:
        with pytest.raises(InvalidInput, match="between the years 1 and 9999"):
            when(text)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("America/New_York", "0001-01-01T04:56:02Z", "9999-12-31T23:59:59Z"),
        ("Asia/Tokyo", "0001-01-01T00:00:00Z", "9999-12-31T14:59:59Z"),
        ("Pacific/Kiritimati", "0001-01-01T10:29:20Z", "9999-12-31T09:59:59Z"),
        ("Etc/GMT+12", "0001-01-01T12:00:00Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_the_ends_of_time_in_a_zone(zone, name, first, last):
    """The first and the last day are times in every zone, and a moment without a local time shows a Z."""
    zone(name)
    assert when("0001-01-01") == first
    assert when("9999-12-31", end_of_day=True) == last
    for parse in (parse_iso, parse_written):
        assert timestamp(parse("0001-01-01", end_of_day=False)) == first
        assert timestamp(parse("9999-12-31", end_of_day=True)) == last
        if "T00:00:00" not in first:
            assert timestamp(parse("0001-01-01T00:00", end_of_day=False)) == first
    begins, ends = "T00:00:00" in first, "T23:59:59" in last
    for text, outside in (("0001-01-01T00:00", begins), ("9999-12-31T23:59", ends)):
        if outside:
            with pytest.raises(InvalidInput, match="between the years 1 and 9999"):
                when(text)
    start, end = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    for moment, nameless in ((start, not begins), (end, not ends)):
        assert in_minutes(moment).endswith("Z") == nameless
        assert ("Z (" in describe(moment, NOW)) == nameless


NO_TIMES = [
    *("", " ", "1", "12", "2026", "2026-13-01", "2026-02-30", "2025-02-29", "0000-01-01", "10000-01-01"),
    *("2026-12-1", "01.12.2026", "12/01/2026", "3 days", "2026-12", "2026-W49", "2026-W54-1", "2026-366"),
    *("2026-12-01T25:00", "2026-12-01T17", "2026-12-01T17:60", "2026-12-01T17:00:60", "2026-12-01T24:00"),
    *("2026-12-01T17:00+25:00", "2026-12-01Z", "2026-12-01T17:00 Europe/Berlin", "2026-12-01T17:00Z 18:00"),
    *("+", "-", "+d", "+3", "+3m", "3m", "+ 3d", "+3d+1h", "+1.5d"),
    *("+3d1h", "--3d", "+-3d", "+3days", "in", "in 2", "in 5m", "in -2 days", "in 2 days 3", "2 days", "ago"),
    *(
        "x",
        "mo",
        "soon",
        "someday maybe",
        "\u00e9t\u00e9",
        "a\x00b",
        "\udcff",
        "\u0662\u0660\u0662\u0666-01-01",
    ),
    *(
        "friday 5",
        "friday at 5",
        "friday 17",
        "tomorrow at 5",
        "at 5",
        "5",
        "3 june 5",
        "+3d 5",
        "24:00",
        "7:5",
    ),
    *(
        "13pm",
        "0am",
        "17:00pm",
        "17:00h",
        "now now",
        "5:60pm",
        "noon 17:00",
        "at",
        "at at 17:00",
        "tomorrow at",
    ),
    *(
        "january 32",
        "31 june",
        "29 feb 2027",
        "june",
        "june 2027",
        "dec 24 27",
        "june 3th",
        "june 11st",
        "0 june",
    ),
    *("monday december 1", "tuesday december 1", "friday friday", "friday next", "this friday", "on friday"),
    *(
        "last week",
        "next day",
        "next next friday",
        "end of",
        "eox",
        "eom 17:00",
        "now 17:00",
        "in 2 hours 17:00",
    ),
    *(
        "17:00 tomorrow",
        "tomorrow friday",
        "todays",
        "tomorrow17:00",
        "frid",
        "decem 1",
        "x friday",
        "friday x",
    ),
    *(
        "today tomorrow",
        "\u212aam",
        "friday\u00a017:00",
        "next 17:00",
        "last 3 june",
        "a friday",
        "in a friday",
    ),
]


@pytest.mark.parametrize("day", ["2026-02-30", "2026-13-01", "0000-01-01"])
@pytest.mark.parametrize("clock", ["", "T10:00", " 10:00Z"])
def test_a_day_that_does_not_exist(zone, day, clock):
    """The message about a date of the right form names the day that the calendar does not have."""
    for parse in (when, partial(parse_exact, now=NOW), partial(parse_expiry, now=NOW)):
        with pytest.raises(InvalidInput, match=f"there is no day {day}"):
            parse(day + clock)


@pytest.mark.parametrize("text", NO_TIMES)
def test_refused(zone, text):
    """What is not a time is refused and never guessed; the message repeats it and offers what is accepted."""
    for forward in (True, False):
        with pytest.raises(InvalidInput) as refusal:
            when(text, forward=forward)
        assert refusal.value.message.startswith(f"{text!r} is not a time")
        near, _, accepted = refusal.value.hint.partition("; accepted are ")
        assert accepted == ACCEPTED
        for example in near.removeprefix("try ").split(" or "):
            assert when(example.strip("'"), forward=forward)


NEAR = {
    "1h 30min": "'90min'",
    "in 2 hours and 5 minutes": "'in 125min'",
    "1h30": "'90min' or '1:30'",
    "friday at 5": "'friday 5am' or 'friday 5pm' or 'friday 05:00'",
    "friday 17": "'friday 17:00'",
    "at 0": "'00:00'",
    "+5m": "'+5min' or '+5mo'",
    "+3": "'+3d'",
    "+3 days": "'in 3 days'",
    "3 days": "'in 3 days' or '3 days ago'",
    "01.12.2026": "'2026-12-01'",
    "12/01/2026": "'2026-01-12' or '2026-12-01'",
    "2026/12/1 17:00": "'2026-12-01 17:00'",
    "2026-12-01 17:00 +0200": "'2026-12-01 17:00+0200'",
    "firday 17:00": "'friday 17:00'",
    "tommorow": "'tomorrow'",
    "on the 3rd of june": "'3rd june'",
    "5pm tomorrow": "'tomorrow 5pm'",
    "january 32": "'january 31'",
    "monday december 1": "'december 1'",
    "last week": "'1 week ago'",
    "soon": "'tomorrow 17:00'",
    "monday 9.30": "'monday 9:30'",
    "tomorrow 17h30": "'tomorrow 17:30'",
    "friday at 1700": "'friday at 17:00'",
    "in two weeks": "'in 2 weeks'",
    "24.12. 17:00": "'24 december 17:00'",
    "3/12": "'3 december' or '12 march'",
    "fri 5 p.m.": "'fri 5 pm'",
    "the end of the week": "'end of week'",
    "5pm on friday": "'friday 5pm'",
    "2026-13-01": "2026-12-01",
    "feb 29 2027": "'feb 28 2027'",
    "29 february 2027": "'28 february 2027'",
    "feb 28 2027 1730": "'feb 28 2027 17:30'",
    "day after tomorrow": "'in 2 days'",
    "the day before yesterday 17:00": "'2 days ago 17:00'",
    "next day": "'tomorrow'",
    "previous day": "'yesterday'",
    "2026-12-01 17:00 UTC": "'2026-12-01 17:00Z'",
    "2026-12-01T17Z": "'2026-12-01T17:00Z'",
    "2026-12-01 17+02:00": "'2026-12-01 17:00+02:00'",
}


@pytest.mark.parametrize("text", NEAR)
def test_a_refusal_has_an_example_near_to_the_text(zone, text):
    """A refusal offers what was probably meant, or an example."""
    with pytest.raises(InvalidInput) as refusal:
        when(text)
    assert refusal.value.hint.startswith(f"try {NEAR[text]}; ")


@pytest.mark.parametrize("text", ["3d", "90min", "17h", "1mo"])
def test_a_span_without_a_sign(zone, text):
    """A span without a sign is one from now, or one before now where times look back."""
    assert when(text) == when(f"+{text}")
    assert when(text, forward=False) == when(f"-{text}", forward=False)


def test_accepted_examples(zone):
    """Every example that each refusal shows is a time."""
    for example in ACCEPTED.split(", "):
        assert when(example.strip("'"))


def phrases():
    """Yield the rows of phrases.txt: when the phrase is said, its direction, itself and its answer."""
    now, forward = "", True
    for line in (Path(__file__).parent / "data/phrases.txt").read_text().splitlines():
        if line.startswith("# now "):
            *moment, direction = line.removeprefix("# now ").split()
            now, forward = " ".join(moment), direction == "forward"
        else:
            text, _, answer = line.partition("|")
            yield now, forward, text.strip(), answer.strip()


PHRASES = list(phrases())


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"])
def test_phrases(zone, name):
    """Each phrase of the table has its answer on the local clock, whichever zone that is."""
    zone(name)
    assert len({(now, text) for now, _, text, answer in PHRASES if answer != "refused"}) > 100
    assert len(PHRASES) >= 200
    wrong = []
    for now, forward, text, answer in PHRASES:
        said = datetime.fromisoformat(now).replace(tzinfo=ZoneInfo(name))
        for end_of_day in (False, True):
            try:
                moment = parse_when(text, now=said.astimezone(UTC), end_of_day=end_of_day, forward=forward)
                found = str(moment.astimezone(ZoneInfo(name)).replace(tzinfo=None))
            except InvalidInput:
                found = "refused"
            if " 23:59:59.999999" in found:
                # A filter's bound lies behind the end of a day.
                assert not end_of_day
                found = found.removesuffix(".999999")
            whole_day = answer != "refused" and " " not in answer
            expected = f"{answer} {'23:59:59' if end_of_day else '00:00:00'}" if whole_day else answer
            if found != expected:
                wrong.append((now, forward, text, end_of_day, found, expected))
    assert wrong == []


NIGHTS = {
    # The clock goes from 2:00 to 3:00.
    ("Europe/Berlin", "2027-03-27T11:00Z"): {
        "+1d": "2027-03-28T10:00:00Z",
        "+24h": "2027-03-28T11:00:00Z",
        "in 24 hours": "2027-03-28T11:00:00Z",
        "+2w": "2027-04-10T10:00:00Z",
        "+1mo": "2027-04-27T10:00:00Z",
        "tomorrow": "2027-03-28T21:59:59Z",
        "eow": "2027-03-28T21:59:59Z",
        "tomorrow 1:59": "2027-03-28T00:59:00Z",
        "sunday 3:00": "2027-03-28T01:00:00Z",
        "tomorrow 2:30": "does not exist",
        "2:00": "does not exist",
        "2:59am": "does not exist",
        "+1d 2:30": "does not exist",
        "2027-03-28T02:30": "does not exist",
        "2027-03-28T02:30+01:00": "2027-03-28T01:30:00Z",
    },
    ("Europe/Berlin", "2027-03-27T01:30Z"): {"+1d": "2027-03-28T01:30:00Z", "+24h": "2027-03-28T01:30:00Z"},
    ("Europe/Berlin", "2027-03-29T00:30Z"): {"-1d": "2027-03-28T01:30:00Z", "-24h": "2027-03-28T00:30:00Z"},
    # The clock goes from 3:00 back to 2:00.
    ("Europe/Berlin", "2026-10-24T10:00Z"): {
        "+1d": "2026-10-25T11:00:00Z",
        "+24h": "2026-10-25T10:00:00Z",
        "tomorrow": "2026-10-25T22:59:59Z",
        "tomorrow 1:59": "2026-10-24T23:59:00Z",
        "tomorrow 3:00": "2026-10-25T02:00:00Z",
        "tomorrow 2:30": "exists twice",
        "2:00": "exists twice",
        "20261025T0230": "exists twice",
        "2026-10-25T02:30+02:00": "2026-10-25T00:30:00Z",
    },
    ("Europe/Berlin", "2026-10-24T00:30Z"): {"+1d": "2026-10-25T00:30:00Z"},
    ("Europe/Berlin", "2026-10-26T01:30Z"): {"-1d": "2026-10-25T01:30:00Z"},
    ("Europe/Berlin", "2026-10-25T00:30Z"): {"+0d": "2026-10-25T00:30:00Z", "2:30": "exists twice"},
    ("Europe/Berlin", "2026-10-25T01:30Z"): {"+0d": "2026-10-25T01:30:00Z", "+1h": "2026-10-25T02:30:00Z"},
    ("America/New_York", "2027-03-13T17:00Z"): {
        "+1d": "2027-03-14T16:00:00Z",
        "+24h": "2027-03-14T17:00:00Z",
        "tomorrow": "2027-03-15T03:59:59Z",
        "tomorrow 2:30": "does not exist",
        "tomorrow 3am": "2027-03-14T07:00:00Z",
    },
    ("America/New_York", "2026-10-31T16:00Z"): {
        "+1d": "2026-11-01T17:00:00Z",
        "+24h": "2026-11-01T16:00:00Z",
        "tomorrow": "2026-11-02T04:59:59Z",
        "tomorrow 1:30": "exists twice",
        "tomorrow 2am": "2026-11-01T07:00:00Z",
    },
    # The first hour of a day is skipped, or the last one comes twice.
    ("America/Santiago", "2024-09-07T12:00Z"): {
        "today": "2024-09-08T03:59:59Z",
        "midnight": "does not exist",
    },
    ("America/Santiago", "2024-04-06T12:00Z"): {"today": "2024-04-07T03:59:59Z", "23:30": "exists twice"},
    ("America/Toronto", "1919-03-30T12:00Z"): {"today": "1919-03-31T04:29:59Z"},
    # A whole day is skipped.
    ("Pacific/Apia", "2011-12-29T22:00Z"): {
        "tomorrow": "does not exist",
        "2011-12-30": "does not exist",
        "friday": "does not exist",
        "+1d": "2011-12-30T22:00:00Z",
        "+2d": "2011-12-30T22:00:00Z",
        "today": "2011-12-30T09:59:59Z",
        "saturday": "2011-12-31T09:59:59Z",
    },
}


@pytest.mark.parametrize(("name", "now"), NIGHTS)
def test_changes_of_the_clock(zone, name, now):
    """Hours are elapsed time, days are calendar days, and a time of day has one meaning or is refused."""
    zone(name)
    found = {}
    for text in NIGHTS[name, now]:
        try:
            found[text] = when(text, end_of_day=True, now=datetime.fromisoformat(now))
        except InvalidInput as refusal:
            problem = "exists twice" if "exists twice" in refusal.message else "does not exist"
            found[text] = problem
            if "the clock changes" in refusal.hint:
                for reading in refusal.hint.removeprefix("the clock changes then; say ").split(" or "):
                    assert when(reading)
    assert found == NIGHTS[name, now]


@pytest.mark.parametrize(
    ("name", "day", "first"),
    [
        ("America/Santiago", "2024-09-08", "2024-09-08T04:00:00Z"),
        ("Asia/Kathmandu", "1986-01-01", "1985-12-31T18:30:00Z"),
        ("America/Toronto", "1919-03-31", "1919-03-31T04:30:00Z"),
        ("Africa/Monrovia", "1972-01-07", "1972-01-07T00:44:30Z"),
    ],
)
def test_the_first_moment_of_a_day(zone, name, day, first):
    """A day whose midnight does not exist begins when the clock has jumped."""
    zone(name)
    assert when(day) == first


DAYS_THAT_LOOK = [
    *("monday", "tue", "wednesday", "thurs", "fri", "saturday", "sun"),
    *("3 june", "dec 24", "january 1st", "31 oct", "29 february", "27 march", "2 november"),
]
CLOCKS = ["", "17:00", "at 5am", "noon", "midnight", "2:30", "23:59:59", "at 1h"]
SOAK = os.environ.get("TASKDB_SOAK") == "1"
CHECKS = [HealthCheck.function_scoped_fixture]
THOROUGHLY = settings(max_examples=5000 if SOAK else 40, deadline=None, suppress_health_check=CHECKS)
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "America/Santiago")
FIRST, LAST = NOW.replace(1950, tzinfo=None), NOW.replace(2100, tzinfo=None)
NOWS = st.datetimes(FIRST, LAST, timezones=st.just(UTC))


@pytest.mark.soak
@THOROUGHLY
@given(
    name=st.sampled_from(ZONES),
    now=NOWS,
    day=st.sampled_from(["", *DAYS_THAT_LOOK]),
    clock=st.sampled_from(CLOCKS),
)
def test_nothing_lies_on_the_other_side_of_now(zone, name, now, day, clock):
    """A day or time of day is never before now if it looks forward, and never after now if it looks back."""
    zone(name)
    for forward in (True, False):
        try:
            moment = parse_when(f"{day} {clock}", now=now, end_of_day=forward, forward=forward)
        except InvalidInput as refusal:
            assert not (day or clock) or "exist" in refusal.message  # noqa: PT017
            continue
        # A day ends with the beginning of its last second.
        assert moment >= now.replace(microsecond=0) if forward else moment <= now
        assert abs(moment - now) < timedelta(days=366 * 8 + 2 if day else 3)


SPANS = st.builds(
    lambda count, unit, form: form.format(count, unit),
    st.integers(0, 999),
    st.sampled_from(["min", "h", "d", "w", "mo", "y"]),
    st.sampled_from(["{}{}", "+{}{}", "in {}{}", "{} {} from now", "-{}{}", "{}{} ago"]),
)


@pytest.mark.soak
@THOROUGHLY
@given(now=NOWS, text=SPANS, name=st.sampled_from(ZONES))
def test_spans_keep_their_direction(zone, now, text, name):
    """A span forward never ends before now, and one back never after it."""
    zone(name)
    back = "ago" in text or text[0] == "-"
    try:
        moment = parse_when(text, now=now, end_of_day=not back)
    except InvalidInput as refusal:
        assert "exist" in refusal.message or now.year + 999 * (-1 if back else 1) < 1  # noqa: PT017
        return
    assert moment <= now if back else moment >= now.replace(microsecond=0)


@pytest.mark.soak
def test_every_stored_moment_is_shown_in_every_zone(zone):
    """The first and last moments that can be stored, and all between, are shown in each zone of tzdata."""
    years = [*(datetime(year, 6, 1, tzinfo=UTC) for year in (1800, 1970, 2026, 9998))]
    ends = [datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
    moments = [datetime.min.replace(tzinfo=UTC), *ends, *years, datetime.max.replace(tzinfo=UTC)]
    plain = {"status": TaskStatus.TODO, "priority": TaskPriority.LOW, "title": "A", "user": "ann"}
    rows = [{**plain, "id": 1, "due_at": each, "created_at": each} for each in moments]
    for number, name in enumerate(sorted(available_timezones())):
        zone(name)
        assert all(describe(moment, NOW) for moment in moments)
        assert all(_cell(field, row, NOW) for row in rows for field in ("due_at", "created_at"))
        if SOAK or number % 50 == 0:
            shown = io.StringIO()
            print_table(rows, TASKS, shown)
            print_detail(rows[0], shown)
            assert shown.getvalue().count("\n") >= len(rows) + 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("friday 17:00", "Fri 27 Nov 2026 17:00 (in 5 days)"),
        ("tomorrow", "Mon 23 Nov 2026 23:59 (tomorrow)"),
        ("today 5:30:15", "Sun 22 Nov 2026 05:30:15 (today)"),
        ("yesterday noon", "Sat 21 Nov 2026 12:00 (yesterday)"),
        ("0001-01-01", "Mon 1 Jan 0001 23:59 (739,941 days ago)"),
    ],
)
def test_what_was_understood(zone, text, said):
    """A time is described with its day of the week, and how far away it is."""
    moment = parse_when(text, now=NOW, end_of_day=True)
    assert describe(moment, NOW) == said


def test_documented_forms(zone):
    """Every text in the first columns of docs/times.md is a time, and the page names every form."""
    page = (Path(__file__).parent.parent / "docs/times.md").read_text()
    firsts = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    texts = [text for first in firsts for text in re.findall(r"`([^`]+)`", first) if "…" not in text]
    assert len(texts) > 80
    for text in texts:
        assert when(text)
    for name in ("friday", "december", "now", "noon", "midnight", "eod", "eow", "eom", "eoy", "min", "mo"):
        assert name in page


# What programs may not say either.
REFUSED = [
    *("", " ", "1", "2026", "2026-13-01", "2026-02-30", "0000-01-01", "2026-12-1", "20261201", "2026-W49-2"),
    *(
        "2026-335",
        "01.12.2026",
        "1 december",
        "3 days",
        "2026-12-01T25:00",
        "2026-12-01T17",
        "2026-12-01  17:00",
    ),
    *(
        "2026-12-01T17:00:60",
        "2026-12-01T17:00:00.1234567Z",
        "2026-12-01T17:00+25:00",
        "+",
        "+3",
        "+3m",
        "+3y",
    ),
    *("3d", "+ 3d", "+1000000d", "+999999w", "+1.5d", "x", "friday", "noon", "17:00", "next week", "eom"),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-12-01", "2026-12-01T00:00:00Z"),
        ("2026-12-01T17:00", "2026-12-01T17:00:00Z"),
        ("2026-12-01T17:00:00+02:00", "2026-12-01T15:00:00Z"),
        ("-2w", timestamp(NOW - timedelta(weeks=2))),
    ],
)
def test_programs_mean_utc(zone, text, expected):
    """Where a program speaks, the zone of this machine is of no account."""
    assert timestamp(parse_exact(text, now=NOW)) == expected


@pytest.mark.parametrize("text", [*REFUSED, "tomorrow", "now", "", " 3d"])
def test_programs_may_not_use_words(text):
    """Words, and whatever is refused from people, are refused from programs."""
    with pytest.raises(InvalidInput, match="is not a time"):
        parse_exact(text, now=NOW)


@pytest.mark.parametrize(
    ("text", "days"),
    [("1h", 1 / 24), ("36h", 1.5), ("90d", 90), ("12w", 84), ("1y", 365), ("forever", None), ("9999y", None)],
)
def test_how_long_something_is_kept(text, days):
    """What is kept for so long begins that much before now, or never."""
    assert parse_keeping(text, now=NOW) == (days and NOW - timedelta(days=days))


@pytest.mark.parametrize(
    "text", ["", "90", "d", "-1d", "1.5d", "90 d", "3mo", "always", "99999d", "٣d", "0h", "0d", "00w", "0y"]
)
def test_how_long_is_refused(text):
    """Anything else is refused."""
    with pytest.raises(InvalidInput, match="history"):
        parse_keeping(text, now=NOW)


@given(st.datetimes(timezones=st.just(UTC)), st.booleans())
def test_own_output_is_read_back(moment, end_of_day):
    """A time as taskdb prints it is read back as the same time."""
    assert parse_when(timestamp(moment), now=NOW, end_of_day=end_of_day) == moment
    assert parse_iso(timestamp(moment), end_of_day=end_of_day) == moment


@pytest.mark.soak
@THOROUGHLY
@given(st.text(max_size=20))
def test_any_text_is_a_time_or_refused(text):
    """No text whatever ends in another error."""
    try:
        moment = parse_when(text, now=NOW, end_of_day=True)
    except InvalidInput:
        return
    assert moment.tzinfo is UTC
