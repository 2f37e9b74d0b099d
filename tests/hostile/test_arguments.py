"""Odd hosts, and arguments and settings that are not UTF-8: 2 and the reason in one line, never a bug."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
import time
from urllib.parse import urlsplit

import pytest

from taskdb_cli.api.app import create_app
from taskdb_cli.database import Database
from taskdb_cli.database.options import Pool
from taskdb_cli.system.environment import SETTINGS
from tests.api.servers import running
from tests.conftest import SERVERS, Result
from tests.hostile.command_lines import IMPOSSIBLE_HOSTS
from tests.processes import run_process
from tests.samples import add_task, add_token, add_user

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

PORTS = ("0", "65536", "-1", "abc", "9" * 30, "\N{ARABIC-INDIC DIGIT ONE}", "\udcff", "%00", "%ff")
PARTS = ("u%ff@127.0.0.1/d", "\udcff@127.0.0.1/d", "127.0.0.1/%ff", "127.0.0.1/\udcff", "127.0.0.1/%00")
QUERIES = ("options=%ff", "application_name=\udcff", "nonsense=1", "port=0", "host=a..b", "hostaddr=::::")
URLS = (
    *(f"postgresql://u:secret-7@{host}:1/d" for host in IMPOSSIBLE_HOSTS),
    *(f"postgresql://u:secret-7@127.0.0.1:{port}/d" for port in PORTS),
    *(f"postgresql://{part}" for part in PARTS),
    *(f"postgresql://u:secret-7@127.0.0.1:1/d?{query}" for query in QUERIES),
    "sqlite:///%00",
    "sqlite:///.",
    "sqlite:///a?b",
    "sqlite:///" + "x" * 300,
    "\udcff://x",
    "x",
)
NOT_UTF8 = "a\udc80b"


def require_refused(result: Result, *codes: int) -> None:
    """Fail unless a command line was refused in one line that blames what was given."""
    assert result.code in codes, result
    assert result.out == "", result
    assert result.err.startswith("error: "), result
    assert result.err.count("\n") == 1, result
    for word in ("a bug", "secret-7", "codec"):
        assert word not in result.err, result


@SQLITE_ONLY
@pytest.mark.parametrize(
    "place", ["option", "TASKDB_DATABASE_URL", "TASKDB_DIRECT_URL", "TASKDB_READ_URL", "--to", "--drill-url"]
)
def test_odd_urls(taskdb, database, monkeypatch, tmp_path, place):
    """A URL that leads nowhere, for it cannot, is refused wherever one can be given."""
    add_user(database)
    taskdb("backup", "--file", tmp_path / "archive")
    for url in URLS:
        if place == "option":
            result = taskdb("--database-url", url, "stats", expect=None)
        elif place == "--to":
            result = taskdb("copy", "--to", url, expect=None)
        elif place == "--drill-url":
            result = taskdb(
                "backup", "verify", tmp_path / "archive", "--drill", "--drill-url", url, expect=None
            )
        elif "%00" in url:
            continue
        else:
            monkeypatch.setenv("TASKDB_DATABASE_URL", "postgresql://u@127.0.0.1:1/d")
            monkeypatch.setenv(place, url)
            result = taskdb("stats", expect=None)
        # A trial restore first says that the archive is sound.
        require_refused(dataclasses.replace(result, err=result.err.splitlines(keepends=True)[-1]), 2)


@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
def test_not_utf8(taskdb, database):
    """An argument that is not UTF-8 breaks a rule (2), or names nothing that there is (3)."""
    add_user(database)
    add_task(database)
    word = NOT_UTF8
    for line in (
        [word],
        ["user", word],
        ["user", "list", word],
        ["user", "list", "--" + word],
        ["user", "list", "--search", word],
        ["user", "list", "--sort", word],
        ["user", "list", "--fields", word],
        ["user", "list", "--after", word],
        ["user", "list", "--limit", word],
        ["user", "list", "-o", word],
        ["user", "show", word],
        ["user", "create", "--email", f"{word}@example.com", "--name", "A"],
        ["user", "create", "--email", "a@example.com", "--name", word],
        ["user", "delete", word, "--yes"],
        ["user", "delete", "1", "--reassign-to", word],
        ["user", "import", word],
        ["task", "list", "--search", word],
        ["task", "list", "--user", word],
        ["task", "list", "--status", word],
        ["task", "list", "--due-before", word],
        ["task", "show", word],
        ["task", "create", word, "--user", "1"],
        ["task", "create", "A", "--user", "1", "--description", word],
        ["task", "create", "A", "--user", "1", "--external-id", word],
        ["task", "update", "1", "--title", word],
        ["task", "import", word],
        ["token", "create", "--name", word],
        ["token", "revoke", word],
        ["stats", "--user", word],
        ["health", "--only", word, "--skip", word],
        ["backup", "--label", word],
        ["backup", "show", word],
        ["backup", "prune", "--label", word, "--keep-last", "1"],
        ["migrate", "up", word],
        ["migrate", "stamp", word],
        ["migrate", "sql", word],
        ["--schema", word, "stats"],
        ["--env-file", word, "stats"],
        ["--log-format", word, "stats"],
        ["restore", word],
    ):
        # To a monitoring system 3 means that health could not be told.
        require_refused(taskdb(*line, expect=None), 2, 3)


@SQLITE_ONLY
def test_not_utf8_as_json(taskdb):
    """The error of such an argument is JSON where that is asked for."""
    result = taskdb("token", "revoke", "\udcff", "-o", "json", expect=2)
    assert result.err.startswith('{\n  "error": {')


@SQLITE_ONLY
@pytest.mark.parametrize("name", SETTINGS)
def test_odd_settings(taskdb, monkeypatch, name):
    """A setting of whatever bytes is used, or refused in one line."""
    for value in (
        "\udcff",
        "a\udc80b",
        "\x1b[31m",
        "-1",
        "nan",
        "9" * 50,
        "\N{ARABIC-INDIC DIGIT ONE}",
        "%ff",
    ):
        monkeypatch.setenv(name, value)
        for line in [["stats"], ["backup", "--check-config"]] if "BACKUP" in name else [["stats"]]:
            result = taskdb(*line, expect=None)
            assert result.code in (0, 2, 3), result
            assert "a bug" not in result.err, result
            assert result.err.count("error: ") == (result.code != 0), result


@SQLITE_ONLY
@pytest.mark.parametrize("revision", ["0001-9", "0001-01-01", "0001:0001-9", "0004+9"])
def test_revisions_that_are_too_far_away(taskdb, revision):
    """A revision by its distance from another one must exist."""
    require_refused(taskdb("migrate", "sql", revision, expect=None), 2)


@SQLITE_ONLY
@pytest.mark.parametrize("revision", ["@", "0001@", "-" + "9" * 5000])
def test_revisions_that_cannot_be(taskdb, revision):
    """A branch without a name and a distance of thousands of digits are no revisions."""
    for words in (["up"], ["down", "--yes"], ["sql"], ["stamp"]):
        require_refused(taskdb("migrate", *words, "--", revision, expect=None), 2)


@SQLITE_ONLY
def test_a_label_that_is_none(taskdb, tmp_path):
    """A label that cannot be is refused before anything is printed."""
    result = taskdb("backup", "list", "--dir", tmp_path, "--label", " ", "-o", "csv", expect=None)
    require_refused(result, 2)
    assert result.out == ""


@SQLITE_ONLY
@pytest.mark.parametrize(
    "words",
    [
        "task list -o table",
        "task create -u 1 B -o table",
        "task done 1 -o table",
        "user update 1 --name B -o table",
        "task create -u 1 B -d 2027-01-01T00:00Z",
        "task done 1",
        "task delete 1 --yes",
    ],
)
def test_an_offset_that_no_zone_has(taskdb, database, monkeypatch, words):
    """An answer in the local time of an impossible zone names TZ, before anything is changed."""
    add_user(database)
    taskdb("task", "create", "--user", "1", "A", "--due", "2026-12-01")
    before = taskdb("user", "list", "-o", "json").out, taskdb("task", "list", "-o", "json").out
    monkeypatch.setenv("TZ", "UTC+99")
    time.tzset()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(type(sys.stdout), "isatty", lambda _: not words.endswith("table"))
            result = taskdb(*words.split(), expect=None)
        after = taskdb("user", "list", "-o", "json").out, taskdb("task", "list", "-o", "json").out
    finally:
        monkeypatch.undo()
        time.tzset()
    require_refused(result, 2)
    assert "TZ" in result.err
    assert before == after


@SQLITE_ONLY
@pytest.mark.parametrize("host", ["a..b", f"{'x' * 64}.example", "\udcff"])
def test_odd_hosts_to_listen_on(taskdb, database, host):
    """A host that cannot exist is refused as an argument, not as an address that is in use."""
    require_refused(taskdb("serve", "--host", host, "--port", "0", expect=None), 2)


@SQLITE_ONLY
def test_a_device_as_dotenv_file(taskdb):
    """A dotenv file without an end is refused."""
    require_refused(taskdb("--env-file", "/dev/zero", "stats", expect=None), 2)


@SQLITE_ONLY
@pytest.mark.parametrize(
    "zone",
    [
        *("nonsense", ":", "\udcff", "/dev/null", "/dev/zero", "x" * 5000, "\x1b[31m"),
        *("CET-1junk junk", "CET-1CEST,garbage", "CET-1xyz!!", "ABC1:60", "CET-1CEST,M13.1.0,M3.1.0"),
    ],
)
def test_odd_time_zones(taskdb, monkeypatch, zone):
    """A time of the local clock needs a time zone, and the one that is wrong is named."""
    monkeypatch.setenv("TZ", zone)
    for when in ("tomorrow", "2026-12-01", "+3d"):
        result = taskdb("task", "list", "--due-before", when, expect=None)
        require_refused(result, 2)
        assert "TZ" in result.err
    taskdb("task", "list", "--due-before", "2026-12-01T00:00Z")


@SQLITE_ONLY
@pytest.mark.parametrize(
    "zone", ["UTC", "JST-9", "<+0530>-5:30", "CET-1CEST", "CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT4,J60/-1,300"]
)
def test_time_zones_by_rules(taskdb, monkeypatch, zone):
    """A rule of the POSIX form is a time zone."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        taskdb("task", "list", "--due-before", "tomorrow")
    finally:
        monkeypatch.undo()
        time.tzset()


