"""Random command lines: each ends with a documented exit code and at most one line of error."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from taskdb_cli.exit_codes import ExitCode
from tests.conftest import ENGINES, SERVERS, TaskdbCommand
from tests.hostile.command_lines import PASSWORD, CommandLines
from tests.processes import run_process

SOAK = os.environ.get("TASKDB_SOAK") == "1"
LINES = 3000 if SOAK else 30
"""How many run in this process on each engine."""

PROCESSES = 200 if SOAK else 1
"""How many run as processes of their own."""

LONG = 80

NEVER_SAID = ("Traceback", "this is a bug", "Exception ignored", PASSWORD)

OF_HEALTH = (1, 2, 3)
"""The codes that a report of health ends with, which is no error."""

SEED = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(2**32))
"""What the lines are made of; FUZZ_SEED makes the same ones again."""

DOCUMENTED = {int(code) for code in ExitCode}


@pytest.fixture
def place(taskdb, monkeypatch, tmp_path) -> TaskdbCommand:
    """The command line in a directory with files of many kinds; it waits for nothing."""
    monkeypatch.setenv("TASKDB_CONNECT_TIMEOUT", "1")
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "0")
    monkeypatch.setenv("TASKDB_MIGRATION_WAIT", "0")
    here = tmp_path / "cwd" / "some" / "where"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    return taskdb


def lay_out(here: Path) -> None:
    """Put the files there that the lines name, where they are not there any more."""
    for name, text in {
        "text.txt": "words\n",
        "empty": "",
        "users.csv": "email,name\nbob@example.com,Bob\n\udcff@x,\n",
        "tasks.json": '[{"title": "A", "due_at": "x", "extra": 1}, 5]',
    }.items():
        if not os.path.lexists(here / name):
            (here / name).write_text(text, errors="surrogateescape")
    (here / "folder").mkdir(exist_ok=True)
    for name, target in {"null": "/dev/null", "full": "/dev/full", "loop": "loop"}.items():
        if not os.path.lexists(here / name):
            (here / name).symlink_to(target)


def wrong(line: list[str], code: int, out: str, err: str) -> Iterator[str]:
    """Yield what the manual does not allow about the outcome of a command line."""
    words = " ".join(ascii(word if len(word) < LONG else f"{word[:20]}… ({len(word)})") for word in line)
    shown = f"{words}: code {code}, out {out[-300:]!r}, err {err[-1000:]!r}"
    errors = err.startswith("error: ") + err.count("\nerror: ") + err.count('{\n  "error": {')
    if code not in DOCUMENTED:
        yield f"a code that is not documented: {shown}"
    for word in NEVER_SAID:
        if word in err + out:
            yield f"{word}: {shown}"
    if errors > 1 or (errors and code == ExitCode.OK):
        yield f"{errors} errors: {shown}"
    # config --check shows all settings, and then says what is wrong with them.
    if errors and out and code == ExitCode.USAGE and "config" not in line:
        yield f"output with an error of usage: {shown}"
    if not errors and code not in (ExitCode.OK, *OF_HEALTH):
        yield f"no error: {shown}"


def require_none(failed: list[str]) -> None:
    assert not failed, f"FUZZ_SEED={SEED}: {len(failed)} failed:\n" + "\n".join(failed[:10])


@pytest.mark.soak
@pytest.mark.parametrize("engine", ENGINES if SOAK else ["sqlite", SERVERS[-1]], indirect=True)
def test_random_command_lines(place, url):
    """Whatever is typed ends with a documented exit code and at most one line of error, and soon."""
    lines = CommandLines(SEED, url.render_as_string(hide_password=False))
    failed: list[str] = []
    for number in range(LINES):
        if number % 10 == 0:
            # Some lines drop the tables or delete the rows.
            lay_out(Path.cwd())
            place("migrate", "--no-backup", expect=None)
            place("user", "create", "--email", "ann@example.com", "--name", "Ann", expect=None)
            place("task", "create", "--user", "ann@example.com", "A", expect=None)
        line = lines.next()
        if "--file=-" in line or ("--file", "-") in pairwise(line):
            # An archive on stdout is no text, which this test reads; those of processes may have one.
            continue
        result = place(*line, expect=None)
        failed += wrong(line, result.code, result.out, result.err)
    require_none(failed)


@pytest.mark.soak
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_random_processes(place, url):
    """The same holds for processes of their own, whose arguments are bytes."""
    lines = CommandLines(SEED + 1, url.render_as_string(hide_password=False))
    failed: list[str] = []
    for _ in range(PROCESSES):
        lay_out(Path.cwd())
        line = lines.next()
        done = run_process(*line, errors="backslashreplace")
        failed += wrong(line, done.returncode, done.stdout, done.stderr)
    require_none(failed)
