"""Completion in bash, zsh and fish: what is stored reaches the command unchanged, and no shell runs it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from itertools import count, product
from pathlib import Path

import pexpect
import pytest
from sqlalchemy import make_url
from typer._click.shell_completion import CompletionItem, _available_shells
from typer.main import get_command

from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.cli.app import app
from taskdb_cli.cli.completion import Bash, quote_completions
from tests.backups import NAME, archive
from tests.completion import ask_for_words
from tests.conftest import SERVERS
from tests.samples import add_user

EVERYTHING = "a`touch canary`$(touch canary);touch canary&|<>*?[x]{a,b}~!!#\"'\\ :=^%é@example.com"
"""An address with every character that is special to some shell."""

ADDRESSES = (
    EVERYTHING,
    "a`touch canary`@example.com",
    "$(touch canary)@example.com",
    "${IFS}touch canary@example.com",
    "a;touch canary;@example.com",
    "a&touch canary&@example.com",
    "a|touch canary@example.com",
    "<(touch canary)@example.com",
    ">canary@example.com",
    "o'brien@example.com",
    "';touch canary;'@example.com",
    '";touch canary;"@example.com',
    '"$(touch canary)"@example.com',
    "\\$(touch canary)@example.com",
    "\\\\`touch canary`\\@example.com",
    "ends with a backslash\\@example.com\\",
    "two  spaces@example.com",
    " begins with one@example.com",
    "*@example.com",
    "[a-z]?@example.com",
    "~root@example.com",
    "~@example.com",
    "=ls@example.com",
    "!!@example.com",
    "a!touch@example.com",
    "^a^b@example.com",
    "#comment@example.com",
    "{a,b}@example.com",
    "a:b=c@d@@example.com",
    "a:$(touch canary):`touch canary`@example.com",
    "%1@example.com",
    "@(a|b)@example.com",
    "$'\\x60touch canary\\x60'@example.com",
    "josé.日本@example.com",
    "(touch canary)@example.com",
)
"""Addresses that end with the same word, and would run `touch canary` if a shell evaluated them."""

HIDDEN = ("a\nb", "a\tb", "a\x1b[2Jb", "a\x07b", "a\u202eb", "a\u200bb", "a\x9bb", "-x@example.com")
"""Never offered: they cannot be seen, or would be taken for an option."""

OPEN = ("", "'", '"')
"""The quotes that may be open when Tab is pressed."""

COMMAND = get_command(app)
TIME = "2026-11-22T12:30:15.123456Z"
SOAK = os.environ.get("TASKDB_SOAK") == "1"
PROMPT = "READY> "
RECEIVED = "ARGUMENTS RECEIVED"
START = {
    "bash": (["--norc", "--noprofile", "-i"], "bind 'set enable-bracketed-paste off'"),
    "zsh": (["-f", "-i"], "unset zle_bracketed_paste; autoload -Uz compinit; compinit -u -D"),
    "fish": (["--no-config", "--private", "-C", f"function fish_prompt; echo -n '{PROMPT}'; end"], "true"),
}

SHELLS = tuple(
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            shutil.which(name) is None and os.environ.get("CI") != "true", reason=f"{name} is not installed"
        ),
    )
    for name in START
)


class Shell:
    """An interactive shell where `taskdb` completes for real, and otherwise notes its arguments."""

    def __init__(self, name: str, place: Path) -> None:
        self.home, self.received = place / "home", place / "received"
        self.work = place / "work"
        programs = place / "bin"
        for folder in (self.home, self.work, programs):
            folder.mkdir(exist_ok=True)
        command = programs / "taskdb"
        command.write_text(
            f"#!{sys.executable}\n"
            "import json, os, sys\n"
            "if '_TASKDB_COMPLETE' in os.environ:\n"
            f"    os.execv({sys.executable!r}, [{sys.executable!r}, '-m', 'taskdb_cli', *sys.argv[1:]])\n"
            f"with open({str(self.received)!r}, 'w', encoding='utf-8') as file:\n"
            "    json.dump(sys.argv[1:], file)\n"
            f"print({RECEIVED!r})\n"
        )
        command.chmod(0o755)
        arguments, setting = START[name]
        self.terminal = pexpect.spawn(
            shutil.which(name) or name,
            arguments,
            env={
                "PATH": f"{programs}:{os.environ['PATH']}",
                "HOME": str(self.home),
                "TERM": "dumb",
                "LANG": "C.UTF-8",
                "PS1": PROMPT,
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
            cwd=str(self.work),
            encoding="utf-8",
            dimensions=(50, 1000),
            timeout=60,
        )
        script = place / "completion"
        script.write_text(
            subprocess.run(
                [sys.executable, "-m", "taskdb_cli", "--show-completion", name],
                env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        self.terminal.expect_exact(PROMPT)
        self.run(f"{setting}")
        self.run(f"source {script}")

    def run(self, line: str) -> None:
        """Run a line and wait for the next prompt."""
        self.terminal.sendline(line)
        self.terminal.expect_exact(PROMPT)

    def complete(self, typed: str, url: str, shown: str = "example.com") -> list[str]:
        """Press Tab behind what is typed, wait for what it shows at the end, and run the line."""
        self.run(f"export TASKDB_DATABASE_URL={url}")
        self.received.unlink(missing_ok=True)
        self.terminal.send(typed + "\t")
        self.terminal.expect_exact(shown)
        self.terminal.sendline("")
        self.terminal.expect_exact(RECEIVED)
        self.terminal.expect_exact(PROMPT)
        return json.loads(self.received.read_text())


@pytest.fixture(scope="module")
def shell(request, tmp_path_factory):
    """The interactive shell of that name, in a directory that each test leaves empty."""
    shell = Shell(request.param, tmp_path_factory.mktemp(request.param))
    yield shell
    shell.terminal.close(force=True)


@pytest.fixture
def stored(urls, tmp_path):
    """Return the URL of a new database whose only user has that address, whatever the checks say of it."""
    template = Path(make_url(urls["sqlite"]).database)
    numbers = count()

    def store(address: str) -> str:
        path = tmp_path / f"{next(numbers)}.sqlite3"
        shutil.copy(template, path)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("PRAGMA ignore_check_constraints = on")
            connection.execute(
                "INSERT INTO users (email, name, is_active, version, created_at, updated_at)"
                " VALUES (?, 'Ann', 1, 1, ?, ?)",
                [address, TIME, TIME],
            )
        return f"sqlite:///{path}"

    return store


@pytest.mark.soak
@pytest.mark.parametrize("shell", SHELLS, indirect=True)
def test_every_address(shell, stored):
    """Tab inserts each hostile address, also behind an open quote; the command gets it as it is stored."""
    for address, quote in product(ADDRESSES, OPEN) if SOAK else [(EVERYTHING, "")]:
        got = shell.complete(f"taskdb user show {quote}", stored(address))
        assert got == ["user", "show", address]
        assert not list(shell.work.iterdir()), address


@pytest.mark.parametrize("shell", SHELLS, indirect=True)
def test_names_of_archives(shell, stored):
    """File names, which the shell completes by itself where nothing is offered, reach the command too."""
    name = "b`touch canary`$(touch canary);'x\" *.example.com"
    (shell.work / name).touch()
    assert shell.complete("taskdb backup verify b", stored("ann@example.org")) == ["backup", "verify", name]
    assert [path.name for path in shell.work.iterdir()] == [name]
    (shell.work / name).unlink()


@pytest.mark.soak
@pytest.mark.parametrize("shell", SHELLS, indirect=True)
def test_words_that_are_offered(shell, stored, tmp_path):
    """Ids beside hostile titles, keys behind a comma and a sign, fields, checks and archives are inserted."""
    url = stored("ann@example.org")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = on")
        connection.execute(
            "INSERT INTO tasks (user_id, title, status, priority, version, created_at, updated_at)"
            " VALUES (1, ?, 'todo', 2, 1, ?, ?)",
            [EVERYTHING + "\x1b[2J", TIME, TIME],
        )
    shelf = BackupDirectory(LocalStore(tmp_path))
    archive(shelf, "it-s")
    shell.run(f"export TASKDB_BACKUP_DIR={tmp_path}")
    offers = {
        "task done ": "1",
        "task list --sort priority,-cr": "priority,-created",
        "restore it-s-2": NAME.replace("tasks", "it-s")[: -len(".123456Z.taskdb.zip") - 2],
    }
    if SOAK:
        offers |= {
            "task list --sort -prio": "-priority",
            "task list --fields id,ti": "id,title",
            "health --only backup_a": "backup_archive",
            "backup show it-s-20261122T123015.": NAME.replace("tasks", "it-s"),
        }
    for typed, word in offers.items():
        got = shell.complete(f"taskdb {typed}", url, word.split(",")[-1].lstrip("-"))
        assert got == [*typed.split()[:-1], word] if typed[-1] != " " else [*typed.split(), word], typed
    assert not list(shell.work.iterdir())


def offered(words, address, monkeypatch):
    """Return what bash is given when it has split the line into these words."""
    bash = Bash(COMMAND, {}, "taskdb", "_TASKDB_COMPLETE")
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    bash.get_completion_args()
    return bash.format_completion(CompletionItem(address))


SIMULATION = """
shopt -s extglob nocaseglob dotglob
IFS=$'\n'
COMPREPLY=( $( cat lines ) )
for word in "${COMPREPLY[@]}"; do eval "printf '%s\\0' $word"; done
"""


@pytest.mark.skipif(shutil.which("bash") is None and os.environ.get("CI") != "true", reason="no bash")
def test_bash_evaluates_every_address_to_itself(tmp_path, monkeypatch):
    """Each address survives Typer's script in bash, even beside files that have the same names."""
    lines, expected = [], []
    for address in ADDRESSES:
        (tmp_path / address.replace("/", "")).touch()
        for quote in OPEN:
            word = offered(["taskdb", "user", "show", quote], address, monkeypatch)
            # Readline keeps no second quote at the beginning, and closes what is open.
            line = word if word.startswith(quote) else quote + word
            lines.append(line if quote == "" or line.endswith(quote) else line + quote)
            expected.append(address)
    files = {path.name for path in tmp_path.iterdir()}
    (tmp_path / "lines").write_text("\n".join(lines))
    done = subprocess.run(
        ["bash", "-c", SIMULATION, "bash", "lines"], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    assert done.stdout.split("\0")[:-1] == expected
    assert {path.name for path in tmp_path.iterdir()} == files | {"lines"}


@pytest.mark.parametrize(
    ("words", "address", "expected"),
    [
        (["an"], "ann@example.com", "ann@example.com"),
        (["ann", "@"], "ann@example.com", "@example.com"),
        (["ann", "@", "ex"], "ann@example.com", "@example.com"),
        (["ann@ex"], "ann@example.com", "ann@example.com"),
        (["ann\\@ex"], "ann@example.com", "ann@example.com"),
        (["--user", "=", "an"], "--user=ann@example.com", "ann@example.com"),
        (["--user", "="], "--user=ann@example.com", "ann@example.com"),
        (["--user", "=", "'an"], "--user=ann@example.com", "ann@example.com"),
        (["--user", "=", "ann", "@", "ex"], "--user=ann@example.com", "@example.com"),
        (["'o"], "o'brien@example.com", "o'\"'\"'brien@example.com"),
        (['"o'], "o'brien@example.com", 'o""\'""brien@example.com'),
        (["o\\'b"], "o'brien@example.com", 'o"\'"brien@example.com'),
        (["a$'\\x2a'b"], "a*b@example.com", "a$'\\x2a'b@example.com"),
        (["ann", "@", "'ex"], "ann@example.com", "example.com"),
        (['"a\\`b'], "a`b@example.com", "a\"'`'\"b@example.com"),
        (["bob"], "ann@example.com", "ann@example.com"),
        (["bo", "@", "x"], "ann@example.com", ""),
    ],
)
def test_bash_replaces_only_a_part_of_the_word(words, address, expected, monkeypatch):
    """What is inserted goes on where bash split the word, or where a quote is open."""
    assert offered(["taskdb", "task", "list", *words], address, monkeypatch) == expected


@pytest.mark.parametrize("word", ["a\\", 'a"b\\"c', "'a'b\\"])
def test_bash_is_offered_nothing_for_a_word_that_cannot_be_read(word, monkeypatch):
    """A word that ends in the middle of an escape is left alone."""
    with pytest.raises(ValueError):  # noqa: PT011 (all of them mean that)
        offered(["taskdb", "user", "show", word], "ann@example.com", monkeypatch)


@pytest.fixture
def complete(isolated, capfd, monkeypatch):
    """Completes the last of some words as a shell has it done, and returns what that printed."""
    return partial(ask_for_words, capfd, monkeypatch)


FAMILIES = ("bash", "zsh", "fish", "powershell")
NOTHING = ("", "_files")


@pytest.mark.parametrize("family", FAMILIES)
def test_what_cannot_be_seen_is_not_offered(family, complete, stored, monkeypatch):
    """An address with control or invisible characters, or one like an option, is never offered."""
    for address in HIDDEN:
        monkeypatch.setenv("TASKDB_DATABASE_URL", stored(address))
        assert complete(family, "user", "show", "") in NOTHING, address


@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
def test_ordinary_addresses_are_offered_as_they_are(complete, url, database, monkeypatch):
    """On each engine an ordinary address comes without quotes, also behind `--user=`."""
    add_user(database, "ann.lee+x@example.com")
    monkeypatch.setenv("TASKDB_DATABASE_URL", url.render_as_string(hide_password=False))
    for family in FAMILIES:
        assert "ann.lee+x@example.com" in complete(family, "user", "show", "ann"), family
        if family != "bash":  # It splits the word.
            printed = complete(family, "task", "list", "--user=ann")
            assert "--user=ann.lee+x@example.com" in printed.replace("\\", ""), family


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "words",
    [
        ("user", "show", "a\u0301" * 64_000),
        ("user", "show", "a" * 1_000_000),
        ("user", "show", "\udcff"),
        ("user", "show", "a\x1b"),
        ("--version", "user", "show", ""),
        ("--database-url", "nonsense", "user", "show", ""),
        ("--env-file", "missing", "user", "show", ""),
        ("--log-file", "log", "user", "show", ""),
    ],
    ids=lambda words: " ".join(words)[:20].encode("ascii", "replace").decode(),
)
def test_nothing_is_printed_about_errors(family, words, complete, tmp_path):
    """Words that cannot be completed offer nothing, say nothing, and leave no file behind."""
    before = set(tmp_path.rglob("*"))
    assert complete(family, *words) in NOTHING
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("family", FAMILIES)
def test_completion_makes_no_database(family, complete, tmp_path, monkeypatch):
    """A database that is missing stays missing."""
    monkeypatch.setenv("TASKDB_DATABASE_URL", f"sqlite:///{tmp_path}/missing.sqlite3")
    assert complete(family, "user", "show", "") in NOTHING
    assert not (tmp_path / "missing.sqlite3").exists()


def test_typers_own_classes_are_replaced():
    """For each shell that Typer knows, it is our class that answers."""
    quote_completions()
    assert {type.__module__ for type in _available_shells.values()} == {Bash.__module__}
