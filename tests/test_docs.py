"""What is written for people, held to what the code does."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest
import typer

from taskdb_cli.cli.app import app
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.health.registry import CHECKS, parse_limits
from taskdb_cli.health.report import Limits
from taskdb_cli.services.listing.query import TASK_QUERY, USER_QUERY

ROOT = Path(__file__).resolve().parent.parent
COMMANDS_PAGE = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
ROOT_COMMAND = typer.main.get_command(app)
SHELL = {"&&", "||", "|", ";", ">", ">>", "<"}


def commands(command=ROOT_COMMAND, path: str = "taskdb") -> Iterator[tuple[str, object]]:
    """Every command with its full path, without groups that do nothing by themselves and hidden ones."""
    subcommands = getattr(command, "commands", {})
    if command.hidden:
        return
    if not subcommands or command.invoke_without_command:
        yield path, command
    for name, subcommand in subcommands.items():
        yield from commands(subcommand, f"{path} {name}")


COMMANDS = dict(commands())


def test_there_are_commands():
    """The walk over the command line finds it."""
    assert {"taskdb user create", "taskdb task list", "taskdb migrate", "taskdb migrate down"} <= set(
        COMMANDS
    )


def test_every_command_is_in_the_manual():
    """The page about all commands has a section with the usage of each, and of no other."""
    assert set(re.findall(r"^```text\n(taskdb[a-z ]*) \[OPTIONS\]", COMMANDS_PAGE, re.MULTILINE)) == set(
        COMMANDS
    )
    headings = set(re.findall(r"^##+ (taskdb.*)$", COMMANDS_PAGE, re.MULTILINE))
    assert set(COMMANDS) < headings
    links = re.findall(r"\[`(taskdb[a-z ]+)`\]\(#([a-z-]+)\)", COMMANDS_PAGE)
    assert {path for path, _ in links} == headings - {"taskdb"}
    assert [each for each in links if each[0].replace(" ", "-") != each[1]] == []


def reference(*arguments: str) -> tuple[int, str]:
    """The exit code and the complaint of what writes the reference."""
    script = [sys.executable, ROOT / ".ci" / "reference.py", *arguments]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_the_reference_is_up_to_date():
    """The manual's tables and .env.example have what the code says."""
    assert reference("--check") == (0, "")


@pytest.mark.parametrize("columns", [60, 80])
def test_man_pages(columns):
    """A formatter finds no fault in any man page, and each command has its section."""
    groff = shutil.which("groff")
    if groff is None:
        lacking = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        lacking("groff is not installed")
    shown = ""
    for page in sorted(ROOT.glob("man/*")):
        options = ["-man", "-Tutf8", "-ww", "-P-cbou", f"-rLL={columns}n"]
        done = subprocess.run([groff, *options, page], capture_output=True, text=True, check=True)
        assert (page.name, done.stderr) == (page.name, "")
        # A word that is broken could not be copied into a shell.
        assert "\N{HYPHEN}\n" not in done.stdout
        shown += done.stdout
    assert [path for path in COMMANDS if not re.search(rf"^ +{path} \[OPTIONS\]", shown, re.MULTILINE)] == []
    assert [
        code.name for code in ExitCode if f"{int(code)}, {code.name.lower().replace('_', ' ')}" not in shown
    ] == []


def test_every_exit_code_and_check_is_explained():
    """No exit code and no check is without words."""
    assert [code.name for code in ExitCode if not code.when] == []
    assert [check.name for check in CHECKS.values() if not check.looks_at] == []


def test_limits_are_written_as_they_are_read():
    """What the manual says of the limits of a check can be given to TASKDB_HEALTH_LIMITS."""
    text = (ROOT / "docs/health.md").read_text(encoding="utf-8")
    written = dict(re.findall(r"^- `(\w+)`: .*`([0-9]\w*%?:[0-9]\w*%?)`\.$", text, re.MULTILINE))
    limited = {name: check.limits for name, check in CHECKS.items() if check.limits != Limits()}
    assert parse_limits(" ".join(f"{name}={limits}" for name, limits in written.items())) == limited


def examples_of(command) -> list[list[str]]:
    """The words of each example in a command's help, as far as they are taskdb's."""
    lines = [shlex.split(line) for line in (command.epilog or "").splitlines()]
    return [list(takewhile(lambda word: word not in SHELL, words)) for words in lines]