@SQLITE_ONLY
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Europe/London"])
def test_a_time_zone_that_the_system_lacks(taskdb, monkeypatch, zone):
    """A zone that only Python knows is refused, because the local clock shows UTC."""
    monkeypatch.setenv("TZDIR", "/nonexistent")
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        result = taskdb("task", "list", "--due-before", "2026-07-01 12:00", expect=None)
    finally:
        monkeypatch.undo()
        time.tzset()
    require_refused(result, 2)
    assert "TZ" in result.err


@SQLITE_ONLY
def test_times_at_the_ends_of_the_calendar(taskdb, monkeypatch):
    """The first and the last time that can be stored are shown in zones where their years do not exist."""
    taskdb("user", "create", "--email", "ann@example.com", "--name", "Ann")
    for due in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        taskdb("task", "create", "--user", "1", "--due", due, "x")
    for zone in ("Asia/Tokyo", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        for command in (["list"], ["show", "1"], ["show", "2"]):
            shown = taskdb("task", *command, "-o", "table").out
            assert "01-01" in shown or "1 Jan" in shown or command[-1] == "2"
        taskdb("stats", "-o", "table")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@SQLITE_ONLY
@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii:strict"},
        {"LANG": "xx_YY.nonsense", "COLUMNS": "0", "TERM": "nonsense", "HOME": "/\udcff"},
    ],
)
def test_odd_surroundings(taskdb, database, monkeypatch, environment):
    """Data are printed in UTF-8 and errors in one line, whatever the locale and the terminal are."""
    add_user(database)
    add_task(database, title="Café \N{SNOWMAN}")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shown = run_process("task", "show", "1", "-o", "tsv", encoding="utf-8")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Café \N{SNOWMAN}" in shown.stdout
    failed = run_process("task", "list", "--sort", os.fsdecode(b"\xff"), encoding="utf-8")
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (2, "", 1)


def status_of(url: str, target: bytes, host: bytes, token: str) -> int:
    """Return the status of the answer to a request of whatever bytes; 0 for a connection that is closed."""
    place = urlsplit(url)
    head = b"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n"
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(head % (target, host, token.encode()))
        answer = connection.makefile("rb").readline().split()
    return int(answer[1]) if answer else 0


@SQLITE_ONLY
def test_odd_requests(database):
    """No bytes in the path, the query or the header Host make the API answer 500."""
    add_user(database)
    token = add_token(database, "odd")
    application = create_app(Database(database.url, dataclasses.replace(database.options, pool=Pool())))
    with running(application) as url:
        assert status_of(url, b"/users/1", b"x", token) == 200
        for target in (
            b"/users/%ff",
            b"/users/\xff",
            b"/users/%00",
            b"/tasks?search=%ff",
            b"/tasks?after=\xff",
        ):
            assert 200 <= status_of(url, target, b"x", token) < 500, target
        for host in (b"", b"a b", b"\xff", b"a..b", b"[::1", b"x:99999", b"a" * 300, b"%00"):
            assert status_of(url, b"/users/1", host, token) in (200, 400), host
