"""Run a query that was made once by the driver alone: a small one takes SQLAlchemy longer than the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Compiled, Dialect, Select
from sqlmodel import Session

from taskdb_cli.database.backend import Backend
from taskdb_cli.database.watch import watching

Process = Callable[[Any], Any]


def fetch(session: Session, query: Select[Any], values: Mapping[str, Any]) -> list[Sequence[Any]]:
    """Return the rows of a query that is made once and run often, with these values of its parameters.

    Errors are the driver's own, and cost the connection.
    """
    connection = session.connection()
    form = _form(query, connection.dialect)
    if form is None:
        return list(connection.execute(query, values).all())
    backend: Backend = session.info["backend"]
    try:
        with watching(form.sql, backend.options.slow_query_ms):
            cursor = connection.connection.cursor()
            cursor.execute(form.sql, form.parameters(values))
            return [form.row(row) for row in cursor.fetchall()]
    except BaseException as exc:
        # The pool does not hear of it, as it does of what fails in a statement of SQLAlchemy's.
        connection.invalidate(exc)
        raise


@dataclass(frozen=True)
class _Form:
    """A query in an engine's SQL, and what its types do to values on their way in and out."""

    compiled: Compiled
    sql: str
    positions: Sequence[str] | None
    """The names of the parameters in order, for a driver that knows no names."""
    incoming: Sequence[tuple[str, Process]]
    outgoing: Sequence[tuple[int, Process]]

    def parameters(self, values: Mapping[str, Any]) -> Any:
        """Return the values as the driver takes them."""
        given = dict(self.compiled.construct_params(values) or {})
        for name, process in self.incoming:
            given[name] = process(given[name])
        return given if self.positions is None else [given[name] for name in self.positions]

    def row(self, row: Sequence[Any]) -> list[Any]:
        """Return the values of a row as the models have them."""
        found = list(row)
        for place, process in self.outgoing:
            found[place] = process(found[place])
        return found


@lru_cache(maxsize=256)
def _form(query: Select[Any], dialect: Dialect) -> _Form | None:
    compiled = query.compile(dialect=dialect)
    if compiled.post_compile_params or compiled.literal_execute_params:
        # Its SQL depends on its values.
        return None
    binds = {name: bind.type.dialect_impl(dialect) for name, bind in compiled.binds.items()}
    columns = enumerate(column.type.dialect_impl(dialect) for column in query.selected_columns)
    incoming = [(name, type.bind_processor(dialect)) for name, type in binds.items()]
    outgoing = [(place, type.result_processor(dialect, None)) for place, type in columns]
    return _Form(
        compiled,
        str(compiled),
        compiled.positiontup,
        [(name, process) for name, process in incoming if process],
        [(place, process) for place, process in outgoing if process],
    )