def parse(words: list[str]) -> str:
    """Parse a command line, without running it; return the path of its command."""
    command, name, context = ROOT_COMMAND, words[0], None
    while True:
        context = command.make_context(name, words[1:], parent=context)
        rest = [*getattr(context, "_protected_args", []), *context.args]
        if not hasattr(command, "commands") or not rest:
            return context.command_path
        name, command, arguments = command.resolve_command(context, rest)
        words = [name, *arguments]


@pytest.mark.parametrize(("path", "command"), COMMANDS.items(), ids=list(COMMANDS))
def test_every_command_has_help_with_examples(taskdb_help, path, command):
    """Each command says what it does, and its examples, which come first, are command lines that it takes."""
    examples = examples_of(command)
    assert len(examples) >= 2
    for words in examples:
        assert parse(words).startswith(path)
    shown = taskdb_help(path)
    assert shown.index("Examples:\n  ") < shown.index("Options:\n")
    assert [line for line in command.epilog.splitlines() if f"\n  {line}\n" not in shown] == []
    assert (" WHEN " in shown) == ("taskdb help times" in shown)
    assert re.search(r"<\w+>|\.\.\.|[{}]|x[<>]=", shown) is None
    assert command.help.strip().endswith(".")
    for parameter in command.params:
        if getattr(parameter, "opts", [""])[0].startswith("--") and parameter.name != "help":
            assert parameter.help, parameter.name


@pytest.fixture
def taskdb_help(bare_taskdb):
    """Shows the help of a command."""
    return lambda path: bare_taskdb(*path.split()[1:], "--help").out


def groups(command=ROOT_COMMAND, path: str = "taskdb") -> Iterator[tuple[str, object]]:
    """Every group of commands with its full path."""
    if hasattr(command, "commands"):
        yield path, command
        for name, subcommand in command.commands.items():
            yield from groups(subcommand, f"{path} {name}")


GROUPS = dict(groups())


@pytest.mark.parametrize(("path", "group"), GROUPS.items(), ids=list(GROUPS))
def test_the_help_of_groups(taskdb_help, monkeypatch, path, group):
    """A group lists each command with its whole first line, on a narrow terminal and on a wide one."""
    first_lines = [
        f"{name} {command.help.strip().splitlines()[0]}"
        for name, command in group.commands.items()
        if not command.hidden
    ]
    for columns in (60, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        shown = taskdb_help(path)
        assert all(len(line) < columns for line in shown.splitlines()[:-1] if "  taskdb " not in line)
        assert [line for line in first_lines if line not in " ".join(shown.split())] == []
        assert "Other commands" not in shown


def test_users_and_tasks_come_first(taskdb_help):
    """The help of taskdb begins with what people do every day."""
    words = taskdb_help("taskdb").partition("Users and tasks:")[2].split()
    assert words.index("user") < words.index("task") < words.index("stats") < words.index("backup")


def test_filters_have_a_section_of_their_own(taskdb_help):
    """The help tells filters from other options."""
    shown = taskdb_help("taskdb task update")
    assert "--due WHEN" in shown.partition("\nFilters:\n")[0]
    assert "--where-due-before WHEN" in shown.partition("\nFilters:\n")[2]
    assert "'taskdb --help'" in shown
    assert "'taskdb --help'" not in taskdb_help("taskdb")


def test_examples_are_told_from_mistakes():
    """The parser that judges the examples refuses what the command line refuses."""
    with pytest.raises(typer.exceptions.TyperException):
        parse(shlex.split("taskdb user create --email ann@example.com --nmae Ann"))


@pytest.mark.parametrize(("command", "query"), [("task list", TASK_QUERY), ("user list", USER_QUERY)])
def test_filters_and_sort_keys_are_explained(command, query):
    """The page about lists names each filter, and the keys to sort by in the order of the help."""
    page = (ROOT / "docs/lists.md").read_text(encoding="utf-8")
    keys = ", ".join(f"`{key}`" for key in query.sorts)
    assert f"| `{command}` | {keys} | `{query.sort}`" in page
    filters = {
        each.opts[0] for each in COMMANDS[f"taskdb {command}"].params if each.rich_help_panel == "Filters"
    }
    assert filters
    assert [name for name in filters if f"`{name}" not in page] == []


def test_deliberate_faults_are_up_to_date():
    """Each fault of `.ci/mutants.py` names a text that the product has exactly once."""
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/mutants.py", "--check"], capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
