"""The names of archives: the label of a database, and the time of the backup in UTC.

One is `tasks-20261122T123015.123456Z.taskdb.zip`. That of an encrypted archive ends in `.age` after that.
"""

import re
from datetime import UTC, datetime

from taskdb_cli.backup import encryption
from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.escaping import brief

SUFFIX = ".taskdb.zip"
SUFFIXES = (SUFFIX, f"{SUFFIX}{encryption.SUFFIX}")
"""How the names of archives end: as they are, and encrypted."""
RECORD_SUFFIX = ".taskdb.json"

SAFETY_SUFFIX = "-before-restore"
"""The end of the label of safety backups, which a restore takes of the rows that it replaces."""

LONGEST_LABEL = 100

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NAME = re.compile(
    rf"(?P<label>{_LABEL.pattern})-(?P<time>[0-9]{{8}}T[0-9]{{6}}\.[0-9]{{6}}Z){re.escape(SUFFIX)}"
    rf"({re.escape(encryption.SUFFIX)})?"
)


def default_label(name: str, distinction: str) -> str:
    """Return the default label, of a name and what distinguishes its place, with room for SAFETY_SUFFIX."""
    longest = LONGEST_LABEL - len(SAFETY_SUFFIX) - len(distinction) - 1
    return f"{label_of(name)[:longest].rstrip('-')}-{distinction}"


def label_of(name: str) -> str:
    """Return the label that taskdb 0.1.0 gave a database of this name, with hyphens for other characters."""
    text = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).lstrip("_.-")
    return text[:LONGEST_LABEL].rstrip("-") or "database"


def check_label(label: str) -> str:
    """Return the label as it is; raise InvalidInput if it is not a label."""
    if len(label) > LONGEST_LABEL or not _LABEL.fullmatch(label):
        raise InvalidInput(
            f"{brief(label)!r} is not a label",
            f"use up to {LONGEST_LABEL} letters, digits, '_', '.' and '-', a letter or digit first",
        )
    return label


def archive_name(label: str, taken_at: datetime, *, encrypted: bool = False) -> str:
    """Return the name of an archive that was taken at a time with a time zone."""
    assert taken_at.tzinfo is not None
    utc = taken_at.astimezone(UTC)
    return f"{check_label(label)}-{utc.year:04}{utc:%m%dT%H%M%S.%f}Z{SUFFIXES[encrypted]}"


def parse_name(name: str) -> tuple[str, datetime] | None:
    """Return the label and the time in the name of an archive, or None if it is not such a name."""
    match = _NAME.fullmatch(name)
    if match is None or len(match["label"]) > LONGEST_LABEL:
        return None
    try:
        return match["label"], datetime.fromisoformat(match["time"])
    except ValueError:
        return None
