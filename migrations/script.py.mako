"""${message}.

Revision: ${up_revision}, after ${down_revision}
Date: ${create_date.date()}
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from alembic.util import load_python_file
${imports if imports else ""}
helpers = load_python_file(str(Path(__file__).parents[1]), "helpers.py")

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
