"""The words that every layer shares: field names, statuses and priorities."""

from __future__ import annotations

from enum import IntEnum, StrEnum

USER_FIELDS = ("id", "email", "name", "is_active", "version", "created_at", "updated_at")
"""The fields of a user's record, in the order of every format."""

TASK_FIELDS = (
    "id",
    "user_id",
    "user",
    "external_id",
    "title",
    "description",
    "status",
    "priority",
    "due_at",
    "completed_at",
    "version",
    "created_at",
    "updated_at",
)
"""The fields of a task's record, in the order of every format; `user` is the owner's e-mail address."""

TOKEN_FIELDS = ("id", "name", "scope", "user_id", "user", "created_at", "expires_at", "last_used_at")
"""The fields of an access token's record; `user` is the e-mail address of the user it is limited to."""

OPERATION_FIELDS = ("id", "at", "actor", "command", "program_version", "rows", "undoes", "restored_from")
"""The fields of the record of an operation; `rows` is how many rows it changed."""

CHANGE_FIELDS = ("table", "id", "owner_id", "action", "version_before", "version_after", "fields")
"""The fields of the record of a change; `id` is that of the row, and `fields` has the old and new values."""

LIFE_FIELDS = ("operation", "at", "actor", "command", *CHANGE_FIELDS)
"""The fields of the record of a change in the life of a row; `operation` is the id of the operation."""


class TaskStatus(StrEnum):
    """Where a task stands."""

    TODO = "todo"
    IN_PROGRESS = "in_progress"
    DONE = "done"
    CANCELLED = "cancelled"


OPEN_STATUSES = frozenset({TaskStatus.TODO, TaskStatus.IN_PROGRESS})
CLOSED_STATUSES = frozenset(TaskStatus) - OPEN_STATUSES


class TaskPriority(IntEnum):
    """How much a task matters; stored as a number, so that it sorts by meaning."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    URGENT = 4

    @property
    def word(self) -> str:
        """The name that people and files use."""
        return self.name.lower()

    @classmethod
    def from_word(cls, word: str) -> TaskPriority:
        """Return the priority of that name; raise ValueError, naming the valid ones, for another."""
        found = {priority.word: priority for priority in cls}
        try:
            return found[word.lower()]
        except KeyError:
            raise ValueError(f"must be one of {', '.join(found)}") from None


class FileFormat(StrEnum):
    """How a file of records is written; AUTO leaves that to its name and beginning.

    A format of another program has a module of its name in transfer/formats.
    """

    AUTO = "auto"
    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    TASKWARRIOR = "taskwarrior"
    TODOTXT = "todotxt"
    TODOIST = "todoist"
    TICKTICK = "ticktick"
    TRELLO = "trello"
    GITHUB = "github"
    ICS = "ics"


class Existing(StrEnum):
    """What an import does with a record that exists already but differs."""

    UPDATE = "update"
    SKIP = "skip"


class TokenScope(StrEnum):
    """What an access token allows."""

    READ = "read"
    WRITE = "write"
