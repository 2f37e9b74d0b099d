"""Every rule of the data, tried with plain SQL that goes around the services."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import get_args

import pytest
from sqlalchemy import Connection, text
from sqlmodel import select

from taskdb_cli.errors import CheckViolation, ForeignKeyViolation, UniqueViolation, Violation
from taskdb_cli.models import metadata
from taskdb_cli.models.history import AGES, Operation
from taskdb_cli.models.schema import DatabaseIdentity
from taskdb_cli.models.task import Task
from taskdb_cli.models.token import AccessToken
from taskdb_cli.models.user import User
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from tests.conftest import SERVERS, open_database

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
POSTGRESQL_ONLY = pytest.mark.parametrize("engine", SERVERS, indirect=True)

KEPT_TIMES = ("created_at", "updated_at", "due_at", "completed_at")
TIME = "2026-11-22T12:30:15.123456Z"
USER = {
    "email": "ann@example.com",
    "name": "Ann",
    "is_active": True,
    "version": 1,
    "created_at": TIME,
    "updated_at": TIME,
}
TASK = {
    "user_id": 1,
    "external_id": "x-1",
    "title": "Write",
    "description": "Two\nlines",
    "status": "todo",
    "priority": 2,
    "due_at": TIME,
    "completed_at": None,
    "version": 1,
    "created_at": TIME,
    "updated_at": TIME,
}
TOKEN = {
    "name": "cron",
    "token_hash": "0" * 64,
    "scope": "read",
    "user_id": None,
    "created_at": TIME,
    "expires_at": None,
    "last_used_at": None,
}
IDENTITY = {"id": 1, "identity": "0a1b2c3d-0000-4000-8000-0123456789ab"}
OPERATION = {
    "at": TIME,
    "actor": "ann",
    "command": "task update",
    "program_version": "1.2.3",
    "rows_changed": 1,
    "undoes": None,
    "restored_from": "work.taskdb.zip",
}
CHANGE = {"operation_id": 1, "table_name": "tasks", "row_id": 1, "version_before": 1, "version_after": 2}
ROWS = {
    "users": USER,
    "tasks": TASK,
    "access_tokens": TOKEN,
    "taskdb_identity": IDENTITY,
    "taskdb_operations": OPERATION,
    "taskdb_changes": CHANGE,
}
FRESH = {
    "users": {"email": "bob@example.com"},
    "tasks": {"external_id": "x-2"},
    "access_tokens": {"name": "ci", "token_hash": "1" * 64},
    "taskdb_identity": {},
    "taskdb_operations": {},
    "taskdb_changes": {},
}
"""What a second row needs to be different in."""


def table_of(name):
    """The table that a constraint or a column with its table's name in front is of."""
    return next(table for table in ROWS if name.startswith(f"{table}_"))


def kind_of(constraint: str) -> type[Violation]:
    """The error for a constraint, by how its name ends."""
    kinds = {"key": UniqueViolation, "fkey": ForeignKeyViolation}
    return kinds.get(constraint.rpartition("_")[2], CheckViolation)


def one_line(table, column, longest, letter="a"):
    """Values that break the three rules of a short text."""
    characters = "\x01\t\n\r\x1f\x7f\x80\x9f"
    return {
        f"{table}_{column}_not_blank": [{column: text} for text in ("", " ", "   ")],
        f"{table}_{column}_length": [{column: letter * (longest + 1)}],
        f"{table}_{column}_one_line": [{column: f"a{character}b"} for character in characters],
    }


def timestamps(texts):
    """The same texts for every column that holds a time."""
    columns = ["users_created_at", "users_updated_at"]
    columns += [f"access_tokens_{name}_at" for name in ("created", "expires", "last_used")]
    columns += [f"tasks_{name}_at" for name in ("due", "completed", "created", "updated")]
    columns += ["taskdb_operations_at"]
    columns += [f"taskdb_changes_{age}_{name}" for age in AGES for name in KEPT_TIMES]
    return {
        f"{name}_timestamp": [
            {
                name.removeprefix(f"{table_of(name)}_"): text,
                **({"status": "done"} if name == "tasks_completed_at" else {}),
            }
            for text in texts
        ]
        for name in columns
    }


