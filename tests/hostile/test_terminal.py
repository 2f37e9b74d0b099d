"""Nothing that others wrote drives a terminal: neither names, nor data, nor arguments, nor messages."""

import json
import logging
import os
import pty
import re
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from unicodedata import category
from urllib.parse import quote

import psycopg
import pytest

from taskdb_cli import logging as logs
from taskdb_cli.backup.history import Measured, Proof, Record, exposition
from taskdb_cli.cli.run import run
from taskdb_cli.text.escaping import escape, escape_json
from tests.api.conftest import ANY_ENGINE
from tests.conftest import ENGINES, NOW, connect
from tests.processes import run_process
from tests.schemas import drop_checks
from tests.waiting import PATIENCE

UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}

HOSTILE = "x\x1b[31m\x9b5m\x85\x7f\u202e\u2066\u200b\ufeff\u2028\n\U000e0041\xady"
"""Something of every kind, short enough for the name of a file."""

NAME = 'x"; drop\x1b[31m\x9b\u202e\u200b\n--'
"""The same for PostgreSQL, which has 63 bytes for a name."""


FLAG = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
"""The flag of England."""


def controls(text):
    """Return what a terminal would obey, or not show."""
    return [letter for letter in text if letter not in "\n\t" and category(letter) in UNSEEN]


class TestEscaping:
    """The one function that all text goes through."""

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("plain ~ text", "plain ~ text"),
            ("a\x1b[31mb\x07\x00", r"a\x1b[31mb\x07\x00"),
            ("a\nb\tc\rd", r"a\nb\tc\rd"),
            ("\x7f\x80\x9b\x85", r"\x7f\x80\x9b\x85"),
            ("\u202e\u2066\u200e\u061c", r"\u202e\u2066\u200e\u061c"),
            ("\u200b\u2060\ufeff\xad\u2028\u2029\u180e", r"\u200b\u2060\ufeff\xad\u2028\u2029\u180e"),
            ("\U000e0041\U000e0001\ue000\uffff\udcff", r"\U000e0041\U000e0001\ue000\uffff\udcff"),
            ("\u3164\u115f\uffa0\u034f", r"\u3164\u115f\uffa0\u034f"),
            ("caf\xe9 e\u0301 \u6f22\u5b57 \xa0\u3000 \u05e9\u05dc\u05d5\u05dd", None),
            ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0915\u094d\u200d\u0937", None),
            (
                "\u2764\ufe0f\u200d\U0001f525 \U0001f469\U0001f3fd\u200d\U0001f680 1\ufe0f\u20e3 \U0001fae8",
                None,
            ),
            ("\u845b\U000e0100", None),
            ("\u1781\u17d2\u1798\u17c2\u179a\u200b\u1797 \u0e01\u200b\u0e02 \u182f\u180b\u180e\u1820", None),
            ("\ua98f\ua9c0\u200c \U00011013\U00011046\u200d\U00011031", None),
            (FLAG, None),
            (
                f"{FLAG[:-1]} \U0001f3f4\U000e0067",
                ascii(f"{FLAG[:-1]} \U0001f3f4\U000e0067")[1:-1].replace(r"\U0001f3f4", "\U0001f3f4"),
            ),
            ("a\u200db \u200c \u200d", r"a\u200db \u200c \u200d"),
            ("\u0645\u200c\u200cx", "\u0645\u200c\\u200cx"),
            ("a\ufe0f \U0001f600\ufe0f\ufe01\U000e0101", "a\\ufe0f \U0001f600\ufe0f\\ufe01\\U000e0101"),
        ],
    )
    def test_text(self, text, shown):
        """Controls and invisible characters are escaped; letters, spaces, emoji and their joiners stay."""
        assert escape(text) == (text if shown is None else shown)

    def test_lines(self):
        """Where text may have lines, its line ends and tabs stay, and a bare carriage return does not."""
        assert escape("a\r\nb\tc\rd\x1be", lines=True) == "a\nb\tc\\rd\\x1be"

    def test_every_character(self):
        """No character of the categories of controls is left, whatever stands around it."""
        for code in (*range(0x3100), *range(0xD800, 0x11000), *range(0xE0000, 0xE0200), 0x10FFFF):
            letter = chr(code)
            shown = escape(f"a{letter}b")
            assert (letter in shown) == (category(letter) not in {*UNSEEN, "Cn"}) or letter in (
                "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2"
                "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
            ) or 0xFE00 <= code < 0xFE10 or 0xE0100 <= code < 0xE01F0 or 0x180B <= code < 0x1810  # fmt: skip

    def test_json(self):
        """JSON says the same after its controls were escaped, and has none of them left."""
        value = {"a": [HOSTILE, "\U0001f600\u6f22", "\udcff"], HOSTILE: None}
        for indent in (None, 2):
            text = escape_json(json.dumps(value, ensure_ascii=False, indent=indent))
            assert json.loads(text) == value
            assert not controls(text)
            assert "\U0001f600\u6f22" in text


