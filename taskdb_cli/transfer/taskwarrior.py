"""Tasks of Taskwarrior. An attribute without a field here becomes text in the description."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from taskdb_cli.models.fields import TITLE_LENGTH
from taskdb_cli.models.vocabulary import TaskStatus

# Taskwarrior computes these whenever it shows a task.
_COMPUTED = ("id", "urgency")
_STATUSES = {
    "pending": TaskStatus.TODO,
    "waiting": TaskStatus.TODO,
    "recurring": TaskStatus.TODO,
    "completed": TaskStatus.DONE,
    "deleted": TaskStatus.CANCELLED,
}
_PRIORITIES = {"H": "high", "M": "medium", "L": "low"}
_DATE = re.compile(r"\d{8}T\d{6}Z")
_BEYOND_ONE_LINE = re.compile(r"[\t\n\r]")


def to_task(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a task. A field that Taskwarrior left out is None.

    Raises ValueError for an unknown status or an invalid date.
    """
    rest = {name: value for name, value in values.items() if value not in (None, "", [])}
    for name in _COMPUTED:
        rest.pop(name, None)
    text = rest.pop("description", None)
    title = _title(text) if isinstance(text, str) else text
    status = _status(rest)
    task = {
        "external_id": rest.pop("uuid", None),
        "title": title,
        "status": status.value,
        "priority": _priority(rest),
        "due_at": _take_date(rest, "due"),
        "completed_at": _take_date(rest, "end") if status is TaskStatus.DONE else None,
        "created_at": _take_date(rest, "entry"),
        "updated_at": _take_date(rest, "modified"),
    }
    task["description"] = _description(text if title != text else None, rest)
    return task


def _status(rest: dict[str, Any]) -> TaskStatus:
    word = rest.pop("status", None)
    if not isinstance(word, str) or word not in _STATUSES:
        raise ValueError(f"status must be one of {', '.join(_STATUSES)}, not {word!r}")
    status = _STATUSES[word]
    if status is TaskStatus.TODO and "start" in rest:
        status = TaskStatus.IN_PROGRESS
    if word in ("waiting", "recurring"):
        rest["status"] = word
    return status


def _priority(rest: dict[str, Any]) -> str:
    # A priority that the user defined stays in `rest` and becomes text.
    value = rest.get("priority")
    if not isinstance(value, str) or value not in _PRIORITIES:
        return "medium"
    return _PRIORITIES[rest.pop("priority")]


def _take_date(rest: dict[str, Any], name: str) -> str | None:
    value = rest.pop(name, None)
    if value is None:
        return None
    moment = _date(value)
    if moment is None:
        raise ValueError(f"{name} is not a time such as 20180914T103257Z")
    return moment.isoformat()


def _date(value: object) -> datetime | None:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def _title(text: str) -> str:
    if len(text) <= TITLE_LENGTH and not _BEYOND_ONE_LINE.search(text):
        return text
    line = next((line for line in re.split(r"[\n\r]+", text.replace("\t", " ")) if line.strip(" ")), "")
    return line[: TITLE_LENGTH - 1] + "…"


def _description(whole: str | None, rest: dict[str, Any]) -> str | None:
    annotations = rest.pop("annotations", [])
    lines = [f"{name}: {_words(rest[name])}" for name in ("project", "tags") if name in rest]
    lines += [f"{name}: {_words(rest[name])}" for name in sorted(rest) if name not in ("project", "tags")]
    notes = annotations if isinstance(annotations, list) else [annotations]
    parts = [whole, "\n".join(map(_annotation, notes)), "\n".join(lines)]
    return "\n\n".join(part for part in parts if part) or None


def _annotation(note: object) -> str:
    if isinstance(note, dict) and note.keys() == {"entry", "description"}:
        return f"{_words(note['entry'])}: {_words(note['description'])}"
    return _words(note)


def _words(value: object) -> str:
    if moment := _date(value):
        return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