# For each constraint, what makes an otherwise fine row break it and no other one.
REFUSALS = {
    "users_email_key": [{"email": "ann@example.com"}],
    "users_email_lower": [{"email": "bob@Example.com"}, {"email": "Z@example.com"}],
    **one_line("users", "email", 254),
    **one_line("users", "name", 200),
    "users_version_positive": [{"version": 0}, {"version": -1}],
    "tasks_user_id_fkey": [{"user_id": 2}, {"user_id": 0}],
    "tasks_user_id_external_id_key": [{"external_id": "x-1"}],
    **one_line("tasks", "external_id", 200),
    **one_line("tasks", "title", 500, letter="\N{GRINNING FACE}"),
    "tasks_description_length": [{"description": "a" * 20_001}],
    "tasks_description_plain_text": [
        {"description": f"a{character}b"} for character in "\x01\x08\x0b\x0c\x0e\x1f\x7f\x80\x9f"
    ],
    "tasks_status_known": [{"status": word} for word in ("", "open", "Todo", "todo ")],
    "tasks_priority_known": [{"priority": number} for number in (0, 5, -1)],
    "tasks_completed_when_done": [
        {"status": "done", "completed_at": None},
        *({"status": status, "completed_at": TIME} for status in ("todo", "in_progress", "cancelled")),
    ],
    "tasks_version_positive": [{"version": 0}, {"version": -1}],
    "access_tokens_user_id_fkey": [{"user_id": 99}],
    "access_tokens_name_key": [{"name": "cron"}],
    "access_tokens_token_hash_key": [{"token_hash": "0" * 64}],
    **one_line("access_tokens", "name", 200),
    "access_tokens_token_hash_length": [{"token_hash": "0" * length} for length in (0, 63, 65)],
    "access_tokens_scope_known": [{"scope": word} for word in ("", "Read", "admin")],
    "taskdb_identity_single_row": [{"id": 0}, {"id": 2}],
    "taskdb_identity_identity_uuid": [
        {"identity": text}
        for text in ("", "x", IDENTITY["identity"].upper(), IDENTITY["identity"] + "0", "0" * 36)
    ],
    **one_line("taskdb_operations", "actor", 200),
    **one_line("taskdb_operations", "command", 200),
    **one_line("taskdb_operations", "program_version", 100),
    **one_line("taskdb_operations", "restored_from", 1000),
    "taskdb_operations_rows_changed_not_negative": [{"rows_changed": -1}],
    "taskdb_changes_operation_id_fkey": [{"operation_id": 99}],
    "taskdb_changes_table_name_known": [{"table_name": name} for name in ("", "task", "taskdb_identity")],
    "taskdb_changes_versions": [
        {"version_before": before, "version_after": after}
        for before, after in ((None, None), (None, 0), (None, -1), (-1, None), (0, 0), (0, 1), (1, -1))
    ],
}

