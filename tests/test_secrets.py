"""The canary: a password that is put into every place, and looked for in everything that comes out."""

import contextlib
import itertools
import logging
import re
from pathlib import Path

import pytest

from taskdb_cli.cli.run import run

CANARY = "c4n4ry"
ENCODED = f"{CANARY}%21"
"""The password as a URL holds it, with something to decode."""

REFUSING = "postgresql://ann:{password}@127.0.0.1:1/d"
UNUSABLE = [
    "postgresql://ann:{password}@127.0.0.1:1/d",
    "postgresql://ann@127.0.0.1:1/d?password={password}",
    "postgresql://ann:{password}@127.0.0.1:port/d",
    "postgresql://ann:{password}@127.0.0.1:99999/d",
    "postgresql://ann:{password}@/d?host=/no/such/directory",
    "postgresql://ann:x@{password}@127.0.0.1:1/d",
    "postgresql://ann/{password}@127.0.0.1:1/d",
    "postgresql://ann:{password}/d",
    "postgresql://ann:{password}@127.0.0.1:1/d?no_such_option=1",
    "postgresql://ann:{password}@127.0.0.1:1/d?sslmode=nonsense",
    "postgresql://ann:{password}@127.0.0.1:1/d?connect_timeout=soon",
    "postgresql:ann:{password}@127.0.0.1:1/d",
    "mysql://ann:{password}@127.0.0.1:1/d",
    "sqlite://ann:{password}@host/d",
    "sqlite:///d?key={password}",
    "ann:{password}",
]

LOUD = [[], ["-v"], ["-vv"], ["--debug"], ["-vv", "--debug"], ["-q"]]

COMMANDS = [
    ["user", "list"],
    ["user", "list", "-o", "json"],
    ["user", "create", "--email", "ann@example.com", "--name", "Ann", "-o", "json"],
    ["user", "create", "--email", "ann@example.com", "--name", "Ann"],
    ["user", "show", "nobody@example.com"],
    ["user", "delete", "ann@example.com"],
    ["task", "create", "--user", "ann@example.com", "Write"],
    ["task", "list", "-o", "table"],
    ["task", "list", "--sort", "nonsense"],
    ["task", "show", "99", "-o", "json"],
    ["task", "bogus"],
    ["migrate"],
    ["migrate", "status", "-o", "json"],
    ["migrate", "history"],
    ["migrate", "check"],
    ["migrate", "sql"],
    ["migrate", "up", "nonsense"],
    ["migrate", "down"],
    ["migrate", "down", "base", "--yes"],
    ["task", "list"],
]


@pytest.fixture
def everything_said(isolated, capfd, caplog):
    """Runs a command line, however it ends, and returns all that it printed or logged."""

    def say(*arguments):
        # A run before this one has set the level of the libraries.
        caplog.set_level(logging.DEBUG)
        # Completion ends the process by itself.
        with contextlib.suppress(SystemExit):
            run(list(arguments))
        captured = capfd.readouterr()
        return f"{captured.out}{captured.err}{caplog.text}"

    return say


@pytest.fixture
def secret_url(engine, url, tmp_path):
    """A database that works, by a URL with the canary in it where the engine takes a password."""
    if engine == "sqlite":
        return url.render_as_string()
    return url.set(password=f"{CANARY}!").render_as_string(hide_password=False)


def test_a_working_database_keeps_its_password(everything_said, secret_url, engine, monkeypatch):
    """No command shows the password of its database, in whatever detail and however it ends."""
    assert (CANARY in secret_url) is (engine != "sqlite")
    monkeypatch.setenv("TASKDB_DATABASE_URL", secret_url)
    said = "".join(everything_said(*command) for command in COMMANDS)
    said += "".join(
        everything_said(*loud, *command)
        for loud, command in zip(itertools.cycle(LOUD[1:]), COMMANDS, strict=False)
    )
    assert "ann@example.com" in said
    assert "SELECT" in said
    assert CANARY not in said


