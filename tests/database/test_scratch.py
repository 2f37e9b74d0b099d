"""The database that stands in for another one."""

import os

import pytest

from tests.backups import run_python

CODE = """
import sys
from pathlib import Path
from taskdb_cli.database.scratch import scratch_database
from taskdb_cli.services import migrate
temporary = Path(sys.argv[1])
with scratch_database(secret=sys.argv[2] == "True") as database:
    migrate.upgrade(database)
    before = temporary.stat().st_mtime_ns
    with database.connect() as connection:
        connection.exec_driver_sql("PRAGMA cache_size = -64")
        numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        text = f"{numbers} SELECT hex(randomblob(200)) FROM n ORDER BY 1"
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE copied AS {text}")
        print(temporary.stat().st_mtime_ns != before)
"""


@pytest.mark.parametrize("secret", [True, False])
def test_what_is_sorted_stays_off_the_disks(secret, tmp_path):
    """SQLite makes no temporary file for a database that is secret; any other one shows that it would."""
    done = run_python(CODE, tmp_path, secret, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.stdout.split() == [str(not secret)], done.stderr
