"""What is logged, how much of it, where to, and what never is."""

import json
import logging
import os
import re
import stat
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from taskdb_cli import logging as logs
from taskdb_cli.database import Database
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.system import logfile
from tests.conftest import open_database, sqlalchemy_url
from tests.processes import run_process
from tests.services.test_migrate_locks import hearing
from tests.terminals import open_terminal

CANARY = "c4n4ry"
LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<level>[A-Z]+) (?P<logger>taskdb\.\w+)"
    r" \[(?P<run>[0-9a-f]{8})\] (?P<message>.+)"
)
KEYS = ["time", "level", "logger", "message", "run"]


@pytest.fixture(autouse=True)
def quiet_afterwards():
    """No handler of one test is left for the next."""
    yield
    logs.reset()


@pytest.fixture
def log_file(tmp_path):
    return tmp_path / "taskdb.log"


@pytest.fixture
def events(log_file):
    """Reads the lines of a JSON log."""
    return lambda: [json.loads(line) for line in log_file.read_text().splitlines()]


def create_user(taskdb, *options, email="ann@example.com", expect=0):
    return taskdb(*options, "user", "create", "--email", email, "--name", "Ann", expect=expect)


def test_the_last_word_counts(taskdb):
    """SQL is logged for -vv only, also by a process that has logged it before."""
    assert "SELECT" in taskdb("-vv", "task", "list").err
    assert taskdb("task", "list").err == ""
    assert "SELECT" not in taskdb("-v", "user", "list").err


def test_sql_is_logged_without_data(taskdb):
    """The log has neither the parameters of a statement nor the rows that it found."""
    taskdb("user", "create", "--email", "secret@example.com", "--name", "Ann")
    result = taskdb("-vv", "user", "show", "secret@example.com")
    assert "secret@example.com" in result.out
    assert "secret@example.com" not in result.err


def test_quiet_keeps_errors(taskdb):
    """With -q an error is still said, and nothing else, not even that a query was slow."""
    assert taskdb("-q", "migrate").err == ""
    assert taskdb("-q", "user", "show", "99", expect=3).err.startswith("error: ")
    logs.configure(-1, run="0")
    assert not logging.getLogger("taskdb").isEnabledFor(logging.WARNING)
    assert logging.getLogger("taskdb").isEnabledFor(logging.ERROR)


def test_a_command_is_one_event(taskdb, log_file, events):
    """Each run logs which command it was, how it ended, how long it took, and how many rows it had."""
    json_file = ["--log-file", log_file, "--log-format", "json"]
    create_user(taskdb, *json_file)
    taskdb(*json_file, "user", "list")
    taskdb(*json_file, "user", "show", "99", expect=ExitCode.NOT_FOUND)
    taskdb(*json_file, "task", "list", "--sort", "nonsense", expect=ExitCode.USAGE)
    taskdb(*json_file, "task", "bogus", expect=ExitCode.USAGE)
    taskdb(*json_file, "migrate", "status")
    taskdb(*json_file, "user", "export")
    found = [event for event in events() if event["logger"] == "taskdb.command"]
    assert [
        (event["command"], event["exit_code"], event["outcome"], event.get("rows")) for event in found
    ] == [
        ("taskdb user create", 0, "ok", None),
        ("taskdb user list", 0, "ok", 1),
        ("taskdb user show", 3, "not_found", None),
        ("taskdb task list", 2, "usage", None),
        ("taskdb task", 2, "usage", None),
        ("taskdb migrate status", 0, "ok", None),
        ("taskdb user export", 0, "ok", 1),
    ]
    assert all(event["level"] == "info" and event["duration_ms"] >= 0 for event in found)


def test_a_bug_is_an_event_without_its_words(taskdb, monkeypatch, log_file):
    """A failure that nobody expected is logged by its exit code; what it says may be anybody's text."""

    def broken(*_, **__):
        raise RuntimeError(CANARY)

    monkeypatch.setattr("taskdb_cli.services.user.find", broken)
    result = taskdb("--log-file", log_file, "user", "list", expect=ExitCode.FAILURE)
    assert CANARY in result.err
    assert "taskdb user list: failure (1)" in log_file.read_text()
    assert CANARY not in log_file.read_text()


def test_the_environment_logs_what_was_not_understood(bare_taskdb, monkeypatch, log_file):
    """A command line that cannot even be read is logged where the environment says."""
    monkeypatch.setenv("TASKDB_LOG_FILE", str(log_file))
    bare_taskdb("bogus", expect=ExitCode.USAGE)
    bare_taskdb("--bogus", "user", "list", expect=ExitCode.USAGE)
    bare_taskdb("--help")
    messages = [LINE.fullmatch(line)["message"] for line in log_file.read_text().splitlines()]
    assert [message.partition(" in ")[0] for message in messages] == ["taskdb: usage (2)"] * 2


