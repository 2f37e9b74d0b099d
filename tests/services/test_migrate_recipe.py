"""The recipe of CONTRIBUTING: a column is added to a copy of the project, and migrated on every engine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from taskdb_cli.database.schema import migrations_directory, revisions
from tests.conftest import ENGINES
from tests.schemas import STAMP, execute, insert_rows, write_revision

HEAD = revisions().get_current_head()
NEXT, LAST = (f"{int(HEAD) + more:04d}" for more in (1, 2))

MOVE = f"""
import sys
from sqlalchemy import make_url
from taskdb_cli.database import Database
from taskdb_cli.database.schema import OUR_TABLES
from taskdb_cli.models import metadata
from taskdb_cli.services import migrate

for migrated, empty in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    databases = [Database(make_url(url)) for url in (migrated, empty)]
    with databases[1].migration(create=True) as (connection, _):
        metadata().create_all(connection)
    for revision, move in (
        ("head", migrate.upgrade), ("{NEXT}", migrate.downgrade), ("{HEAD}", migrate.downgrade),
        ("head", migrate.upgrade),
    ):
        move(databases[0], to=revision)
    found = []
    for database in databases:
        with database.connect() as connection:
            found.append(database.backend.facts(connection, OUR_TABLES))
    print(*migrate.compare(*found), sep="\\n", end="")
"""


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the project in which tasks have one more column, with a rule, but no revision for it."""
    root, checkout = migrations_directory().parent, tmp_path / "checkout"
    for part in ("taskdb_cli", "migrations", ".ci"):
        shutil.copytree(root / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "alembic.ini", checkout)
    model = checkout / "taskdb_cli" / "models" / "task.py"
    before, table, after = model.read_text().partition("\n\nTASKS = ")
    column = "    estimate: int | None = Field(default=None, sa_column=Column(Integer))\n"
    model.write_text(f"{before.rstrip()}\n{column}\n{table}{after}")
    rule = 'types.check("tasks", "estimate_positive", column("estimate") > 0)'
    replace(
        model,
        '        types.check("tasks", "version_positive"',
        f'        {rule},\n        types.check("tasks", "version_positive"',
    )
    return checkout


def test_a_column_is_added(checkout, isolated, make_url_of):
    """Up, down and up again: rows stay, ids are given out once, and the tables equal those of the models."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
    }
    script = ["bash", str(checkout / ".ci" / "revision"), "Estimate tasks"]
    written = subprocess.run(script, env=environment, check=True, capture_output=True, text=True)
    assert "tasks_estimate_positive is missing" in written.stderr
    [path] = (checkout / "migrations" / "versions").glob(f"{NEXT}_*.py")
    head, _, _ = path.read_text().partition("def upgrade")
    rule = 'helpers.check("tasks_estimate_positive", "estimate >= 0")'
    path.write_text(
        head.replace("LOSES = {}", 'LOSES = {"all estimates": "SELECT count(estimate) FROM tasks"}')
        + f'def upgrade():\n    helpers.add_column("tasks", "estimate", sa.Integer(), {rule})\n\n\n'
        + 'def downgrade():\n    op.drop_column("tasks", "estimate")\n'
    )
    # The rule is changed by another revision, for which SQLite rebuilds the table.
    change = 'helpers.change_check("tasks", "tasks_estimate_positive", "estimate {} 0", at="{}")'
    write_revision(
        checkout / "migrations",
        LAST,
        after=NEXT,
        upgrade=change.format(">", NEXT),
        downgrade=change.format(">=", LAST),
    )
    migrated, empty = ([make_url_of(engine, migrated=made) for engine in ENGINES] for made in (True, False))
    insert = (
        "INSERT INTO tasks (user_id, title, status, priority, version, created_at, updated_at)"
        f" VALUES (1, 'Read', 'todo', 2, 1, '{STAMP}', '{STAMP}')"
    )
    for url in migrated:
        insert_rows(url)
        execute(url, insert, insert, "DELETE FROM tasks WHERE id = 3")
    urls = [
        url.set(drivername="sqlite" if url.drivername == "sqlite" else "postgresql+psycopg")
        for pair in zip(migrated, empty, strict=True)
        for url in pair
    ]
    words = [sys.executable, "-c", MOVE, *(url.render_as_string(hide_password=False) for url in urls)]
    moved = subprocess.run(words, cwd=checkout, env=environment, check=False, capture_output=True, text=True)
    assert (moved.returncode, moved.stdout) == (0, ""), moved.stderr
    for url in migrated:
        execute(url, insert, "UPDATE tasks SET estimate = 5 WHERE id = 1")
        assert execute(url, "SELECT id, title, estimate FROM tasks ORDER BY id") == [
            (1, "Write", 5),
            (2, "Read", None),
            (4, "Read", None),
        ]
        with pytest.raises(Exception, match="tasks_estimate_positive"):
            execute(url, "UPDATE tasks SET estimate = 0 WHERE id = 2")
