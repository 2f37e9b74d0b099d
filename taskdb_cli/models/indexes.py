"""The secondary indexes of tasks, one for each order that pages are taken in.

They are not part of the table's module. Only migrations and checks need them, and options of an engine make
SQLAlchemy load the dialect of that engine, which would slow every command down.
"""

from sqlalchemy import Index

from taskdb_cli.models.task import Task
from taskdb_cli.models.vocabulary import OPEN_STATUSES

_tasks = Task.metadata.tables["tasks"].c
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
