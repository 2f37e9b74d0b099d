"""What destroys rows names the database, and asks for the name of a protected profile."""

import io
import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from taskdb_cli.exit_codes import ExitCode
from tests.cli.test_history_prune import age
from tests.conftest import SERVERS, open_database
from tests.samples import add_task, add_user, emails, titles

ON_SQLITE = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

REFUSED = ExitCode.REFUSED


class Typed(io.TextIOWrapper):
    """What somebody types on a terminal."""

    def __init__(self, text):
        super().__init__(io.BytesIO(text.encode()))

    def isatty(self):
        return True


@pytest.fixture
def prod(isolated, url, tmp_path):
    """A database with a user and two tasks, which is that of a protected profile; it is never the default."""
    database = open_database(url)
    add_user(database)
    for title in ("A", "B"):
        add_task(database, title=title)
    age(url, 1, timedelta(hours=2))
    path = tmp_path / "home/.config/taskdb/config.toml"
    path.parent.mkdir(parents=True)
    address = url.render_as_string(hide_password=False)
    path.write_text(f"[profiles.prod]\ndatabase_url = '{address}'\nprotected = true\n[profiles.dev]\n")
    path.chmod(0o600)
    return database


@pytest.fixture
def answer(bare_taskdb, monkeypatch, capsys):
    """Runs a command line on a terminal on which somebody types a line; returns its code and stderr."""

    def run(typed, *words):
        from taskdb_cli.cli.run import run

        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", Typed(typed))
        return int(run([str(word) for word in words])), capsys.readouterr().err

    return run


DESTROYING = [
    ("user", "delete", "1"),
    ("user", "erase", "1"),
    ("history", "prune", "--keep", "1h"),
    ("task", "delete", "1"),
    ("task", "delete", "--status", "todo"),
    ("migrate", "down", "--no-backup"),
    ("restore", "latest", "--replace"),
]


@ON_SQLITE
@pytest.mark.parametrize("words", DESTROYING, ids=" ".join)
def test_yes_is_not_enough(bare_taskdb, answer, prod, words):
    """Without a terminal it takes --confirm with the right name, on one that name; else nothing changes."""
    bare_taskdb("--profile", "prod", "backup")
    line = ("--profile", "prod", *words)
    for options in ([], ["--yes"], ["--yes", "--confirm", "dev"], ["--confirm", ""], ["--confirm", "PROD"]):
        refused = bare_taskdb(*line, *options, expect=REFUSED)
        assert refused.err.count("\n") == 1
        assert "prod" in refused.err
    assert "--confirm prod" in bare_taskdb(*line, "--yes", expect=REFUSED).err
    for typed in ("y\n", "yes\n", "\n", "", "PROD\n", "dev\n"):
        code, said = answer(typed, *line, "--yes")
        assert code == REFUSED
        assert f"{prod.backend.place}" in said
        assert "(profile prod)" in said
    assert (emails(prod), titles(prod)) == (["ann@example.com"], ["A", "B"])
    bare_taskdb(*line, "--confirm", "prod")
    bare_taskdb("--profile", "prod", "migrate")
    bare_taskdb("--profile", "prod", "restore", "latest", "--replace", "--confirm", "prod")
    assert answer("prod\n", *line)[0] == 0


@ON_SQLITE
def test_undo(bare_taskdb, answer, prod):
    """Undo destroys newer values, so it takes the name of the profile too."""
    line = ("--profile", "prod", "undo")
    assert "--confirm prod" in bare_taskdb(*line, "--yes", expect=REFUSED).err
    assert answer("y\n", *line)[0] == REFUSED
    assert titles(prod) == ["A", "B"]
    bare_taskdb(*line, "--confirm", "prod")
    assert titles(prod) == ["A"]
    assert answer("prod\n", *line)[0] == 0
    assert titles(prod) == ["A", "B"]


@ON_SQLITE
@pytest.mark.parametrize("named", ["option", "environment", "link", "hard link"])
def test_the_database_is_protected_however_it_is_named(bare_taskdb, prod, monkeypatch, named):
    """The address of a protected profile is protected without the profile, too."""
    path, options = prod.backend.place, []
    if named == "environment":
        monkeypatch.setenv("DATABASE_URL", f"sqlite:///{path}")
    else:
        link = Path("link.db")
        link.hardlink_to(path) if named == "hard link" else link.symlink_to(path)
        options = ["--database-url", f"sqlite:///{path}" if named == "option" else link]
    assert "prod" in bare_taskdb(*options, "task", "delete", "1", "--yes", expect=REFUSED).err
    bare_taskdb(*options, "task", "delete", "1", "--confirm", "prod")
    assert titles(prod) == ["B"]


