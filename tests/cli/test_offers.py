"""What Tab offers: task ids with titles, archives, keys, fields and checks."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.cli.backup_options import complete_directories
from taskdb_cli.health.registry import CHECKS
from taskdb_cli.models.vocabulary import TASK_FIELDS, TaskStatus
from taskdb_cli.services import task as service
from tests.backups import archive
from tests.completion import ask_for_words
from tests.conftest import SERVERS
from tests.samples import add_task, add_user

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
TITLES = {"Write": "todo", "Read": "in_progress", "Send": "done", "Drop": "cancelled"}


@pytest.fixture
def offer(use, url, capfd, monkeypatch):
    """Returns what is offered for the last of some words, each with its help, in the order of fish."""
    use(url)
    ask = partial(ask_for_words, capfd, monkeypatch, "fish")
    return lambda *words: [tuple(line.split("\t")) for line in ask(*words).splitlines()]


@pytest.fixture
def tasks(database):
    """Twelve tasks: the first four with each status, then some to do."""
    add_user(database)
    for title, status in TITLES.items():
        add_task(database, title=title, status=TaskStatus(status))
    for number in range(5, 13):
        add_task(database, title=f"Task {number}")


@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
def test_ids_with_titles(offer, tasks, database):
    """Ids that begin as typed are offered with their titles, newest first, also behind a comma."""
    assert offer("task", "show", "1") == [
        ("12", "Task 12"),
        ("11", "Task 11"),
        ("10", "Task 10"),
        ("1", "Write"),
    ]
    assert offer("task", "delete", "7,1")[-1] == ("7,1", "Write")
    assert [id for id, _ in offer("task", "update", "1", "")] == [str(id) for id in range(12, 0, -1)]
    for words in ("x", "0", "1-", "-", "1" * 30, "\u0663", "\u00b2"):
        assert not [each for each in offer("task", "show", words) if each[0].isdecimal()]
    assert (
        database.read(lambda session: service.find_by_prefix(session, "9" * 30, statuses=(), limit=9)) == []
    )


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("command", "ids"),
    [
        ("done", {"1", "2"}),
        ("cancel", {"1", "2"}),
        ("start", {"1"}),
        ("reopen", {"2", "3", "4"}),
        ("delete", {"1", "2", "3", "4"}),
        ("edit", {"1", "2", "3", "4"}),
    ],
)
def test_only_tasks_that_a_command_would_change(offer, tasks, command, ids):
    """Closed tasks are not offered to be done or cancelled, and open ones not to be reopened."""
    assert {id for id, _ in offer("task", command, "")} & {"1", "2", "3", "4"} == ids


@SQLITE_ONLY
def test_hostile_titles_are_escaped(offer, database):
    """A title is one short line without control characters."""
    add_user(database)
    add_task(database, title="\u202ea\u200b:$(touch x)`touch x`\\" + "long " * 30)
    [(id, help)] = offer("task", "done", "")
    assert id == "1"
    assert help.startswith("\\u202ea\\u200b:$(touch x)`touch x`\\long")
    assert help.endswith("…")
    assert len(help) < 80


@pytest.fixture
def shelf(isolated, tmp_path, monkeypatch):
    """A directory with three archives of the label in use, and one of another."""
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "shelf"))
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    (tmp_path / "shelf").mkdir()
    return BackupDirectory(LocalStore(tmp_path / "shelf"))


@SQLITE_ONLY
def test_archives(offer, shelf, tmp_path):
    """Archives come newest first with age and size; short names if these are typed, else whole ones."""
    now = datetime.now(UTC)
    paths = [archive(shelf, "work", now - timedelta(days=days, hours=1)) for days in (20, 9, 2)]
    times = [path.name[len("work-") :][: len("20261126T1230")] for path in paths]
    before = sorted(tmp_path.rglob("*"))
    for words in (("restore",), ("backup", "show"), ("backup", "verify"), ("backup", "verify", times[0])):
        names, helps = zip(*offer(*words, ""), strict=True)
        assert names == ("latest", *reversed(times))
        ages = [help.partition(", ")[2] for help in helps[1:]]
        assert ages == ["2 d ago, 7 bytes", "9 d ago, 7 bytes", "3 w ago, 7 bytes"]
    assert offer("restore", times[1][:10])[0][0] == times[1]
    assert [name for name, _ in offer("restore", "work-")] == [path.name for path in reversed(paths)]
    assert [name for name, _ in offer("restore", "late")] == ["latest"]
    taken = f"{now - timedelta(days=9, hours=1):%Y-%m-%dT%H:%M:%S}"
    assert [name for name, _ in offer("restore", taken[:10])] == [taken]
    assert offer("restore", "tod") == []
    newest = archive(shelf, "work", now)
    assert offer("restore", "tod") == [("today", f"{now:%Y-%m-%d}")]
    newest.unlink()
    assert offer("restore", "nothing") == offer("restore", "--dir", str(tmp_path / "none"), "") == []
    other = BackupDirectory(LocalStore(tmp_path))
    archive(other, "prod", now)
    for words in (("backup", "show", "--dir", str(tmp_path)), ("backup", "--dir", str(tmp_path), "show")):
        assert offer(*words, "prod")[0][0].startswith("prod-2")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, *tmp_path.glob("prod-*")])


def test_directories(tmp_path):
    """A path is completed to the directories that begin so; what cannot be listed offers none."""
    for name in ("backups", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "b.txt").touch()
    (tmp_path / "b.link").symlink_to(tmp_path / "b.link")
    assert complete_directories(f"{tmp_path}/b") == [f"{tmp_path}/backups/", f"{tmp_path}/bin/"]
    assert complete_directories(f"{tmp_path}/none/b") == complete_directories("s3://bucket/b") == []


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("words", "first", "number"),
    [
        (("task", "list", "--sort", ""), "id", 9),
        (("task", "list", "--sort", "-"), "-id", 9),
        (("task", "list", "--sort", "priority,-d"), "priority,-due", 1),
        (("task", "list", "--sort=-cr"), "--sort=-created", 1),
        (("task", "list", "--sort", "due,"), "due,id", 8),
        (("task", "ls", "--sort", "-due,-s"), "-due,-status", 1),
        (("task", "export", "--sort", "-u"), "-updated", 2),
        (("user", "list", "--sort", "e"), "email", 1),
        (("task", "list", "--fields", "id,t"), "id,title", 1),
        (("user", "list", "--fields", "n"), "name", 1),
        (("task", "list", "--fields", ""), "id", len(TASK_FIELDS)),
        (("task", "list", "--status", "todo,d"), "todo,done", 1),
        (("health", "--only", ""), "connection", len(CHECKS)),
        (("health", "--only", "connection", "--skip", "conn"), "connections", 1),
        (("health", "--only", "tls", "--only", "connection,conn"), "connection,connections", 1),
        (("health", "--skip", "backup_a"), "backup_archive", 1),
        (("task", "list", "--sor"), "--sort", 1),
    ],
)
def test_words_of_lists(offer, words, first, number):
    """Keys, fields and checks are offered once each, behind a comma and with a sign where these are taken."""
    found = offer(*words)
    assert found[0][0] == first
    assert len(found) == number
