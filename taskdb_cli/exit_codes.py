"""The exit codes of the command line, and when it ends with each one."""

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """The exit codes of the command line, which scripts may rely on."""

    when: str
    """What has happened, in the words of the manual."""

    def __new__(cls, code: int, when: str = "") -> Self:
        """Make the number, and keep what it says."""
        member = int.__new__(cls, code)
        member._value_, member.when = code, when
        return member

    OK = 0, "it worked; also when there was nothing to do or to show"
    FAILURE = (
        1,
        (
            "an unexpected fault: a bug, a full disk or a read-only disk; or a new access token could not be "
            "printed and was revoked"
        ),
    )
    USAGE = 2, "an option, an argument, a setting or a file is not right"
    NOT_FOUND = 3, "a user, a task, a file or the SQLite database does not exist"
    CONFLICT = (
        4,
        (
            "the e-mail address or the external id is taken, the version is stale, the target of a restore "
            "has rows or is damaged, or the archive is of another database; or `backup diff --exit-code` "
            "found a difference"
        ),
    )
    UNAVAILABLE = (
        5,
        (
            "the database cannot be reached, refuses connections or is locked, or another backup or "
            "migration runs; the message says whether to try again"
        ),
    )
    SCHEMA = 6, "the tables are older or newer than this version needs, changed by hand, or not taskdb's"
    CORRUPT = 7, "the database or an archive is damaged"
    INCOMPLETE = (
        8,
        "the work is done, but a step after it failed, or the answer could not be written to stdout",
    )
    REFUSED = 9, "a confirmation or an answer was needed and was not given"
    UNKNOWN = 10, "the connection broke during the commit: check the data before you try again"
    HANGUP = (
        129,
        "SIGHUP, as when the terminal is closed; no change was made, unless the message says otherwise",
    )
    INTERRUPTED = 130, "Ctrl-C (SIGINT); no change was made, unless the message says otherwise"
    TERMINATED = 143, "SIGTERM; no change was made, unless the message says otherwise"
