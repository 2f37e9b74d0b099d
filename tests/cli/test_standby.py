"""Every command on a hot standby: it reads there, or says to connect to the primary."""

from pathlib import Path

import pytest

from taskdb_cli.cli.context import Invocation
from tests.conftest import connect, open_database
from tests.samples import add_task, add_token, add_user, titles
from tests.test_docs import COMMANDS

READING = (
    "user list",
    "user show 1",
    "user history 1",
    "user export",
    "task list --search Write --explain",
    "task show 1",
    "task history 1",
    "task export",
    "token list",
    "history",
    "history show 1",
    "stats",
    "config --check",
    "health --skip backup,drill,history",
    "migrate status",
    "migrate history",
    "migrate check",
    "migrate sql",
    "search status",
    "backup --drill --keep-last 2",
    "backup list",
    "backup show latest",
    "backup verify latest",
    "backup diff latest live",
    "backup prune --keep-last 1",
    "backup copy --to copies",
    "copy --to copy.sqlite3",
    "history prune --dry-run",
)
WRITING = (
    "user create --email bob@example.com --name Bob",
    "user update 1 --name Anne",
    "user delete 1 --yes",
    "user erase 1 --yes",
    "user import users.csv",
    "task create --user 1 Title",
    "task update 1 --title Title",
    "task edit 1",
    "task start 1",
    "task done 1",
    "task reopen 1",
    "task cancel 1",
    "task delete 1 --yes",
    "task import tasks.csv --user 1",
    "token create --name other --user 1",
    "token revoke 1",
    "undo --yes",
    "history prune --keep 1h --yes",
    "migrate",
    "migrate up",
    "migrate down --yes",
    "migrate stamp",
    "search on",
    "search off",
    "restore latest --replace --yes",
    "task delete 1 --dry-run",
    "task import tasks.csv --user 1 --dry-run",
    "undo --dry-run",
    "restore latest --replace --dry-run",
    "restore latest --only-user 1 --dry-run",
)
ELSEWHERE = {"taskdb serve"}
"""The commands that tests/api/test_standby.py is about."""


def command_of(line):
    """The full path of the command of a line, or None if there is no such command."""
    one, two = ("taskdb " + " ".join(line.split()[:end]) for end in (1, 2))
    return two if two in COMMANDS else one if one in COMMANDS else None


def test_every_command_is_tried():
    """A new command is put on one of the lists."""
    assert set(COMMANDS) - {command_of(line) for line in READING + WRITING} == ELSEWHERE


@pytest.fixture
def primary(standby, replication, bare_taskdb, shelf, monkeypatch):
    """The database on the primary, with something of everything; the command line's is on the standby."""
    url, on_standby = standby
    database = open_database(url)
    add_user(database)
    add_task(database)
    add_token(database, "reader", "1", scope="read")
    with connect(url) as connection:
        connection.execute("UPDATE taskdb_operations SET at = at - interval '1 year'")
    replication.catch_up()
    monkeypatch.setenv("TASKDB_DATABASE_URL", on_standby.render_as_string(hide_password=False))
    return database


def test_every_command_on_a_standby(primary, bare_taskdb, monkeypatch):
    """What reads does its work, and what writes exits 1 with the one thing to do; nothing is changed."""
    Path("users.csv").write_text("email,name\nbob@example.com,Bob\n")
    Path("tasks.csv").write_text("title\nRead\n")
    monkeypatch.setenv("EDITOR", "sed -i s/Write/Read/")
    for line in filter(command_of, READING):
        bare_taskdb(*line.split())
    for line in filter(command_of, WRITING):
        with monkeypatch.context() as patch:
            patch.setattr(Invocation, "on_terminal", command_of(line) == "taskdb task edit")
            failed = bare_taskdb(*line.split(), expect=1)
        assert "it is a standby: connect to the primary" in failed.err, line
        assert failed.err.count("\n") == 1, line
    assert titles(primary) == ["Write"]
