"""A user without a home, homes with any characters in their names, and no working directory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import taskdb_cli
from taskdb_cli.database.schema import migrations_directory
from tests.conftest import SERVERS, open_database
from tests.forked import run_forked
from tests.processes import WITHOUT_PRIVILEGE, run_lines, run_process
from tests.proxy import Proxy
from tests.samples import add_user

STRANGE = ["a%41b", "100%", "a?b.c", "it's a#b;c&d=~", "new\nline", os.fsdecode(b"\xff\xfe")]


@pytest.fixture
def homeless():
    """Runs command lines as a user who is in no list of users, with almost no environment."""
    enter = ["unshare", "--user", "--map-user=4242", "env", "-i"]
    if not shutil.which("unshare") or subprocess.run([*enter, "true"], check=False).returncode:
        pytest.skip("another user cannot be played here")

    def run(*lines, **variables):
        return run_lines(lines, enter=[*enter, *(f"{name}={value}" for name, value in variables.items())])

    return run


def names(directory="."):
    return sorted(path.name for path in Path(directory).iterdir())


@pytest.fixture
def server_url(url):
    """The test's database as any user reaches it."""
    if url.drivername == "sqlite":
        yield url.render_as_string()
        return
    with Proxy(url) as proxy:
        yield proxy.url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def home(isolated, monkeypatch, tmp_path):
    """Makes a directory of that name the home."""
    monkeypatch.delenv("XDG_DATA_HOME")

    def make(name):
        path = tmp_path / "homes" / name
        monkeypatch.setenv("HOME", str(path))
        return path

    return make


@pytest.mark.parametrize(
    ("line", "variables", "named"),
    [
        (["user", "list"], {}, "TASKDB_DATABASE_URL"),
        (["user", "create", "--email", "a@example.com", "--name", "A"], {"HOME": ""}, "TASKDB_DATABASE_URL"),
        (["user", "list"], {"HOME": "relative", "XDG_DATA_HOME": "relative"}, "TASKDB_DATABASE_URL"),
        (["--database-url", "sqlite:///x", "backup"], {}, "TASKDB_BACKUP_DIR"),
        (["--database-url", "sqlite:///x", "restore", "latest"], {}, "TASKDB_BACKUP_DIR"),
        # Which shell runs the tests does not matter then.
        (["--install-completion", "bash"], {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}, "HOME"),
    ],
)
def test_no_home(homeless, isolated, line, variables, named):
    """What needs a home says what to set in its place, and makes nothing anywhere."""
    [done] = homeless(line, **variables)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("error: this user has no home directory (")
    assert named in done.err
    assert names() == []


def test_no_name(homeless, isolated):
    """Who has no name either, for libpq to take as the user of the database, is told what to set."""
    [done] = homeless(["--database-url", "postgresql://localhost/x", "user", "list"])
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "PGUSER" in done.err


@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
def test_no_home_is_needed(homeless, isolated, url, server_url, tmp_path):
    """With a database and a directory that are named, nothing asks for a home."""
    add_user(open_database(url))
    place = ["--database-url", server_url]
    kept = tmp_path / "one.zip"
    done = homeless(
        [*place, "user", "list"],
        [*place, "backup", "--dir", tmp_path / "archives", "--drill"],
        [*place, "backup", "--file", kept],
        [*place, "backup", "verify", kept, "--drill"],
        [*place, "migrate"],
        [*place, "health", "--only", "connection", "--only", "backup"],
        [*place, "--log-file", tmp_path / "log", "migrate", "check"],
    )
    assert [each.code for each in done] == [0] * len(done), done
    assert "no backup directory is known" in done[5].out
    assert len(list((tmp_path / "archives").glob("*.zip"))) == 1


@pytest.mark.parametrize("name", STRANGE)
def test_any_name_of_a_home(bare_taskdb, home, monkeypatch, name):
    """The database, the archives and scratch files are in the home that is named, whatever the name."""
    path = home(name)
    bare_taskdb("user", "create", "--email", "a@example.com", "--name", "A")
    bare_taskdb("backup")
    scratch = path / "tmp?%41"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    bare_taskdb("backup", "verify", "latest", "--drill")
    refused = bare_taskdb("restore", "latest", expect=4)
    assert refused.err.count("\n") == 1
    data = path / ".local" / "share" / "taskdb"
    (data / "taskdb.sqlite3").unlink()
    bare_taskdb("restore", "latest")
    assert bare_taskdb("user", "list").out == "1\ta@example.com\tA\ttrue\n"
    assert names(data) == ["backups", "taskdb.sqlite3"]
    assert names(path.parent) == [name]
    assert names() == []


def test_a_relative_data_directory_is_ignored(bare_taskdb, home, monkeypatch):
    """XDG_DATA_HOME counts only if it is absolute, as its specification says."""
    path = home("one")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    bare_taskdb("user", "create", "--email", "a@example.com", "--name", "A")
    assert (path / ".local/share/taskdb/taskdb.sqlite3").is_file()
    assert names() == []


def test_a_home_that_cannot_be_written(home):
    """A home in which nothing can be made, or that cannot be looked into, is told in one line."""
    path = home("one")
    path.mkdir(parents=True, mode=0o555)
    create = ("user", "create", "--email", "a@example.com", "--name", "A")
    for mode in (0o555, 0o000):
        path.chmod(mode)
        done = run_process(*create, first=WITHOUT_PRIVILEGE)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert str(path) in done.stderr
    path.chmod(0o700)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["user", "list"], 2),
        (["--env-file", "/dev/null", "--database-url", "sqlite:///relative", "user", "list"], 2),
        (["--env-file", "/dev/null", "backup", "--dir", "relative"], 2),
        (["--env-file", "/dev/null", "user", "list"], 3),
    ],
)
def test_no_working_directory(home, line, code):
    """A working directory that is gone is told as such, unless nothing depends on it."""
    home("one")
    done = run_forked(*line, first="os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')")
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert ("the working directory" in done.stderr) == (code == 2)


def test_any_name_of_the_place_of_the_program(isolated, tmp_path, monkeypatch):
    """Taskdb migrates wherever it is installed."""
    place = tmp_path / "a%s?b#c;d e:f"
    package = Path(taskdb_cli.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, place / "taskdb_cli", ignore=ignored)
    shutil.copytree(migrations_directory(), place / "taskdb_cli" / "migrations", ignore=ignored)
    code = "import sys, taskdb_cli.cli.run as cli; print(cli.__file__); sys.exit(cli.run(sys.argv[1:]))"
    monkeypatch.chdir(place)
    done = subprocess.run(
        [sys.executable, "-c", code, "--database-url", "sqlite:///x%3F", "migrate"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(place))
    assert (place / "x?").is_file()