@pytest.mark.parametrize("url", UNUSABLE)
def test_an_unusable_url_keeps_its_password(everything_said, monkeypatch, url):
    """A URL that cannot be used is described without its password, also in a traceback."""
    url = url.format(password=ENCODED)
    said = "".join(everything_said(*loud, "--database-url", url, "user", "list") for loud in LOUD)
    said += everything_said("--database-url", url, "user", "list", "-o", "json")
    said += everything_said("--debug", "--database-url", url, "migrate", "status")
    monkeypatch.setenv("TASKDB_DEBUG", "1")
    monkeypatch.setenv("DATABASE_URL", url)
    said += everything_said("task", "list")
    assert "Traceback" in said
    assert CANARY not in said


def test_a_bad_pair_keeps_both_passwords(everything_said, monkeypatch):
    """The refusal of a pair that names two databases shows neither password."""
    monkeypatch.setenv("DATABASE_URL", REFUSING.format(password=ENCODED))
    monkeypatch.setenv("DATABASE_URL_UNPOOLED", REFUSING.format(password=ENCODED) + "2")
    said = everything_said("--debug", "user", "list")
    assert "two databases" in said
    assert CANARY not in said


@pytest.mark.parametrize(
    "line",
    [
        f"TASKDB_DATABASE_URL={REFUSING}",
        "TASKDB_DATABASE_URL=nonsense {password}",
        "TASKDB_DATABASE_URL 'not a line {password}",
        "TASKDB_CONNECT_TIMEOUT={password}",
        "PASSWORD={password}\nTASKDB_DATABASE_URL=postgresql://ann:${{PASSWORD}}@127.0.0.1:1/d",
    ],
)
def test_a_dotenv_file_keeps_its_password(everything_said, line):
    """What stands in a dotenv file is not shown, whether it can be used or not."""
    Path(".env").write_text(line.format(password=ENCODED) + "\n")
    said = "".join(everything_said(*loud, "user", "list") for loud in LOUD)
    assert said
    assert CANARY not in said
    Path(".env").write_bytes(line.format(password=ENCODED).encode() + b"\n\xff\n")
    said = everything_said("--debug", "user", "list")
    assert "the dotenv file" in said
    assert CANARY not in said


def test_a_database_that_is_not_there_keeps_its_password(everything_said, engine, new_url):
    """A database that the server does not know is named without the password."""
    url = new_url(migrated=False)
    missing = url.set(database=f"{url.database}_missing")
    if engine != "sqlite":
        missing = missing.set(password=f"{CANARY}!")
    address = missing.render_as_string(hide_password=False)
    said = "".join(everything_said(*loud, "--database-url", address, "task", "list") for loud in LOUD)
    assert "_missing" in said
    assert CANARY not in said


def test_a_bug_keeps_the_password(everything_said, secret_url, monkeypatch):
    """The traceback of an unexpected error shows no local variable."""

    def broken(*_, **__):
        secret = secret_url  # what a formatter that shows locals would show
        raise RuntimeError(f"a bug after {len(secret)} characters")

    monkeypatch.setattr("taskdb_cli.services.user.find", broken)
    for loud in (["--debug"], ["-vv", "--debug"], []):
        said = everything_said(*loud, "--database-url", secret_url, "user", "list")
        assert "a bug after" in said
        assert CANARY not in said


def test_completion_keeps_the_password(everything_said, secret_url, monkeypatch):
    """Completing users, from a database that answers or not, shows no password."""
    create = ("user", "create", "--email", "ann@example.com", "--name", "Ann")
    said = everything_said("--database-url", secret_url, *create)
    for url in (secret_url, REFUSING.format(password=ENCODED), f"nonsense {CANARY}"):
        words = "taskdb user show "
        monkeypatch.setenv("TASKDB_DATABASE_URL", url)
        monkeypatch.setenv("_TASKDB_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", "3")
        said += everything_said()
    # Printed once by each; SQLAlchemy's own debugging, which no command turns on, shows rows as well.
    assert len(re.findall(r"^(?:1\t)?ann@example\.com", said, flags=re.MULTILINE)) == 2
    assert "Usage" not in said
    assert CANARY not in said


def test_settings_are_shown_without_the_password(isolated):
    """The repr of the settings and of a database, which a debugger or a test would print, hides it."""
    from taskdb_cli.config import load_settings

    settings = load_settings(
        database_url=REFUSING.format(password=ENCODED) + f"?password={ENCODED}", environment={}
    )
    shown = f"{settings!r} {settings.database()!r} {vars(settings.database().backend)!r}"
    assert re.search(r"ann:\*\*\*@", shown)
    assert CANARY not in shown
