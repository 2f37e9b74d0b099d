"""Temporary tables with the rows of an archive that are brought back into a database."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import sqlalchemy as sa

from taskdb_cli import errors
from taskdb_cli.backup.create import Progress, reported
from taskdb_cli.backup.restore import Rows, counted, require_same_layout
from taskdb_cli.backup.row_lines import Lines
from taskdb_cli.backup.selection import UserSearch, fields_of, rows_where
from taskdb_cli.database.content import Content, Layout, with_ids_left
from taskdb_cli.models import metadata
from taskdb_cli.models.types import MAX_ID, BigNumber, Flag
from taskdb_cli.text.escaping import brief

BATCH_ROWS = 1000


def _archived(name: str) -> sa.Table:
    """Return the temporary table for archived rows of a table, and for what they mean to the database."""
    columns = [
        sa.Column(
            each.name, Flag() if isinstance(each.type, Flag) else each.type, primary_key=each.name == "id"
        )
        for each in metadata().tables[name].columns
    ]
    columns += [
        # Whether it was named, apart from the owners of tasks that were named.
        sa.Column("asked", Flag()),
        # The user in the database who owns the task.
        sa.Column("owner", BigNumber),
        # The id of the same row in the database.
        sa.Column("live_id", BigNumber, index=True),
        # The id that the row has or gets there; NULL until it is given one.
        sa.Column("new_id", BigNumber),
        sa.Column("differs", Flag()),
        sa.Column("outcome", sa.Text),
    ]
    return sa.Table(
        f"taskdb_archived_{name}", sa.MetaData(), *columns, prefixes=["TEMPORARY"], sqlite_strict=True
    )


USERS, TASKS = (metadata().tables[name] for name in ("users", "tasks"))
OLD_USERS, OLD_TASKS = _archived("users"), _archived("tasks")


def load_archived(
    content: Content,
    rows: Rows,
    archive: object,
    *,
    users: Sequence[str | range],
    tasks: Sequence[int | range],
    progress: Progress,
) -> None:
    """Make the tables, and load users with their tasks, and single tasks with their owners.

    Both tables of the archive are read once, to its end, which verifies it. Raises NotFound for what the
    archive does not hold, SchemaDrift and DataCorrupt.
    """
    connection, search = content.connection, UserSearch(users)
    require_same_layout(rows, content)
    (of_users, read_users), (of_tasks, read_tasks) = counted(rows).items()
    with closing(read_users()) as chunks:
        lines = Lines(of_users, str(archive))
        # The owners of tasks are not known yet.
        found = search.rows(lines, reported(chunks, progress, 0), everybody=bool(tasks))
        _fill(content, OLD_USERS, of_users, found)
    search.require(archive)
    wanted = {"id": fields_of(_each(tasks)), "user_id": fields_of(search.found)}
    with closing(read_tasks()) as chunks:
        lines = Lines(of_tasks, str(archive))
        _fill(content, OLD_TASKS, of_tasks, rows_where(lines, reported(chunks, progress, 0), wanted))
    _require_tasks(connection, tasks, archive)
    for some in _at_once([*search.found]):
        connection.execute(sa.update(OLD_USERS).where(OLD_USERS.c.id.in_(some)).values(asked=True))
    needed = sa.select(OLD_TASKS.c.user_id)
    others = OLD_USERS.c.asked.is_(None) & OLD_USERS.c.id.not_in(needed)
    connection.execute(sa.delete(OLD_USERS).where(others))
    if connection.scalar(needed.where(OLD_TASKS.c.user_id.not_in(sa.select(OLD_USERS.c.id))).limit(1)):
        raise errors.DataCorrupt("a task has no owner in the archive", "use another archive")
    connection.commit()


def _fill(content: Content, table: sa.Table, layout: Layout, text: Iterator[bytes]) -> None:
    table.create(content.connection, checkfirst=False)
    checked = with_ids_left(layout.table, layout.names, text)
    content.load(Layout(table.name, layout.columns), checked)
    # Without statistics a server would choose bad plans for many rows.
    content.connection.exec_driver_sql(f"ANALYZE {table.name}")


def _require_tasks(connection: sa.Connection, tasks: Sequence[int | range], archive: object) -> None:
    there = set[int]()
    for some in _at_once([id for id in _each(tasks) if 0 < id <= MAX_ID]):
        there.update(connection.scalars(sa.select(OLD_TASKS.c.id).where(OLD_TASKS.c.id.in_(some))))
    for task in tasks:
        if there.isdisjoint(_each([task])):
            name = f"tasks {task[0]}-{task[-1]}" if isinstance(task, range) else f"task {brief(task)}"
            hint = "'taskdb backup show ARCHIVE --user USER' lists what an archive holds of a user"
            raise errors.NotFound(f"{archive} holds no {name}", hint)


def _each(ids: Sequence[int | range]) -> list[int]:
    return [each for id in ids for each in (id if isinstance(id, range) else [id])]


def _at_once(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + BATCH_ROWS] for start in range(0, len(ids), BATCH_ROWS))
