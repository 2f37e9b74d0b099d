"""Index tasks for listing.

Revision: 0002, after 0001
Date: 2026-11-22

One index for each order that pages are taken in. benchmarks/README.md says what each speeds up and
what it costs.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LOSES = {}

INDEXES = {
    "tasks_user_created": ["user_id", "created_at", "id"],
    "tasks_user_due": ["user_id", "due_at", "id"],
    "tasks_user_updated": ["user_id", "updated_at", "id"],
    "tasks_user_priority": ["user_id", "priority", "id"],
    "tasks_user_status_due": ["user_id", "status", "due_at", "id"],
    "tasks_created": ["created_at", "id"],
    "tasks_open_due": ["due_at", "id"],
}
OPEN = sa.text("status IN ('in_progress', 'todo')")


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        for name, columns in INDEXES.items():
            op.create_index(name, "tasks", columns, sqlite_where=_where(name))
        return
    # Building beside running writers needs a statement outside of a transaction.
    with op.get_context().autocommit_block():
        for name, columns in INDEXES.items():
            if not op.get_context().as_sql:
                _drop_if_invalid(name)
            op.create_index(
                name,
                "tasks",
                columns,
                postgresql_where=_where(name),
                postgresql_concurrently=True,
                if_not_exists=True,
            )


def downgrade() -> None:
    # All of them in one transaction: it takes a moment only, and stopped anywhere it leaves all or none.
    for name in reversed(INDEXES):
        op.drop_index(name, "tasks", if_exists=True)


def _where(name: str) -> sa.TextClause | None:
    return OPEN if name == "tasks_open_due" else None


def _drop_if_invalid(name: str) -> None:
    # What an interrupted concurrent build leaves has the name, but answers no query.
    invalid = sa.text("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")
    if op.get_bind().execute(invalid, {"name": name}).scalar():
        op.drop_index(name, "tasks", postgresql_concurrently=True)
