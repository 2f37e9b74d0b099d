"""taskdb health as people, cron and monitoring systems call it."""

import json
import os
import pty
import re
import signal
import subprocess
from contextlib import suppress
from threading import Event, Timer

import pytest
from prometheus_client.parser import text_string_to_metric_families

from taskdb_cli.health.registry import CHECKS
from tests.conftest import SERVERS, sqlalchemy_url
from tests.processes import command, run_process
from tests.proxy import Proxy
from tests.schemas import execute, set_revision
from tests.terminals import open_terminal
from tests.waiting import PATIENCE

ON_FILES = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
ON_A_SERVER = pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)
NAMES = list(CHECKS)
QUIET = ["--skip", "backup"]

NUMBER = r"-?[0-9]+(\.[0-9]+)?"
PERFORMANCE = rf"[a-z_]+={NUMBER}(s|%|B)?(;({NUMBER}:?)?(;({NUMBER}:?)?)?)?"
NAGIOS = re.compile(rf"TASKDB (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+( \|( {PERFORMANCE})+)?\n")
"""One line of text, a bar, and 'label'=value[UOM];[warn];[crit] with spaces between."""

REPORT = {
    "status": str,
    "exit_code": int,
    "database": str,
    "checked_at": str,
    "seconds": float,
    "checks": list,
}
CHECK = {
    "name": str,
    "status": str,
    "value": (int, float, type(None)),
    "unit": str,
    "warning": (int, float, type(None)),
    "critical": (int, float, type(None)),
    "message": str,
    "remedy": str,
}


def matches(record, schema):
    """Whether a JSON object has exactly these keys, in this order, with values of these types."""
    return list(record) == list(schema) and all(isinstance(record[key], kind) for key, kind in schema.items())


def test_json(taskdb):
    """The JSON report has one shape, whatever was found."""
    report = json.loads(taskdb("health", "-o", "json", *QUIET).out)
    assert matches(report, REPORT)
    assert [found["name"] for found in report["checks"]] == [name for name in NAMES if name not in QUIET]
    for found in report["checks"]:
        assert matches(found, CHECK), found
        assert found["status"] in {"ok", "warning", "critical", "unknown", "skipped"}
        assert found["unit"] in {"", "s", "B", "%"}
    assert (report["status"], report["exit_code"]) == ("ok", 0)
    assert re.fullmatch(r"[0-9]{4}-[0-9-]{5}T[0-9:]{8}(\.[0-9]{6})?Z", report["checked_at"])


def test_nagios(taskdb, url):
    """The line for Nagios is as the guideline of the Monitoring Plugins says, good or bad."""
    good = taskdb("health", "-o", "nagios", *QUIET)
    assert NAGIOS.fullmatch(good.out), good.out
    assert good.out.startswith("TASKDB OK - ")
    set_revision(url, "a|b")
    bad = taskdb("health", "-o", "nagios", *QUIET, expect=2)
    assert NAGIOS.fullmatch(bad.out), bad.out
    assert bad.out.startswith("TASKDB CRITICAL - revision critical: ")


def test_prometheus(taskdb, url):
    """The metrics are what Prometheus' own parser reads."""
    set_revision(url, "0001")
    out = taskdb("health", "-o", "prometheus", *QUIET, expect=2).out
    families = {family.name: family for family in text_string_to_metric_families(out)}
    assert {family.type for family in families.values()} == {"gauge"}
    statuses = {
        sample.labels["check"]: sample.value for sample in families["taskdb_health_check_status"].samples
    }
    assert statuses["connection"] == 0
    assert statuses["revision"] == 2
    assert statuses["orphans"] == 3
    assert "plans" in statuses
    assert families["taskdb_health_status"].samples[0].value == 2
    seconds = {sample.labels["check"] for sample in families["taskdb_health_value_seconds"].samples}
    assert "connection" in seconds
    assert families["taskdb_health_timestamp_seconds"].samples[0].value > 1.7e9


@ON_FILES
@pytest.mark.parametrize(
    "words", [["health", "-o", "prometheus"], ["backup", "--metrics-file", "metrics"]], ids=" ".join
)
def test_prometheus_keeps_no_files(url, isolated, monkeypatch, tmp_path, words):
    """A directory for metrics of several processes gets no file, and takes no value away."""
    directory = tmp_path / "several"
    directory.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(directory))
    monkeypatch.setenv("TASKDB_DATABASE_URL", url.render_as_string())
    done = run_process(*words)
    text = done.stdout if words[0] == "health" else (tmp_path / "metrics").read_text()
    families = list(text_string_to_metric_families(text))
    assert families
    assert all(
        set(sample.labels) <= {"check", "label", "table"} for each in families for sample in each.samples
    )
    assert list(directory.iterdir()) == []


