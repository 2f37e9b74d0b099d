"""A backup goes from one engine to the other by way of a bucket, encrypted."""

import pyrage
import pytest

from tests.conftest import SERVERS, open_database
from tests.contents import fill, hashes
from tests.samples import add_user


@pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)
def test_an_encrypted_archive_of_the_other_engine(taskdb, url, bucket, make_url_of, tmp_path):
    """From SQLite through the bucket into PostgreSQL every row is the same."""
    key = pyrage.x25519.Identity.generate()
    (tmp_path / "key.txt").write_text(f"{key}\n")
    (tmp_path / "key.txt").chmod(0o600)
    origin = make_url_of("sqlite")
    fill(origin, users=100, tasks=12_000)
    source = ("--database-url", origin.render_as_string())
    taskdb(*source, "backup", "--dir", bucket.address, "--encrypt-to", key.to_public())
    taskdb("restore", "latest", "--dir", bucket.address, "--identity", tmp_path / "key.txt")
    assert hashes(open_database(url)) == hashes(open_database(origin))


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_an_archive_is_downloaded_no_more_often_than_it_must(
    taskdb, database, bucket, middleman, monkeypatch
):
    """`latest` goes by the tag of the object, which tells that it was changed, and downloads nothing."""
    add_user(database)
    monkeypatch.setenv("TASKDB_BACKUP_DIR", bucket.address)
    taskdb("backup")
    taskdb("backup")
    older, newer = (key for key in sorted(bucket.keys()) if key.endswith(".zip"))
    middleman.requests.clear()
    taskdb("backup", "show", "latest")
    assert sum(each.startswith(f"GET /{bucket.name}/{newer}") for each in middleman.requests) == 1
    data = bytearray(bucket.get(newer))
    data[len(data) // 2] ^= 1
    bucket.put(newer, bytes(data))
    shown = taskdb("backup", "show", "latest", "-o", "json")
    assert older in shown.out
    assert newer in shown.err
