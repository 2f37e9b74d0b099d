"""The history: every operation that changed rows, and how it changed each of them."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Column, ForeignKey, Identity, Integer, Table, Text, and_, func
from sqlalchemy.sql.expression import column
from sqlmodel import Field, SQLModel

from taskdb_cli.models import fields, types
from taskdb_cli.models.task import TASKS
from taskdb_cli.models.user import USERS
from taskdb_cli.models.vocabulary import TASK_FIELDS, USER_FIELDS

COMMAND_LENGTH = 200
VERSION_LENGTH = 100
PLACE_LENGTH = 1000
ERASURE = "user erase"
"""The command of an operation that erased a user. It has no changes, and cannot be undone."""


class Operation(SQLModel, table=True):
    """A command or a request that changed rows, in one transaction."""

    __tablename__: ClassVar[str] = "taskdb_operations"
    __table_args__ = (
        *types.one_line_rules("taskdb_operations", "actor", fields.NAME_LENGTH),
        *types.one_line_rules("taskdb_operations", "command", COMMAND_LENGTH),
        *types.one_line_rules("taskdb_operations", "program_version", VERSION_LENGTH),
        *types.one_line_rules("taskdb_operations", "restored_from", PLACE_LENGTH),
        types.check("taskdb_operations", "rows_changed_not_negative", column("rows_changed") >= 0),
        *types.timestamp_rules("taskdb_operations", "at"),
        {"sqlite_autoincrement": True, "sqlite_strict": True},
    )

    id: int = Field(default=None, sa_column=Column(types.BigNumber, Identity(always=True), primary_key=True))
    at: datetime = Field(sa_column=Column(types.timestamp_type(), nullable=False))
    actor: str = Field(sa_column=Column(types.text_type(), nullable=False))
    """Who did it: TASKDB_ACTOR, the user of the system, or the name of an access token."""
    command: str = Field(sa_column=Column(types.text_type(), nullable=False))
    """The command or the route, without values."""
    program_version: str = Field(sa_column=Column(types.text_type(), nullable=False))
    rows_changed: int = Field(sa_column=Column(types.BigNumber, nullable=False))
    undoes: int | None = Field(default=None, sa_column=Column(types.BigNumber))
    """The operation that it undid, which may be pruned by now."""
    restored_from: str | None = Field(default=None, sa_column=Column(types.text_type()))
    """The archive that replaced everything. No older operation can be undone."""


OPERATIONS = Operation.metadata.tables["taskdb_operations"]

AGES = ("old", "new")

_OTHERWISE_KEPT = ("id", "user", "version")
"""Fields that are not a column of the table, or that a change has in columns of its own."""

RECORDED_FIELDS: dict[str, tuple[str, ...]] = {
    "users": tuple(name for name in USER_FIELDS if name not in _OTHERWISE_KEPT),
    "tasks": tuple(name for name in TASK_FIELDS if name not in _OTHERWISE_KEPT),
    # Only the name: a token that comes back would give access again.
    "access_tokens": ("name",),
}
"""The columns of each table whose values the history keeps."""


def _kept_columns() -> list[Column[Any]]:
    kept = {name: table.c[name].type for table in (USERS, TASKS) for name in RECORDED_FIELDS[table.name]}
    columns = []
    for name, of in kept.items():
        for age in AGES:
            rule = f"taskdb_changes_{age}_{name}_flag"
            kind = types.Flag(create_constraint=True, name=rule) if name == "is_active" else of
            columns.append(Column(f"{age}_{name}", kind))
    return columns


_VALUES = _kept_columns()
_TIMES = [column.name for column in _VALUES if column.name.endswith("_at")]

CHANGES = Table(
    "taskdb_changes",
    Operation.metadata,
    Column("id", types.BigNumber, Identity(always=True), primary_key=True),
    Column(
        "operation_id",
        types.BigNumber,
        ForeignKey("taskdb_operations.id", name="taskdb_changes_operation_id_fkey", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("table_name", types.text_type(), nullable=False),
    Column("row_id", types.BigNumber, nullable=False),
    # Whose row it is: the user themselves, or the owner of the task or token before the change.
    Column("owner_id", types.BigNumber),
    # NULL before a row was created and after it was deleted. A token has no version, and counts as 1.
    Column("version_before", Integer),
    Column("version_after", Integer),
    # The older version whose values the row got back by an undo.
    Column("same_as", Integer),
    *_VALUES,
    types.check("taskdb_changes", "table_name_known", column("table_name", Text).in_([*RECORDED_FIELDS])),
    types.check(
        "taskdb_changes",
        "versions",
        and_(
            func.coalesce(column("version_before", Integer), column("version_after", Integer), 0) >= 1,
            func.coalesce(column("version_after", Integer), column("version_before", Integer), 0) >= 1,
        ),
    ),
    *types.timestamp_rules("taskdb_changes", *_TIMES),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)
"""How an operation changed each row.

An update keeps the old and the new value of each field that changed. Both are NULL for a field that did not
change, or that the table of the row does not have. A deletion keeps the whole row as old values, and a
creation only the id.
"""
