"""Locks of SQLite files: none on a private one, and on another who has it, as far as the system tells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

LOCKS = Path("/proc/locks")
WAL_WRITE_LOCK = "120"
"""The byte of the shared memory that a writer locks in WAL mode; in other modes it locks the file itself."""

WITHOUT_LOCKS = "nolock=1"
"""The parameter of a file that nobody else uses, and that is kept from being swept by a lock of another kind:
on some systems (BSD, macOS, network file systems) SQLite's own would have to wait for that for ever."""


def lock_holder(path: Path) -> str:
    """Name the process that holds the write lock, or say "another process" where that cannot be told."""
    pid = next(_writers(path), 0)
    if pid <= 0:
        return "another process"
    try:
        return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except OSError:
        return f"process {pid}"


def _writers(path: Path) -> Iterator[int]:
    shared = path.with_name(f"{path.name}-shm")
    try:
        in_wal = shared.exists()
        inode = str((shared if in_wal else path).stat().st_ino)
        lines = LOCKS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        # number, POSIX, ADVISORY, WRITE, process, device and inode, first byte, last byte
        words = line.split()
        if words[1::2][:2] != ["POSIX", "WRITE"] or words[5].rpartition(":")[2] != inode:
            continue
        if not in_wal or words[6] == WAL_WRITE_LOCK:
            yield int(words[4])
