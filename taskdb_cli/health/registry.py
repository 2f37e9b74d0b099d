"""The checks by name, and the functions that are registered for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection

from taskdb_cli.health.report import Result

if TYPE_CHECKING:
    from taskdb_cli.health.examination import Examination

POSTGRESQL, SQLITE = "postgresql", "sqlite"

Function = Callable[["Examination"], Result]
F = TypeVar("F", bound=Callable[..., Result])


@dataclass(frozen=True)
class Check:
    """A check. An engine without a function for it skips the check."""

    name: str
    needs_head: bool = False
    """Whether it looks at the tables of the newest revision."""
    offline: bool = False
    """Whether it needs no connection, so that it is made even when the server hangs."""
    connects: bool = False
    """Whether it opens the connection, and judges what comes of that."""
    scans: bool = False
    """Whether it reads whole tables or the whole file. Such checks run last."""
    functions: dict[str, Function] = field(default_factory=dict, compare=False)
    """The function for each engine, once its module is imported."""


_IN_ORDER = (
    Check("connection", connects=True),
    Check("version"),
    Check("tls"),
    Check("revision"),
    Check("drift", needs_head=True),
    Check("access", needs_head=True),
    Check("constraints", needs_head=True),
    Check("indexes", needs_head=True),
    Check("orphans", needs_head=True, scans=True),
    Check("identity", needs_head=True),
    Check("identity_left", needs_head=True),
    Check("rules", needs_head=True, scans=True),
    Check("connections"),
    Check("long_transactions"),
    Check("idle_in_transaction"),
    Check("blocked"),
    Check("size", needs_head=True),
    Check("quick_check", scans=True),
    Check("permissions"),
    Check("disk"),
    Check("leftovers", offline=True),
    Check("plans", needs_head=True),
    Check("backup", offline=True),
    Check("backup_archive", offline=True),
    Check("drill", offline=True),
    Check("shrinkage", offline=True),
    Check("backup_space", offline=True),
    Check("backup_strays", offline=True),
)

CHECKS = {check.name: check for check in _IN_ORDER}
"""Every check by its name, in the order of reports."""

DROPPED = frozenset({"growth", "journal_mode"})
"""Former checks. Their names are still accepted where a check is named."""


def check(name: str, *, on: str | None = None) -> Callable[[F], F]:
    """Register a function as a check, for one engine or for both."""

    def register(function: F) -> F:
        for engine in [on] if on else [POSTGRESQL, SQLITE]:
            CHECKS[name].functions[engine] = function
        return function

    return register


@dataclass(frozen=True)
class Engine:
    """What a run does with the connection of an engine, apart from its checks."""

    absent: str
    """Why a check that has no function for this engine is skipped."""
    set_time: Callable[[Connection, float], None]
    """Limits the statements from now on to so many seconds."""
    sever: Callable[[Connection], None]
    """Makes the running statement fail. It is called from another thread."""
    first_statement: str = ""
    """What is run as soon as there is a connection, as a part of connecting."""


ENGINES: dict[str, Engine] = {}
"""Each engine by SQLAlchemy's name for it, once its module is imported."""
