"""Tasks of TickTick's backup: a CSV with other lines before the header."""

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, TextIO
from zoneinfo import ZoneInfo

from taskdb_cli.text.escaping import brief
from taskdb_cli.transfer.foreign import MOST_LINES, ForeignFormat, Note, in_utc, read_table
from taskdb_cli.transfer.lines import Found
from taskdb_cli.transfer.record_ids import record_ids

_FIELDS = {
    "id": "external_id",
    "Title": "title",
    "Content": "description",
    "Status": "status",
    "Priority": "priority",
    "Due Date": "due_at",
    "Completed Time": "completed_at",
    "Created Time": "created_at",
}
_COLUMNS = ("List Name", "Title", "Status")
_STATUSES = {"": "todo", "0": "todo", "1": "done", "2": "done", "-1": "cancelled"}
"""1 is completed, and 2 is completed too: some versions put it away in the archive. -1 is abandoned."""

_PRIORITIES = {"": "medium", "0": "medium", "1": "low", "3": "medium", "5": "high"}
_VIEW = ("Order", "Column Order", "View Mode", "Is Check list", "projectKind")
_ORDINARY = {"Kind": ("TEXT", "CHECKLIST"), "Is Floating": ("false",)}
"""Values that nearly every task has. They are left out."""

_MOST_PARENTS = 10_000
_UNTITLED = "(no title)"


def _read(text: TextIO) -> Iterator[Found]:
    titles = OrderedDict[str, str]()
    with record_ids() as id_of:
        for number, row in read_table(text, _COLUMNS):
            if isinstance(row, dict):
                own = row.pop("taskId", "").strip()
                # Versions that count the tasks of a file give the number to another task the next time.
                what = row.get("Created Time", ""), row.get("List Name", ""), row["Title"]
                row["id"] = id_of("\x1f".join(what)) if re.fullmatch(r"\d*", own) else own
                if parent := titles.get(row.get("parentId", "").strip()):
                    row["parent"] = parent
                    del row["parentId"]
                # An id that is absent is the parent of none.
                if own:
                    titles[own] = row["Title"][:200]
                if len(titles) > _MOST_PARENTS:
                    titles.popitem(last=False)
            yield number, row


def _adapt(task: dict[str, Any], rest: dict[str, Any], note: Note) -> Mapping[str, Any]:
    task["status"] = _word("Status", task["status"], _STATUSES)
    task["priority"] = _word("Priority", task["priority"], _PRIORITIES)
    if not (task["title"] or "").strip():
        first = next((line for line in (task["description"] or "").splitlines() if line.strip()), None)
        task["title"] = first or _UNTITLED
        note("Title is empty: the first line of Content, or '(no title)', stands for it")
    if task["status"] != "done" and task["completed_at"]:
        rest["Completed Time"], task["completed_at"] = in_utc(task["completed_at"]), None
    zone, whole_day = rest.pop("Timezone", ""), rest.pop("Is All Day", "").lower() == "true"
    if rest.get("Start Date") == task["due_at"]:
        rest.pop("Start Date", None)
    if whole_day and task["due_at"]:
        task["due_at"] = _day(task["due_at"], zone)
    if start := rest.get("Start Date"):
        rest["Start Date"] = _day(start, zone) if whole_day else in_utc(start)
    if "Repeat" in rest:
        note("Repeat was kept as text: the task does not come again")
    if "parentId" in rest:
        note("the title of the parent is not known: its number was kept as text")
    return {
        name: value
        for name, value in rest.items()
        if name not in _VIEW and value not in _ORDINARY.get(name, ())
    }


def _word(name: str, value: str | None, words: Mapping[str, str]) -> str:
    word = words.get((value or "").strip())
    if word is None:
        raise ValueError(f"{name} must be one of {', '.join(filter(None, words))}, not {brief(value)!r}")
    return word


def _day(text: str, zone: str) -> str:
    """Return the day that begins at this moment in the zone of the task."""
    with suppress(ValueError, OSError, LookupError, OverflowError):
        if "T" not in text:
            return text
        return datetime.fromisoformat(text).astimezone(ZoneInfo(zone)).date().isoformat()
    return text


FORMAT = ForeignFormat(
    fields=_FIELDS,
    read=_read,
    adapt=_adapt,
    recognises=lambda sample: sample.has_columns((*_COLUMNS, "Priority"), within=MOST_LINES),
    prefix="ticktick:",
    remark="skipped the order of tasks and lists; a task that is renamed in TickTick becomes a new task",
)
