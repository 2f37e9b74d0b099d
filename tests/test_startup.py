"""What a process imports before it has something to do, and what a healthy command asks the database."""

import json
import os
import subprocess
import sys

import pytest
from typer.exceptions import TyperException
from typer.main import get_command

from taskdb_cli.cli import commands
from taskdb_cli.cli.app import app
from taskdb_cli.cli.context import Invocation
from taskdb_cli.database.schema import VERSION_TABLE
from tests.forked import RUN, run_forked

HEAVY = {"sqlmodel", "sqlalchemy", "alembic", "psycopg", "rich", "email_validator", "zstandard"}
HEAVY |= {"fastapi", "uvicorn", "starlette", "prometheus_client"}
"""What no start may wait for; Typer itself takes pydantic for numbers."""

REPORT = """
import atexit, json, os, runpy, sys
def report():
    os.write(int(os.environ["REPORT_FD"]), json.dumps(sorted(sys.modules)).encode())
def leave(code, leave=os._exit):
    report()
    leave(code)
atexit.register(report)
os._exit = leave
sys.argv = ["taskdb", *sys.argv[1:]]
runpy.run_module("taskdb_cli", run_name="__main__")
"""


def run_and_report(*command, **environment):
    """The completed process, and the top-level modules that it had imported at its end."""
    read, write = os.pipe()
    with os.fdopen(read) as report:
        process = subprocess.run(
            [sys.executable, *command],
            env=os.environ | environment | {"REPORT_FD": str(write)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            pass_fds=[write],
            check=False,
            timeout=60,
        )
        os.close(write)
        modules = json.loads(report.read())
    return process, set(modules)


def test_on_windows():
    """Where modules are missing that every command needs, one line says that the system is the wrong one."""
    code = f"import os, sys; os.name, sys.modules['fcntl'] = 'nt', None; {RUN}"
    done = run_forked("user", "list", code=code)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "WSL" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["-v", "--version"], 0),
        (["task", "--help"], 0),
        (["task", "create", "--help"], 0),
        (["migrate", "up", "--help"], 0),
        (["serve", "--help"], 0),
        (["help"], 0),
        (["help", "task", "list"], 0),
        (["help", "times"], 0),
        (["help", "tims"], 2),
        (["serve", "--port", "70000"], 2),
        ([], 0),
        (["task", "bogus"], 2),
        (["task", "list", "--limit", "many"], 2),
        (["task", "list", "--output", "xml"], 2),
        (["user", "create"], 2),
        (["task", "create"], 2),
        (["task", "create", "Write"], 2),
    ],
)
@pytest.mark.usefixtures("isolated")
def test_help_and_usage_errors_import_nothing_heavy(arguments, code):
    """Help, the version and a usage error are there before any database library."""
    process, modules = run_and_report("-c", REPORT, *arguments)
    assert process.returncode == code, process.stderr
    assert process.stdout or process.stderr
    assert not (HEAVY | {"taskdb_cli.config", "taskdb_cli.logging", "taskdb_cli.system.logfile"}) & modules


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("taskdb ", "migrate"),
        ("taskdb task ", "create"),
        ("taskdb task list --status o", "open"),
        ("taskdb task list --priority u", "urgent"),
        ("taskdb task list --output nd", "ndjson"),
        ("taskdb help ti", "times"),
    ],
)
@pytest.mark.usefixtures("isolated")
def test_static_completion_imports_nothing_heavy(words, offered):
    """What the shell offers without a database costs no database library."""
    count = len(words.split(" ")) - 1
    process, modules = run_and_report(
        "-c", REPORT, _TASKDB_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(count)
    )
    assert offered in process.stdout.split(), process
    assert not HEAVY & modules


def test_only_the_command_that_runs_is_made(monkeypatch):
    """The options of all other commands are not even declared to Typer."""
    made = []
    original = commands.with_option_groups
    monkeypatch.setattr(
        commands, "with_option_groups", lambda function: made.append(function.__name__) or original(function)
    )
    with pytest.raises(TyperException):
        get_command(app)(
            args=["task", "show", "x"], prog_name="taskdb", standalone_mode=False, obj=Invocation()
        )
    assert made == ["show"]


@pytest.mark.usefixtures("isolated")
def test_the_version_needs_no_typer():
    """`taskdb --version` is answered before the command line is even built."""
    process, modules = run_and_report("-c", REPORT, "--version")
    assert process.stdout.startswith("taskdb ")
    assert "typer" not in modules


IMPORT_EVERYTHING = """
import json, os, pkgutil, sys
asked = []
def watch(event, arguments):
    if event in ("open", "sqlite3.connect", "socket.connect"):
        asked.append([event, str(arguments[0])])
import sqlmodel, alembic, typer, dotenv, platformdirs
import sqlalchemy
made = []
original = sqlalchemy.create_engine
sqlalchemy.create_engine = lambda *a, **k: made.append(a) or original(*a, **k)
class Environment(dict):
    def get(self, name, default=None):
        asked.append(["environment", name]); return super().get(name, default)
    def __getitem__(self, name):
        asked.append(["environment", name]); return super().__getitem__(name)
fd = int(os.environ["REPORT_FD"])
os.environ = Environment(os.environ)
sys.addaudithook(watch)
import taskdb_cli
for module in pkgutil.walk_packages(taskdb_cli.__path__, "taskdb_cli."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
ours = [what for kind, what in asked if "TASKDB" in what or "DATABASE_URL" in what or what.endswith(".env")]
reached = [kind for kind, what in asked if kind.endswith("connect")]
os.write(fd, json.dumps(["taskdb_cli.services.task" in sys.modules, made, ours, reached]).encode())
"""


@pytest.mark.usefixtures("isolated")
def test_importing_makes_no_engine_and_reads_no_settings():
    """Importing every module opens no database, makes no engine and looks at no setting."""
    read, write = os.pipe()
    process = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING],
        env=os.environ | {"REPORT_FD": str(write), "TASKDB_DATABASE_URL": "nonsense"},
        pass_fds=[write],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(write)
    with os.fdopen(read) as report:
        assert json.loads(report.read() or "null") == [True, [], [], []], process.stderr


def test_a_healthy_command_asks_nothing_about_the_schema(taskdb, statements):
    """Only the work itself is sent; the revision is looked up when a statement has failed."""
    taskdb("user", "create", "--email", "ann@example.com", "--name", "Ann")
    taskdb("task", "create", "--user", "ann@example.com", "Write")
    taskdb("task", "list")
    taskdb("user", "show", "ann@example.com")
    assert any("INSERT INTO tasks" in statement for statement in statements)
    catalogs = (
        VERSION_TABLE,
        "sqlite_master",
        "table_info",
        "pg_class",
        "pg_attribute",
        "information_schema",
    )
    # A session is set to its schema as it is opened.
    work = [statement for statement in statements if "'search_path'" not in statement]
    assert [statement for statement in work if any(name in statement for name in catalogs)] == []


def test_a_failed_command_does_ask(taskdb, url, statements):
    """The look-up that a healthy command is spared is made when a table is gone."""
    taskdb("migrate", "down", "base", "--yes")
    statements.clear()
    taskdb("task", "list", expect=6)
    assert any(VERSION_TABLE in statement for statement in statements)