def test_a_table(taskdb, url):
    """A person gets a table of all checks, with what mends what is wrong."""
    execute(url, "DROP INDEX tasks_created")
    out = taskdb("health", *QUIET, expect=1).out
    assert out.splitlines()[0].split() == ["Check", "Status", "Value", "Found"]
    for name in NAMES:
        assert re.search(rf"^{name} +(ok|warning|skipped) ", out, re.MULTILINE) or name in QUIET, name
    assert "index tasks_created is missing" in out
    assert re.search(r"^ *→ .*'taskdb migrate sql'", out, re.MULTILINE)
    assert re.search(r"^warning: .*: 1 warning|^warning: .*1 warning", out, re.MULTILINE)


@ON_FILES
@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_shows_what_is_not_ok(taskdb, url, monkeypatch, width):
    """A terminal gets all that is not ok with what mends it, uncut, and the number of other checks."""
    execute(url, "DROP INDEX tasks_created")
    everything = taskdb("health", "-o", "json", *QUIET, expect=1).out
    [wrong] = [each for each in json.loads(everything)["checks"] if each["status"] == "warning"]
    terminal = open_terminal(monkeypatch, "stdout", width=width)
    taskdb("health", *QUIET, expect=1)
    assert all(len(line) <= width for line in terminal.lines)
    # Words are folded at any character if a line has no room for them.
    shown = "".join("".join(terminal.lines).split())
    for words in (wrong["message"], f"→ {wrong['remedy']}", f"warning: {url.database}: "):
        assert "".join(words.split()) in shown
    assert re.search(r"\d+ok,1warning,\d+skippedin.*--all", shown)
    assert [line.split()[1] for line in terminal.lines if re.match("[a-z]+  ", line)] == ["indexes"]


@ON_FILES
def test_a_terminal_shows_that_all_is_well(taskdb, url, monkeypatch):
    """If all is well one line names the database; --all shows every check, and --only those named."""
    terminal = open_terminal(monkeypatch, "stdout", width=400)
    taskdb("health", *QUIET)
    [line] = terminal.lines
    assert line.startswith(f"ok: {url.database}: ")
    taskdb("health", "--all", *QUIET)
    assert {line.split()[0] for line in terminal.lines if line} >= {*NAMES} - {*QUIET}
    taskdb("health", "--only", "disk")
    assert terminal.lines[-2].startswith("disk ")


def test_a_missing_file(bare_taskdb, tmp_path):
    """A path without a database is critical, and stays without one."""
    path = tmp_path / "absent.sqlite3"
    done = bare_taskdb("--database-url", f"sqlite:///{path}", "health", expect=2)
    assert f"no database at {path}" in done.out
    assert not path.exists()


@ON_FILES
@pytest.mark.parametrize(
    "arguments",
    [
        ["health", "--bogus"],
        ["health", "--timeout", "soon"],
        ["health", "-o", "xml"],
        ["health", "--only", "bogus"],
        ["health", "--only", "disk", "--skip", "disk"],
        ["health", "extra"],
        ["health", "--watch", "1"],
        ["health", "--watch", "inf"],
        ["health", "--wait", "inf"],
        ["--database-url", "nonsense", "health"],
        ["--database-url", "mysql://localhost/d", "health"],
    ],
)
def test_its_own_failures_are_unknown(taskdb, arguments):
    """A bad flag, or a URL that cannot be read, is 3: neither a warning nor critical."""
    done = taskdb(*arguments, expect=3)
    assert done.out == ""
    assert done.err.count("\n") == 1


@ON_FILES
def test_a_bug_is_unknown(taskdb, monkeypatch):
    """So is a bug of its own."""
    monkeypatch.setattr("taskdb_cli.health.runner.run", lambda *_, **__: 1 / 0)
    assert "unexpected ZeroDivisionError" in taskdb("health", expect=3).err


@ON_FILES
def test_global_options_are_usage_errors(taskdb):
    """What is wrong before the word health is a usage error as ever."""
    assert taskdb("--bogus", "health", expect=2).err
    assert taskdb("--log-format", "xml", "health", expect=2).err


@ON_FILES
def test_limits_from_the_environment(taskdb, monkeypatch):
    """The limits are settings, and one that makes no sense is unknown."""
    monkeypatch.setenv("TASKDB_HEALTH_LIMITS", "disk=:100%")
    assert "TASKDB CRITICAL" in taskdb("health", "-o", "nagios", "--only", "disk", expect=2).out
    monkeypatch.setenv("TASKDB_HEALTH_LIMITS", "disk=full")
    assert "TASKDB_HEALTH_LIMITS" in taskdb("health", expect=3).err
    monkeypatch.setenv("TASKDB_HEALTH_LIMITS", "disk=5%:10%")
    assert "disk=10%:5%" in taskdb("health", expect=3).err