SQLITE_REFUSALS = {
    "users_is_active_flag": [{"is_active": 2}, {"is_active": -1}],
    **{
        f"taskdb_changes_{age}_is_active_flag": [{f"{age}_is_active": number} for number in (2, -1)]
        for age in AGES
    },
    # Functions of SQLite's C library stop at NUL, which must not hide what follows it.
    **{
        f"{name}_one_line": [{name.removeprefix(f"{table_of(name)}_"): text} for text in ("a\x00b", "\x00")]
        for name in (
            "users_email",
            "users_name",
            "tasks_title",
            "tasks_external_id",
            "access_tokens_name",
            "taskdb_operations_actor",
            "taskdb_operations_command",
            "taskdb_operations_program_version",
            "taskdb_operations_restored_from",
        )
    },
    "tasks_description_plain_text": [{"description": "a\x00b"}],
    **timestamps(
        [
            "",
            "now",
            "2026-11-22",
            "2026-11-22 12:30:15.123456Z",
            "2026-11-22T12:30:15Z",
            "2026-11-22T12:30:15.123Z",
            "2026-11-22T12:30:15.123456",
            "2026-11-22T12:30:15.123456+00:00",
            "2026-11-22T12:30:15.123456Z ",
            "2026-11-22T12:30:15.123456Z\x00!",
            "2026-02-30T00:00:00.000000Z",
            "2025-02-29T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-11-22T24:00:00.000000Z",
            "2026-11-22T12:60:00.000000Z",
            "2026-11-22T12:30:60.000000Z",
            "0000-01-01T00:00:00.000000Z",
            "-001-01-01T00:00:00.000000Z",
            "10000-01-01T00:00:00.000000Z",
        ]
    ),
}

POSTGRESQL_REFUSALS = timestamps(
    ["infinity", "-infinity", "0001-12-31 23:59:59.999999+00 BC", "10000-01-01 00:00:00+00"]
)


@dataclass
class PlainSQL:
    """Runs statements past the services, each in a transaction of its own."""

    connection: Connection
    marker: str

    def execute(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with self.connection.begin():
            result = self.connection.exec_driver_sql(statement.replace("?", self.marker), values)
            return result.all() if result.returns_rows else []

    def insert(self, table: str, **changes: object) -> None:
        row = {**ROWS[table], **changes}
        marks = ", ".join("?" * len(row))
        self.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())


@pytest.fixture
def sql(database, engine):
    """Plain SQL on a database that holds the user and the task that every case starts from."""
    with database.engine.connect() as connection:
        plain = PlainSQL(connection, "?" if engine == "sqlite" else "%s")
        plain.insert("users")
        plain.insert("tasks")
        plain.insert("access_tokens")
        plain.insert("taskdb_operations")
        plain.insert("taskdb_changes")
        yield plain


def assert_refused(sql: PlainSQL, constraint: str, breaches: list[dict[str, object]]) -> None:
    table = table_of(constraint)
    for breach in breaches:
        with pytest.raises(kind_of(constraint)) as refusal:
            sql.insert(table, **(FRESH[table] | breach))
        assert refusal.value.constraint == constraint, breach
    assert sql.execute(f"SELECT count(*) FROM {table}") == [(1,)]


@pytest.mark.parametrize("constraint", REFUSALS)
def test_refused(sql, constraint):
    """The database itself refuses a row that breaks a rule, and names the rule."""
    assert_refused(sql, constraint, REFUSALS[constraint])


@SQLITE_ONLY
@pytest.mark.parametrize("constraint", SQLITE_REFUSALS)
def test_refused_by_sqlite(sql, constraint):
    """SQLite refuses what PostgreSQL's types cannot even hold."""
    assert_refused(sql, constraint, SQLITE_REFUSALS[constraint])


@POSTGRESQL_ONLY
@pytest.mark.parametrize("constraint", POSTGRESQL_REFUSALS)
def test_refused_by_postgresql(sql, constraint):
    """PostgreSQL refuses times that Python cannot hold."""
    assert_refused(sql, constraint, POSTGRESQL_REFUSALS[constraint])


def test_every_constraint_has_a_case():
    """A constraint of the models that no case tries fails here."""
    named = {
        str(constraint.name)
        for table in metadata().sorted_tables
        for constraint in table.constraints
        if constraint.name
    }
    assert named == {*REFUSALS, *SQLITE_REFUSALS}
    assert {*POSTGRESQL_REFUSALS} <= {*SQLITE_REFUSALS}


REQUIRED = {
    table: [
        column.name
        for column in metadata().tables[table].columns
        if not column.nullable and not column.primary_key
    ]
    for table in ROWS
}