@pytest.fixture(params=[ENGINES[0], ENGINES[-1]])
def engine(request):
    """A file and a server are enough: what they say of names and rows is shown by the same code."""
    return request.param


@pytest.fixture
def house(engine, make_url_of, isolated, tmp_path, monkeypatch):
    """A database in which everything has a hostile name or value; the command line works on it."""
    place = tmp_path / f"{HOSTILE}-place"
    place.mkdir()
    url, drop = make_url_of(engine), None
    if engine == "sqlite":
        path = Path(url.database).rename(place / f"{HOSTILE}.db")
        spoil_file(path)
        address = f"sqlite:///{quote(os.fsencode(path))}"
    else:
        address, drop = spoil_server(url)
    monkeypatch.setenv("TASKDB_DATABASE_URL", address)
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(place / "backups"))
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "house")
    monkeypatch.setenv("TASKDB_LOG_FILE", str(tmp_path / "log"))
    monkeypatch.setenv("EDITOR", "true")
    yield place
    if drop:
        drop()


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def spoil_file(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = on")
        for sql, values in ROWS:
            connection.execute(sql.replace("%s", "?"), values)
        connection.execute(f"CREATE INDEX {quoted(NAME)} ON tasks (title)")
    path.chmod(0o666)


def spoil_server(url):
    """Return the URL of the database by its new name and another role, and what drops both."""
    role, database, admin = f"{NAME}{os.getpid()}", f"{url.database}\"\u202e'", url.set(database="postgres")
    with connect(url) as connection:
        drop_checks(connection, "one_line|length|lower")
        for sql, values in ROWS:
            connection.execute(sql, values)
        connection.execute(f"ALTER TABLE tasks ADD CONSTRAINT {quoted(NAME)} CHECK (id > 0) NOT VALID")
        with suppress(psycopg.errors.UniqueViolation):
            connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {quoted(NAME)} ON tasks (user_id)")
        connection.execute(f"ALTER SCHEMA public RENAME TO {quoted(NAME)}")
        connection.execute(f"CREATE ROLE {quoted(role)} LOGIN SUPERUSER")
        connection.execute(f"ALTER ROLE {quoted(role)} SET search_path = {quoted(NAME)}")
    with connect(admin) as connection:
        connection.execute(f"ALTER DATABASE {quoted(url.database)} RENAME TO {quoted(database)}")

    def drop():
        with connect(admin) as connection:
            connection.execute(f"DROP DATABASE {quoted(database)} WITH (FORCE)")
            connection.execute(f"DROP ROLE {quoted(role)}")

    return url.set(username=role, database=database).render_as_string(hide_password=False), drop


TIME = "2026-11-22T12:30:15.123456Z"
USER = """
INSERT INTO users (email, name, is_active, version, created_at, updated_at) VALUES (%s, %s, true, 1, %s, %s)
"""
TASK = """
INSERT INTO tasks
(user_id, external_id, title, description, status, priority, version, created_at, updated_at)
VALUES (1, %s, %s, %s, 'todo', 2, 1, %s, %s)
"""
OPERATION = """
INSERT INTO taskdb_operations (at, actor, command, program_version, rows_changed, restored_from)
VALUES (%s, %s, %s, %s, 2, %s)
"""
CHANGE = """
INSERT INTO taskdb_changes
(operation_id, table_name, row_id, owner_id, version_before, version_after,
 old_title, new_title, old_description)
VALUES (1, 'tasks', %s, 1, 1, %s, %s, %s, %s)
"""
ROWS = [
    (OPERATION, (TIME, HOSTILE, HOSTILE, HOSTILE, HOSTILE)),
    *((CHANGE, (id, after, HOSTILE, HOSTILE, "one\ntwo\u202e")) for id, after in ((1, 2), (99, None))),
    (USER, (f"{HOSTILE}@example.com", HOSTILE, TIME, TIME)),
    *((TASK, (f"{HOSTILE}{number}", HOSTILE, "one\ntwo\u202e", TIME, TIME)) for number in range(2)),
]


def lines_about_rows(place):
    """Return command lines that show names and rows of the database and of its backups."""
    stray = place / "backups" / f"{HOSTILE}.taskdb.zip"
    records = place / f"{HOSTILE}.ndjson"
    return [
        *(["user", "list", "-o", each] for each in ("table", "tsv", "csv", "json", "ndjson")),
        *(["task", "list", "-o", each] for each in ("table", "tsv", "csv", "json", "ndjson")),
        *(["task", "show", "1", "-o", each] for each in ("table", "tsv", "csv", "json")),
        *(["user", "export", "-o", each] for each in ("csv", "json", "ndjson")),
        ["user", "show", "1"],
        ["user", "export", "1", "--everything"],
        ["history", "prune", "--keep", "1h", "--dry-run"],
        *(["user", "erase", "1", "--dry-run", "-o", each] for each in ("table", "json")),
        ["user", "update", "1", "--inactive"],
        ["task", "show", "1-2"],
        ["task", "start", "1"],
        ["task", "start", "1"],
        ["task", "start", "1-2", "--dry-run"],
        ["task", "cancel", "--user", "1"],
        ["task", "delete", "1"],
        ["task", "delete", "--user", "1", "--dry-run"],
        ["task", "list", "--fields", "id,description,external_id"],
        ["task", "list", "--explain"],
        ["task", "list", "--explain", "--search", HOSTILE],
        ["task", "delete", "1"],
        ["user", "delete", "1"],
        ["user", "delete", "1", "--dry-run"],
        *(["history", "-o", each] for each in ("table", "tsv", "csv", "json", "ndjson")),
        *(["history", "show", "1", "-o", each] for each in ("table", "tsv", "csv", "json", "ndjson")),
        *(["task", "history", "99", "-o", each] for each in ("table", "tsv", "csv", "json")),
        ["history", "--wide"],
        ["history", "show", "1"],
        ["task", "history", "99"],
        ["user", "history", "1"],
        ["undo"],
        ["undo", "1", "--dry-run"],
        ["undo", "--yes", "-o", "json"],
        ["stats"],
        ["stats", "-o", "json"],
        ["stats", "--user", "1"],
        *(["health", "-o", each] for each in ("table", "json", "nagios", "prometheus")),
        *(["config", "-o", each] for each in ("table", "tsv", "csv", "json")),
        ["migrate", "status"],
        ["migrate", "check"],
        ["migrate", "history"],
        ["migrate", "stamp"],
        ["migrate", "down"],
        ["search", "on"],
        ["search", "status"],
        ["migrate", "up", HOSTILE],
        ["backup", "--check-config"],
        ["backup"],
        ["backup", "list"],
        ["backup", "list", "-o", "tsv"],
        ["backup", "show", "latest"],
        ["backup", "verify", "latest"],
        ["backup", "verify", str(stray)],
        ["backup", "verify", HOSTILE, str(stray)],
        *(["backup", "diff", "latest", "live", "--details", "-o", each] for each in ("table", "json", "csv")),
        ["backup", "prune", "--keep-last", "1", "--dry-run"],
        ["backup", "copy", "--to", str(place / HOSTILE), "-o", "table"],
        ["backup", "copy", str(stray), "--to", str(place / "far")],
        ["backup", "--file", str(place)],
        ["backup", "--metrics-file", str(place / "no" / "file")],
        ["restore", "latest"],
        ["restore", "latest", "--dry-run"],
        ["restore", "latest", "--replace"],
        ["restore", str(stray)],
        ["copy", "--to", f"sqlite:///{quote(os.fsencode(str(place)))}/x.db", "--dry-run"],
        ["copy", "--to", HOSTILE],
        ["user", "import", str(records)],
        ["task", "import", str(records), "--user", "1"],
        ["task", "import", str(records), "--user", "1", "-o", "json"],
        ["task", "edit", "1"],
        ["task", "create", "Whose?"],
        ["-vv", "user", "list"],
        ["-vv", "--log-format", "json", "task", "list", "--search", HOSTILE],
    ]


def lines_with_arguments():
    """Return command lines that are refused for what they say."""
    return [
        ["user", "import", HOSTILE],
        [HOSTILE],
        ["user", HOSTILE],
        ["user", f"lis{HOSTILE}"],
        ["user", "list", f"--{HOSTILE}"],
        ["user", "list", "-o", HOSTILE],
        ["user", "list", "--limit", HOSTILE],
        ["user", "list", "--sort", HOSTILE],
        ["user", "list", "--fields", HOSTILE],
        ["user", "list", "--after", HOSTILE],
        ["user", "show", HOSTILE],
        ["user", "create", "--email", HOSTILE, "--name", HOSTILE],
        ["task", "create", "--user", HOSTILE, "x"],
        ["task", "create", "--user", "1", HOSTILE],
        ["task", "create", "--user", "1", "x", "--due", HOSTILE],
        ["task", "create", "--user", "1", "\u202ex", "--description", HOSTILE.replace("\x1b", "")],
        ["task", "list", "--status", HOSTILE],
        *(["history", option, HOSTILE] for option in ("--user", "--task", "--actor", "--command", "--since")),
        ["history", "show", HOSTILE],
        ["task", "history", HOSTILE],
        ["user", "history", HOSTILE],
        ["token", "create", "--name", "\u202ex"],
        ["token", "list"],
        ["token", "revoke", "\u202ex"],
        ["token", "revoke", HOSTILE],
        ["health", "--only", HOSTILE],
        ["serve", "--port", HOSTILE],
        ["--database-url", HOSTILE, "user", "list"],
        ["--schema", HOSTILE, "user", "list"],
        ["--env-file", HOSTILE, "user", "list"],
        ["--profile", HOSTILE, "user", "list"],
        ["user", "delete", "1", "--confirm", HOSTILE],
        ["--log-file", f"{HOSTILE}/{HOSTILE}", "user", "list"],
        ["--log-format", HOSTILE, "user", "list"],
        ["--debug", "user", "show", HOSTILE],
        ["--debug", "user", "import", HOSTILE],
        ["backup", "--dir", HOSTILE],
        ["backup", "--dir", HOSTILE, "--dir", f"./{HOSTILE}"],
        ["backup", "--label", HOSTILE],
    ]


ONE_PROCESS = """
import json, os, sys
from taskdb_cli.cli.run import run
for line in json.load(open(sys.argv[1])):
    run(line)
    sys.stdout.flush()
    sys.stderr.flush()
print("done")
sys.stdout.flush()
os._exit(0)
"""


def test_a_hostile_house(house, engine, tmp_path):
    """No command shows a control character on a terminal, whatever the names and the rows are."""
    backups = house / "backups"
    backups.mkdir(mode=0o700)
    for name in (HOSTILE, "house-20261122T123015.123456Z"):
        (backups / f"{name}.taskdb.zip").write_bytes(b"PK\x03\x04")
    (house / f"{HOSTILE}.ndjson").write_text(json.dumps({HOSTILE: 1, "title": HOSTILE, "email": HOSTILE}))
    lines = lines_about_rows(house)
    if engine == "sqlite":
        lines += lines_with_arguments()
    else:
        # A format shows the rows of each engine alike.
        lines = [line for line in lines if "-o" not in line or "health" in line]
    (tmp_path / "lines").write_text(json.dumps(lines))
    shown = on_a_terminal(ONE_PROCESS, str(tmp_path / "lines"), answers=b"n\n" * 20)
    assert "done" in shown
    assert r"\x1b[31m" in shown
    assert r"\u202e" in shown
    assert not controls(shown)
    log = (tmp_path / "log").read_text()
    assert log
    assert not controls(log)


def on_a_terminal(code, *arguments, answers=b""):
    """Run Python with all streams on a terminal without colours, and return what it showed."""
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "200"},
    )
    os.close(terminal)
    os.write(control, answers)
    shown = b""
    with suppress(OSError):
        while chunk := os.read(control, 65536):
            shown += chunk
    os.close(control)
    assert process.wait(PATIENCE) == 0, shown
    # The terminal itself ends its lines with a carriage return, and echoes what is typed.
    return shown.decode().replace("\r\n", "\n")


