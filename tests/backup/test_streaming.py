"""How much memory a stream takes."""

import subprocess
import sys

import pyrage
import pytest

from tests.conftest import SERVERS
from tests.forked import run_forked
from tests.listings import add_tasks, add_users, make_row

FEW, MANY = 2_000, 60_000
LONG_TEXTS = 12_000
MARGIN_KB = 20 * 1024
RUN = """
import resource, sys
from taskdb_cli.cli.run import run
assert run(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]])
def test_a_stream_takes_constant_memory(database, url, isolated):
    """`--limit 0` takes as much memory for many tasks as for few."""
    database.write(add_users)
    database.write(lambda session: add_tasks(session, (make_row(1) for _ in range(FEW))))
    database.write(lambda session: add_tasks(session, (make_row(2) for _ in range(MANY))))
    few, many = (_peak_kb(url, user, rows) for user, rows in (("1", FEW), ("2", MANY)))
    assert many < few + MARGIN_KB


@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]])
def test_a_restore_takes_constant_memory(database, url, isolated, tmp_path, monkeypatch):
    """`restore --replace`, with its safety backup, takes as much memory for long texts as for short ones."""
    key = tmp_path / "key.txt"
    identity = pyrage.x25519.Identity.generate()
    key.write_text(f"{identity}\n")
    key.chmod(0o600)
    recipients = tmp_path / "recipients.txt"
    recipients.write_text(f"{identity.to_public()}\n")
    monkeypatch.setenv("TASKDB_BACKUP_IDENTITY", str(key))
    monkeypatch.setenv("TASKDB_BACKUP_RECIPIENTS", str(recipients))
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "backups"))
    database.write(add_users)
    peaks = []
    for description in (None, "x" * 2_500):
        rows = [make_row(description=description)] * LONG_TEXTS
        database.write(lambda session, rows=rows: add_tasks(session, rows))
        archive = tmp_path / f"{bool(description)}.zip.age"
        address = url.render_as_string(hide_password=False)
        assert run_forked("--database-url", address, "backup", "--file", archive).returncode == 0
        _, peak = _run(url, "restore", str(archive), "--replace", "--yes")
        peaks.append(peak)
    assert peaks[1] < peaks[0] + MARGIN_KB


def _peak_kb(url, user, rows):
    options = ["task", "list", "--user", user, "--sort", "id", "--limit", "0", "--fields", "id"]
    printed, peak = _run(url, *options)
    assert printed.count("\n") == rows
    return peak


def _run(url, *words):
    """Run a command, and return what it printed and the KiB of memory that it took."""
    address = url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", RUN, "--database-url", address, *words],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    return done.stdout, int(done.stderr.splitlines()[-1])