@pytest.mark.parametrize("table", ROWS)
def test_null_refused(sql, table):
    """A column that must have a value refuses NULL."""
    for column in REQUIRED[table]:
        with pytest.raises(CheckViolation, match=f"(?i)null.*{column}"):
            sql.insert(table, **(FRESH[table] | {column: None}))


def test_required_columns():
    """The columns that may be NULL are the ones whose field of the model may be None."""
    models = {model.__tablename__: model for model in (User, Task, AccessToken, DatabaseIdentity, Operation)}
    optional = {
        f"{table}.{column.name}"
        for table in models
        for column in metadata().tables[table].columns
        if column.nullable
    }
    assert optional == {
        f"{table}.{name}"
        for table in models
        for name, field in models[table].model_fields.items()
        if NoneType in get_args(field.annotation)
    }
    assert not optional & {"tasks.user_id", "tasks.title", "users.email", "access_tokens.token_hash"}


WRONG_TYPES = [
    ("users", "email", b"bob@example.com"),
    ("users", "is_active", "yes"),
    ("users", "version", "one"),
    ("users", "version", 1.5),
    ("users", "created_at", b"2026"),
    ("tasks", "user_id", "ann"),
    ("tasks", "title", b"Write"),
    ("tasks", "priority", "high"),
]


@SQLITE_ONLY
def test_wrong_types_refused_by_sqlite(sql):
    """Tables are STRICT: SQLite refuses a value of another type than the column's."""
    for table, column, value in WRONG_TYPES:
        with pytest.raises(CheckViolation, match=f"cannot store .* in .* column {table}.{column}"):
            sql.insert(table, **(FRESH[table] | {column: value}))


def test_external_id_is_unique_per_user(sql):
    """Two users may have the same external id, and a user any number of tasks without one."""
    sql.insert("users", email="bob@example.com")
    sql.insert("tasks", user_id=2)
    sql.insert("tasks", external_id=None)
    sql.insert("tasks", external_id=None)
    assert sql.execute("SELECT count(*) FROM tasks") == [(4,)]


def test_orphan_refused_on_update(sql):
    """A task cannot be given to a user who does not exist."""
    with pytest.raises(ForeignKeyViolation) as refusal:
        sql.execute("UPDATE tasks SET user_id = ?", 99)
    assert refusal.value.constraint == "tasks_user_id_fkey"


@pytest.mark.parametrize("table", [name for name in ROWS if name != "taskdb_identity"])
def test_repeated_id_refused(sql, table):
    """An id names one row; the primary key says so."""
    overriding = "" if sql.marker == "?" else "OVERRIDING SYSTEM VALUE"
    row = {"id": 1, **ROWS[table], **FRESH[table]}
    with pytest.raises(UniqueViolation) as refusal:
        sql.execute(
            f"INSERT INTO {table} ({', '.join(row)}) {overriding} VALUES ({', '.join('?' * len(row))})",
            *row.values(),
        )
    assert refusal.value.constraint == f"{table}_pkey"


@SQLITE_ONLY
def test_foreign_key_that_sqlite_cannot_name(sql):
    """Tasks and tokens both refer to a user: SQLite does not say which of them keep the id."""
    with pytest.raises(ForeignKeyViolation) as refusal:
        sql.execute("UPDATE users SET id = ?", 5)
    assert refusal.value.constraint is None


@POSTGRESQL_ONLY
def test_foreign_key_of_another_table(sql):
    """A table of somebody else that refers to a user keeps the user, and is named by its own constraint."""
    sql.execute("CREATE TABLE notes (user_id bigint CONSTRAINT notes_writer REFERENCES users)")
    sql.execute("INSERT INTO notes VALUES (1)")
    with pytest.raises(ForeignKeyViolation) as refusal:
        sql.execute("DELETE FROM users")
    assert refusal.value.constraint == "notes_writer"