@ANY_ENGINE
def test_programs_get_the_data(house, capsys):
    """CSV and TSV in a pipe have every character as it is stored; JSON says the same without controls."""
    run(["task", "show", "1", "-o", "tsv"])
    assert HOSTILE.replace("\n", r"\n") in capsys.readouterr().out
    run(["task", "show", "1", "-o", "csv"])
    assert HOSTILE in capsys.readouterr().out
    for output in ("json", "ndjson"):
        run(["task", "show", "1", "-o", output])
        out = capsys.readouterr().out
        assert json.loads(out)["title"] == HOSTILE
        assert not controls(out)


@ANY_ENGINE
@pytest.mark.parametrize(
    "arguments",
    [[HOSTILE], ["user", "show", HOSTILE], ["user", "import", HOSTILE], ["-q", "restore", f"./{HOSTILE}"]],
    ids=["command", "user", "file", "archive"],
)
def test_an_error_is_one_line(house, capsys, arguments):
    """A newline in an argument makes no second line, so that nobody can forge one."""
    run(arguments)
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert not controls(shown)


def test_an_event_is_one_line_of_the_log(tmp_path, capsys):
    """A log has one line for each event, as text and as JSON, whatever is in it."""
    for as_json in (False, True):
        file = tmp_path / f"{as_json}"
        logs.configure(1, run="1", file=file, as_json=as_json)
        logging.getLogger("taskdb.test").warning(
            "user %s", f"{HOSTILE}\n2026 ERROR forged", extra={"x": HOSTILE}
        )
        logs.reset()
        for text in (file.read_text(), capsys.readouterr().err):
            assert text.count("\n") == 1
            assert not controls(text)
    assert json.loads(text)["x"] == HOSTILE