def test_a_dotenv_file_names_the_log(taskdb, log_file, events):
    """The settings of the log follow the precedence of all others."""
    Path(".env").write_text(f"TASKDB_LOG_FILE={log_file}\nTASKDB_LOG_FORMAT=json\n")
    taskdb("user", "list")
    assert events()[-1]["command"] == "taskdb user list"
    before = log_file.read_text()
    taskdb("--log-file", "other.log", "--log-format", "text", "user", "list")
    assert log_file.read_text() == before
    assert LINE.match(Path("other.log").read_text())


def test_every_line_has_its_parts(taskdb, log_file):
    """Both formats give the time in UTC, the level, the logger and the id of the run."""
    err = taskdb("-vv", "--log-file", log_file, "user", "list").err
    assert err == log_file.read_text()
    assert all(LINE.fullmatch(line) for line in err.splitlines())
    lines = taskdb("-vv", "--log-format", "json", "user", "list").err.splitlines()
    parsed = [json.loads(line) for line in lines]
    assert {"taskdb.connect", "taskdb.sql", "taskdb.command"} <= {line["logger"] for line in parsed}
    for line in parsed:
        assert list(line)[: len(KEYS)] == KEYS
        assert LINE.fullmatch(
            f"{line['time']} {line['level'].upper()} {line['logger']} [{line['run']}] {line['message']}"
        )


def test_the_id_tells_runs_apart(taskdb, log_file, events):
    """All lines of a run have one id, on stderr too, and another run has another."""
    for _ in range(2):
        taskdb("--log-file", log_file, "--log-format", "json", "user", "list")
    ids = [event["run"] for event in events()]
    assert len(ids) == 4
    assert ids[0] == ids[1] != ids[2] == ids[3]


def test_migrations_are_events(bare_taskdb, empty_url, log_file, events):
    """Each revision that is applied or taken back is logged."""
    options = ["--database-url", empty_url.render_as_string(hide_password=False)]
    options += ["--log-file", log_file, "--log-format", "json"]
    bare_taskdb(*options, "migrate")
    bare_taskdb(*options, "migrate", "down", "base", "--yes")
    steps = [(each["direction"], each["revision"]) for each in events() if each["logger"] == "taskdb.migrate"]
    ups = [revision for direction, revision in steps if direction == "upgrade"]
    downs = [revision for direction, revision in steps if direction == "downgrade"]
    assert "0001" in ups
    assert downs == ups[::-1]


def test_a_connection_that_fails_is_logged(bare_taskdb, log_file, events):
    """An attempt to connect is logged with its place, and never with the password."""
    url = f"postgresql://ann:{CANARY}@127.0.0.1:1/d"
    options = ["--database-url", url, "--log-file", log_file, "--log-format", "json"]
    bare_taskdb(*options, "user", "list", expect=ExitCode.UNAVAILABLE)
    attempt = next(event for event in events() if event["logger"] == "taskdb.connect")
    assert (attempt["place"], attempt["level"]) == ("127.0.0.1:1/d", "info")
    assert CANARY not in log_file.read_text()


def test_second_attempts_are_logged(taskdb, url, log_file, events, monkeypatch):
    """Work that is tried again because of another's lock says so."""
    # A stall of the machine must not use the budget up.
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "60")
    with open_database(url).connect() as other:
        other.exec_driver_sql("DELETE FROM users" if url.drivername == "sqlite" else "LOCK TABLE users")
        options = ["--log-file", log_file, "--log-format", "json"]
        with hearing("taskdb.retry", other.rollback):
            create_user(taskdb, *options)
    again = [event for event in events() if event["logger"] == "taskdb.retry"]
    assert again
    assert {event["error"] for event in again} == {"TransactionConflict"}


SLOW = {
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 100000)"
    " SELECT max(x) FROM n WHERE :value <> ''",
    "postgresql": "SELECT pg_sleep(0.005) WHERE :value <> ''",
}


def test_slow_queries_are_logged_without_values(engine, url, capsys):
    """A statement over the threshold is a warning that holds its SQL, and none of its parameters."""
    options = replace(open_database(url).options, slow_query_ms=1)
    database = Database(url if engine == "sqlite" else sqlalchemy_url(url), options)
    logs.configure(0, run="0" * 8, as_json=True)
    statement = text(SLOW.get(engine, SLOW["postgresql"]))
    database.read(lambda session: session.connection().execute(statement, {"value": CANARY}).all())
    warnings = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    slow = next(warning for warning in warnings if "max(x)" in warning["sql"] or "pg_sleep" in warning["sql"])
    assert (slow["level"], slow["logger"]) == ("warning", "taskdb.sql")
    assert slow["duration_ms"] >= 1
    assert CANARY not in str(warnings)


