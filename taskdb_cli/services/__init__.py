"""What taskdb does with rows, for the command line, the API and programs alike.

A service is a function of a session and keyword arguments. The caller commits, prints and asks, and gives
the time and the settings. Services that maintain a whole database take the `Database` instead.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskdb_cli.errors import TaskdbError, Violation

if TYPE_CHECKING:
    from taskdb_cli.services import bulk, migrate, search, stamp, stats, task, token, user

__all__ = ["bulk", "explained", "migrate", "search", "stamp", "stats", "task", "token", "user"]


def __getattr__(name: str) -> Any:
    """Import a service when a command uses it first, because `taskdb --help` must not wait for SQLAlchemy."""
    if name not in __all__:
        raise AttributeError(name)
    return import_module(f"{__name__}.{name}")


@contextmanager
def explained(**errors: TaskdbError) -> Iterator[None]:
    """Raise the error that belongs to the name of a constraint when that constraint is broken."""
    try:
        yield
    except Violation as exc:
        if exc.constraint not in errors:
            raise
        raise errors[exc.constraint] from exc