@pytest.mark.parametrize("engine", ENGINES[-1:])
def test_a_library_warns_of_no_hostile_name(taskdb, url):
    """SQLAlchemy warns of a column with a type that it does not know: the warning is one line of the log."""
    with connect(url) as connection:
        connection.execute(f"CREATE TYPE {quoted(NAME)} AS (a int)")
        connection.execute(f"ALTER TABLE tasks ADD COLUMN {quoted(NAME)} {quoted(NAME)}")
    done = run_process("backup")
    assert done.returncode == 6
    *warnings, error = done.stderr.splitlines()
    assert warnings
    assert all(re.match(r"[0-9T:.-]+Z WARNING py\.warnings ", line) for line in warnings)
    assert error.startswith("error: ")
    assert not controls(done.stderr)


def test_libpq_warns_of_no_hostile_name(isolated, tmp_path, monkeypatch, capfd):
    """A password file that others may read is refused, because libpq itself would print its name."""
    file = tmp_path / HOSTILE
    file.write_text("x:1:d:u:p")
    file.chmod(0o644)
    monkeypatch.setenv("PGPASSFILE", str(file))
    run(["--database-url", "postgresql://u@127.0.0.1:1/d", "user", "list"])
    shown = "".join(capfd.readouterr())
    assert "password file" in shown
    assert shown.count("\n") == 1
    assert not controls(shown)


