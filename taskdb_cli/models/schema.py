"""The rest of the schema: the identity of a database, and the secondary indexes.

The indexes are not part of the module of their table. Only migrations and checks need them, and options of
an engine make SQLAlchemy load the dialect of that engine, which would slow every command down.
"""

from typing import ClassVar

from sqlalchemy import Column, Index, Integer
from sqlalchemy.sql.expression import column
from sqlmodel import Field, SQLModel

from taskdb_cli.models import types
from taskdb_cli.models.history import CHANGES
from taskdb_cli.models.task import TASKS
from taskdb_cli.models.vocabulary import OPEN_STATUSES

_tasks = TASKS.c
_open = _tasks.status.in_(sorted(OPEN_STATUSES))

INDEXES = (
    Index("tasks_user_created", _tasks.user_id, _tasks.created_at, _tasks.id),
    Index("tasks_user_due", _tasks.user_id, _tasks.due_at, _tasks.id),
    Index("tasks_user_updated", _tasks.user_id, _tasks.updated_at, _tasks.id),
    Index("tasks_user_priority", _tasks.user_id, _tasks.priority, _tasks.id),
    Index("tasks_user_status_due", _tasks.user_id, _tasks.status, _tasks.due_at, _tasks.id),
    Index("tasks_created", _tasks.created_at, _tasks.id),
    Index("tasks_open_due", _tasks.due_at, _tasks.id, postgresql_where=_open, sqlite_where=_open),
)
"""The indexes of tasks, one for each order that pages are taken in."""

_changes = CHANGES.c
_moved = _changes.new_user_id.is_not(None)

HISTORY_INDEXES = (
    Index("taskdb_changes_operation", _changes.operation_id, _changes.id),
    # With the table first, SQLite without statistics would use it to find the changes of an operation.
    Index("taskdb_changes_row", _changes.row_id, _changes.table_name),
    Index("taskdb_changes_owner", _changes.owner_id),
    Index("taskdb_changes_new_owner", _changes.new_user_id, postgresql_where=_moved, sqlite_where=_moved),
)
"""The indexes of the history: what an operation changed, in order, the life of a row, and who owned it."""


class DatabaseIdentity(SQLModel, table=True):
    """The one row that says which database this is: a UUID in lower case. Archives carry it."""

    __tablename__: ClassVar[str] = "taskdb_identity"
    __table_args__ = (
        types.check("taskdb_identity", "single_row", column("id", Integer) == 1),
        types.check("taskdb_identity", "identity_uuid", types.IsUuid(column("identity"))),
        {"sqlite_strict": True},
    )

    id: int = Field(default=1, sa_column=Column(types.BigNumber, primary_key=True, autoincrement=False))
    identity: str = Field(sa_column=Column(types.text_type(), nullable=False))
