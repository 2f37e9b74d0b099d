"""Tasks of Taskwarrior: an array, or one task a line, as `task export` prints them."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, TextIO

from taskdb_cli.models.vocabulary import TaskStatus
from taskdb_cli.transfer.foreign import ForeignFormat, Note, Sample, words
from taskdb_cli.transfer.json_records import read_array, read_objects
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
_DATE = re.compile(r"\d{8}T\d{6}Z")


def _read(text: TextIO) -> Iterator[Found]:
    beginning = text.read(1)
    while beginning.isspace():
        beginning = text.read(1)
    text.seek(0)
    return read_array(text) if beginning == "[" else read_objects(text, separator=",")


def _adapt(task: dict[str, Any], rest: dict[str, Any], _: Note) -> Mapping[str, Any]:
    status = _take_status(task, rest)
    if status is not TaskStatus.DONE and task["completed_at"] is not None:
        rest["end"], task["completed_at"] = task["completed_at"], None
    for ours in ("due_at", "completed_at", "created_at", "updated_at"):
        if task[ours] is not None:
            task[ours] = _required_date(task[ours], FORMAT.their_name(ours))
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
    word = task["status"]
    if not isinstance(word, str) or word not in _STATUSES:
        raise ValueError(f"status must be one of {', '.join(_STATUSES)}, not {word!r}")
    if word in ("waiting", "recurring"):
        rest["status"] = word
    status = _STATUSES[word]
    if status is TaskStatus.TODO and "start" in rest:
        status = TaskStatus.IN_PROGRESS
    task["status"] = status.value
    return status


def _required_date(value: object, name: str) -> str:
    if moment := _date(value):
        return moment.isoformat()
    raise ValueError(f"{name} is not a time such as 20180914T103257Z")


def _date(value: object) -> datetime | None:
    if isinstance(value, str) and _DATE.fullmatch(value):
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    return None


def _in_words(value: object) -> str:
    if moment := _date(value):
        return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
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
