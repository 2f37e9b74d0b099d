"""What commands leave in the history, from the outside."""

import pytest

from taskdb_cli.errors import ExitCode
from taskdb_cli.system.account import system_user
from tests.operations import operations


@pytest.fixture
def ann(taskdb):
    """A user to begin with."""
    taskdb("user", "create", "--email", "ann@example.com", "--name", "Ann")


def last(database):
    """Who wrote the newest operation, and by what."""
    newest = operations(database)[-1]
    return newest.actor, newest.command


@pytest.mark.usefixtures("ann")
def test_who_did_it(taskdb, database, monkeypatch):
    """The history has TASKDB_ACTOR, and else the user of the system; a bad name stops the command."""
    assert last(database) == (system_user(), "user create")
    monkeypatch.setenv("TASKDB_ACTOR", "Ann Lee")
    taskdb("task", "add", "Write", "-u", "1")
    assert last(database) == ("Ann Lee", "task create")
    monkeypatch.setenv("TASKDB_ACTOR", "a\nb")
    failed = taskdb("task", "done", "1", expect=ExitCode.USAGE)
    assert "TASKDB_ACTOR" in failed.err
    assert len(operations(database)) == 2
