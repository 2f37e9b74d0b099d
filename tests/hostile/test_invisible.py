"""Rows from before that show nothing: they stay, work and are told apart from new input."""

import json

from taskdb_cli.models.task import Task
from taskdb_cli.models.user import User
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from tests.api.conftest import engine  # noqa: F401
from tests.conftest import NOW, open_database
from tests.samples import titles

BLANK, HIDDEN = "\xa0\u3164", "\u202e\u200ba"
STAMPS = {"created_at": NOW, "updated_at": NOW}


def add_rows(url):
    """Store a user and two tasks that no caller could give, past the rules of what is new."""

    def work(session):
        session.add(User(email="-a\u034f@corp.local", name=BLANK, is_active=True, **STAMPS))
        session.flush()
        for title in (BLANK, HIDDEN):
            words = {"status": TaskStatus.TODO, "priority": TaskPriority.LOW}
            session.add(Task(user_id=1, title=title, external_id=title, **words, **STAMPS))

    open_database(url).write(work)


def test_stored_rows_stay(taskdb, url, tmp_path, monkeypatch):
    """They are listed, changed, exported, backed up and restored; only an import refuses them as new."""
    add_rows(url)
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "backups"))
    table = taskdb("task", "list", "-o", "table").out
    assert r"\u202e\u200ba" in table
    assert r"\u3164" in table
    assert r"-a\u034f@corp.local" in table
    changed = taskdb("task", "update", "1", "--priority", "high", "--json").out
    assert json.loads(changed)["title"] == BLANK
    taskdb("user", "update", "1", "--inactive")
    assert taskdb("task", "list", "--user=-a\u034f@corp.local", "--count").out == "2\n"
    taskdb("task", "update", "1", "--title", BLANK, expect=2)
    (export := tmp_path / "tasks.csv").write_text(taskdb("task", "export", "-o", "csv").out)
    assert f",{HIDDEN},{HIDDEN}," in export.read_text()
    assert "line 2: external_id has only blanks" in taskdb("task", "import", export, expect=2).err
    taskdb("backup")
    taskdb("user", "delete", "1", "--yes")
    taskdb("restore", "latest", "--replace", "--yes", "--no-safety-backup")
    assert titles(open_database(url)) == [BLANK, HIDDEN]
