"""Tasks of Todoist's CSV, the template or backup of one project: rows of tasks, sections and comments."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, TextIO
from zoneinfo import ZoneInfo

from taskdb_cli.text.escaping import brief
from taskdb_cli.text.phrases import MONTHS
from taskdb_cli.transfer.foreign import ForeignFormat, Note, read_table
from taskdb_cli.transfer.lines import LONGEST_RECORD, Found
from taskdb_cli.transfer.record_ids import record_ids

_FIELDS = {
    "id": "external_id",
    "CONTENT": "title",
    "DESCRIPTION": "description",
    "PRIORITY": "priority",
    "DATE": "due_at",
}
_COLUMNS = ("TYPE", "CONTENT", "PRIORITY")
_PRIORITIES = {"1": "urgent", "2": "high", "3": "medium", "4": "low"}
_TEXTS = ("section", "parent", "RESPONSIBLE", "AUTHOR", "date", "DEADLINE", "DURATION", "DURATION_UNIT")
"""The columns that become text, in this order. Others follow."""

_LEFT_OUT = ("INDENT", "DATE_LANG", "DUE_DATE_LANG", "DEADLINE_LANG", "IS_COLLAPSED")
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?P<clock>[T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?(?P<zone>Z|[+-]\d\d(:?\d\d)?)?")
_WORDS = re.compile(
    r"(?:(?P<day>\d\d?) (?P<month>[a-z]{3,9})|(?P<month2>[a-z]{3,9}) (?P<day2>\d\d?))(?:,? (?P<year>\d{4}))?"
    r"(?:,? (?:at |@ ?)?(?P<hour>\d\d?)(?::(?P<minute>\d\d))? ?(?P<half>[ap]m)?)?"
)
_NOON = 12


def _read(text: TextIO) -> Iterator[Found]:
    """Yield a record for each row that is no comment. A comment is added to the task before it."""
    section, parents, size = "", dict[int, str](), 0
    waiting: tuple[int, dict[str, Any]] | None = None
    with record_ids() as id_of:
        for number, row in read_table(text, _COLUMNS):
            if not isinstance(row, dict):
                yield number, row
                continue
            if "DUE_DATE" in row and not row.get("DATE"):
                row["DATE"] = row.pop("DUE_DATE")
            kind = row["TYPE"] = row["TYPE"].strip().lower()
            if kind == "note" and waiting and waiting[1]["TYPE"] == "task":
                size += len(comment := _comment(row)) + 1
                if size < LONGEST_RECORD:
                    waiting[1].setdefault("comments", []).append(comment)
                continue
            if waiting:
                yield waiting
            if kind == "section":
                section, parents = row["CONTENT"], {}
            elif kind == "task":
                depth = int(row["INDENT"]) if re.fullmatch(r"\d{1,3}", row.get("INDENT", "")) else 1
                parents = {level: title for level, title in parents.items() if level < depth}
                row |= {
                    "id": id_of("\x1f".join(row.values()).rstrip("\x1f")),
                    "section": section,
                    "parent": parents[max(parents)] if parents else "",
                }
                parents[depth] = row["CONTENT"]
            waiting, size = (number, row), 0
    if waiting:
        yield waiting


def _comment(row: Mapping[str, str]) -> str:
    by = ", ".join(filter(None, (row.get("AUTHOR", ""), row.get("DATE", ""))))
    comment = f"{by}: {row['CONTENT']}" if by else row["CONTENT"]
    said = ("TYPE", "CONTENT", "AUTHOR", "DATE", "TIMEZONE", "DURATION_UNIT", *_LEFT_OUT)
    others = [f"{_label(name)}: {cell}" for name, cell in row.items() if cell.strip() and name not in said]
    return "\n".join([comment, *others])


def _label(name: str) -> str:
    return name.lower().replace("_", " ")


def _adapt(task: dict[str, Any], rest: dict[str, Any], note: Note) -> Mapping[str, Any] | None:
    kind = rest.pop("TYPE", "")
    if kind != "task":
        _note_loss(kind, task, note)
        return None
    for name in _LEFT_OUT:
        rest.pop(name, None)
    zone = rest.pop("TIMEZONE", "")
    if "DURATION" not in rest:
        # Todoist writes the unit None then.
        rest.pop("DURATION_UNIT", None)
    if given := task["priority"]:
        task["priority"] = _PRIORITIES.get(given.strip().lower().removeprefix("p"))
        if task["priority"] is None:
            hint = (
                "" if given.strip(" pP").isdigit() else " (a comma in CONTENT needs quotes around the cell)"
            )
            raise ValueError(f"PRIORITY must be 1, 2, 3 or 4, not {brief(given)!r}{hint}")
    words = task["due_at"]
    if words and (due := _due(words, zone, note)) is None:
        note("DATE is no fixed day: it was kept as text")
        rest["date"] = words
    task["due_at"] = due if words else None
    if task["due_at"] is None and (due := _due(rest.get("DEADLINE", ""), zone, note)):
        task["due_at"] = due
        del rest["DEADLINE"]
    texts = [task["description"], *rest.pop("comments", [])]
    task["description"] = "\n\n".join(filter(None, texts))
    order = [*(name for name in _TEXTS if name in rest), *(name for name in rest if name not in _TEXTS)]
    return {_label(name): rest[name] for name in order}


def _note_loss(kind: str, row: Mapping[str, Any], note: Note) -> None:
    if kind == "section":
        if row["description"]:
            note("the description of a section was not kept")
    elif kind == "note":
        note("a comment on the project was not kept")
    elif kind == "meta":
        note("the settings of the view were not kept")
    else:
        raise ValueError(f"TYPE must be task, section or note, not {brief(kind)!r}")


def _due(text: str, zone: str, note: Note) -> str | None:
    """Return a day, or a point in time, in ISO 8601, or None for words that mean another one every day."""
    text = " ".join(text.split())
    if found := _ISO.fullmatch(text):
        return _in_zone(text, zone) if found["clock"] and not found["zone"] else text
    found = _WORDS.fullmatch(text.lower())
    if found is None:
        return None
    name = found["month"] or found["month2"]
    months = [number for number, month in enumerate(MONTHS, 1) if name in (month, month[:3], month[:4])]
    hour, half = int(found["hour"] or 0), found["half"]
    year = found["year"] or (note.now and note.now.year)
    if (
        not (months and year)
        or (found["hour"] and not (found["minute"] or half))
        or (half and not 1 <= hour <= _NOON)
    ):
        return None
    minute = int(found["minute"] or 0)
    hour = hour % _NOON + (_NOON if half == "pm" else 0) if half else hour
    with suppress(ValueError):
        moment = datetime(int(year), months[0], int(found["day"] or found["day2"]), hour, minute)  # noqa: DTZ001
        if not found["year"]:
            note("DATE names no year: this year was taken")
        return _in_zone(moment.isoformat(), zone) if found["hour"] else moment.date().isoformat()
    return None


def _in_zone(text: str, zone: str) -> str:
    """Return a time with the offset of the zone. One whose zone is unknown is local."""
    with suppress(ValueError, OSError, LookupError):
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).isoformat()
    return text


FORMAT = ForeignFormat(
    fields=_FIELDS,
    read=_read,
    adapt=_adapt,
    recognises=lambda sample: sample.has_columns((*_COLUMNS, "INDENT"), within=2),
    prefix="todoist:",
    remark="Todoist's CSV has no ids: a row that is edited becomes a new task",
)
