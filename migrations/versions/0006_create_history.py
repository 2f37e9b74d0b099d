"""Create the history.

Revision: 0006, after 0005
Date: 2026-11-27

Every operation that changes rows gets a row in one table, and each row that it changes a row in the other.
The changes have the old and the new value of each column of users and tasks.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

LOSES = {"the history of changes, and with it the way to undo them": "SELECT count(*) FROM taskdb_operations"}


def upgrade() -> None:
    engine = SQLITE if op.get_context().dialect.name == "sqlite" else POSTGRESQL
    op.create_table(
        "taskdb_operations",
        sa.Column("id", engine.big, *engine.identity, primary_key=True),
        sa.Column("at", engine.time, nullable=False),
        sa.Column("actor", engine.text, nullable=False),
        sa.Column("command", engine.text, nullable=False),
        sa.Column("program_version", engine.text, nullable=False),
        sa.Column("rows_changed", engine.big, nullable=False),
        sa.Column("undoes", engine.big),
        sa.Column("restored_from", engine.text),
        *one_line(engine, "actor", 200),
        *one_line(engine, "command", 200),
        *one_line(engine, "program_version", 100),
        *one_line(engine, "restored_from", 1000),
        check("taskdb_operations_rows_changed_not_negative", "rows_changed >= 0"),
        check("taskdb_operations_at_timestamp", engine.timestamp("at")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    kept = {
        "email": engine.text,
        "name": engine.text,
        "is_active": engine.flag,
        "created_at": engine.time,
        "updated_at": engine.time,
        "user_id": engine.big,
        "external_id": engine.text,
        "title": engine.text,
        "description": engine.text,
        "status": engine.text,
        "priority": engine.small,
        "due_at": engine.time,
        "completed_at": engine.time,
    }
    values = [sa.Column(f"{age}_{name}", of) for name, of in kept.items() for age in ("old", "new")]
    times = [column.name for column in values if column.name.endswith("_at")]
    flags = [column.name for column in values if column.name.endswith("is_active") and engine is SQLITE]
    op.create_table(
        "taskdb_changes",
        sa.Column("id", engine.big, *engine.identity, primary_key=True),
        sa.Column("operation_id", engine.big, nullable=False),
        sa.Column("table_name", engine.text, nullable=False),
        sa.Column("row_id", engine.big, nullable=False),
        sa.Column("owner_id", engine.big),
        sa.Column("version_before", sa.Integer),
        sa.Column("version_after", sa.Integer),
        sa.Column("same_as", sa.Integer),
        *values,
        sa.ForeignKeyConstraint(
            ["operation_id"],
            ["taskdb_operations.id"],
            name="taskdb_changes_operation_id_fkey",
            ondelete="CASCADE",
        ),
        check("taskdb_changes_table_name_known", "table_name IN ('users', 'tasks', 'access_tokens')"),
        check(
            "taskdb_changes_versions",
            "coalesce(version_before, version_after, 0) >= 1"
            " AND coalesce(version_after, version_before, 0) >= 1",
        ),
        *(check(f"taskdb_changes_{name}_timestamp", engine.timestamp(name)) for name in times),
        *(check(f"taskdb_changes_{name}_flag", f"{name} IN (0, 1)") for name in flags),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    # The table is empty, so that nobody waits for these.
    op.create_index("taskdb_changes_operation", "taskdb_changes", ["operation_id", "id"])
    op.create_index("taskdb_changes_row", "taskdb_changes", ["row_id", "table_name"])
    op.create_index("taskdb_changes_owner", "taskdb_changes", ["owner_id"])
    moved = sa.text("new_user_id IS NOT NULL")
    op.create_index(
        "taskdb_changes_new_owner",
        "taskdb_changes",
        ["new_user_id"],
        postgresql_where=moved,
        sqlite_where=moved,
    )


def downgrade() -> None:
    op.drop_table("taskdb_changes")
    op.drop_table("taskdb_operations")


def check(name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(sa.text(condition.replace(":", r"\:")), name=name)


def one_line(engine: type, column: str, longest: int) -> list[sa.CheckConstraint]:
    return [
        check(f"taskdb_operations_{column}_not_blank", f"trim({column}) != ''"),
        check(f"taskdb_operations_{column}_length", f"length({column}) <= {longest}"),
        check(f"taskdb_operations_{column}_one_line", engine.one_line(column)),
    ]


class SQLITE:
    """STRICT tables, with times as text of one format."""

    big = small = flag = sa.Integer
    text = time = sa.Text
    identity = ()

    @staticmethod
    def one_line(column: str) -> str:
        characters = "char(1) || '-' || char(31, 127) || '-' || char(159)"
        return f"instr({column}, char(0)) = 0 AND {column} NOT GLOB '*[' || {characters} || ']*'"

    @staticmethod
    def timestamp(column: str) -> str:
        second = f"substr({column}, 1, 19)"
        return (
            f"substr({column}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]Z' AND instr({column}, char(0)) = 0"
            f" AND {second} IS strftime('%Y-%m-%dT%H:%M:%S', {second}, '+0 days')"
            f" AND {column} >= '0001'"
        )


class POSTGRESQL:
    """Text that sorts by code point; times between the years 1 and 9999."""

    big = sa.BigInteger
    small = sa.SmallInteger
    flag = sa.Boolean
    text = sa.Text(collation="C")
    time = sa.DateTime(timezone=True)
    identity = (sa.Identity(always=True),)

    @staticmethod
    def one_line(column: str) -> str:
        return rf"{column} !~ '[\u0001-\u001f\u007f-\u009f]'"

    @staticmethod
    def timestamp(column: str) -> str:
        return f"{column} >= '0001-01-01 00:00:00+00' AND {column} < '10000-01-01 00:00:00+00'"
