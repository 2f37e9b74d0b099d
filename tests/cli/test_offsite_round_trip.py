"""A backup goes from one engine to the other by way of a bucket, encrypted."""

import pyrage
import pytest

from tests.conftest import SERVERS, open_database
from tests.contents import fill, hashes


@pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)
def test_an_encrypted_archive_of_the_other_engine(taskdb, url, bucket, make_url_of, tmp_path):
    """From SQLite through the bucket into PostgreSQL every row is the same."""
    key = pyrage.x25519.Identity.generate()
    (tmp_path / "key.txt").write_text(f"{key}\n")
    (tmp_path / "key.txt").chmod(0o600)
    origin = make_url_of("sqlite")
    fill(origin, users=100, tasks=60_000)
    source = ("--database-url", origin.render_as_string())
    taskdb(*source, "backup", "--dir", bucket.address, "--encrypt-to", key.to_public())
    taskdb("restore", "latest", "--dir", bucket.address, "--identity", tmp_path / "key.txt")
    assert hashes(open_database(url)) == hashes(open_database(origin))
