"""The locks of SQLite files: how to do without them, and which process holds one."""

import os
from contextlib import suppress
from pathlib import Path

LOCKS = Path("/proc/locks")

WITHOUT_LOCKS = "nolock=1"
"""The URI parameter for a private file, which taskdb itself locks so that no sweep deletes it. That lock is
of another kind, and on some systems (BSD, macOS, network file systems) SQLite would wait for it for ever."""


def lock_holder(path: Path) -> str:
    """Name the process that holds the write lock, or say "another process" where the system does not tell."""
    # In WAL mode a writer locks the byte 120 of the shared memory, in other modes the file itself.
    shared = Path(f"{os.path.realpath(path)}-shm")
    with suppress(OSError):
        in_wal = shared.exists()
        inode = str((shared if in_wal else path).stat().st_ino)
        for line in LOCKS.read_text().splitlines():
            # number, POSIX, ADVISORY, WRITE, process, device and inode, first byte, last byte
            words = line.split()
            is_writer = words[1::2][:2] == ["POSIX", "WRITE"] and words[5].rpartition(":")[2] == inode
            # A process of another container has the number 0 or -1.
            if is_writer and (not in_wal or words[6] == "120") and int(words[4]) > 0:
                return f"process {words[4]} ({Path('/proc', words[4], 'comm').read_text().strip()})"
    return "another process"
