"""To-dos (VTODO) of iCalendar files, by the library `icalendar`, which the extra `ics` brings."""

import quopri
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, tzinfo
from io import StringIO
from typing import Any, TextIO

from taskdb_cli.errors import ExtraMissing
from taskdb_cli.models.vocabulary import TaskStatus
from taskdb_cli.text.escaping import brief
from taskdb_cli.transfer.foreign import ForeignFormat, Note, Sample, in_utc, is_time, words
from taskdb_cli.transfer.lines import LONGEST_RECORD, TOO_LONG, Found, read_lines, undecodable
from taskdb_cli.transfer.record_ids import record_ids

_FIELDS = {
    "UID": "external_id",
    "SUMMARY": "title",
    "DESCRIPTION": "description",
    "STATUS": "status",
    "PRIORITY": "priority",
    "DUE": "due_at",
    "COMPLETED": "completed_at",
    "CREATED": "created_at",
    "LAST-MODIFIED": "updated_at",
}
_STATUSES = {
    "NEEDS-ACTION": TaskStatus.TODO,
    "IN-PROCESS": TaskStatus.IN_PROGRESS,
    "COMPLETED": TaskStatus.DONE,
    "CANCELLED": TaskStatus.CANCELLED,
}
_PRIORITIES = {"0": "medium", **dict.fromkeys("1234", "high"), "5": "medium", **dict.fromkeys("6789", "low")}
_TIMES = ("DUE", "COMPLETED", "CREATED", "LAST-MODIFIED", "DTSTAMP", "DTSTART")
_KINDS = ("VTODO", "VEVENT", "VJOURNAL", "VFREEBUSY", "VTIMEZONE", "VCALENDAR")
"""The components that stand in no other but VCALENDAR. One that begins inside another was not closed."""

_NO_TASK, _NESTED, _BINARY = "no task", "nested components", "binary attachments"
_RULE = re.compile(
    r"RRULE:(?!(?!.*BYMONTHDAY).*BYDAY=[A-Z])(?!.*BYMONTHDAY.*BYDAY=[-+\d])(?!.*BYDAY=[-+\d].*BYMONTHDAY)"
    r"(?:(?:FREQ=YEARLY|INTERVAL=1|WKST=[A-Z]{2}|UNTIL=\d{8}(?:T\d{6}Z?)?|COUNT=\d{1,4}|BYMONTH=\d\d?"
    r"|BYDAY=(?:[-+]?[1-5])?[A-Z]{2}|BYMONTHDAY=-?(?:[1-9]|1\d|2[0-8])(?:,-?\d\d?){0,6})(?:;|$))+",
    re.IGNORECASE,
)
"""A rule of a time zone for a day in a month of each year. To compute others can take any time."""

_LONGEST_ZONE = 1 << 16
_MOST_RULES = 20
"""How many rules the time zones of a file may have, besides those of zones that are known by their names."""

_MOST_PROPERTIES = 10_000
_FOLD, _LINE = re.compile(r"\r\n[ \t]"), re.compile(r"[^\r\n]+")


def _read(text: TextIO) -> Iterator[Found]:
    try:
        import icalendar  # noqa: F401
    except ModuleNotFoundError as exc:
        raise ExtraMissing("the reader of iCalendar files is not installed", "ics") from exc

    reader, kinds = _Reader(), set[str]()
    # A component may use a time zone that the file defines further down.
    for _, kind, content, fault in _components(text):
        kinds.add(kind)
        if kind == "VTIMEZONE" and not fault:
            reader.learn_zone(content)
    if not kinds:
        yield 1, "is not iCalendar: it has no line BEGIN:VCALENDAR"
    elif "VTODO" not in kinds:
        yield 1, {_NO_TASK: "no task was found"}
    text.seek(0)
    with record_ids() as id_of:
        for number, kind, content, fault in _components(text):
            if fault:
                yield number, fault
            elif kind == "VTODO":
                try:
                    yield number, reader.properties(content, id_of)
                except ValueError as exc:
                    yield number, str(exc)
            elif kind not in ("VTIMEZONE", "VCALENDAR"):
                yield number, {_NO_TASK: f"{kind} is not a task, so it was not imported"}


