"""How an engine ran a query, in its own words and in ours."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.sql import ClauseElement


@dataclass(frozen=True)
class Plan:
    """The SQL of a query, the engine's plan for it, how it reached each table, and what it sorted."""

    sql: str
    lines: tuple[str, ...]
    reached: tuple[str, ...]
    sorted_rows: int | None

    def summary(self) -> str:
        """Say in one line how each table was reached and whether rows were sorted."""
        if self.sorted_rows is None:
            return "; ".join([*self.reached, "no sort"])
        return "; ".join([*self.reached, f"sorts {self.sorted_rows:,} rows".replace(",", " ")])


def literal_sql(connection: Connection, query: ClauseElement) -> str:
    """Return the SQL with its values written in, as it can be pasted into the engine's own shell."""
    return str(query.compile(connection, compile_kwargs={"literal_binds": True}))
