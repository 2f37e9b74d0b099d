"""A backup directory with files in it, and disks that fail."""

import errno
import os
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from taskdb_cli.archive import verify
from taskdb_cli.services.backup.directory import BackupDirectory
from taskdb_cli.services.backup.files import open_partial, sync
from taskdb_cli.services.backup.names import archive_name, parse_name
from taskdb_cli.services.backup.records import Proof
from tests.conftest import NOW

NAME = "tasks-20261122T123015.123456Z.taskdb.zip"
DEAD = 2**22 + 1
"""A process id beyond the largest that Linux gives."""


def empty_directory(tmp_path):
    """Make a backup directory."""
    made = BackupDirectory(tmp_path / "backups")
    made.create()
    return made


def put(directory, name, data=b"archive"):
    path = directory.path / name
    path.write_bytes(data)
    return path


def archive(directory, label="tasks", at=NOW):
    return put(directory, archive_name(label, at))


def visible(directory):
    return sorted(path.name for path in directory.path.iterdir())


def proof(archive=NAME, at=NOW, **changes):
    values = {
        "archive": archive,
        "seal": "sha256:" + "0" * 64,
        "size": 1234,
        "taken_at": at,
        "verified_at": at + timedelta(minutes=1),
        "revision": "0003",
        "rows": {"users": 1, "tasks": 2},
        "bytes": 99,
    }
    return Proof(**values | changes)


def break_call(patch, name, code=errno.EIO, when=lambda *_: True):
    """Make a system call fail as a broken disk makes it fail."""
    call = getattr(os, name)

    def fail(*arguments, **options):
        if when(*arguments):
            raise OSError(code, os.strerror(code))
        return call(*arguments, **options)

    patch.setattr(os, name, fail)


def is_directory(descriptor):
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def partial_name(final, process=DEAD):
    return f".{final}.{process}-0123abcd.partial"


def written(final, data=b"content"):
    with open_partial(final) as stream:
        stream.write(data)
        sync(stream)
    return Path(stream.name)


def archives(shelf: Path) -> dict[str, bytes]:
    """Return what has the name of an archive, once it is verified."""
    found = [path for path in sorted(shelf.iterdir()) if parse_name(path.name)]
    for path in found:
        verify(path)
    return {path.name: path.read_bytes() for path in found}


def leftovers(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.endswith(".partial")]


def run_python(code, *arguments, **options):
    """Run Python that ends with what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
        **options,
    )
