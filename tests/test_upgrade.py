"""The way from 0.1.0 to this version, as the page on upgrades describes it."""

from __future__ import annotations

import json
import shlex
import shutil

import pytest

from taskdb_cli.backup.file_names import parse_name
from tests.backups import OLD
from tests.contents import get_rows
from tests.pages import blocks
from tests.schemas import execute

COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for block in blocks("migrations.md", "sh")
    if block.heading == "Upgrade from 0.1.0"
    for line in block.text.splitlines()
]
"""What the page tells people to run before and after they install this version."""

TOKENS = "SELECT id, name, token_hash, scope, user_id, created_at FROM access_tokens ORDER BY id"


@pytest.fixture
def label(url):
    """The label of 0.1.0 for the sample of the engine."""
    return "app" if url.drivername == "sqlite" else "neondb"


@pytest.fixture
def old(empty_url, use, label):
    """The address of a database that 0.1.0 made, which the settings name."""
    if empty_url.drivername == "sqlite":
        shutil.copy(OLD / "app.sqlite3", empty_url.database)
    else:
        execute(empty_url, (OLD / "neondb.sql").read_text(encoding="utf-8"))
    use(empty_url)
    return empty_url


@pytest.fixture
def shelf(tmp_path, monkeypatch, label):
    """A directory with the archives that 0.1.0 took of the database, and the record beside them."""
    path = tmp_path / "shelf"
    path.mkdir()
    for file in OLD.glob(f"{label}[.-]*"):
        if file.suffix != ".sqlite3":
            shutil.copy(file, path)
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(path))
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", label)
    return path


def listed(taskdb):
    return json.loads(taskdb("backup", "list", "-o", "json").out)


def test_a_database_that_0_1_0_made(bare_taskdb, old, shelf):
    """The commands of the page bring the tables up to date, and change no row."""
    taskdb, rows, tokens = bare_taskdb, get_rows(old), execute(old, TOKENS)
    assert (len(rows["users"]), len(rows["tasks"]), len(tokens)) == (3, 18, 2)
    assert ["migrate"] in [words[:1] for words in COMMANDS]
    for words in COMMANDS:
        # On a busy machine a connection may be slow, which is a warning.
        found = taskdb(*words, expect=None if words == ["health"] else 0)
        assert found.code in {0, 1}
    checks = json.loads(taskdb("health", "-o", "json", expect=None).out)["checks"]
    assert {check["status"] for check in checks if check["name"] != "connection"} <= {"ok", "skipped"}
    assert (get_rows(old), execute(old, TOKENS)) == (rows, tokens)
    assert "newest verified" not in taskdb("backup", "verify", "latest").err
    taskdb("task", "done", 55)
    taskdb("undo", "--yes")
    taskdb("migrate", "down", "0003", "--yes")
    assert [row[0] for row in get_rows(old)["tasks"]] == [row[0] for row in rows["tasks"]]
    assert execute(old, TOKENS) == tokens


def test_archives_of_0_1_0_beside_new_ones(bare_taskdb, old, shelf):
    """Old and new archives are one history: all are listed and verified, and pruning deletes the oldest."""
    taskdb, before = bare_taskdb, sorted(path.name for path in shelf.glob("*.zip"))
    taskdb("migrate")
    taskdb("backup")
    names = [archive["archive"] for archive in listed(taskdb)]
    assert (names[:2], len(names)) == (before, 4)
    for name in names:
        taskdb("backup", "verify", name, "--drill")
    assert all(archive["drilled_at"] for archive in listed(taskdb))
    taskdb("backup", "prune", "--keep-last", 3)
    assert [archive["archive"] for archive in listed(taskdb)] == names[1:]
    assert all(parse_name(name) for name in names)


@pytest.mark.parametrize("sample", ["app", "neondb"])
def test_an_archive_of_0_1_0_in_a_new_database(bare_taskdb, empty_url, use, sample):
    """A restore makes the newest tables, and the rows are those of the archive."""
    use(empty_url)
    archive = min(OLD.glob(f"{sample}-*.zip"))
    bare_taskdb("restore", archive)
    bare_taskdb("migrate", "check")
    bare_taskdb("backup", "diff", archive, "live", "--exit-code")
    assert {table: len(rows) for table, rows in get_rows(empty_url).items()} == {"users": 3, "tasks": 18}
