"""A backup directory with files in it, and disks that fail."""

import errno
import json
import os
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from taskdb_cli.backup import restore
from taskdb_cli.backup.archive import manifest_of, seal_of
from taskdb_cli.backup.atomic import open_partial
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.file_names import archive_name, parse_name
from taskdb_cli.backup.history import Drill, Proof
from taskdb_cli.backup.layout import decode
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.output.formats import timestamp
from tests.archives import forged, verify
from tests.conftest import NOW

NAME = "tasks-20261122T123015.123456Z.taskdb.zip"
DEAD = 2**22 + 1
"""A process id beyond the largest that Linux gives."""


def empty_directory(tmp_path):
    """Make a backup directory."""
    made = BackupDirectory(LocalStore(tmp_path / "backups"))
    made.store.make()
    return made


def put(directory, name, data=b"archive"):
    path = directory.store.directory / name
    path.write_bytes(data)
    return path


def archive(directory, label="tasks", at=NOW):
    return put(directory, archive_name(label, at))


def restore_as_test(path, directory, *, now):
    """Restore an archive as a test, and record that it passed."""
    restore.drill(file_at(path))
    directory.note_archive(file_at(path), Drill(path.name, now, manifest_of(file_at(path)).origin.identity))


def visible(directory):
    return sorted(path.name for path in directory.store.directory.iterdir())


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


OLD = Path(__file__).parent / "data" / "0.1.0"
"""What taskdb 0.1.0 wrote."""

OLD_ROWS = min(OLD.glob("*.zip"))
"""One of its archives: 3 users and 18 tasks."""


def old_archive(shelf, label, at):
    """Write the archive that 0.1.0 would have taken of the same rows under another label at another time."""
    with zipfile.ZipFile(OLD_ROWS) as file:
        members = {name: file.read(name) for name in file.namelist()}
    manifest = decode(members["manifest.json"])
    manifest = replace(manifest, origin=replace(manifest.origin, label=label, created_at=at))
    path = shelf / archive_name(label, at)
    path.write_bytes(forged(*(members | {"manifest.json": manifest.encode()}).items()))
    return path


def new_archive(shelf, label, at, *, identity, place="/elsewhere/work.sqlite3"):
    """Write an archive of the same rows that a database with this identity would have taken."""
    path = old_archive(shelf, label, at)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    manifest = decode(members["manifest.json"])
    origin = replace(manifest.origin, identity=identity, place=place)
    encoded = replace(manifest, format=2, origin=origin).encode()
    path.write_bytes(forged(*(members | {"manifest.json": encoded}).items()))
    return path


def old_record(shelf, label, paths):
    """Write the record that 0.1.0 would have kept of archives: the last two of them, and a drill."""
    proofs = [
        {
            "archive": path.name,
            "seal": seal_of(file_at(path)),
            "size": path.stat().st_size,
            "taken_at": timestamp(parse_name(path.name)[1]),
            "verified_at": timestamp(parse_name(path.name)[1]),
            "revision": "0003",
            "rows": {"users": 3, "tasks": 18},
            "bytes": 3183,
        }
        for path in paths[-2:]
    ]
    drilled = {"archive": paths[-1].name, "at": proofs[-1]["taken_at"]}
    record = {"version": 1, "verified": proofs[-1], "drilled": drilled, "previous": proofs[-2]}
    (shelf / f"{label}.taskdb.json").write_text(json.dumps(record))


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
    """Leave a finished temporary file, as a run does that dies."""
    with open_partial(final) as stream:
        partial = Path(stream.name)
        stream.write(data)
        partial.rename(final.with_name("kept"))
    final.with_name("kept").rename(partial)
    return partial


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