def test_nothing_that_a_user_wrote_is_logged(taskdb, url, engine, monkeypatch, log_file):
    """Neither password, address, name, title nor search text is in the log, at -vv, with every query slow."""
    if engine != "sqlite":
        secret = url.set(password=f"{CANARY}1").render_as_string(hide_password=False)
        monkeypatch.setenv("TASKDB_DATABASE_URL", secret)
    monkeypatch.setenv("TASKDB_SLOW_QUERY_MS", "1")
    monkeypatch.setenv("TASKDB_LOG_FILE", str(log_file))
    email = f"{CANARY}@example.com"
    Path(f"{CANARY}.ndjson").write_text(
        "".join(f'{{"title": "{CANARY} {n}", "description": "{CANARY}"}}\n' for n in range(2000))
    )
    for loud in ([], ["-vv"]):
        create = [*loud, "user", "create", "--email", email, "--name", CANARY]
        taskdb(*create, expect=ExitCode.CONFLICT if loud else ExitCode.OK)
        taskdb(*loud, "task", "create", "--user", email, CANARY)
        taskdb(*loud, "task", "import", f"{CANARY}.ndjson", "--user", email)
        taskdb(*loud, "task", "list", "--search", CANARY, "--user", email)
        taskdb(*loud, "task", "list", "--search", CANARY, "--explain")
        taskdb(*loud, "user", "show", f"no-{email}", expect=ExitCode.NOT_FOUND)
        taskdb(*loud, "user", CANARY, expect=ExitCode.USAGE)
        taskdb(*loud, "task", "list", "--sort", CANARY, expect=ExitCode.USAGE)
        taskdb(*loud, CANARY, expect=ExitCode.USAGE)
    logged = log_file.read_text()
    assert "taskdb task import: ok (0)" in logged
    assert re.search(r'slow query: \d+ ms: (COPY|INSERT INTO) "?taskdb_import', logged)
    assert "EXPLAIN …" in logged
    assert CANARY not in logged


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_person_is_warned_in_a_sentence(taskdb, monkeypatch, log_file):
    """A slow list is told on a terminal with what explains it; a slow import or change of many is not."""
    create_user(taskdb)
    monkeypatch.setenv("TASKDB_SLOW_QUERY_MS", "1")
    Path("t.ndjson").write_text("".join(f'{{"title": "t {n}"}}\n' for n in range(5000)))
    terminal = open_terminal(monkeypatch, "stderr")
    taskdb("--log-file", log_file, "task", "import", "t.ndjson", "--user", "1")
    assert terminal.lines == [
        "5,000 created, 0 updated, 0 unchanged; 5,000 have no external id: another import creates them again"
    ]
    assert re.search(r" INFO taskdb.sql \[\w+\] slow query: \d+ ms: INSERT", log_file.read_text())
    taskdb("--log-file", log_file, "task", "done", "--search", "t", "--yes")
    assert not any("query" in line for line in terminal.lines)
    terminal.seek(0)
    terminal.truncate()
    for words in (["task", "list", "--search", "nothing"], ["-q", "task", "list", "--search", "nothing"]):
        taskdb("--log-file", log_file, *words)
    assert re.fullmatch(r"warning: the query took [\d.]+ m?s; --explain shows why", terminal.lines[-1])
    assert len(terminal.lines) == 1
    assert log_file.read_text().count(" WARNING taskdb.sql ") >= 2
    taskdb("--log-format", "json", "task", "list", "--search", "nothing")
    assert json.loads(terminal.lines[-1])["logger"] == "taskdb.sql"


def test_a_warning_of_a_library_is_a_sentence(monkeypatch):
    """Neither the place in its code nor a second line is told, and control characters are escaped."""
    terminal = open_terminal(monkeypatch, "stderr")
    logs.configure(0, run="0", advice=str)
    words = "Did not recognize \x1b]0;type\nof column"
    logging.getLogger("py.warnings").warning(warnings.formatwarning(words, UserWarning, "/lib/x.py", 7))
    logs.reset()
    assert terminal.lines == [r"warning: Did not recognize \x1b]0;type"]


