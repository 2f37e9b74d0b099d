"""Points in time as people type them."""

import os
import re
import warnings
from datetime import UTC, datetime, time, timedelta, tzinfo

from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.escaping import brief

ACCEPTED = "2026-12-01, 2026-12-01T17:00, +3d, -2w, today, 'tomorrow 17:00', friday, 'in 2 weeks'"
"""Examples of every form, for messages and help."""

EXPIRIES = "try 90d, 2w, 12h, 2027-12-01 or 2027-12-01T17:00:00Z"

_OFFSET = re.compile(r"([+-]\d{1,6})([hdw])")
_ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}(?P<time>[Tt ]\d{2}:\d{2}(:\d{2}([.,]\d{1,6})?)?([Zz]|[+-]\d{2}:?\d{2})?)?"
)
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_LONGEST_WORDS = 100
_LAST_SECOND = time(23, 59, 59)


def parse_when(text: str, *, now: datetime, end_of_day: bool) -> datetime:
    """Return the point in time that a person means, in UTC.

    Accepts ISO 8601 dates and date-times (in the local zone unless they name one), an offset from
    `now` such as +3d, and English words, which look to the future. Without a time of day the result
    is the last second of the local day if `end_of_day`, else its first.
    Raises InvalidInput, naming the text and what is accepted.
    """
    try:
        return _parse(text.strip(), now, end_of_day).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{brief(text)!r} is not a time", f"try {ACCEPTED}") from None


def parse_exact(text: str, *, now: datetime) -> datetime:
    """Return the point in time that a program means, in UTC: ISO 8601, or an offset from `now`.

    Without a zone UTC is meant, and without a time of day its first second.
    Raises InvalidInput, naming the text and what is accepted.
    """
    try:
        return _offset(text, now) or parse_iso(text, end_of_day=False, zone=UTC)
    except (ValueError, OverflowError):
        hint = "try 2026-12-01, 2026-12-01T17:00:00Z or -2w"
        raise InvalidInput(f"{brief(text)!r} is not a time", hint) from None


def parse_expiry(text: str, *, now: datetime) -> datetime:
    """Return the point in time, as `parse_exact` does; an offset such as 90d needs no sign.

    Raises InvalidInput, naming the text and what is accepted.
    """
    try:
        signed = text if text.startswith(("+", "-")) else f"+{text}"
        return _offset(signed, now) or parse_iso(text, end_of_day=False, zone=UTC)
    except OverflowError:
        raise InvalidInput(f"{text!r} ends after the year 9999", EXPIRIES) from None
    except ValueError:
        raise InvalidInput(f"{text!r} is not a time", EXPIRIES) from None


def parse_iso(text: str, *, end_of_day: bool, zone: tzinfo | None = None) -> datetime:
    """Return an ISO 8601 date or date-time in UTC, as `parse_when` reads them.

    What names no zone is in the one given, or else in the local one. Raises ValueError for anything else.
    """
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError("is not an ISO 8601 time such as 2026-12-01T17:00:00Z")
    try:
        moment = datetime.fromisoformat(text.upper())
        if match["time"] is None:
            moment = _whole_day(moment, end_of_day)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a real point in time between the years 1 and 9999") from None


def time_zone_error() -> InvalidInput:
    """Return the error of a TZ that names no time zone."""
    zone = brief(os.environ.get("TZ", ""))
    return InvalidInput(f"TZ is no time zone: {zone!r}", "set it to a name such as Europe/Berlin")


def _parse(text: str, now: datetime, end_of_day: bool) -> datetime:
    if moment := _offset(text, now):
        return moment
    if text.lower() == "now":
        return now
    # dateparser would read 2027-13-01 as a day in January, and 1 as one of this month.
    if not text or text[0].isdigit() or text[0] in "+-":
        return parse_iso(text, end_of_day=end_of_day)
    return _parse_words(text, now, end_of_day)


def _offset(text: str, now: datetime) -> datetime | None:
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    return now + timedelta(**{_UNITS[match[2]]: int(match[1])})


def _parse_words(text: str, now: datetime, end_of_day: bool) -> datetime:
    if not len("mon") <= len(text) <= _LONGEST_WORDS:
        # dateparser takes some single letters for words, and long over a long text.
        raise ValueError(text)
    from dateparser.date import DateDataParser

    local = now.astimezone().replace(tzinfo=None)
    future = {"PREFER_DATES_FROM": "future", "PREFER_DAY_OF_MONTH": "first"}
    settings = {**future, "RELATIVE_BASE": local, "RETURN_TIME_AS_PERIOD": True}
    parser = DateDataParser(languages=["en"], settings=settings)
    try:
        with warnings.catch_warnings():
            # dateparser only warns if it cannot read TZ, and then takes every text for no time.
            warnings.filterwarnings("error", message=".*local timezone")
            found = parser.get_date_data(text)
    except (LookupError, OSError, RuntimeError, Warning):
        raise time_zone_error() from None
    moment: datetime | None = found.date_obj
    if moment is None:
        raise ValueError(text)
    return moment if found.period == "time" else _whole_day(moment, end_of_day)


def _whole_day(moment: datetime, end_of_day: bool) -> datetime:
    return datetime.combine(moment.date(), _LAST_SECOND if end_of_day else time.min)
