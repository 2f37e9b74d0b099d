"""The bytes of the ZIP structure around the members, and of the seal behind it.

There is one way to write an archive of given members, so a reader need not interpret headers: it
compares them with what they must be, and no disagreement between two ZIP readers is left to exploit.
`zipfile` cannot keep this promise: its headers differ between versions of Python (before 3.11.4 those with
forced ZIP64 are wrong, and small directories have none), and its reader seeks and accepts other headers.
"""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

MANIFEST = "manifest.json"
SUFFIX = ".copy.zst"
SEAL = re.compile(rb"sha256:[0-9a-f]{64}")
SEAL_SIZE = 71
MAX_DIRECTORY = 1 << 16
"""The largest central directory, in bytes: room for some hundred tables."""

_LOCAL = struct.Struct("<4s5H3I2H")
_LOCAL_EXTRA = struct.Struct("<2H2Q")
_DESCRIPTOR = struct.Struct("<4sI2Q")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_ENTRY_EXTRA = struct.Struct("<2H3Q")
_ZIP64_END = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
END_SIZE = _ZIP64_END.size + _LOCATOR.size + _END.size

_VERSION = 45
_MADE_ON_UNIX = 3 << 8 | _VERSION
# Sizes follow the bytes, which are stored as they are; the time is the earliest that ZIP knows.
_FLAGS_METHOD_TIME_DATE = (0x08, 0, 0, 1 << 5 | 1)
_PRIVATE_FILE = 0o100600 << 16
_ZIP64 = 1
_NONE, _ALL = 0xFFFF, 0xFFFFFFFF
"""A field that says: see the ZIP64 record."""


@dataclass(frozen=True)
class Member:
    """A file inside the ZIP file: its name, and the CRC-32 and size of its bytes."""

    name: str
    crc: int
    size: int

    @property
    def span(self) -> int:
        """The bytes from the beginning of its header to the end of its descriptor."""
        return _LOCAL.size + len(self.name) + _LOCAL_EXTRA.size + self.size + _DESCRIPTOR.size


def local_header(name: str) -> bytes:
    """Return what stands before a member's bytes, whose size and checksum follow later."""
    sizes = (0, _ALL, _ALL, len(name), _LOCAL_EXTRA.size)
    fixed = _LOCAL.pack(b"PK\3\4", _VERSION, *_FLAGS_METHOD_TIME_DATE, *sizes)
    return fixed + name.encode("ascii") + _LOCAL_EXTRA.pack(_ZIP64, 16, 0, 0)


def descriptor(member: Member) -> bytes:
    """Return what stands behind a member's bytes."""
    return _DESCRIPTOR.pack(b"PK\7\x08", member.crc, member.size, member.size)


def tail(members: Sequence[Member]) -> bytes:
    """Return what stands between the members and the seal, which is the ZIP comment.

    That is the central directory of members that stand one behind the other from the first byte on, and the
    END_SIZE bytes of the records behind it.
    """
    directory, start = b"", 0
    for member in members:
        sizes = (member.crc, _ALL, _ALL, len(member.name), _ENTRY_EXTRA.size, 0, 0, 0, _PRIVATE_FILE, _ALL)
        directory += _ENTRY.pack(b"PK\1\2", _MADE_ON_UNIX, _VERSION, *_FLAGS_METHOD_TIME_DATE, *sizes)
        directory += member.name.encode("ascii")
        directory += _ENTRY_EXTRA.pack(_ZIP64, 24, member.size, member.size, start)
        start += member.span
    count, size = len(members), len(directory)
    counts = (0, 0, count, count, size, start)
    return (
        directory
        + _ZIP64_END.pack(b"PK\6\6", _ZIP64_END.size - 12, _MADE_ON_UNIX, _VERSION, *counts)
        + _LOCATOR.pack(b"PK\6\7", 0, start + size, 1)
        + _END.pack(b"PK\5\6", 0, 0, _NONE, _NONE, _ALL, _ALL, SEAL_SIZE)
    )


def directory_size(end: bytes) -> int:
    """Return the size of the central directory that the records before the seal name, as they name it."""
    return int(_ZIP64_END.unpack_from(end)[8])


def members_of(directory: bytes) -> list[Member]:
    """Return the members that a central directory lists. The caller then compares it with their `tail`.

    Raises ValueError if it ends within an entry, or if a name is not one of an archive.
    """
    members, position = [], 0
    while position < len(directory):
        try:
            fields = _ENTRY.unpack_from(directory, position)
            name_at, extra_at = position + _ENTRY.size, position + _ENTRY.size + fields[10]
            size = _ENTRY_EXTRA.unpack_from(directory, extra_at)[2]
        except struct.error as exc:
            raise ValueError("its directory ends within an entry") from exc
        name = directory[name_at:extra_at]
        if not re.fullmatch(rb"manifest\.json|[a-z_]{1,63}\.copy\.zst", name):
            raise ValueError(f"it has a member named {ascii(name)[1:80]}, which no archive has")
        members.append(Member(name.decode("ascii"), fields[7], size))
        position = extra_at + _ENTRY_EXTRA.size
    return members