@ON_SQLITE
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("protected = true\nstatment_timeout = 3", ExitCode.USAGE),
        ("protected = true\nlock_timeout = 'soon'", ExitCode.USAGE),
        ("protected = true\ndirect_url = 'nonsense'", ExitCode.USAGE),
        ("protected = true\ndirect_url = 'postgresql:///?service=none'", ExitCode.USAGE),
        ("protected = 'true'", ExitCode.USAGE),
        ("protected = 1", ExitCode.USAGE),
        ("protcted = true", ExitCode.USAGE),
        ("protected = false\nstatment_timeout = 3", ExitCode.OK),
        ("lock_timeout = 'soon'", ExitCode.OK),
    ],
)
def test_a_mistake_does_not_turn_the_protection_off(bare_taskdb, prod, tmp_path, wrong, code):
    """While a profile that may be protected is written wrongly, nothing is destroyed under any address."""
    path = tmp_path / "home/.config/taskdb/config.toml"
    address = f"database_url = '{prod.backend.place}'"
    if "nonsense" in wrong or "service" in wrong:
        address = "database_url = 'other.db'"
    path.write_text(f"[profiles.prod]\n{address}\n{wrong}\n")
    named = ("--database-url", prod.backend.place)
    result = bare_taskdb(*named, "task", "delete", "1", "--yes", expect=code)
    assert titles(prod) == (["B"] if code == ExitCode.OK else ["A", "B"])
    if code != ExitCode.OK:
        assert "prod" in result.err
        assert result.err.count("\n") == 1
        bare_taskdb(*named, "task", "delete", "1", "--confirm", "prod", expect=code)
        bare_taskdb(*named, "task", "done", "1")
        bare_taskdb(*named, "config")


@pytest.mark.parametrize("engine", SERVERS[:1], indirect=True)
def test_the_replica_of_a_protected_profile(bare_taskdb, prod, tmp_path):
    """What was a replica is protected too, as it is when it has been promoted."""
    path = tmp_path / "home/.config/taskdb/config.toml"
    text = path.read_text().replace("database_url", "database_url = 'postgresql://127.0.0.1:1/d'\nread_url")
    path.write_text(text)
    named = ("--database-url", prod.url.render_as_string(hide_password=False))
    assert "prod" in bare_taskdb(*named, "task", "delete", "1", "--yes", expect=REFUSED).err
    bare_taskdb(*named, "task", "delete", "1", "--confirm", "prod")


@ON_SQLITE
def test_a_copy_protects_what_it_replaces(bare_taskdb, prod, tmp_path):
    """The target of a copy counts, and not the database that is read."""
    other, place = tmp_path / "other.db", prod.backend.place
    bare_taskdb("--profile", "prod", "copy", "--to", other)
    bare_taskdb("--profile", "prod", "copy", "--to", other, "--replace", "--yes")
    copy = ("--database-url", other, "copy", "--to", f"sqlite:///{place}", "--replace")
    assert "--confirm prod" in bare_taskdb(*copy, "--yes", expect=REFUSED).err
    bare_taskdb(*copy, "--confirm", "dev", expect=REFUSED)
    bare_taskdb(*copy, "--dry-run")
    bare_taskdb(*copy, "--confirm", "prod")


@ON_SQLITE
def test_questions_name_the_database_and_the_profile(answer, bare_taskdb, prod, monkeypatch):
    """An ordinary question has the place, and the profile if there is one; --confirm answers it too."""
    monkeypatch.setenv("TASKDB_PROFILE", "dev")
    bare_taskdb("user", "create", "--email", "a@example.com", "--name", "A")
    place = Path(os.environ["XDG_DATA_HOME"]) / "taskdb" / "taskdb.sqlite3"
    code, said = answer("n\n", "user", "delete", "1")
    assert code == REFUSED
    assert said.startswith(f"Delete a@example.com and 0 tasks in {place} (profile dev)? [y/N] ")
    bare_taskdb("user", "delete", "1", "--yes", "--confirm", "prod", expect=REFUSED)
    bare_taskdb("user", "delete", "1", "--confirm", "dev")
    monkeypatch.delenv("TASKDB_PROFILE")
    bare_taskdb("user", "delete", "1", "--confirm", "dev", expect=REFUSED)


@pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)
def test_a_server_is_protected_by_either_address(bare_taskdb, prod, url):
    """A database on a server is known by its host, port and name, whatever else a URL says."""
    same = url.update_query_dict({"application_name": "x"}).render_as_string(hide_password=False)
    assert "prod" in bare_taskdb("--database-url", same, "user", "delete", "1", "--yes", expect=REFUSED).err
    bare_taskdb("--profile", "prod", "user", "delete", "1", "--yes", expect=REFUSED)
    bare_taskdb("--profile", "prod", "user", "delete", "1", "--confirm", "prod")
    assert emails(prod) == []
