"""Statements that were made once, run by the driver alone: SQLAlchemy takes longer for a small one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Dialect, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlmodel import Session

from taskdb_cli.database.unit import UnitSession
from taskdb_cli.database.watch import watching

Process = Callable[[Any], Any]


def run(
    session: Session, statement: Select[Any] | UpdateBase, values: Mapping[str, Any]
) -> Sequence[Sequence[Any]]:
    """Run a statement that returns rows, with these values of its parameters; return all rows.

    The statement is to be made once and kept: what it becomes is remembered for it. Raises as
    `Connection.execute` does.
    """
    assert isinstance(session, UnitSession)
    dialect = session.dialect
    form = _form(statement, dialect)
    if form is None:
        return session.connection().execute(statement, values).all()
    driver = session.driver
    try:
        with watching(form.sql, session.backend.options.slow_query_ms):
            rows = driver.execute(form.sql, form.parameters(values)).fetchall()
    except dialect.loaded_dbapi.Error as exc:
        raise _as_of_sqlalchemy(exc, session) from exc
    except BaseException as exc:
        # Interrupted within an exchange with the server, which nobody will finish.
        session.invalidate_connection(exc)
        raise
    return [form.read(row) for row in rows]


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement as one engine takes it, and what its types do to values on their way in and out."""

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


@lru_cache(maxsize=256)
def _form(statement: Select[Any] | UpdateBase, dialect: Dialect) -> _Form | None:
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)
    if compiled.post_compile_params or compiled.literal_execute_params:
        # Its SQL depends on its values, as that of a list does on the length.
        return None
    binds = compiled.binds.items()
    writing = {name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in binds}
    types = [column.type.dialect_impl(dialect) for column in statement.exported_columns]
    reading = enumerate(type.result_processor(dialect, None) for type in types)
    return _Form(
        sql=compiled.string,
        order=compiled.positiontup,
        constants={name: bind.effective_value for name, bind in binds if not bind.required},
        writing=[(name, process) for name, process in writing.items() if process],
        reading=[(index, process) for index, process in reading if process],
    )


def _as_of_sqlalchemy(error: Any, session: UnitSession) -> BaseException:
    dialect, driver = session.dialect, session.dialect.loaded_dbapi
    if dialect.is_disconnect(error, session.pooled.dbapi_connection, None):
        session.invalidate_connection(error)
    ours: BaseException = DBAPIError.instance(
        None, None, error, driver.Error, hide_parameters=True, dialect=dialect
    )
    return ours
