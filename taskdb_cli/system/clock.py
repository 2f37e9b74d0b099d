"""The clock of the local zone, as the C library keeps it.

Python itself refuses local times near the ends of the years 1 and 9999. The C library does not.
"""

import os
import re
import time as clocks
from datetime import UTC, date, datetime, time, timedelta

from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.escaping import brief
from taskdb_cli.text.phrases import MONTHS, WEEKDAYS

LAST_SECOND = time(23, 59, 59)
"""When a day ends."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (what a clock shows)
_SECOND = timedelta(seconds=1)
_DAY = 86400
_LARGEST = 1_000_000
"""Bytes of a file that describes a time zone."""
_NAME, _SHIFT = r"(?:[A-Za-z]{3,}|<[+\-A-Za-z0-9]{3,}>)", r"[+-]?\d{1,3}(?::[0-5]\d){0,2}"
_CHANGE = rf",(?:M(?:0?[1-9]|1[0-2])\.[1-5]\.[0-6]|J?\d{{1,3}})(?:/{_SHIFT})?"
_ZONE_BY_RULE = re.compile(f"{_NAME}{_SHIFT}(?:{_NAME}(?:{_SHIFT})?(?:{_CHANGE}{_CHANGE})?)?", re.ASCII)
"""A TZ of the POSIX form, such as CET-1CEST,M3.5.0,M10.5.0/3."""


def to_local(moment: datetime) -> datetime:
    """Return a time in the local zone, or in UTC if the local year would be before 1 or after 9999."""
    try:
        return moment.astimezone()
    except OverflowError:
        return moment.astimezone(UTC)


def zone_mark(local: datetime) -> str:
    """Return "Z" for what `to_local` left in UTC, and nothing for a time of the local zone."""
    return "Z" if local.tzinfo is UTC else ""


def in_minutes(moment: datetime) -> str:
    """Return a time of the local zone as 2026-12-01 17:00, or one of UTC with a Z as `to_local` chooses."""
    local = to_local(moment)
    return local.replace(tzinfo=None).isoformat(" ", "minutes") + zone_mark(local)


def in_utc(moment: datetime) -> str:
    """Return a time in UTC, to the second, such as 2026-12-01T17:00:00Z."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def describe(moment: datetime, now: datetime) -> str:
    """Return what was understood, such as "Fri 27 Nov 2026 17:00 (tomorrow)"."""
    local = to_local(moment)
    days = (local.date() - to_local(now).date()).days
    near = {-1: "yesterday", 0: "today", 1: "tomorrow"}.get(days)
    near = near or (f"in {days:,} days" if days > 0 else f"{-days:,} days ago")
    weekday, month = WEEKDAYS[local.weekday()][:3].title(), MONTHS[local.month - 1][:3].title()
    whole_minute = local.second == 0 or local.time().replace(microsecond=0) == LAST_SECOND
    clock = (f"{local:%H:%M}" if whole_minute else f"{local:%H:%M:%S}") + zone_mark(local)
    return f"{weekday} {local.day} {month} {local.year:04d} {clock} ({near})"


def time_zone_error() -> InvalidInput:
    """Return the error of a TZ that names no time zone."""
    zone = brief(os.environ.get("TZ", ""))
    return InvalidInput(f"TZ is no time zone: {zone!r}", "set it to a name such as Europe/Berlin")


def require_zone() -> None:
    """Raise InvalidInput for a TZ that the C library does not know, and would take for UTC."""
    name = os.environ.get("TZ", "")
    # No file is needed for UTC, and some containers have none.
    if name not in ("", "UTC"):
        from io import BytesIO
        from pathlib import Path
        from zoneinfo import ZoneInfo

        name = name.removeprefix(":")
        try:
            if name.startswith("/"):
                with Path(name).open("rb") as file:
                    # A device may have no end.
                    zone = ZoneInfo.from_file(BytesIO(file.read(_LARGEST)))
            else:
                zone = ZoneInfo(name)
        except (LookupError, OSError, ValueError):
            if not _ZONE_BY_RULE.fullmatch(name):
                raise time_zone_error() from None
        else:
            # The C library may look elsewhere than Python. In half of the year London has the time of UTC.
            now = datetime.now(UTC)
            for moment in (now, now + timedelta(days=182)):
                if clocks.localtime(moment.timestamp())[:6] != moment.astimezone(zone).timetuple()[:6]:
                    problem = f"the system does not know the time zone {brief(name)!r} that TZ names"
                    raise InvalidInput(problem, "install tzdata, and look at TZDIR")
        require_offset()


def require_offset() -> None:
    """Raise InvalidInput for a TZ that is a day or more away from UTC, whose times cannot be shown."""
    if abs(clocks.localtime().tm_gmtoff) >= _DAY:
        raise time_zone_error()


def wall_clock(moment: datetime) -> datetime:
    """Return what the local clock shows at a moment."""
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return utc + timedelta(seconds=clocks.localtime((utc - _EPOCH) // _SECOND).tm_gmtoff)


def readings_of(wall: datetime) -> tuple[list[datetime], bool]:
    """Return the moments at which the local clock shows `wall`, and whether there is one.

    If the clock skips `wall`, they are its readings with the offset after the change and with that before.
    """
    around = ((wall - _EPOCH) // _SECOND + shift for shift in (-_DAY, 0, _DAY))
    offsets = {clocks.localtime(seconds).tm_gmtoff for seconds in around}
    moments = [wall.replace(tzinfo=UTC) - timedelta(seconds=each) for each in sorted(offsets, reverse=True)]
    real = [moment for moment in moments if wall_clock(moment) == wall]
    return real or moments, bool(real)


def at_clock(day: date, clock: time) -> datetime:
    """Return the moment of a time of day; raise InvalidInput if the local clock shows it twice or never."""
    moments, exists = readings_of(datetime.combine(day, clock))
    if exists and len(moments) == 1:
        return moments[0]
    local = [each.astimezone() for each in moments]
    # An offset with seconds is not ISO 8601.
    readings = [each if f"{each:%z}"[5:] == "" else each.astimezone(UTC) for each in local]
    shown, times = str(clock).removesuffix(":00"), "exists twice" if exists else "does not exist"
    hint = f"the clock changes then; say {' or '.join(each.isoformat() for each in readings)}"
    raise InvalidInput(f"{shown} {times} on {day} in the local zone", hint)


def day_bound(day: date, *, end: bool) -> datetime:
    """Return the first or last second of a local day; raise InvalidInput if the local zone skips the day.

    If that second is outside the years 1 to 9999, it is the nearest one inside.
    """
    wall = datetime.combine(day, LAST_SECOND if end else time.min)
    try:
        moments, exists = readings_of(wall)
    except OverflowError:
        return wall.replace(tzinfo=UTC)
    before, after = moments[0], moments[-1]
    while not exists and after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        before, after = (middle, after) if wall_clock(middle) < wall else (before, middle)
    moment = after if end == exists else before
    if wall_clock(moment).date() != day:
        raise InvalidInput(f"{day} does not exist in the local zone", "name the day before or after it")
    return moment
