"""Tasks of Taskwarrior: an array, or one task a line, as `task export` prints them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from taskdb_cli.models.vocabulary import TaskStatus
from taskdb_cli.text.escaping import brief
from taskdb_cli.transfer.foreign import ForeignFormat, Note, Sample, in_utc, words
from taskdb_cli.transfer.json_records import read_json
from taskdb_cli.transfer.lines import Found

_FIELDS = {
    "uuid": "external_id",
    "description": "title",
    "status": "status",
    "priority": "priority",
    "due": "due_at",
    "end": "completed_at",
    "entry": "created_at",
    "modified": "updated_at",
}
_STATUSES = {
    "pending": TaskStatus.TODO,
    "waiting": TaskStatus.TODO,
    "recurring": TaskStatus.TODO,
    "completed": TaskStatus.DONE,
    "deleted": TaskStatus.CANCELLED,
}
_PRIORITIES = {"H": "high", "M": "medium", "L": "low"}
_DATE = re.compile(r"(\d{8}T\d{6}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)Z")


def _read(text: TextIO) -> Iterator[Found]:
    return read_json(text, separator=",")


def _adapt(task: dict[str, Any], rest: dict[str, Any], _: Note) -> Mapping[str, Any]:
    status = _take_status(task, rest)
    if status is not TaskStatus.DONE and task["completed_at"] is not None:
        rest["end"], task["completed_at"] = task["completed_at"], None
    priority = task["priority"]
    task["priority"] = _PRIORITIES.get(priority, "medium") if isinstance(priority, str) else "medium"
    if priority not in (None, *_PRIORITIES):
        # One that the user defined.
        rest["priority"] = priority
    notes = rest.pop("annotations", [])
    task["description"] = "\n".join(map(_in_words, notes if isinstance(notes, list) else [notes]))
    names = sorted(rest, key=lambda name: (name not in ("project", "tags"), name))
    return {name: _in_words(rest[name]) for name in names}


def _take_status(task: dict[str, Any], rest: dict[str, Any]) -> TaskStatus:
    given = task["status"]
    word = "pending" if given is None else given.strip().lower() if isinstance(given, str) else ""
    if word not in _STATUSES:
        raise ValueError(f"status must be one of {', '.join(_STATUSES)}, not {brief(given)!r}")
    if word in ("waiting", "recurring"):
        rest["status"] = word
    status = _STATUSES[word]
    if status is TaskStatus.TODO and "start" in rest:
        status = TaskStatus.IN_PROGRESS
    task["status"] = status.value
    return status


def _in_words(value: object) -> str:
    if isinstance(value, str) and _DATE.fullmatch(value):
        return in_utc(value)
    if isinstance(value, list):
        return ", ".join(map(_in_words, value))
    if isinstance(value, dict) and value.keys() == {"entry", "description"}:
        return f"{_in_words(value['entry'])}: {_in_words(value['description'])}"
    return words(value)


def _recognises(sample: Sample) -> bool:
    return sample.first.keys() >= {"uuid", "entry", "description"} and "title" not in sample.first


FORMAT = ForeignFormat(
    fields=_FIELDS,
    read=_read,
    adapt=_adapt,
    recognises=_recognises,
    left_out=("id", "urgency"),
    remark="skipped id and urgency (Taskwarrior recomputes them)",
)
