"""What is written for people, held to what the code does."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from taskdb_cli.cli.app import app
from taskdb_cli.errors import ExitCode

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
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


def table_rows() -> list[list[str]]:
    """The cells, without backticks, of every row of every table of the README."""
    lines = [line.strip() for line in README.splitlines()]
    rows = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


NAMED = [row[0] for row in table_rows()]


def test_there_are_commands():
    """The walk over the command line finds it."""
    assert {"taskdb user create", "taskdb task list", "taskdb migrate", "taskdb migrate down"} <= set(
        COMMANDS
    )


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_is_in_the_readme(path):
    """The README's command table has a row for each command."""
    assert path in NAMED


def test_the_readme_names_no_other_command():
    """Every command that a table of the README names exists."""
    named = {cell for cell in NAMED if re.fullmatch(r"taskdb( [a-z]+)+", cell)}
    assert named == set(COMMANDS)


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_in_the_readme(code):
    """The README's table of exit codes has each number with its name."""
    rows = {row[0]: row[1] for row in table_rows() if len(row) > 1}
    assert rows.get(str(int(code))) == code.name.lower().replace("_", " ")


def test_settings_are_written_down():
    """The README and .env.example have what the table of settings in the code says."""
    script = ROOT / ".ci" / "settings.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def example_of(command) -> list[str]:
    """The words of the example in a command's help, as far as they are taskdb's."""
    label, _, line = (command.epilog or "").partition("Example: ")
    assert not label
    words = shlex.split(line)
    end = next((place for place, word in enumerate(words) if word in SHELL), len(words))
    return words[:end]


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
def test_every_command_has_help_with_an_example(taskdb_help, path, command):
    """Each command says what it does, and its example is a command line that it takes."""
    words = example_of(command)
    assert parse(words).startswith(path)
    shown = taskdb_help(path)
    assert "Example: taskdb" in shown
    assert command.help.strip().endswith(".")
    for parameter in command.params:
        if getattr(parameter, "opts", [""])[0].startswith("--") and parameter.name != "help":
            assert parameter.help, parameter.name


@pytest.fixture
def taskdb_help(bare_taskdb):
    """Shows the help of a command."""
    return lambda path: bare_taskdb(*path.split()[1:], "--help").out


def test_the_help_of_groups_names_their_commands(bare_taskdb):
    """A group without a subcommand shows what there is."""
    for group in ("user", "task"):
        names = [path.split()[2] for path in COMMANDS if path.startswith(f"taskdb {group} ")]
        shown = bare_taskdb(group, "--help").out
        assert [name for name in names if name not in shown] == []


def test_examples_are_told_from_mistakes():
    """The parser that judges the examples refuses what the command line refuses."""
    with pytest.raises(typer.exceptions.TyperException):
        parse(shlex.split("taskdb user create --email ann@example.com --nmae Ann"))


def test_deliberate_faults_are_up_to_date():
    """Each fault of `.ci/mutants.py` names a text that the product has exactly once."""
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/mutants.py", "--check"], capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