@ANY_ENGINE
def test_nagios_gets_one_line(house, capsys):
    """What a plugin prints is one line with one bar, before the performance data."""
    run(["health", "-o", "nagios"])
    out = capsys.readouterr().out
    assert out.count("\n") == out.count("|") == 1
    assert not controls(out)


def test_prometheus_gets_a_label():
    """A name of a table in a record that somebody edited stays inside its label."""
    proof = Proof("a", "b", 1, NOW, NOW, "4", {'x"} 1\n\\ \x1b': 7}, 1)
    text = exposition("house", {"here": Measured(Record((proof,)), 1)})
    [line] = [line for line in text.splitlines() if line.startswith("taskdb_backup_rows")]
    assert line == r'taskdb_backup_rows{label="house",table="x\"} 1\\n\\ \\x1b"} 7.0'
    assert not controls(text)


@ANY_ENGINE
def test_a_command_that_is_offered_quotes_its_arguments(taskdb, url, monkeypatch, tmp_path):
    """A shell takes the path in a command that health offers as one word, and runs nothing in it."""
    place = tmp_path / "a b$(touch x)'`y`;"
    place.mkdir()
    path = Path(url.database).rename(place / "c d.db")
    path.chmod(0o646)
    monkeypatch.setenv("TASKDB_DATABASE_URL", f"sqlite:///{quote(str(path))}")
    report = json.loads(taskdb("health", "--only", "permissions", "-o", "json", expect=None).out)
    # The sidecar files of the file, which are named too, are gone again.
    subprocess.run(["sh", "-c", f"{report['checks'][0]['remedy']} 2>&-"], check=False, cwd=tmp_path)
    assert not path.stat().st_mode & stat.S_IWOTH
    assert not (tmp_path / "x").exists()
    taskdb("health", "--only", "permissions")


