"""What an archive holds of one user, as records, without a restore."""

from collections.abc import Generator
from contextlib import closing

from taskdb_cli.backup.restore import Rows, counted
from taskdb_cli.backup.row_lines import Lines, Values
from taskdb_cli.backup.selection import UserSearch, fields_of, rows_where
from taskdb_cli.models.vocabulary import TASK_FIELDS, USER_FIELDS


def open_user(archived: Rows, ref: str, archive: object) -> tuple[Values, Generator[Values, None, None]]:
    """Return the record of a user, and a generator of the records of their tasks in the order of the ids.

    Each table is read once, and at constant memory. Raises NotFound with addresses that are like the one
    that is missing, and DataCorrupt, at the latest after the last task.
    """
    (of_users, read_users), (of_tasks, read_tasks) = counted(archived).items()
    search, users, found = UserSearch([ref]), Lines(of_users, str(archive)), Lines(of_tasks, str(archive))
    with closing(read_users()) as chunks:
        [*named] = users.records(search.rows(users, chunks))
    search.require(archive)
    user = named[0]

    def tasks() -> Generator[Values, None, None]:
        wanted = {"user_id": fields_of([user["id"]])}
        with closing(read_tasks()) as chunks:
            for values in found.records(rows_where(found, chunks, wanted)):
                # A later revision may have added columns.
                yield {name: values.get(name) for name in TASK_FIELDS} | {"user": user["email"]}

    return {name: user.get(name) for name in USER_FIELDS}, tasks()
