"""${message}.

Revision: ${up_revision}, after ${down_revision}
Date: ${create_date.date()}
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

# What the downgrade loses, with a query that counts it, or None:
# "the notes of tasks": "SELECT count(note) FROM tasks"
LOSES = {}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
