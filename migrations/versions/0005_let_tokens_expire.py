"""Let access tokens expire, and keep when they were last used.

Revision: 0005, after 0004
Date: 2026-11-26

Both columns are added in place: no engine rewrites the table. Going back deletes the tokens that expire,
because an older taskdb would accept them for ever.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from alembic.util import load_python_file

helpers = load_python_file(str(Path(__file__).parents[1]), "helpers.py")

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LOSES = {
    "the access tokens that expire": "SELECT count(*) FROM access_tokens WHERE expires_at IS NOT NULL",
    "when access tokens were last used": "SELECT count(last_used_at) FROM access_tokens",
}

COLUMNS = ("expires_at", "last_used_at")

SQLITE = (
    "substr({0}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]Z' AND instr({0}, char(0)) = 0"
    " AND substr({0}, 1, 19) IS strftime('%Y-%m-%dT%H:%M:%S', substr({0}, 1, 19), '+0 days')"
    " AND {0} >= '0001'"
)
POSTGRESQL = "{0} >= '0001-01-01 00:00:00+00' AND {0} < '10000-01-01 00:00:00+00'"


def upgrade() -> None:
    type_, timestamp = (sa.Text, SQLITE) if helpers.on_sqlite() else (sa.DateTime(timezone=True), POSTGRESQL)
    for name in COLUMNS:
        rule = helpers.check(f"access_tokens_{name}_timestamp", timestamp.format(name))
        helpers.add_column("access_tokens", name, type_, rule)


def downgrade() -> None:
    op.execute("DELETE FROM access_tokens WHERE expires_at IS NOT NULL")
    for name in reversed(COLUMNS):
        op.drop_column("access_tokens", name)