@pytest.mark.parametrize("engine", ENGINES[-1:])
@pytest.mark.parametrize("name", [NAME, "user", "Üx y", "a; drop table users; --", 'a%s"%%'], ids=ascii)
def test_sql_that_is_offered_quotes_its_names(taskdb, url, name):
    """The server takes the SQL that health offers for a constraint or an index of any name."""
    with connect(url) as connection:
        connection.execute(f"ALTER TABLE tasks ADD CONSTRAINT {quoted(name)} CHECK (id > 0) NOT VALID")
        connection.execute(USER, ("x@example.com", "x", TIME, TIME))
        for _ in range(2):
            connection.execute(TASK, (None, "x", "x", TIME, TIME))
        with suppress(psycopg.errors.UniqueViolation):
            connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {quoted(name)} ON tasks (user_id)")
        for check in ("constraints", "indexes"):
            found = json.loads(taskdb("health", "--only", check, "-o", "json", expect=None).out)["checks"][0]
            assert found["status"] == "warning"
            statement = found["remedy"].partition(", or ")[2].removesuffix(" if it is not taskdb's")
            connection.execute(statement or found["remedy"])
            assert json.loads(taskdb("health", "--only", check, "-o", "json").out)["status"] == "ok"


@ANY_ENGINE
def test_the_api_escapes_what_a_client_sent(api):
    """A problem holds no control character, whatever was asked for."""
    for path in (f"/users/{quote(HOSTILE)}", f"/tasks?sort={quote(HOSTILE)}", f"/tasks?{quote(HOSTILE)}=1"):
        answer = api.get(path)
        assert answer.status_code in (404, 422)
        assert not controls(answer.text)