@ON_FILES
def test_dropped_checks(taskdb, monkeypatch):
    """The name of a check that was dropped is accepted with a note, and changes no exit code."""
    for words in (["--only", "growth", "--only", "disk"], ["--only", "disk", "--skip", "journal_mode"]):
        done = taskdb("health", "-o", "json", *words)
        assert [found["name"] for found in json.loads(done.out)["checks"]] == ["disk"]
        assert done.err.count("\n") == 1
        assert "was dropped" in done.err
    done = taskdb("health", "-o", "json", "--only", "growth")
    report = json.loads(done.out)
    assert (report["status"], report["exit_code"], report["checks"]) == ("ok", 0, [])
    assert "was dropped" in done.err
    for words in (["--only", "growth"], ["--only", "growth", "--only", "journal_mode", "--skip", "disk"]):
        nagios = taskdb("health", "-o", "nagios", *words).out
        assert NAGIOS.fullmatch(nagios)
        assert nagios.startswith("TASKDB OK - ")
        assert "all is well" not in nagios
    assert "nothing was measured" in taskdb("health", "--only", "growth").out
    prometheus = taskdb("health", "-o", "prometheus", "--only", "growth").out
    assert "taskdb_health_status 0.0\n" in prometheus
    # That a check of today is skipped is no reason for silence.
    taskdb("health", "--only", "growth", "--only", "tls", expect=3)
    monkeypatch.setenv("TASKDB_HEALTH_LIMITS", "growth=50%:100% disk=:100%")
    assert "disk critical" in taskdb("health", "-o", "nagios", "--only", "disk", expect=2).out


@ON_FILES
def test_the_log_tells_the_outcome(taskdb, url, tmp_path):
    """The log says what the exit code means here."""
    set_revision(url, "0001")
    taskdb("--log-file", tmp_path / "log", "health", expect=2)
    taskdb("--log-file", tmp_path / "log", "health", "--only", "bogus", expect=3)
    first, second = [
        line for line in (tmp_path / "log").read_text().splitlines() if "taskdb health: " in line
    ]
    assert "taskdb health: critical (2)" in first
    assert "taskdb health: unknown (3)" in second


@ON_A_SERVER
def test_a_server_that_stops_answering(url, isolated, monkeypatch):
    """The process ends when its time is over, although nobody ever answers."""
    with Proxy(url) as proxy:
        proxy.hold = Event()
        monkeypatch.setenv("TASKDB_DATABASE_URL", sqlalchemy_url(proxy.url).render_as_string())
        done = run_process("health", "--timeout", "1", "-o", "nagios")
        assert not proxy.hold.is_set()
    assert done.returncode == 3
    assert "timed out" in done.stdout


@ON_A_SERVER
def test_waiting_for_a_server(bare_taskdb, url):
    """--wait comes back as soon as the server is up; if it never is, that is critical."""
    with Proxy(url) as proxy:
        address = sqlalchemy_url(proxy.url).render_as_string()
        wait = ["--database-url", address, "health", "--only", "connection", "--wait"]
        proxy.refuse()
        assert "did not answer within" in bare_taskdb(*wait, "0.3", expect=2).err
        Timer(0.5, proxy.listen).start()
        assert bare_taskdb(*wait, "30").err == ""


@ON_FILES
def test_watching_in_a_terminal(taskdb, url):
    """--watch shows one report after the other in its place, until Ctrl-C, which is 130."""
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        command("health", "--all", "--watch", "0.1"),
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.PIPE,
    )
    os.close(terminal)
    shown = b""
    while shown.count(b"Found") < 3:
        shown += os.read(control, 65536)
    process.send_signal(signal.SIGINT)
    with suppress(OSError):
        while os.read(control, 65536):
            pass
    os.close(control)
    assert process.wait(PATIENCE) == 130
    assert process.stderr.read() == b"error: interrupted\n"
    process.stderr.close()
    assert b"identity_left" in shown


@ON_A_SERVER
def test_a_password_is_never_shown(bare_taskdb, url):
    """No format shows the password of a database that cannot be reached."""
    with Proxy(url) as proxy:
        proxy.refuse()
        address = sqlalchemy_url(proxy.url).set(username="ann", password="hunter2")
    for format in ("table", "json", "nagios", "prometheus"):
        text = address.render_as_string(hide_password=False)
        done = bare_taskdb("--database-url", text, "health", "-o", format, "--only", "connection", expect=2)
        assert "hunter2" not in done.out + done.err


def test_after_a_backup(taskdb, monkeypatch, tmp_path):
    """The backups that are looked at are those of the settings; a drilled one makes all well."""
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "shelf"))
    assert "shelf is missing" in taskdb("health", "-o", "nagios", expect=2).out
    taskdb("backup", "--drill")
    assert taskdb("health", "-o", "nagios").out.startswith("TASKDB OK - ")
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "other")
    assert "backup warning" in taskdb("health", "-o", "nagios", expect=1).out


@ON_FILES
def test_a_reader_who_leaves(taskdb, url):
    """A report that nobody read to its end was not told: quietly 3, and never 0."""
    reading, writing = os.pipe()
    os.close(reading)
    done = run_process("health", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (3, "")
