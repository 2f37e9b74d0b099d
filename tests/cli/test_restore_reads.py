"""How often a restore reads an archive, what it finds if that changes, and where its rows go on their way."""

import os

import pyrage
import pytest

from taskdb_cli.backup import encryption
from taskdb_cli.backup import restore as service
from taskdb_cli.backup.stores.object_files import WINDOW
from taskdb_cli.exit_codes import ExitCode
from tests.conftest import SERVERS
from tests.contents import fill, get_rows
from tests.processes import run_process
from tests.schemas import execute

SOAK = os.environ.get("TASKDB_SOAK") == "1"
KINDS = ["plain", "encrypted"]
# How an archive is read does not depend on the engine.
ENDS = pytest.mark.parametrize(
    ("engine", "back_up"),
    [(engine, kind) for engine in ("sqlite", SERVERS[-1]) for kind in KINDS]
    if SOAK
    else [*zip(("sqlite", SERVERS[-1]), KINDS, strict=True)],
    indirect=True,
)
SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
MANY, WIDE = 1_000, 16
"""Rows of an archive of several windows, and how wide they are."""

REPLACE = ("--replace", "--yes", "--no-safety-backup")


@pytest.fixture(params=KINDS)
def back_up(request, taskdb, url, tmp_path, monkeypatch):
    """Backs a filled database up, plain or encrypted with the key that the settings name."""
    # An archive of tests would fit into what is remembered of its end.
    monkeypatch.setattr(encryption, "_REMEMBERED", WINDOW // 4)

    def run(directory, **rows):
        monkeypatch.setenv("TASKDB_BACKUP_DIR", str(directory))
        fill(url, **{"tasks": MANY, "width": WIDE} | rows)
        words = []
        if request.param == "encrypted":
            key = pyrage.x25519.Identity.generate()
            (tmp_path / "key.txt").write_text(f"{key}\n")
            (tmp_path / "key.txt").chmod(0o600)
            monkeypatch.setenv("TASKDB_BACKUP_IDENTITY", str(tmp_path / "key.txt"))
            words = ["--encrypt-to", key.to_public()]
        taskdb("backup", *words)
        return request.param == "encrypted"

    return run


def archive_in(bucket):
    [key] = (each for each in [*bucket.keys()] if ".taskdb.zip" in each)
    return key


@ENDS
def test_a_restore_downloads_an_archive_twice(taskdb, url, bucket, middleman, back_up):
    """Once to check its seal, and once to load it, also where other rows are replaced, and in a dry run."""
    encrypted = back_up(bucket.address)
    before = get_rows(url)
    key = archive_in(bucket)
    size = len(bucket.get(key))
    assert size > WINDOW
    ways = [
        ("--dry-run", *REPLACE),
        REPLACE,
        ("--only-user", "1-20", "--replace", "--yes", "-o", "json"),
        (),
        ("--only-user", "1-20", "-o", "json"),
    ]
    for way in ways:
        if "--replace" not in way:
            execute(url, "DELETE FROM tasks", "DELETE FROM users")
        middleman.sent.clear()
        taskdb("restore", "latest", *way)
        assert get_rows(url) == before
        # The structure of a plain archive is read at its end, between its beginning and its rows.
        assert size < middleman.sent[f"/{bucket.name}/{key}"] <= 2 * size + (0 if encrypted else 2 * WINDOW)


@SQLITE_ONLY
def test_how_often_commands_download_an_archive(taskdb, bucket, middleman, back_up):
    """Each command downloads an archive as often as the documentation says."""
    encrypted = back_up(bucket.address, tasks=5 * MANY)
    key = archive_in(bucket)
    size = len(bucket.get(key))
    for words, times in (
        (("verify", "latest"), (1, 2)),
        (("verify", "latest", "--drill"), (2, 3)),
        (("show", "latest"), (1, 1)),
        (("show", "latest", "--user", "7"), (2, 2)),
        (("diff", "latest", "live"), (2, 2)),
        (("copy", "latest", "--to", f"s3://{bucket.name}/copies"), (1, 1)),
    ):
        middleman.sent.clear()
        taskdb("backup", *words)
        sent = [each for each in middleman.sent.values() if each > WINDOW]
        assert len(sent) == (2 if "copy" in words else 1), words
        for each in sent:
            # The structure of an archive is read at its end, too, and its beginning says what it is.
            assert 0 <= each - times[encrypted] * size <= 3 * WINDOW < size, words


@SQLITE_ONLY
@pytest.mark.parametrize("place", ["disk", "bucket", "bucket that ignores conditions"])
def test_an_archive_that_changes_before_it_is_loaded(  # noqa: PLR0917 (fixtures)
    taskdb, url, bucket, middleman, back_up, place, tmp_path, monkeypatch
):
    """It is exit 7 if the archive is another one when it is loaded, and every row stays."""
    back_up(tmp_path / "shelf" if place == "disk" else bucket.address)
    execute(url, "UPDATE tasks SET title = 'Newer'")
    before, restore = get_rows(url), service.restore
    if place == "bucket that ignores conditions":
        middleman.unconditional = ("if-match",)

    def change_and_restore(*arguments, **options):
        if place == "disk":
            [path] = (tmp_path / "shelf").glob("*.taskdb.zip*")
            with path.open("r+b") as file:
                file.seek(path.stat().st_size // 4)
                file.write(b"changed")
        else:
            key = archive_in(bucket)
            data = bytearray(bucket.get(key))
            data[len(data) // 4] ^= 1
            bucket.put(key, bytes(data))
        return restore(*arguments, **options)

    monkeypatch.setattr(service, "restore", change_and_restore)
    taskdb("restore", "latest", *REPLACE, expect=ExitCode.CORRUPT)
    assert get_rows(url) == before


@SQLITE_ONLY
def test_rows_of_an_encrypted_archive_are_in_no_temporary_file(url, back_up, tmp_path, monkeypatch):
    """Commands that read an encrypted archive make no file in TMPDIR; the same with a plain one does."""
    encrypted = back_up(tmp_path / "shelf")
    before, watched = get_rows(url), tmp_path / "temporary"
    watched.mkdir()
    for name in ("TMPDIR", "SQLITE_TMPDIR"):
        monkeypatch.setenv(name, str(watched))
    new = tmp_path / "new.sqlite3"
    made_files = set()
    for words in (
        ("backup", "show", "latest", "--user", "7"),
        ("backup", "diff", "latest", "live", "--details"),
        ("backup", "verify", "latest", "--drill"),
        ("restore", "latest", *REPLACE),
        ("--database-url", f"sqlite:///{new}", "restore", "latest", "--from-other-database"),
        ("restore", "latest", "--only-user", "1-20", "--replace", "--yes", "-o", "json"),
    ):
        if "--only-user" in words:
            execute(url, "DELETE FROM tasks", "DELETE FROM users")
        os.utime(watched, ns=(0, 0))
        # SQLite reads the variable when its library is loaded, so the process has to start anew.
        done = run_process(*words)
        assert done.returncode == 0, done.stderr
        # Making a file in a directory changes its time, even if the file is gone again.
        if watched.stat().st_mtime_ns:
            made_files.add(words)
    assert get_rows(url) == before == get_rows(url.set(database=str(new)))
    assert not [*watched.iterdir()]
    assert len(made_files) == (0 if encrypted else 3)
