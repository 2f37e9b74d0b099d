"""What taskdb does with rows, for the command line, the API and programs alike.

A service is a function of a session and keyword arguments. Committing, printing and asking are the
caller's, and so are the time and the settings; services that maintain a whole database take the
`Database` instead.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from taskdb_cli.errors import TaskdbError, Violation


@contextmanager
def explained(**errors: TaskdbError) -> Iterator[None]:
    """Raise the error that belongs to the name of a constraint when that constraint is broken."""
    try:
        yield
    except Violation as exc:
        if exc.constraint not in errors:
            raise
        raise errors[exc.constraint] from exc