def _components(text: TextIO) -> Iterator[tuple[int, str, str, str]]:
    """Yield each component: its first line's number, its kind, its text, and what is wrong with it, or ''."""
    kind, begin, number, calendar, whole = "", 0, 0, 0, True
    content, bad_byte = StringIO(), ""
    for line in read_lines(text):
        number += whole
        mark = line[:80].strip().upper() if whole and line[:1] in "BbEe" else ""
        whole = line[-1] in "\r\n"
        word, _, name = mark.partition(":")
        if word == "BEGIN" and name and (name in _KINDS or not kind):
            if kind:
                yield begin, kind, "", _not_closed(kind)
            kind, begin, content, bad_byte = name, number, StringIO(), ""
            if name == "VCALENDAR":
                if calendar:
                    yield calendar, name, "", _not_closed(name)
                yield number, name, "", ""
                kind, calendar = "", number
        elif word == "END" and name in (kind, "VCALENDAR"):
            if kind:
                fault = TOO_LONG if content.tell() > LONGEST_RECORD else bad_byte
                yield begin, kind, content.getvalue(), fault if name == kind else _not_closed(kind)
            kind, calendar = "", calendar if name == kind else 0
        elif kind in ("VTODO", "VTIMEZONE") and content.tell() <= LONGEST_RECORD:
            content.write(line.rstrip("\r\n") + "\r\n" if whole else line)
            if kind == "VTODO":
                bad_byte = bad_byte or undecodable(line, number, text.encoding)
    if kind or calendar:
        cut = kind or "VCALENDAR"
        yield begin if kind else calendar, cut, "", f"is cut off: the file ends before END:{cut}"


def _not_closed(kind: str) -> str:
    return f"is not closed: END:{kind} is missing"


