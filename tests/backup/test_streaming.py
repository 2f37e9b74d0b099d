"""How much memory a stream takes."""

import subprocess
import sys

import pytest

from tests.conftest import SERVERS
from tests.listings import add_tasks, add_users, make_row

FEW, MANY = 2_000, 60_000
MARGIN_KB = 20 * 1024
LISTING = """
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


def _peak_kb(url, user, rows):
    address = url.render_as_string(hide_password=False)
    options = ["task", "list", "--user", user, "--sort", "id", "--limit", "0", "--fields", "id"]
    done = subprocess.run(
        [sys.executable, "-c", LISTING, "--database-url", address, *options],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert done.stdout.count("\n") == rows
    return int(done.stderr)
