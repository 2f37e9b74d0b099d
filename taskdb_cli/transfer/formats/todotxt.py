"""Tasks of a todo.txt: one a line, which may begin with x, a priority and dates."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from taskdb_cli.models.vocabulary import TASK_FIELDS, USER_FIELDS
from taskdb_cli.transfer.foreign import ForeignFormat, Note, Sample, headers, is_time
from taskdb_cli.transfer.lines import LONGEST_RECORD, TOO_LONG, Found, read_lines, undecodable
from taskdb_cli.transfer.record_ids import record_ids

_FIELDS = {
    "id": "external_id",
    "text": "title",
    "x": "status",
    "priority": "priority",
    "due": "due_at",
    "completion date": "completed_at",
    "creation date": "created_at",
}
_PRIORITIES = {"A": "urgent", "B": "high", "C": "medium"}
"""Those below are low, and a task without one has the priority that a new task has."""

_DATE = r"(?:(\d{4}-\d\d-\d\d) ++)?"
_BEGINNING = re.compile(rf"(x ++)?(?:\(([A-Z])\) ++)?{_DATE}{_DATE}")
_LATE_PRIORITY = re.compile(r"^x ++((?:\d{4}-\d\d-\d\d ++){1,2})(\([A-Z]\) ++)")
"""Some programs write the priority of a done task after its date of completion."""

_DUE = re.compile(r"(?:^| )due:(\d{4}-\d\d-\d\d)(?= |$)")
_PRIORITY = re.compile(r"(?:^| )pri:([A-Z])(?= |$)")
_NAME = re.compile(r"(.*[^a-z])?(todo|done)([^a-z].*)?\.txt|.*\.todotxt")


def _read(text: TextIO) -> Iterator[Found]:
    number, whole = 0, True
    with record_ids() as id_of:
        for line in read_lines(text):
            begins, whole = whole, len(line) < LONGEST_RECORD or line.endswith(("\n", "\r"))
            number += begins
            if begins and len(line) >= LONGEST_RECORD:
                yield number, TOO_LONG
            elif begins and (reason := undecodable(line, number, text.encoding)):
                yield number, reason
            elif begins and (task := line.strip()):
                yield number, {"id": id_of(task), "text": task}


def _adapt(task: dict[str, Any], _: dict[str, Any], note: Note) -> Mapping[str, Any]:
    line: str = _LATE_PRIORITY.sub(r"x \2\1", task["title"], count=1)
    found = _BEGINNING.match(line)
    assert found is not None
    done, letter, *dates = found.groups()
    first, second = (each if each and is_time(each) else None for each in dates)
    # Two dates stand behind x only, and a date that no calendar has is text.
    if first != dates[0] or second != dates[1] or (second and not done):
        first = second = None
    text = line[found.end() if first else found.end(2) + 1 if letter else found.end(1) if done else 0 :]
    task["status"] = "done" if done else "todo"
    task["completed_at"] = first if done else None
    task["created_at"] = second if done else first
    if (due := _DUE.search(text)) and is_time(due[1]):
        task["due_at"], text = due[1], text[: due.start()] + text[due.end() :]
    elif re.search(r"(?:^| )due:", text):
        note("due: is not a date such as 2026-12-01: it was kept in the title")
    if done and not letter and (given := _PRIORITY.search(text)):
        letter, text = given[1], text[: given.start()] + text[given.end() :]
    if letter:
        task["priority"] = _PRIORITIES.get(letter, "low")
        if letter > "D":
            note("a priority below D became low, as D does")
    task["title"] = text.strip() or line
    return {}


def _recognises(sample: Sample) -> bool:
    return not sample.first and bool(_NAME.fullmatch(sample.name)) and not _is_csv(sample.head)


def _is_csv(head: str) -> bool:
    """Return whether a file begins with a header of CSV. Its other columns may be wrong."""
    return any(
        len(cells) > 1
        and any(cell.lower() in (*TASK_FIELDS, *USER_FIELDS) for cell in cells)
        and not any(cell.startswith(("+", "@")) for cell in cells)
        for _, cells in headers(head)
    )


FORMAT = ForeignFormat(
    fields=_FIELDS,
    read=_read,
    adapt=_adapt,
    recognises=_recognises,
    prefix="todotxt:",
    remark="todo.txt has no ids: a line that is edited becomes a new task",
)