def test_a_violation_within_a_savepoint(database):
    """A service learns at the statement which rule it broke, and what it did before the savepoint stays."""

    def work(session):
        add = text("INSERT INTO taskdb_identity (id, identity) VALUES (2, 'x')")
        before = session.execute(text("UPDATE taskdb_identity SET identity = identity")).rowcount
        with pytest.raises(CheckViolation), session.begin_nested():
            session.execute(add)
        return before, session.execute(text("SELECT count(*) FROM taskdb_identity")).scalar()

    assert database.write(work) == (1, 1)


def test_tokens_go_with_their_user(sql):
    """Deleting a user deletes the tokens that are limited to them, and no other."""
    sql.insert("access_tokens", **FRESH["access_tokens"], user_id=1)
    sql.execute("DELETE FROM users WHERE id = ?", 1)
    assert sql.execute("SELECT name FROM access_tokens") == [("cron",)]


def test_delete_cascades(sql):
    """Deleting a user by plain SQL deletes their tasks, and nobody else's."""
    sql.insert("users", email="bob@example.com")
    sql.insert("tasks", user_id=2, title="Bob's")
    sql.execute("DELETE FROM users WHERE id = ?", 1)
    assert sql.execute("SELECT title FROM tasks") == [("Bob's",)]


def test_changes_go_with_their_operation(sql):
    """Deleting an operation by plain SQL deletes what it changed, and not what another one did."""
    sql.insert("taskdb_operations")
    sql.insert("taskdb_changes", operation_id=2, row_id=7)
    sql.execute("DELETE FROM taskdb_operations WHERE id = ?", 1)
    assert sql.execute("SELECT row_id FROM taskdb_changes") == [(7,)]


@pytest.mark.parametrize("table", [name for name in ROWS if name != "taskdb_identity"])
def test_ids_are_not_reused(sql, table):
    """The id of a deleted row is never given to another one."""
    sql.insert(table, **FRESH[table])
    sql.execute(f"DELETE FROM {table} WHERE id = ?", 2)
    sql.insert(table, **FRESH[table])
    assert sql.execute(f"SELECT max(id) FROM {table}") == [(3,)]


FACES = "\N{GRINNING FACE}" * 500
EXTREMES = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1, 1, 1, microsecond=1, tzinfo=UTC),
    datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]


@pytest.mark.parametrize("moment", EXTREMES, ids=str)
def test_extremes_come_back_equal(database, moment):
    """The longest texts and the first and last microsecond are accepted and come back as they went in."""
    user = User(
        email="a" * 242 + "@example.com",
        name="n" * 200,
        is_active=False,
        version=2**31 - 1,
        created_at=moment,
        updated_at=moment,
    )
    database.write(lambda session: session.add(user))
    task = Task(
        user_id=user.id,
        external_id="\u00a0" + "e" * 199,
        title=FACES,
        description="\t\r\n" + FACES * 39,
        status=TaskStatus.DONE,
        priority=TaskPriority.URGENT,
        due_at=moment,
        completed_at=moment,
        created_at=moment,
        updated_at=moment,
    )
    database.write(lambda session: session.add(task))
    stored = open_database(database.url)
    assert stored.read(lambda session: session.exec(select(User)).one()) == user
    assert stored.read(lambda session: session.exec(select(Task)).one()) == task


def test_other_unicode_is_kept(database, sql):
    """A text with no control character is kept as it came."""
    for title in ("\u00a0", "\u200b", "\u2028", "e\u0301", "\ufeff", "\ufffe", "'; --", "{}"):
        sql.execute("UPDATE tasks SET title = ?, description = ?", title, title)
        task = database.read(lambda session: session.exec(select(Task)).one())
        assert (task.title, task.description) == (title, title)


def test_times_are_read_in_utc(database, sql):
    """A time that plain SQL wrote is read with its zone, which is UTC."""
    due = database.read(lambda session: session.exec(select(Task)).one()).due_at
    assert due == datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=UTC)
    assert due.utcoffset() == timedelta(0)
