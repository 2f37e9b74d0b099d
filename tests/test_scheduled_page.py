"""The jobs of docs/scheduled.md and contrib/systemd run as cron and systemd run them: with nothing around."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from taskdb_cli.exit_codes import ExitCode
from tests.backups import archives
from tests.conftest import SERVERS, open_database
from tests.pages import DOCS, ROOT, blocks, run_as_job
from tests.samples import add_user
from tests.test_docs import parse

SOAK = os.environ.get("TASKDB_SOAK") == "1"
ENDS = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
SOME_ENDS = ENDS if SOAK else pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
UNITS = ROOT / "contrib/systemd"
PROGRAM, SETTINGS = "/opt/taskdb/bin/taskdb", "/etc/taskdb/taskdb.env"
CRON_LINE = re.compile(r"^(?:[\d*/,-]+ +){5}taskdb  (.+)$|^@\w+ +taskdb  (.+)$", re.MULTILINE)


def cron_lines(page: str) -> list[str]:
    """The command of each line for cron on a page."""
    text = "".join(block.text for block in blocks(page, "cron"))
    return [first or second for first, second in CRON_LINE.findall(text)]


def read_unit(name: str) -> RawConfigParser:
    unit = RawConfigParser(delimiters="=", strict=False)
    unit.optionxform = str
    unit.read_string((UNITS / name).read_text(encoding="utf-8"))
    return unit


def services() -> dict[str, str]:
    """What each unit of contrib/systemd starts."""
    names = sorted(path.name for path in UNITS.glob("*.service"))
    return {name: read_unit(name)["Service"]["ExecStart"] for name in names}


@pytest.mark.parametrize("page", sorted(page.name for page in DOCS.glob("*.md")))
def test_cron_finds_taskdb(page):
    """Each line for cron names taskdb by its full path, since cron looks into /usr/bin and /bin only."""
    lines = re.findall(r"^(?:(?:[\d*/,-]+ +){5}|@\w+ ).*", (DOCS / page).read_text(), re.MULTILINE)
    assert [line for line in lines if re.search(r"(?<![\w/.-])taskdb -*[a-z]", line)] == []


@pytest.fixture
def machine(url, tmp_path):
    """Runs a command with no environment, where the paths of the page lead into the directory of the test."""
    add_user(open_database(url), "ann@example.com")
    here = {
        PROGRAM: "taskdb",
        SETTINGS: "taskdb.env",
        "/var/lib/node_exporter": "",
        "/var/backups/taskdb": "shelf",
    }
    # A checkout is not installed where it is tested.
    (tmp_path / "taskdb").write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m taskdb_cli "$@"\n'
    )
    (tmp_path / "taskdb").chmod(0o755)
    [settings] = [block.text for block in blocks("scheduled.md", "ini") if block.text.startswith("TASKDB_")]
    given = dict(line.split("=", 1) for line in settings.splitlines())
    given["TASKDB_DATABASE_URL"] = url.render_as_string(hide_password=False)
    given["TASKDB_BACKUP_DIR"] = str(tmp_path / "shelf")
    # A busy machine connects late, and a full disk is no fault of the page.
    given["TASKDB_HEALTH_LIMITS"] = "'connection=:60s disk=:1% backup_space=:1%'"
    (tmp_path / "taskdb.env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))

    def run(command: str, *variables: str, shell: str = "/bin/sh -c") -> tuple[int, str]:
        for there, name in here.items():
            command = command.replace(there, str(tmp_path / name).rstrip("/"))
        assert not re.search(r"/(opt|etc|var)/", command.replace(str(tmp_path), "")), command
        return run_as_job([*shell.split(), command], dict(each.split("=", 1) for each in variables))

    return run


@ENDS
def test_the_lines_for_cron(machine, tmp_path):
    """Each line does its work on both engines, without an environment, and prints nothing."""
    lines = cron_lines("scheduled.md")
    assert len(lines) == 5
    for line in lines:
        assert machine(line, "PATH=/usr/bin:/bin") == (0, ""), line
    assert len(archives(tmp_path / "shelf")) == 2
    assert "\ntaskdb_health_status 0.0\n" in (tmp_path / "taskdb.prom").read_text()


@SOME_ENDS
def test_the_services_of_systemd(machine, tmp_path):
    """What each timer starts does its work on both engines, with the settings as its only variables."""
    text = (tmp_path / "taskdb.env").read_text()
    variables = [
        f"{name}={value.strip(chr(39))}" for name, value in re.findall("^(.*?)=(.*)$", text, re.MULTILINE)
    ]
    for name in ("backup", "verify", "health"):
        command = f"cd {tmp_path} && exec {services()[f'taskdb-{name}.service']}"
        code, printed = machine(command, "PATH=/usr/bin:/bin", *variables)
        assert (code, printed) == (0, ""), name
    assert "\ntaskdb_health_status 0.0\n" in (tmp_path / "taskdb.prom").read_text()


@pytest.mark.parametrize(("name", "command"), services().items(), ids=list(services()))
def test_the_units_of_systemd(name, command):
    """A service starts a program by its full path; a timer starts a service that is there."""
    words = shlex.split(command)
    assert Path(words[0]).is_absolute()
    if name.startswith("taskdb-"):
        [line] = re.findall(rf"{PROGRAM} [^>;|']*", command)
        assert parse(["taskdb", *shlex.split(line)[1:]]).startswith("taskdb ")
        # Health runs every five minutes, and nobody wants so many mails.
        mails = name in ("taskdb-backup.service", "taskdb-verify.service")
        assert read_unit(name)["Unit"].get("OnFailure") == ("mail-failure@%n.service" if mails else None)
        assert not re.search("User|EnvironmentFile", (UNITS / name).read_text())
    hardened = read_unit("taskdb-.service.d/hardening.conf")["Service"]
    assert (hardened["User"], hardened["EnvironmentFile"]) == ("taskdb", SETTINGS)
    for timer in UNITS.glob("*.timer"):
        assert timer.with_suffix(".service").is_file()


def test_a_faulty_setting_is_not_tried_again():
    """The API is started again after a failure, but not if it exits 2."""
    serve = read_unit("taskdb-serve.service")["Service"]
    assert (serve["Restart"], serve["RestartPreventExitStatus"]) == ("on-failure", str(int(ExitCode.USAGE)))


def test_the_page_shows_the_unit_of_the_backup():
    """The service that the page shows is the one in the checkout."""
    [shown] = [block.text for block in blocks("scheduled.md", "ini") if "ExecStart" in block.text]
    first, _, text = shown.partition("\n")
    assert text == (UNITS / first.removeprefix("# ")).read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path):
    """A machine with systemd finds no fault in any unit."""
    units = shutil.copytree(UNITS, tmp_path / "units")
    for unit in units.glob("*.service"):
        # It looks for the program.
        unit.write_text(unit.read_text().replace(PROGRAM, "/bin/true"))
    files = [*units.glob("*.service"), *units.glob("*.timer")]
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files], check=False, capture_output=True, text=True
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