class _Reader:
    """Reads the properties of components. It knows the time zones that the file defines."""

    def __init__(self) -> None:
        self._zones: dict[str, tzinfo | None] = {}
        self._rules = 0

    def learn_zone(self, content: str) -> None:
        """Remember a time zone. One that is broken stays unknown, which matters only if it is used."""
        from icalendar import Timezone

        text = _FOLD.sub("", content)
        names = re.findall(r"^TZID[^:\r]*:([^\r]*)", text, re.IGNORECASE | re.MULTILINE)
        if len(content) > _LONGEST_ZONE or any(map(self._zone, names)):
            return
        self._zones.clear()
        rules = re.findall(r"^[ER]X?RULE[^\r]*", text, re.IGNORECASE | re.MULTILINE)
        self._rules += len(rules)
        if self._rules <= _MOST_RULES and all(map(_RULE.fullmatch, rules)):
            with suppress(ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
                Timezone.from_ical(f"BEGIN:VTIMEZONE\r\n{content}END:VTIMEZONE\r\n")

    def _zone(self, id: str) -> tzinfo | None:
        from icalendar.timezone import tzp

        if id not in self._zones:
            # An id may be the path of no file, or one that begins with the name of a program.
            with warnings.catch_warnings(action="ignore"), suppress(ValueError, OSError):
                self._zones[id] = tzp.timezone(id)
        return self._zones.setdefault(id, None)

    def properties(self, content: str, id_of: Callable[[str], str]) -> dict[str, Any]:
        """Return the properties of a VTODO by their names, with times of ISO 8601.

        A property without a field of ours has a list of its values. Raises ValueError that says all faults.
        """
        from icalendar.parser import Contentline

        values: dict[str, list[Any]] = {}
        faults, depth, properties = list[str](), 0, 0
        for found in _LINE.finditer(_FOLD.sub("", content)):
            line = Contentline(found[0])  # type: ignore[no-untyped-call]
            word, _, component = line[:80].upper().partition(":")
            if word == "BEGIN":
                values.setdefault(_NESTED, []).append(component.strip())
                depth += 1
            elif word == "END":
                depth -= 1
            elif depth <= 0:
                properties += 1
                if properties > _MOST_PROPERTIES:
                    raise ValueError(f"has more than {_MOST_PROPERTIES} lines")
                try:
                    name, value = self._property(line)
                except ValueError as exc:
                    faults.append(str(exc))
                else:
                    values.setdefault(name, []).append(value)
        try:
            _add_end(values)
        except ValueError as exc:
            faults.append(str(exc))
        if faults:
            raise ValueError("; ".join(faults))
        if not values.get("UID", [""])[0].strip():
            values["UID"] = [id_of(content)]
        texts = {
            name: [each.isoformat() if isinstance(each, date) else each for each in given]
            for name, given in values.items()
        }
        once = {name: texts[name][0] for name in (*_FIELDS, "DTSTAMP") if name in texts}
        again = {f"{name} again": texts[name][1:] for name in once}
        return {**texts, **once, **again}

    def _property(self, line: Any) -> tuple[str, Any]:
        from icalendar.parser.property import split_on_unescaped_comma

        try:
            name, params, value = line.parts()
        except ValueError:
            raise ValueError(f"has a line that is not a property: {brief(line)!r}") from None
        name = name.upper()
        if name in _TIMES:
            return name, self._moment(name, value.strip(), params.get("TZID"))
        if name == "CATEGORIES":
            return name, ", ".join(filter(None, split_on_unescaped_comma(line.raw_parts()[2])))
        if name == "ATTACH" and str(params.get("VALUE")).upper() == "BINARY":
            return _BINARY, True
        if str(params.get("ENCODING")).upper() == "QUOTED-PRINTABLE":
            # vCalendar, which came before iCalendar, writes texts so.
            with suppress(LookupError):
                octets = quopri.decodestring(value.encode("utf-8", "surrogateescape"))
                value = octets.decode(str(params.get("CHARSET") or "utf-8"), "replace")
        return name, value

    def _moment(self, name: str, text: str, zone_id: object) -> date | str:
        """Return a date or a time, which has no zone if the local one is meant. Other text stays as it is."""
        from icalendar.prop import vDDDTypes

        zone = None
        if zone_id and "T" in text.upper() and not text.upper().endswith("Z"):
            zone = self._zone(str(zone_id))
            if zone is None and name == "DTSTART":
                return f"{text} ({brief(zone_id)})"
            if zone is None:
                hint = "replace it by a known one, such as Europe/Berlin"
                raise ValueError(f"{name} is in an unknown time zone: {brief(zone_id)!r} ({hint})")
        try:
            moment = vDDDTypes.from_ical(text, zone)  # type: ignore[no-untyped-call]
            if zone:
                # The rules of a zone that a file defines are tried when they are needed first.
                moment = moment.astimezone(UTC)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
            if zone:
                raise ValueError(f"{name} is not a time of its time zone: {brief(text)!r}") from None
            return text
        return moment if isinstance(moment, date) else text


def _add_end(values: dict[str, list[Any]]) -> None:
    """Set the due time of a VTODO that has a start and a duration instead."""
    start = values.get("DTSTART", [None])[0]
    if "DUE" in values or "DURATION" not in values or not isinstance(start, date):
        return
    from icalendar.prop import vDuration

    [text, *_] = values.pop("DURATION")
    try:
        values["DUE"] = [start + vDuration.from_ical(text)]  # type: ignore[no-untyped-call]
    except (ValueError, ArithmeticError):
        what = "is not a length of time such as P1D, or ends behind the year 9999"
        raise ValueError(f"DURATION {what}: {brief(text)!r}") from None


def _adapt(task: dict[str, Any], rest: dict[str, Any], note: Note) -> Mapping[str, Any] | None:
    if said := rest.get(_NO_TASK):
        note(said)
        return None
    _name(task, note)
    task["status"] = _status(task, rest, note)
    if task["status"] is not TaskStatus.DONE and task["completed_at"]:
        rest["COMPLETED"], task["completed_at"] = task["completed_at"], None
    stamp = rest.pop("DTSTAMP", None)
    task["created_at"], task["updated_at"] = task["created_at"] or stamp, task["updated_at"] or stamp
    priority = words(task["priority"] or "0").strip()
    if priority not in _PRIORITIES:
        rest["PRIORITY"] = priority
    task["priority"] = _PRIORITIES.get(priority, "medium")
    if recurrence := rest.pop("RECURRENCE-ID", None):
        task["external_id"] = f"{task['external_id']}/{words(recurrence)}"
    if rest.pop(_BINARY, None):
        note("attached files were not kept")
    if not all(map(is_time, rest.get("DTSTART", []))):
        note("DTSTART is not a time, or its time zone is unknown: it was kept as text")
    for nested in dict.fromkeys(rest.pop(_NESTED, [])):
        note("the reminder (VALARM) was not kept" if nested == "VALARM" else f"{nested} was not kept")
    for name in [name for name in rest if name.startswith("X-")]:
        del rest[name]
        note(f"{brief(name)} was not kept")
    return {name.lower(): text for name in sorted(rest) if (text := _in_words(rest[name]).strip())}


def _name(task: dict[str, Any], note: Note) -> None:
    if not words(task["title"] or "").strip():
        note("SUMMARY is missing, so the title is the beginning of the description or (no title)")
        lines = words(task["description"] or "").split("\n")
        task["title"] = next((line.strip() for line in lines if line.strip()), "(no title)")


def _status(task: Mapping[str, Any], rest: dict[str, Any], note: Note) -> TaskStatus:
    """Return the status by STATUS or, without it, by how much is done."""
    percent = words(rest.get("PERCENT-COMPLETE", "0")).strip()
    if percent in ("0", "100"):
        rest.pop("PERCENT-COMPLETE", None)
    if given := task["status"]:
        word = re.sub("[ _]", "-", words(given).strip().upper())
        if word in _STATUSES:
            return _STATUSES[word]
        rest["STATUS"] = given
        note(f"STATUS {brief(given)!r} is unknown, so it was kept as text")
    if task["completed_at"] or percent == "100":
        return TaskStatus.DONE
    return TaskStatus.TODO if percent == "0" else TaskStatus.IN_PROGRESS


def _in_words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_in_words, value))
    text = words(value)
    return in_utc(text) if text.endswith("+00:00") else text


def _recognises(sample: Sample) -> bool:
    return sample.head.lstrip("\ufeff")[:15].upper() == "BEGIN:VCALENDAR"


FORMAT = ForeignFormat(
    fields=_FIELDS,
    read=_read,
    adapt=_adapt,
    recognises=_recognises,
    left_out=("SEQUENCE", "TRANSP"),
    prefix="ics:",
    unit="line",
)
