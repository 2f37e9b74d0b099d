"""Let access tokens expire, and keep when they were last used.

Revision: 0005, after 0004
Date: 2026-11-26

Both columns are added in place: no engine rewrites the table. Going back deletes the tokens that expire,
because an older taskdb would accept them for ever.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LOSES = {
    "the access tokens that expire": "SELECT count(*) FROM access_tokens WHERE expires_at IS NOT NULL",
    "when access tokens were last used": "SELECT count(last_used_at) FROM access_tokens",
}

COLUMNS = ("expires_at", "last_used_at")


def upgrade() -> None:
    engine = SQLITE if op.get_context().dialect.name == "sqlite" else POSTGRESQL
    for name in COLUMNS:
        # The rule is part of the column: SQLite drops both together, without making the table anew.
        rule = f"CONSTRAINT access_tokens_{name}_timestamp CHECK ({engine.timestamp(name)})"
        statement = f"ALTER TABLE access_tokens ADD COLUMN {name} {engine.time} {rule}"
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    op.execute("DELETE FROM access_tokens WHERE expires_at IS NOT NULL")
    for name in reversed(COLUMNS):
        op.drop_column("access_tokens", name)


class SQLITE:
    """Times as text of one format."""

    time = "TEXT"

    @staticmethod
    def timestamp(column: str) -> str:
        second = f"substr({column}, 1, 19)"
        return (
            f"substr({column}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]Z' AND instr({column}, char(0)) = 0"
            f" AND {second} IS strftime('%Y-%m-%dT%H:%M:%S', {second}, '+0 days')"
            f" AND {column} >= '0001'"
        )


class POSTGRESQL:
    """Times between the years 1 and 9999."""

    time = "TIMESTAMP WITH TIME ZONE"

    @staticmethod
    def timestamp(column: str) -> str:
        return f"{column} >= '0001-01-01 00:00:00+00' AND {column} < '10000-01-01 00:00:00+00'"
