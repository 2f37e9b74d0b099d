"""docs/disaster.md is followed word for word, on a machine that has the key and the credentials only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest

from tests.conftest import SERVERS, open_database
from tests.contents import get_rows_without_versions, hashes
from tests.pages import Shell, blocks, filled_in
from tests.s3 import S3Bucket
from tests.samples import add_task, add_user

ROOT = Path(__file__).resolve().parent.parent
SOAK = os.environ.get("TASKDB_SOAK") == "1"
ENDS = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]] if SOAK else ["sqlite"], indirect=True)
ANN = "ann@example.com"
PAGE = list(blocks("disaster.md", "sh"))


def steps(heading: str) -> list[str]:
    """Return the blocks under a heading, of which there must be some."""
    found = [block.text for block in PAGE if block.heading == heading]
    assert found, heading
    return found


class NewMachine:
    """A machine on which the page's first step is done in the checkout, without a package index."""

    def __init__(self, place: Path) -> None:
        self.home = place
        base = Path(sys.base_prefix) / "bin"
        self._variables = {
            "HOME": str(place),
            "PATH": f"{base}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
        }
        # pip has a setting "build isolation", which the variable with "NO" in its name sets.
        libraries = ":".join(each for each in sys.path if each.endswith("-packages"))
        pip = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "false"}
        [install] = steps("1. Install")
        with Shell(self._variables | pip | {"PYTHONPATH": libraries}, ROOT) as shell:
            shell.paste(install)
            self._variables["PATH"] = shell.paste('echo "$PATH"').strip()
        # The dependencies are those of the tests.
        self._variables["PYTHONPATH"] = libraries

    def open(self) -> Shell:
        """Open a shell there."""
        return Shell(self._variables, self.home)


@pytest.fixture(scope="module")
def new_machine(tmp_path_factory: pytest.TempPathFactory) -> NewMachine:
    """A machine that has nothing yet but Python and taskdb."""
    return NewMachine(tmp_path_factory.mktemp("machine"))


@pytest.fixture
def shell(new_machine: NewMachine) -> Iterator[Shell]:
    """A shell on the new machine."""
    with new_machine.open() as opened:
        assert opened.paste("command -v taskdb") == f"{new_machine.home}/taskdb/bin/taskdb\n"
        yield opened


@pytest.fixture
def lost(taskdb, url, bucket, new_machine) -> dict[str, tuple[int, str]]:
    """The hashes of a database that is gone: there is an encrypted archive of it, and the key."""
    key = pyrage.x25519.Identity.generate()
    (new_machine.home / "key.txt").write_text(f"# public key: {key.to_public()}\n{key}\n")
    database = open_database(url)
    for email in ("bob@example.com", ANN, "cid@example.com"):
        add_user(database, email)
        for number in range(10):
            add_task(database, email, f"Task {number} of {email}")
    taskdb("backup", "--dir", bucket.address, "--label", "work", "--encrypt-to", key.to_public())
    return hashes(database)


@pytest.mark.soak
@ENDS
def test_the_bad_day(lost, shell, bucket, empty_url, engine):
    """From a bucket, the key and the credentials every row comes back, by each section of the page."""
    new_bucket = S3Bucket(bucket.server, f"{bucket.name}-new")
    yours = {
        "NEW_BUCKET/PREFIX": new_bucket.address.removeprefix("s3://"),
        "BUCKET/PREFIX": bucket.address.removeprefix("s3://"),
        "KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
        "SECRET": os.environ["AWS_SECRET_ACCESS_KEY"],
        "REGION": "us-east-1",
        "https://ENDPOINT": os.environ["AWS_ENDPOINT_URL"],
        "NEW_DATABASE": empty_url.render_as_string(hide_password=False),
        "LABEL": "work",
    }

    def follow(heading: str) -> str:
        # The archives are in the bucket, so what is for a disk is left out.
        given = [step for step in steps(heading) if "/media/usb" not in step]
        return "".join(shell.paste(filled_in(step, yours)) for step in given)

    follow("2. Say where everything is")
    assert "work-" in follow("3. Look what is there")
    assert "33 rows verified" in follow("4. Prove it")
    follow("5. Restore")
    database = open_database(empty_url)
    assert hashes(database) == lost
    rows = get_rows_without_versions(database.url)
    assert "total\t30" in follow("6. Check")
    assert "ok: " in follow("7. Start backups again")
    shell.paste(f"taskdb user delete {ANN} --yes")
    assert "10 tasks" in follow("One user was deleted")
    assert get_rows_without_versions(database.url) == rows
    if engine != "sqlite":
        return
    # No engine decides what follows.
    Path(str(empty_url.database)).write_bytes(b"SQLite format 3\0" + b"\xff" * 100_000)
    follow("The database is damaged")
    assert hashes(open_database(empty_url)) == lost
    follow("The bucket is gone")
    assert len(new_bucket.keys()) > 2
    assert "test restore passed" in follow("The key is lost")
