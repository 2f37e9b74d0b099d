"""The session of one unit of work."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from sqlmodel import Session


class UnitSession(Session):
    """A session on a connection of its own, which costs little until its ORM is used.

    Statements that go to `connection()` are in the same transaction as those of the ORM, which takes
    the whole over when it is first used.
    """

    def __init__(self, connection: Connection, info: dict[str, Any]) -> None:
        super().__init__(
            connection,
            expire_on_commit=False,
            autoflush=False,
            info=info,
            join_transaction_mode="control_fully",
        )
        self._whole = connection

    def connection(self, *args: Any, **options: Any) -> Connection:
        """Return the connection, its transaction begun, in the innermost savepoint."""
        if self.in_transaction():
            return super().connection(*args, **options)
        if not self._whole.in_transaction():
            self._whole.begin()
        return self._whole

    def commit(self) -> None:
        """Commit what the ORM and the statements past it did."""
        if self.in_transaction():
            super().commit()
        self._whole.commit()

    def close(self) -> None:
        """Let go of the objects, where the ORM was used."""
        if self.in_transaction() or self.identity_map:
            super().close()
