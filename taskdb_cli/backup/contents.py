"""What an archive holds of one user, as records, without a restore."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

from taskdb_cli.backup.restore import Rows
from taskdb_cli.backup.selection import UserSearch, fields_of, rows_where
from taskdb_cli.database.content import Layout
from taskdb_cli.database.sqlite.copy_text import CONVERTERS, rows
from taskdb_cli.errors import DataCorrupt
from taskdb_cli.models.vocabulary import TASK_FIELDS, USER_FIELDS, TaskPriority, TaskStatus

Record = dict[str, Any]

_READ = {"integer": int, "text": str, "boolean": bool, "timestamp": datetime.fromisoformat}
_MEANINGS = {"status": TaskStatus, "priority": TaskPriority}


def open_user(archived: Rows, ref: str, archive: object) -> tuple[Record, Generator[Record, None, None]]:
    """Return the record of a user, and one that yields the records of their tasks in the order of the ids.

    Each table is read once, and at constant memory. Raises NotFound with addresses that are like the one
    that is missing, and DataCorrupt, at the latest after the last task.
    """
    of_users, of_tasks = archived
    search = UserSearch([ref])
    with closing(archived[of_users]()) as chunks:
        [*users] = _records(of_users, search.rows(of_users, chunks))
    search.require(archive)
    user = users[0]

    def tasks() -> Generator[Record, None, None]:
        wanted = {"user_id": fields_of([user["id"]])}
        with closing(archived[of_tasks]()) as chunks:
            for record in _records(of_tasks, rows_where(of_tasks, chunks, wanted)):
                # A later revision may have added columns.
                yield {name: record.get(name) for name in TASK_FIELDS} | {"user": user["email"]}

    return {name: user.get(name) for name in USER_FIELDS}, tasks()


def _records(layout: Layout, text: Iterable[bytes]) -> Iterator[Record]:
    converters = [CONVERTERS[column.type] for column in layout.columns]
    for row in rows(layout.table, text, converters):
        record: Record = {}
        try:
            for column, value in zip(layout.columns, row, strict=True):
                read = None if value is None else _READ[column.type](value)  # type: ignore[operator]
                meaning = _MEANINGS.get(column.name)
                record[column.name] = meaning(read) if meaning and read is not None else read
        except ValueError as exc:
            raise DataCorrupt(f"a row of {layout.table} is malformed", "use another archive") from exc
        yield record
