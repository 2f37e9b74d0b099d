"""Points in time as people and programs write them, as docs/times.md says."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from taskdb_cli.errors import InvalidInput
from taskdb_cli.system.clock import LAST_SECOND, day_bound, readings_of
from taskdb_cli.text.escaping import brief, described
from taskdb_cli.times.grammar import WRITTEN, Context, iso_day, nearest_phrases, parse_phrase

ACCEPTED = "2026-12-01, 2026-12-01T17:00, +3d, -2w, 'tomorrow 17:00', friday, 'dec 24', 'in 2 weeks', eom"
"""Examples of the forms, for messages and help."""

EXPIRIES = "try 90d, 2w, 12h, 2027-12-01 or 2027-12-01T17:00:00Z"

KEEPING = "try 90d, 12w, 1y or forever"

_WRITTEN_EXAMPLES = "2026-12-01T17:00:00Z, 2026-12-01 17:00 or 2026-12-01"

_OFFSET = re.compile(r"([+-]\d{1,6})([hdw])")
_AGE = re.compile(r"(\d{1,4})([hdwy])", re.ASCII)
_ISO = re.compile(
    r"\d{4}-\d\d-\d\d(?P<time>[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,6})?)?(?:[Zz]|[+-]\d\d:?\d\d)?)?"
)
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_LONGEST_WORDS = 100


def parse_when(text: str, *, now: datetime, end_of_day: bool, forward: bool = True) -> datetime:
    """Return the point in time that a person means, in UTC.

    Without a time of day it is the last second of the local day if `end_of_day`, else its first. A phrase
    that may be before or after `now`, such as a weekday, is the next one if `forward`, else the latest.
    Raises InvalidInput, naming the text, what is accepted, and what may have been meant.
    """
    words = " ".join(text.lower().split()) if len(text) <= _LONGEST_WORDS and text.isascii() else ""
    context = Context(now, end_of_day, forward)
    try:
        return parse_phrase(words, context)
    except OverflowError:
        what = f"{brief(text)!r} is not between the years 1 and 9999"
        raise InvalidInput(what, "choose a time between them") from None
    except ValueError:
        raise _no_time(text, f"try {nearest_phrases(words, context)}; accepted are {ACCEPTED}") from None


def parse_exact(text: str, *, now: datetime, **_: object) -> datetime:
    """Return the point in time that a program means, in UTC: ISO 8601, or an offset from `now`.

    Without a zone UTC is meant, and without a time of day its first second.
    Raises InvalidInput, naming the text and what is accepted.
    """
    try:
        return _offset(text, now) or parse_iso(text, end_of_day=False, zone=UTC)
    except (ValueError, OverflowError):
        raise _no_time(text, "try 2026-12-01, 2026-12-01T17:00:00Z or -2w") from None


def parse_expiry(text: str, *, now: datetime) -> datetime:
    """Return the point in time, as `parse_exact` does; an offset such as 90d needs no sign.

    Raises InvalidInput, naming the text and what is accepted.
    """
    try:
        signed = text if text.startswith(("+", "-")) else f"+{text}"
        return _offset(signed, now) or parse_iso(text, end_of_day=False, zone=UTC)
    except OverflowError:
        raise InvalidInput(f"{brief(text)!r} ends after the year 9999", EXPIRIES) from None
    except ValueError:
        raise _no_time(text, EXPIRIES) from None


def parse_keeping(text: str, *, now: datetime) -> datetime | None:
    """Return the time since which history is kept, for a length such as 90d or 1y; None if all is kept.

    A year has 365 days. Raises InvalidInput, naming the text and what is accepted.
    """
    if text == "forever":
        return None
    match = _AGE.fullmatch(text)
    if match is None:
        raise InvalidInput(f"{brief(text)!r} does not say how long to keep the history", KEEPING)
    if int(match[1]) == 0:
        raise InvalidInput(f"{brief(text)!r} would keep no history", f"{KEEPING}; 1h is the least")
    days = {"h": 1 / 24, "d": 1, "w": 7, "y": 365}[match[2]]
    try:
        return now - timedelta(days=days * int(match[1]))
    except OverflowError:
        return None


def parse_iso(text: str, *, end_of_day: bool, zone: tzinfo | None = None) -> datetime:
    """Return an ISO 8601 date or date-time of the extended form in UTC.

    A text without a zone is in `zone`, or in the local one if that is None. Raises ValueError for other text.
    """
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError("is not an ISO 8601 time such as 2026-12-01T17:00:00Z")
    try:
        moment = datetime.fromisoformat(text.upper())
        if match["time"] is None:
            moment = datetime.combine(moment, LAST_SECOND if end_of_day else time.min)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        return _to_utc(moment, day_alone=match["time"] is None)
    except (ValueError, OverflowError):
        raise ValueError("is not a real point in time between the years 1 and 9999") from None


def parse_written(value: object, *, end_of_day: bool) -> datetime:
    """Return the point in time that another program wrote into a file: ISO 8601 of any form, in UTC.

    A text without a zone is in the local one. A fraction is cut to microseconds. 24:00 is the end of a day.
    Raises ValueError, naming the value, for anything else.
    """
    text = value if isinstance(value, str) else ""
    try:
        # Most files have the extended form, which is read faster.
        return parse_iso(text, end_of_day=end_of_day)
    except ValueError:
        found = WRITTEN.fullmatch(" ".join(text.split()).lower())
    if found is None:
        number = type(value) in (int, float) or re.fullmatch(r"[+-]?\d+([.,]\d+)?", text.strip())
        why = " (a number has no unit and no zone)" if number else ""
        raise ValueError(f"is not an ISO 8601 time such as {_WRITTEN_EXAMPLES}: {described(value)}{why}")
    try:
        day, clock = iso_day(found), LAST_SECOND if end_of_day else time.min
        if found["time"]:
            clock = time.fromisoformat(found["time"])
        elif found["next_day"]:
            day, clock = day + timedelta(days=1), time.min
        zone = found["zone"] or ""
        zone = "Z" if zone.endswith(("utc", "gmt")) else zone.upper()
        day_alone = not (found["time"] or found["next_day"])
        return _to_utc(datetime.fromisoformat(f"{day}T{clock}{zone}"), day_alone=day_alone)
    except (ValueError, OverflowError):
        real = "a real point in time between the years 1 and 9999"
        raise ValueError(f"is not {real}: {described(value)}") from None


def _no_time(text: str, hint: str) -> InvalidInput:
    """Return the error for a text that is not a time. It says so if only the day does not exist."""
    reason = ""
    if text.isascii() and _ISO.fullmatch(text):
        try:
            date.fromisoformat(text[:10])
        except ValueError:
            reason = f": there is no day {text[:10]}"
    return InvalidInput(f"{brief(text)!r} is not a time{reason}", hint)


def _to_utc(moment: datetime, *, day_alone: bool) -> datetime:
    """Return a time in UTC. Without a zone it is local. Raise ValueError or OverflowError if none exists."""
    try:
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        if moment.tzinfo:
            raise
        # Python refuses every local time near the ends of the years 1 and 9999.
        if day_alone:
            return day_bound(moment.date(), end=moment.time() != time.min)
        return readings_of(moment)[0][0]


def _offset(text: str, now: datetime) -> datetime | None:
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    return now + timedelta(**{_UNITS[match[2]]: int(match[1])})
