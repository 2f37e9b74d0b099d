"""The locks of SQLite files: how to do without them, and which process holds one."""

from pathlib import Path

LOCKS = Path("/proc/locks")
WAL_WRITE_LOCK = "120"
"""The byte of the shared memory that a writer locks in WAL mode; in other modes it locks the file itself."""

WITHOUT_LOCKS = "nolock=1"
"""The URI parameter for a private file, which taskdb itself locks so that no sweep deletes it. That lock is
of another kind, and on some systems (BSD, macOS, network file systems) SQLite would wait for it for ever."""


def lock_holder(path: Path) -> str:
    """Name the process that holds the write lock, or say "another process" where the system does not tell."""
    shared = path.with_name(f"{path.name}-shm")
    try:
        in_wal = shared.exists()
        inode = str((shared if in_wal else path).stat().st_ino)
        lines = LOCKS.read_text().splitlines()
    except OSError:
        return "another process"
    for line in lines:
        # number, POSIX, ADVISORY, WRITE, process, device and inode, first byte, last byte
        words = line.split()
        if words[1::2][:2] != ["POSIX", "WRITE"] or words[5].rpartition(":")[2] != inode:
            continue
        # A process of another container has the number 0 or -1.
        if (in_wal and words[6] != WAL_WRITE_LOCK) or int(words[4]) <= 0:
            continue
        try:
            return f"process {words[4]} ({Path('/proc', words[4], 'comm').read_text().strip()})"
        except OSError:
            return f"process {words[4]}"
    return "another process"
