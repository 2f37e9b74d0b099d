"""Points in time as people type them."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb_cli.errors import InvalidInput
from taskdb_cli.output.formats import timestamp
from taskdb_cli.times import parse_exact, parse_iso, parse_when

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


def when(text, *, end_of_day=False, now=NOW):
    moment = parse_when(text, now=now, end_of_day=end_of_day)
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
@pytest.mark.parametrize("end_of_day", [False, True])
def test_moments(zone, text, end_of_day):
    """A text with a time of day means that moment, whatever a day without one would mean."""
    assert when(text, end_of_day=end_of_day) == MOMENTS[text]


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
    assert when("9999-12-31", end_of_day=True) == "9999-12-31T23:59:59Z"
    for text in ("0001-01-01T00:00+01:00", "9999-12-31T23:59-01:00"):
        with pytest.raises(InvalidInput):
            when(text)
    zone("Asia/Kolkata")
    with pytest.raises(InvalidInput):
        when("0001-01-01")
    zone("America/New_York")
    with pytest.raises(InvalidInput):
        when("9999-12-31", end_of_day=True)


REFUSED = [
    *("", " ", "1", "12", "2026", "2026-13-01", "2026-02-30", "2025-02-29", "0000-01-01", "10000-01-01"),
    *("2026-12-1", "20261201", "2026-W49-2", "2026-335", "01.12.2026", "12/01/2026", "1 december", "3 days"),
    *("2026-12-01T25:00", "2026-12-01T17", "2026-12-01T17:60", "2026-12-01T17:00:60", "2026-12-01  17:00"),
    *(
        "2026-12-01T17:00:00.1234567Z",
        "2026-12-01T17:00+25:00",
        "2026-12-01Z",
        "2026-12-01T17:00 Europe/Berlin",
    ),
    *(
        "+",
        "-",
        "+d",
        "+3",
        "+3m",
        "+3y",
        "3d",
        "+ 3d",
        "+3d+1h",
        "+1000000d",
        "+999999w",
        "-999999w",
        "+1.5d",
    ),
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
]


@pytest.mark.parametrize("text", REFUSED)
def test_refused(zone, text):
    """What is not a time is refused and never guessed; the message repeats it and says what to try."""
    with pytest.raises(InvalidInput) as refusal:
        when(text)
    assert refusal.value.message == f"{text!r} is not a time"
    assert refusal.value.hint.startswith("try 2026-12-01, ")


def test_examples_of_the_hint_are_accepted(zone):
    """Every example that a refusal offers is a time."""
    with pytest.raises(InvalidInput) as refusal:
        when("soon")
    examples = refusal.value.hint.removeprefix("try ").split(", ")
    assert len(examples) == 8
    for example in examples:
        assert when(example.strip("'"))


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


@given(st.datetimes(timezones=st.just(UTC)), st.booleans())
def test_own_output_is_read_back(moment, end_of_day):
    """A time as taskdb prints it is read back as the same time."""
    assert parse_when(timestamp(moment), now=NOW, end_of_day=end_of_day) == moment
    assert parse_iso(timestamp(moment), end_of_day=end_of_day) == moment


@given(st.text(max_size=20))
def test_any_text_is_a_time_or_refused(text):
    """No text whatever ends in another error."""
    try:
        moment = parse_when(text, now=NOW, end_of_day=True)
    except InvalidInput:
        return
    assert moment.tzinfo is UTC
