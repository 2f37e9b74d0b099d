"""The watchdog of the tests itself."""

import subprocess
import threading

import pytest

import tests.watchdog
from tests.processes import command
from tests.watchdog import watched


def test_a_process_that_hangs(monkeypatch):
    """A process that does not end is ended, and shows where it stands."""
    monkeypatch.setenv("TESTS_WATCHDOG_LIMIT", "1")
    hanging = command(first="import threading\nthreading.Event().wait()")
    done = subprocess.run(hanging, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "threading.py" in done.stderr


def test_a_command_in_this_process_that_hangs(monkeypatch, capfd):
    """A command that does not end fails its test, even where it waits for a lock."""
    monkeypatch.setattr(tests.watchdog, "LIMIT", 0.1)
    lock = threading.Lock()
    with pytest.raises(pytest.fail.Exception, match="a lock lasts"), watched("a lock"), lock:
        lock.acquire()
    assert "test_watchdog.py" in capfd.readouterr().err
