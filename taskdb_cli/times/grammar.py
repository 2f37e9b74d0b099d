"""The grammar of the phrases that mean a time. `_PHRASES` holds it; docs/times.md describes it for people."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta
from typing import TypeVar

from taskdb_cli.errors import InvalidInput
from taskdb_cli.system.clock import at_clock, day_bound, readings_of, require_zone, wall_clock
from taskdb_cli.text.phrases import MONTHS, WEEKDAYS, likely_phrases


@dataclass(frozen=True)
class Context:
    """What a phrase is relative to."""

    now: datetime
    end_of_day: bool
    forward: bool

    @property
    def today(self) -> date:
        """The local day."""
        return wall_clock(self.now).date()


_Meaning = datetime | date | Iterable[date]
"""A moment, a day, or several days: the first on the right side of now is meant."""
_Day = TypeVar("_Day", date, datetime)

_NEAR_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
_NOON = 12


def _clock_of(found: re.Match[str]) -> time | None:
    if found["named"]:
        return time(_NOON if found["named"] == "noon" else 0)
    if found["hour"] is None:
        return None
    hour, half = int(found["hour"]), found["half"]
    # A number alone is no time, and neither is 17:00h or 13pm.
    if bool(found["h"]) + bool(half or found["minute"]) != 1 or (half and not 1 <= hour <= _NOON):
        raise ValueError(found[0])
    if half:
        hour = hour % _NOON + (_NOON if half == "pm" else 0)
    return time(hour, int(found["minute"] or 0), int(found["second"] or 0))


def iso_day(found: re.Match[str]) -> date:
    """Return the day of an ISO 8601 date in any of its forms; raise ValueError if there is no such day."""
    text = found["date"].upper()
    if not found["ordinal"]:
        return date.fromisoformat(text)
    year, number = int(text[:4]), int(text[-3:])
    day = date(year, 1, 1) + timedelta(days=number - 1)
    if day.year != year:
        raise ValueError(text)
    return day


def _iso_moment(found: re.Match[str], context: Context) -> _Meaning:
    day, clock = iso_day(found), time.fromisoformat(found["time"])
    if found["zone"] is None:
        return at_clock(day, clock)
    return datetime.fromisoformat(f"{day}T{clock}{found['zone'].upper()}")


def _weekday(found: re.Match[str], context: Context) -> _Meaning:
    today, week = context.today, timedelta(weeks=1)
    wanted = [name[:3] for name in WEEKDAYS].index(found["weekday"][:3])
    coming = today + timedelta(days=(wanted - today.weekday() - 1) % 7 + 1)
    if found["which"] == "last":
        return coming - week if coming - week < today else coming - 2 * week
    return coming if context.forward or found["which"] else [coming - week, coming - 2 * week]


def _calendar_day(found: re.Match[str], context: Context) -> _Meaning:
    number, month = int(found["day"]), [name[:3] for name in MONTHS].index(found["month"][:3]) + 1
    if found["year"]:
        return date(int(found["year"]), month, number)
    return _in_each_year(month, number, context)


def _in_each_year(month: int, day: int, context: Context) -> Iterator[date]:
    """Yield a day of this year and of those beside it; 29 February may be eight years away."""
    for years in range(9):
        with suppress(ValueError):
            yield date(context.today.year + (years if context.forward else -years), month, day)


def _amount(found: re.Match[str], context: Context) -> _Meaning:
    """Return a day, as "in 2 weeks" means, or a moment for hours, minutes and an offset such as +3d."""
    groups = found.groupdict()
    unit, sign, count = groups["unit"], groups.get("sign"), int(groups.get("count") or 1)
    if sign == "-" or groups.get("ago") or (sign == "" and not context.forward):
        count = -count
    if unit.startswith(("h", "min")):
        return context.now + timedelta(**{"hours" if unit[0] == "h" else "minutes": count})
    if sign is None or found["clock"]:
        return _shift(context.today, count, unit)
    wall = wall_clock(context.now)
    offset = wall - context.now.astimezone(UTC).replace(tzinfo=None)
    wall = _shift(wall, count, unit)
    moments, exists = readings_of(wall)
    same = [each for each in moments if wall - each.replace(tzinfo=None) == offset]
    return [*same, *moments][0] if exists else moments[-1]


def _shift(day: _Day, count: int, unit: str) -> _Day:
    if unit[0] in "dw":
        return day + timedelta(**{"days" if unit[0] == "d" else "weeks": count})
    year, month = divmod(day.year * 12 + day.month - 1 + count * (12 if unit[0] == "y" else 1), 12)
    if not MINYEAR <= year <= MAXYEAR:
        raise OverflowError(year)
    return day.replace(year=year, month=month + 1, day=min(day.day, _days_of(year, month + 1)))


def _days_of(year: int, month: int) -> int:
    from calendar import monthrange

    return monthrange(year, month)[1]


def _end(found: re.Match[str], context: Context) -> _Meaning:
    today = context.today
    last = {
        "d": today,
        "w": today + timedelta(days=6 - today.weekday()),
        "m": today.replace(day=_days_of(today.year, today.month)),
        "y": today.replace(month=12, day=31),
    }
    end = day_bound(last[(found["unit"] or found["letter"])[0]], end=True)
    # The bound of a filter lies behind all that is due at the end of that day.
    return end if context.end_of_day else end.replace(microsecond=999_999)


def _names(group: str, names: Iterable[str], more: str) -> str:
    return f"(?P<{group}>{'|'.join(f'{name[:3]}(?:{name[3:]})?' for name in names)}|{more})"


_CLOCK = (
    r"(?P<named>noon|midnight)"
    r"|(?P<hour>\d\d?)(?::(?P<minute>\d\d)(?::(?P<second>\d\d))?)?(?: ?(?P<half>[ap]m)|(?P<h>h))?"
)
_DATE = r"(?P<date>\d{4}-\d\d-\d\d|\d{8}|\d{4}-w\d\d-\d|\d{4}w\d{3}|(?P<ordinal>\d{4}-?\d{3}))"
_HOURS = r"(?:[01]\d|2[0-3])"
_TIME = rf"(?P<time>{_HOURS}(?::[0-5]\d(?::[0-5]\d(?:[.,]\d+)?)?|[0-5]\d(?:[0-5]\d(?:[.,]\d+)?)?))"
WRITTEN = re.compile(
    rf"{_DATE}(?:[t ](?:{_TIME}|(?P<next_day>24:?00(?::?00(?:[.,]0+)?)?))"
    rf"(?: ?(?P<zone>z|utc|gmt|\+00:?00 utc|[+-]{_HOURS}(?::?[0-5]\d(?::?[0-5]\d)?)?))?)?",
    re.ASCII,
)
"""How other programs write a time into a file."""
_UNIT = "(?P<unit>min(?:ute)?s?|h(?:ours?)?|d(?:ays?)?|w(?:eeks?)?|mo(?:nths?)?|y(?:ears?)?)"
_AMOUNT = rf"(?:(?P<count>\d{{1,9}}) ?|an? ){_UNIT}"
_ORDINAL = r"(?:(?<=(?<!1)1)st|(?<=(?<!1)2)nd|(?<=(?<!1)3)rd|(?:(?<=[04-9])|(?<=1[1-3]))th)"
_NUMBER, _YEAR = rf"(?P<day>\d\d?){_ORDINAL}?", r"(?:,? (?P<year>\d{4}))?"
_WEEKDAY, _MONTH = _names("weekday", WEEKDAYS, "tues|thurs?"), _names("month", MONTHS, "sept")
_PHRASES: tuple[tuple[str, Callable[[re.Match[str], Context], _Meaning]], ...] = (
    ("now", lambda _, context: context.now),
    (rf"{_DATE}[t ]{_TIME}(?P<zone>z|[+-]{_HOURS}(?::?[0-5]\d)?)?", _iso_moment),
    (_DATE, lambda found, _: iso_day(found)),
    ("today|tomorrow|yesterday", lambda found, context: context.today + timedelta(_NEAR_DAYS[found[1]])),
    (f"(?:(?P<which>next|last) )?{_WEEKDAY}", _weekday),
    (f"{_NUMBER} {_MONTH}{_YEAR}", _calendar_day),
    (f"{_MONTH} {_NUMBER}{_YEAR}", _calendar_day),
    (r"(?P<sign>[+-]?)(?P<count>\d{1,9})(?P<unit>min|mo|[hdwy])", _amount),
    (f"in {_AMOUNT}", _amount),
    (f"{_AMOUNT} (?:from now|(?P<ago>ago))", _amount),
    ("next (?P<unit>week|month|year)", _amount),
    ("end of (?P<unit>day|week|month|year)|eo(?P<letter>[dwmy])", _end),
    ("", lambda _, context: [context.today, context.today + timedelta(1 if context.forward else -1)]),
)
"""The forms of a phrase, each with what it means. A time of day may follow every form that means a day."""


def parse_phrase(words: str, context: Context) -> datetime:
    """Return the point in time that a phrase means, in UTC; raise ValueError or OverflowError if none."""
    for pattern, meaning in _PHRASES:
        found = re.fullmatch(rf"({pattern})(?:(?:^| )(?:at )?(?P<clock>{_CLOCK}))?", words, re.ASCII)
        if words and found:
            if not found.groupdict().get("zone"):
                require_zone()
            return _choose(meaning(found, context), _clock_of(found), context).astimezone(UTC)
    raise ValueError(words)


def _choose(meant: _Meaning, clock: time | None, context: Context) -> datetime:
    if isinstance(meant, datetime):
        if clock:
            raise ValueError(clock)
        return meant
    for day in [meant] if isinstance(meant, date) else meant:
        if clock is None:
            fits = day >= context.today if context.forward else day <= context.today
        else:
            moments, _ = readings_of(datetime.combine(day, clock))
            fits = moments[-1] > context.now if context.forward else moments[0] <= context.now
        if fits or day is meant:
            return day_bound(day, end=context.end_of_day) if clock is None else at_clock(day, clock)
    raise ValueError(clock)


def nearest_phrases(words: str, context: Context) -> str:
    """Return the accepted phrases that are nearest to what was typed, or an example."""
    for guesses in likely_phrases(words):
        accepted: dict[str, None] = {}
        for guess in guesses:
            with suppress(InvalidInput, ValueError, OverflowError):
                parse_phrase(guess, context)
                written = re.sub(r"(?<=\d)(t(?=\d)|z$)", lambda letter: letter[0].upper(), guess)
                accepted[f"'{written}'"] = None
        if accepted:
            return " or ".join(accepted)
    return "2026-12-01" if re.match(r"\d{4}", words) else "'tomorrow 17:00'"
