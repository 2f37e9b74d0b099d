"""Words, flags and ids as other programs write them."""

import re
from typing import Any

from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus

# In small letters, with a space for each run of blanks, hyphens and underscores.
_WORDS: dict[str, dict[str, str | bool]] = {
    "status": {
        **{status.replace("_", " "): status.value for status in TaskStatus},
        "inprogress": "in_progress",
        "to do": "todo",
        "canceled": "cancelled",
    },
    "priority": {priority.word: priority.word for priority in TaskPriority},
    "is_active": {
        **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
        **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
    },
}
_OURS = frozenset({*TaskStatus, *(priority.word for priority in TaskPriority)})
_MARKS = re.compile(r"[\s_-]+")


def translate(record: dict[str, Any]) -> None:
    """Write the values of a record as taskdb does. A blank word is left out, and what is unknown stays.

    A record that has no status, but a time of completion, is done.
    """
    for name, meanings in _WORDS.items():
        value = record.get(name)
        if isinstance(value, str) and value not in _OURS:
            if word := _MARKS.sub(" ", value.strip().lower()):
                record[name] = meanings.get(word, value)
            else:
                del record[name]
    completed = record.get("completed_at")
    if "status" not in record and completed is not None and str(completed).strip():
        record["status"] = TaskStatus.DONE.value
    if type(flag := record.get("is_active")) in (int, float) and flag in (0, 1):
        record["is_active"] = bool(flag)
    if type(number := record.get("external_id")) is int:
        record["external_id"] = str(number)
    if isinstance(address := record.get("email"), str):
        record["email"] = address.strip()
