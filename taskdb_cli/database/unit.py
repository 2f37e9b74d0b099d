"""The session of one unit of work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, PoolProxiedConnection
from sqlmodel import Session

from taskdb_cli.database.backend import BEGUN, MIGRATED, Backend


class UnitSession(Session):
    """A session on a connection of its own, which costs little until SQLAlchemy is needed for more.

    Statements that go to the driver, those that go to `connection()` and those of the ORM are all in
    one transaction, which whoever of SQLAlchemy is asked first takes over from the driver.
    """

    def __init__(
        self, engine: Engine, pooled: PoolProxiedConnection, backend: Backend, options: Mapping[str, Any]
    ) -> None:
        super().__init__(expire_on_commit=False, autoflush=False, join_transaction_mode="control_fully")
        self._engine = engine
        self.pooled = pooled
        self.backend = backend
        self._options = options
        self.has_begun = False
        """Whether a transaction was begun: nothing may have been asked yet."""
        self._whole: Connection | None = None

    @property
    def dialect(self) -> Dialect:
        """The dialect of the engine."""
        return self._engine.dialect

    @property
    def driver(self) -> Any:
        """The driver's connection, its transaction begun, in the innermost savepoint."""
        if self.in_transaction():
            # The ORM makes a savepoint when the connection is first asked for in it.
            super().connection()
        else:
            self._begin()
        return self.pooled.driver_connection

    def _begin(self) -> None:
        if not self.has_begun:
            self.backend.begin(self.pooled, self._options)
            self.has_begun = True
            if not self.pooled.info[MIGRATED]:
                from taskdb_cli.database.schema import diagnose

                # Tables of our names may be another program's.
                raise diagnose(self.get_bind())

    def get_bind(self, *_: Any, **__: Any) -> Connection:
        """Return the one connection, its transaction begun, for whatever the ORM asks."""
        if self._whole is None:
            self._begin()
            self._whole = Connection(self._engine, self.pooled)
            self._whole.execution_options(**self._options, **{BEGUN: True})
            self._whole.begin()
        return self._whole

    def connection(self, *args: Any, **options: Any) -> Connection:
        """Return the connection, its transaction begun, in the innermost savepoint."""
        return super().connection(*args, **options) if self.in_transaction() else self.get_bind()

    def commit(self) -> None:
        """Commit what the ORM and the statements past it did."""
        try:
            if self.in_transaction():
                super().commit()
            if self._whole is not None:
                self._whole.commit()
            elif self.has_begun:
                self.pooled.commit()
        except BaseException as exc:
            # SQLAlchemy takes its transaction for ended by now, and would give it back as it is.
            self.invalidate_connection(exc)
            raise

    def invalidate_connection(self, error: BaseException) -> None:
        """Keep the connection out of the pool: nobody knows what state it is in."""
        (self._whole or self.pooled).invalidate(error)

    def close(self) -> None:
        """Let go of the objects and give the connection back; what was not committed is rolled back."""
        try:
            if self.in_transaction() or self.identity_map:
                super().close()
        finally:
            (self._whole or self.pooled).close()
