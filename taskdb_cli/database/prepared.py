"""Statements that are sent often: compiled once, and handed to the driver as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlmodel import Session

from taskdb_cli.database.backend import Backend
from taskdb_cli.database.watch import watching

Process = Callable[[Any], Any]


class Prepared:
    """A statement that returns rows, for which SQLAlchemy would take longer than the driver does.

    Its parameters are single values: it has no list that would be of another length each time.
    """

    def __init__(self, statement: Select[Any] | UpdateBase) -> None:
        self._statement = statement
        self._forms: dict[str, _Form] = {}

    def run(self, session: Session, values: Mapping[str, Any]) -> list[list[Any]]:
        """Run it in the session's transaction; return all rows. Raises as `Connection.execute` does."""
        connection = session.connection()
        backend: Backend = session.info["backend"]
        form = self._forms.get(backend.dialect) or self._compile(backend.dialect, connection.dialect)
        raw: Any = connection.connection.driver_connection
        try:
            with watching(form.sql, backend.options.slow_query_ms):
                rows = raw.execute(form.sql, form.parameters(values)).fetchall()
        except connection.dialect.loaded_dbapi.Error as exc:
            raise _as_of_sqlalchemy(exc, connection) from exc
        except BaseException as exc:
            # Interrupted within an exchange with the server, which nobody will finish.
            connection.invalidate(exc)
            raise
        return [form.read(row) for row in rows]

    def _compile(self, name: str, dialect: Dialect) -> _Form:
        compiled = self._statement.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        columns = enumerate(self._statement.exported_columns)
        types = {index: column.type.dialect_impl(dialect) for index, column in columns}
        reading = {index: type_.result_processor(dialect, None) for index, type_ in types.items()}
        binds = compiled.binds.items()
        writing = {key: bind.type.dialect_impl(dialect).bind_processor(dialect) for key, bind in binds}
        form = self._forms[name] = _Form(
            sql=compiled.string,
            order=compiled.positiontup,
            constants={key: bind.effective_value for key, bind in binds if not bind.required},
            writing=[(key, process) for key, process in writing.items() if process],
            reading=[(index, process) for index, process in reading.items() if process],
        )
        return form


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement as one engine takes it."""

    sql: str
    order: Sequence[str] | None
    """The parameters by their places, where they have no names."""
    constants: Mapping[str, Any]
    writing: Sequence[tuple[str, Process]]
    reading: Sequence[tuple[int, Process]]

    def parameters(self, values: Mapping[str, Any]) -> Any:
        """Return values as the driver takes them."""
        given = {**self.constants, **values}
        for name, process in self.writing:
            given[name] = process(given[name])
        return given if self.order is None else [given[name] for name in self.order]

    def read(self, row: Sequence[Any]) -> list[Any]:
        """Return a row of the driver's as the columns are typed."""
        values = list(row)
        for index, process in self.reading:
            values[index] = process(values[index])
        return values


def _as_of_sqlalchemy(error: Any, connection: Connection) -> BaseException:
    dialect, driver = connection.dialect, connection.dialect.loaded_dbapi
    raw = connection.connection.dbapi_connection
    if dialect.is_disconnect(error, raw, None):
        connection.invalidate(error)
    ours: BaseException = DBAPIError.instance(
        None, None, error, driver.Error, hide_parameters=True, dialect=dialect
    )
    return ours
