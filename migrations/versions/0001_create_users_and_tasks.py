"""Create users and tasks.

Revision: 0001, the first
Date: 2026-11-22

The rules are written out here, once for each engine, and never follow the models: a revision says
for ever what the schema was when it was made.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LOSES = {"all users": "SELECT count(*) FROM users", "all tasks": "SELECT count(*) FROM tasks"}


def upgrade() -> None:
    engine = SQLITE if op.get_context().dialect.name == "sqlite" else POSTGRESQL
    op.create_table(
        "users",
        sa.Column("id", engine.big, *engine.identity, primary_key=True),
        sa.Column("email", engine.text, nullable=False),
        sa.Column("name", engine.text, nullable=False),
        sa.Column("is_active", engine.flag, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", engine.time, nullable=False),
        sa.Column("updated_at", engine.time, nullable=False),
        sa.UniqueConstraint("email", name="users_email_key"),
        check("users_email_lower", engine.no_uppercase("email")),
        *one_line(engine, "users", "email", 254),
        *one_line(engine, "users", "name", 200),
        *([check("users_is_active_flag", "is_active IN (0, 1)")] if engine is SQLITE else []),
        check("users_version_positive", "version >= 1"),
        *timestamps(engine, "users", "created_at", "updated_at"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "tasks",
        sa.Column("id", engine.big, *engine.identity, primary_key=True),
        sa.Column("user_id", engine.big, nullable=False),
        sa.Column("external_id", engine.text),
        sa.Column("title", engine.text, nullable=False),
        sa.Column("description", engine.text),
        sa.Column("status", engine.text, nullable=False),
        sa.Column("priority", engine.small, nullable=False),
        sa.Column("due_at", engine.time),
        sa.Column("completed_at", engine.time),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", engine.time, nullable=False),
        sa.Column("updated_at", engine.time, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="tasks_user_id_fkey", ondelete="CASCADE"),
        sa.UniqueConstraint("user_id", "external_id", name="tasks_user_id_external_id_key"),
        *one_line(engine, "tasks", "external_id", 200),
        *one_line(engine, "tasks", "title", 500),
        check("tasks_description_length", "length(description) <= 20000"),
        check("tasks_description_plain_text", engine.plain_text("description")),
        check("tasks_status_known", "status IN ('todo', 'in_progress', 'done', 'cancelled')"),
        check("tasks_priority_known", "priority BETWEEN 1 AND 4"),
        check("tasks_completed_when_done", "(status = 'done') = (completed_at IS NOT NULL)"),
        check("tasks_version_positive", "version >= 1"),
        *timestamps(engine, "tasks", "due_at", "completed_at", "created_at", "updated_at"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )


def downgrade() -> None:
    op.drop_table("tasks")
    op.drop_table("users")


def check(name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(sa.text(condition.replace(":", r"\:")), name=name)


def one_line(engine: type, table: str, column: str, longest: int) -> list[sa.CheckConstraint]:
    return [
        check(f"{table}_{column}_not_blank", f"trim({column}) != ''"),
        check(f"{table}_{column}_length", f"length({column}) <= {longest}"),
        check(f"{table}_{column}_one_line", engine.one_line(column)),
    ]


def timestamps(engine: type, table: str, *columns: str) -> list[sa.CheckConstraint]:
    return [check(f"{table}_{column}_timestamp", engine.timestamp(column)) for column in columns]


class SQLITE:
    """STRICT tables, with times as text of one format."""

    big = small = flag = sa.Integer
    text = time = sa.Text
    identity = ()

    @staticmethod
    def no_uppercase(column: str) -> str:
        return f"{column} NOT GLOB '*[A-Z]*'"

    @staticmethod
    def one_line(column: str) -> str:
        return SQLITE.without(column, "char(1) || '-' || char(31, 127) || '-' || char(159)")

    @staticmethod
    def plain_text(column: str) -> str:
        characters = "char(1) || '-' || char(8, 11, 12, 14) || '-' || char(31, 127) || '-' || char(159)"
        return SQLITE.without(column, characters)

    @staticmethod
    def without(column: str, characters: str) -> str:
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
    def no_uppercase(column: str) -> str:
        return f"{column} !~ '[A-Z]'"

    @staticmethod
    def one_line(column: str) -> str:
        return rf"{column} !~ '[\u0001-\u001f\u007f-\u009f]'"

    @staticmethod
    def plain_text(column: str) -> str:
        return rf"{column} !~ '[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]'"

    @staticmethod
    def timestamp(column: str) -> str:
        return f"{column} >= '0001-01-01 00:00:00+00' AND {column} < '10000-01-01 00:00:00+00'"