def test_a_log_file_that_cannot_be_opened_stops_everything(taskdb, tmp_path):
    """One line says why, and nothing has been done."""
    result = create_user(taskdb, "--log-file", tmp_path / "no" / "log", expect=ExitCode.USAGE)
    assert result.err.startswith(f"error: the log file {tmp_path}/no/log cannot be opened: No such file")
    assert result.err.count("\n") == 1
    create_user(taskdb, "--log-file", tmp_path, expect=ExitCode.USAGE)
    create_user(taskdb, "--log-file", "", expect=ExitCode.USAGE)
    os.mkfifo(tmp_path / "pipe")
    create_user(taskdb, "--log-file", tmp_path / "pipe", expect=ExitCode.USAGE)
    Path(".env").write_text(f"TASKDB_LOG_FILE={tmp_path}/no/log\n")
    create_user(taskdb, expect=ExitCode.USAGE)
    Path(".env").unlink()
    assert taskdb("user", "list").out == ""


def test_a_format_that_does_not_exist_is_refused(taskdb, monkeypatch):
    """TASKDB_LOG_FORMAT is one of two words."""
    taskdb("--log-format", "xml", "user", "list", expect=ExitCode.USAGE)
    monkeypatch.setenv("TASKDB_LOG_FORMAT", "xml")
    assert "TASKDB_LOG_FORMAT" in taskdb("user", "list", expect=ExitCode.USAGE).err


def test_a_full_disk_under_the_log_costs_a_warning(taskdb):
    """The command does its work, and says once that the log could not be written."""
    result = create_user(taskdb, "--log-file", "/dev/full")
    assert "ann@example.com" in result.out
    assert result.err == "warning: the log file /dev/full cannot be written: No space left on device\n"


@pytest.mark.usefixtures("isolated")
def test_a_stderr_that_takes_nothing_breaks_nothing(log_file):
    """A log that stderr does not take is left out; the file has it."""
    with Path("/dev/full").open("w") as full:
        done = run_process("-v", "--log-file", log_file, "migrate", "sql", stderr=full)
    assert done.returncode == ExitCode.OK
    assert "taskdb migrate sql: ok (0)" in log_file.read_text()


@pytest.mark.parametrize("umask", [0o000, 0o377])
def test_the_log_file_is_the_owners_alone(taskdb, log_file, monkeypatch, umask):
    """Whatever the umask, a new log file, and each that rotation begins, has mode 0600."""
    monkeypatch.setattr(logfile, "LARGEST", 100)
    before = os.umask(umask)
    try:
        for _ in range(2):
            taskdb("--log-file", log_file, "user", "show", "1", expect=None)
    finally:
        os.umask(before)
    files = list(log_file.parent.glob("taskdb.log*"))
    assert len(files) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_the_log_file_is_rotated(taskdb, log_file, monkeypatch):
    """A full file is put aside, and only so many old ones are kept."""
    monkeypatch.setattr(logfile, "LARGEST", 250)
    monkeypatch.setattr(logfile, "OLD_FILES", 2)
    for _ in range(6):
        taskdb("--log-file", log_file, "user", "list")
    files = sorted(log_file.parent.glob("taskdb.log*"))
    assert [file.name for file in files] == ["taskdb.log", "taskdb.log.1", "taskdb.log.2"]
    assert all(0 < file.stat().st_size <= 250 for file in files)


WRITER = """
import logging, sys
from pathlib import Path
from taskdb_cli import logging as logs
from taskdb_cli.system import logfile
logfile.LARGEST, logfile.OLD_FILES = 20_000, 100
logs.configure(-1, run=sys.argv[2], file=Path(sys.argv[1]))
for number in range(1000):
    logging.getLogger("taskdb.test").info("line %d", number)
logs.reset()
"""


def test_processes_share_a_log_file_and_its_rotation(log_file):
    """Two processes that log to one file at a time, across its rotations, lose no line and break none."""
    runs = ["a" * 8, "b" * 8]
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(log_file), run]) for run in runs]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    files = list(log_file.parent.glob("taskdb.log*"))
    assert len(files) > 3
    lines = [line for file in files for line in file.read_text().splitlines()]
    found = sorted((LINE.fullmatch(line)["run"], LINE.fullmatch(line)["message"]) for line in lines)
    assert found == sorted((run, f"line {number}") for run in runs for number in range(1000))


LIBRARY = """
import logging, sys
from sqlalchemy import make_url
from taskdb_cli.database import Database
from taskdb_cli.database.options import Options
from taskdb_cli.services import migrate
from sqlalchemy import text
database = Database(make_url(sys.argv[1]), Options(slow_query_ms=1))
migrate.upgrade(database)
database.read(lambda session: session.connection().execute(text(sys.argv[2]), {"value": "x"}).all())
logger = logging.getLogger("taskdb")
print(logger.level, [type(handler).__name__ for handler in logger.handlers], logger.propagate)
"""


def test_a_library_user_is_left_alone(tmp_path):
    """Without the command line nothing is configured, and a slow query goes nowhere."""
    arguments = [f"sqlite:///{tmp_path}/d.sqlite3", SLOW["sqlite"]]
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("0 ['NullHandler'] True\n", "")
