"""Create the identity of the database.

Revision: 0004, after 0003
Date: 2026-11-26

The table has one row with a UUID. Every archive carries it, so that it is known which database it is from.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LOSES = {"the identity of the database, without which older backups do not count as its own": None}


def upgrade() -> None:
    engine = SQLITE if op.get_context().dialect.name == "sqlite" else POSTGRESQL
    op.create_table(
        "taskdb_identity",
        sa.Column("id", engine.big, primary_key=True, autoincrement=False),
        sa.Column("identity", engine.text, nullable=False),
        sa.CheckConstraint("id = 1", name="taskdb_identity_single_row"),
        sa.CheckConstraint(engine.is_uuid("identity"), name="taskdb_identity_identity_uuid"),
        sqlite_strict=True,
    )
    # The database makes the UUID: an SQL script that is run in two databases must not give both the same.
    op.execute(f"INSERT INTO taskdb_identity (id, identity) VALUES (1, {engine.new_uuid})")  # noqa: S608


def downgrade() -> None:
    op.drop_table("taskdb_identity")


class SQLITE:
    """A STRICT table."""

    big = sa.Integer
    text = sa.Text
    new_uuid = " || '-' || ".join(f"lower(hex(randomblob({size})))" for size in (4, 2, 2, 2, 6))

    @staticmethod
    def is_uuid(column: str) -> str:
        groups = ("[0-9a-f]" * digits for digits in (8, 4, 4, 4, 12))
        return f"{column} GLOB '{'-'.join(groups)}' AND instr({column}, char(0)) = 0"


class POSTGRESQL:
    """Text that is compared by code point."""

    big = sa.BigInteger
    text = sa.Text(collation="C")
    new_uuid = "gen_random_uuid()::text"

    @staticmethod
    def is_uuid(column: str) -> str:
        return f"{column} ~ '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$'"
