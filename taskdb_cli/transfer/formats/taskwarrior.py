"""Tasks of Taskwarrior. An attribute without a field here becomes text in the description."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
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


def to_task(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a task. A field that Taskwarrior left out is None.

    Raises ValueError for an unknown status or an invalid date.
    """
    rest = {
        name: value for name, value in values.items() if name not in _COMPUTED and value not in (None, "", [])
    }
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
    if word in ("waiting", "recurring"):
        rest["status"] = word
    status = _STATUSES[word]
    return TaskStatus.IN_PROGRESS if status is TaskStatus.TODO and "start" in rest else status


def _priority(rest: dict[str, Any]) -> str:
    # A priority that the user defined stays in `rest` and becomes text.
    theirs = rest.get("priority")
    return _PRIORITIES[rest.pop("priority")] if theirs in ("H", "M", "L") else "medium"


def _take_date(rest: dict[str, Any], name: str) -> str | None:
    if name not in rest:
        return None
    if moment := _date(rest.pop(name)):
        return moment.isoformat()
    raise ValueError(f"{name} is not a time such as 20180914T103257Z")


def _date(value: object) -> datetime | None:
    if isinstance(value, str) and _DATE.fullmatch(value):
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    return None


def _title(text: str) -> str:
    if len(text) <= TITLE_LENGTH and not re.search(r"[\t\n\r]", text):
        return text
    line = next((line for line in re.split(r"[\n\r]+", text.replace("\t", " ")) if line.strip(" ")), "")
    return line[: TITLE_LENGTH - 1] + "…"


def _description(whole: str | None, rest: dict[str, Any]) -> str | None:
    notes = rest.pop("annotations", [])
    notes = notes if isinstance(notes, list) else [notes]
    names = sorted(rest, key=lambda name: (name not in ("project", "tags"), name))
    parts = [
        whole,
        "\n".join(map(_words, notes)),
        "\n".join(f"{name}: {_words(rest[name])}" for name in names),
    ]
    return "\n\n".join(part for part in parts if part) or None


def _words(value: object) -> str:
    if moment := _date(value):
        return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    if isinstance(value, dict) and value.keys() == {"entry", "description"}:
        return f"{_words(value['entry'])}: {_words(value['description'])}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
