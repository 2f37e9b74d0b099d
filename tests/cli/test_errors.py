"""How failures look: one line, one exit code, and JSON for programs."""

import json

import pytest

from taskdb_cli.cli.context import Invocation
from taskdb_cli.errors import TaskdbError
from taskdb_cli.exit_codes import ExitCode

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


def every_error(root=TaskdbError):
    return [root, *(found for child in root.__subclasses__() for found in every_error(child))]


def test_exit_codes():
    """The exit codes are promises."""
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "FAILURE": 1,
        "USAGE": 2,
        "NOT_FOUND": 3,
        "CONFLICT": 4,
        "UNAVAILABLE": 5,
        "SCHEMA": 6,
        "CORRUPT": 7,
        "INCOMPLETE": 8,
        "REFUSED": 9,
        "UNKNOWN": 10,
        "HANGUP": 129,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }


def test_codes_of_errors():
    """Every error has an exit code, and the machine code that goes with it."""
    ours = [error for error in every_error() if error.__module__ == "taskdb_cli.errors"]
    codes = {(error.exit_code, error.code) for error in ours}
    assert codes == {
        (1, "failure"),
        (2, "usage"),
        (3, "not_found"),
        (4, "conflict"),
        (5, "unavailable"),
        (6, "schema"),
        (7, "corrupt"),
        (8, "incomplete"),
        (9, "refused"),
        # Only the HTTP API says these, without an exit code.
        (9, "unauthorized"),
        (9, "forbidden"),
        (10, "unknown"),
        (130, "interrupted"),
    }


@pytest.mark.parametrize("option", [["-o", "json"], ["--output", "json"], ["--output=json"], ["-ojson"]])
def test_errors_as_json(taskdb, option):
    """With JSON output an error is an object on stderr, and stdout stays empty."""
    failed = taskdb("user", "show", "7", *option, expect=3)
    assert failed.out == ""
    assert failed.err == (
        "{\n"
        '  "error": {\n'
        '    "code": "not_found",\n'
        '    "message": "user 7 not found",\n'
        '    "hint": "\'taskdb user list\' shows the users"\n'
        "  }\n"
        "}\n"
    )


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (["user", "show", "-o", "json"], 2, "usage"),
        (["user", "list", "--no-such", "-o", "json"], 2, "usage"),
        (["user", "show", "\udcff", "-o", "json"], 3, "not_found"),
        (["user", "create", "--email", "x", "--name", "\udcff", "-o", "json"], 2, "usage"),
        (["task", "update", "1", "--title", "A", "-o", "json"], 3, "not_found"),
        (["user", "delete", "9", "-o", "json"], 3, "not_found"),
        (["--database-url", "mysql://host/x", "user", "list", "-o", "json"], 2, "usage"),
        (["--database-url", "sqlite:////no/such", "user", "list", "-o", "json"], 3, "not_found"),
        (["--database-url", "postgresql://127.0.0.1:1/x", "user", "list", "-o", "json"], 5, "unavailable"),
    ],
)
def test_every_kind_as_json(taskdb, arguments, code, name):
    """An error of any kind can be read by a program."""
    error = json.loads(taskdb(*arguments, expect=code).err)["error"]
    assert list(error) == ["code", "message", "hint"]
    assert error["code"] == name
    assert error["message"]


@SQLITE_ONLY
def test_json_as_a_value_is_not_the_format(taskdb):
    """Words after -- are no options."""
    failed = taskdb("user", "show", "--", "-o", "json", expect=2)
    assert failed.err.startswith("error: ")


@pytest.mark.parametrize("arguments", [[], ["user"], ["task"]])
def test_no_command_shows_help(bare_taskdb, arguments):
    """A noun alone, and nothing at all, shows what there is."""
    shown = bare_taskdb(*arguments)
    assert shown == bare_taskdb(*arguments, "--help")
    assert shown.out.startswith(f"Usage: {' '.join(['taskdb', *arguments])} [OPTIONS] COMMAND")


@pytest.mark.parametrize(
    "arguments", [["-q"], ["no-such"], ["user", "no-such"], ["--no-such"], ["--no-such", "-o", "json"]]
)
def test_usage_errors(bare_taskdb, arguments):
    """A command line that cannot be read is told in one line that names the help."""
    failed = bare_taskdb(*arguments, expect=2)
    assert failed.err.startswith(("error: ", "{"))
    assert "--help' shows what it takes" in failed.err


@SQLITE_ONLY
def test_unexpected_error(taskdb, monkeypatch):
    """A bug is told in one line too."""

    def fail(run):
        raise ZeroDivisionError("no input can cause this")

    monkeypatch.setattr(Invocation, "database", property(fail))
    assert taskdb("user", "list", expect=1).err == (
        "error: unexpected ZeroDivisionError: no input can cause this"
        " (this is a bug; --debug shows where it happened)\n"
    )


@SQLITE_ONLY
def test_interrupted(taskdb, monkeypatch):
    """Ctrl-C ends with 130 and one line."""

    def interrupt(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(Invocation, "database", property(interrupt))
    assert taskdb("user", "list", expect=130).err == "error: interrupted\n"
