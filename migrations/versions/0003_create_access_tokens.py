"""Create access tokens.

Revision: 0003, after 0002
Date: 2026-11-22

Who may use the HTTP API. The table holds the SHA-256 of each token, never the token.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LOSES = {"all access tokens": "SELECT count(*) FROM access_tokens"}


def upgrade() -> None:
    engine = SQLITE if op.get_context().dialect.name == "sqlite" else POSTGRESQL
    op.create_table(
        "access_tokens",
        sa.Column("id", engine.big, *engine.identity, primary_key=True),
        sa.Column("name", engine.text, nullable=False),
        sa.Column("token_hash", engine.text, nullable=False),
        sa.Column("scope", engine.text, nullable=False),
        sa.Column("user_id", engine.big),
        sa.Column("created_at", engine.time, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="access_tokens_user_id_fkey", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("name", name="access_tokens_name_key"),
        sa.UniqueConstraint("token_hash", name="access_tokens_token_hash_key"),
        check("access_tokens_name_not_blank", "trim(name) != ''"),
        check("access_tokens_name_length", "length(name) <= 200"),
        check("access_tokens_name_one_line", engine.one_line("name")),
        check("access_tokens_token_hash_length", "length(token_hash) = 64"),
        check("access_tokens_scope_known", "scope IN ('read', 'write')"),
        check("access_tokens_created_at_timestamp", engine.timestamp("created_at")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )


def downgrade() -> None:
    op.drop_table("access_tokens")


def check(name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(sa.text(condition.replace(":", r"\:")), name=name)


class SQLITE:
    """A STRICT table, with times as text of one format."""

    big = sa.Integer
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
    text = sa.Text(collation="C")
    time = sa.DateTime(timezone=True)
    identity = (sa.Identity(always=True),)

    @staticmethod
    def one_line(column: str) -> str:
        return rf"{column} !~ '[\u0001-\u001f\u007f-\u009f]'"

    @staticmethod
    def timestamp(column: str) -> str:
        return f"{column} >= '0001-01-01 00:00:00+00' AND {column} < '10000-01-01 00:00:00+00'"
