"""The content of a SQLite database as COPY text."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import ReflectedCheckConstraint, ReflectedColumn

from taskdb_cli.database.content import Content, Layout, joined
from taskdb_cli.database.schema import COUNTED_TABLES, OUR_TABLES, VERSION_TABLE
from taskdb_cli.database.sqlite import search
from taskdb_cli.database.sqlite.connection import LimitedConnection, raw_connection
from taskdb_cli.database.sqlite.copy_text import CONVERTERS, WRITERS, rows, written
from taskdb_cli.database.sqlite.files import uri
from taskdb_cli.database.sqlite.indexes import build_indexes, drop_indexes, more_memory
from taskdb_cli.database.sqlite.locks import WITHOUT_LOCKS
from taskdb_cli.errors import Conflict, DataCorrupt

# SQLite has a sequence for each table that has ever had a row.
_ADD_SEQUENCE = """
INSERT INTO sqlite_sequence (name, seq)
SELECT ?1, 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)
"""
_RAISE_SEQUENCE = """
UPDATE sqlite_sequence
SET seq = max(seq, coalesce((SELECT max(row_id) FROM taskdb_changes WHERE table_name = ?1), 0))
WHERE name = ?1
"""


class SQLiteContent(Content):
    """Readers see what was there when they began; a writer keeps every other writer out.

    A `private` file is used by this process only, and is deleted if anything fails.
    """

    def __init__(self, connection: Connection, place: str, private: Path | None) -> None:
        super().__init__(connection, place)
        self._private = private

    def begin_snapshot(self, options: Mapping[str, Any], *, guarded: bool) -> None:
        """Read something: from then on the transaction sees that state."""
        _ = self.revision

    def begin_replacement(self) -> None:
        """Use more memory for the rows. The transaction holds the write lock since it began."""
        # SQLite reports a file that cannot be written only when it writes, so write nothing here.
        self._raw.execute(f"DELETE FROM {VERSION_TABLE} WHERE false")  # noqa: S608 (our own table)
        more_memory(self._raw)

    @contextmanager
    def chunks(self, layout: Layout) -> Iterator[Iterator[bytes]]:
        """Take the values as bytes, so that nothing is decoded only to be encoded again."""
        values = ", ".join(f"CAST({name} AS BLOB)" for name in layout.names)
        writers = [WRITERS[column.type] for column in layout.columns]
        cursor = self._raw.execute(f"SELECT {values} FROM {layout.table} ORDER BY id")  # noqa: S608 (our names)
        with closing(cursor):
            pieces = (written(found, writers) for found in iter(lambda: cursor.fetchmany(500), []))
            yield _decodable(layout.table, joined(pieces))

    def referring_tables(self) -> list[str]:
        """Look at every foreign key of the file."""
        found = set()
        for (_, table), keys in self._inspector.get_multi_foreign_keys().items():
            for key in keys:
                filled = " AND ".join(f"{_quoted(name)} IS NOT NULL" for name in key["constrained_columns"])
                refers = table.lower() not in OUR_TABLES and key["referred_table"].lower() in OUR_TABLES
                if refers and self._any(table, filled):
                    found.add(table)
        return sorted(found)

    def _any(self, table: str, condition: str = "true") -> bool:
        [(found,)] = self._raw.execute(f"SELECT EXISTS (SELECT 1 FROM {_quoted(table)} WHERE {condition})")  # noqa: S608 (quoted)
        return bool(found)

    def clear(self) -> None:
        """Also drop the indexes of taskdb, which are faster built anew than filled row by row."""
        names = [layout.table for layout in self.layouts]
        self._indexes = [*drop_indexes(self._raw, names), *search.suspend(self._raw, self.place)]
        # Foreign keys make SQLite delete row by row, and from each index too.
        for table in reversed(names):
            if self._any(table):
                self._empty(table)

    def _empty(self, table: str) -> None:
        reason = "they are still there"
        try:
            self._raw.execute(f"DELETE FROM {table}")  # noqa: S608 (our own table)
        except sqlite3.Error as exc:
            if exc.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR):
                raise
            reason = str(exc)
        else:
            if not self._any(table):
                return
        raise Conflict(
            f"the rows of {table} cannot be deleted: {'; '.join([reason, *self.triggers()])}",
            "nothing was changed; remove what keeps them, or restore into another database",
        )

    def load(self, layout: Layout, chunks: Iterable[bytes]) -> None:
        """Insert by one prepared statement, without a look at the CHECKs of the table.

        `finishing` checks them. Row by row that takes longer than all else, because SQLite builds their
        patterns anew for each row.
        """
        names, marks = ", ".join(layout.names), ", ".join("?" * len(layout.columns))
        converters = [CONVERTERS[column.type] for column in layout.columns]
        statement = f"INSERT INTO {layout.table} ({names}) VALUES ({marks})"  # noqa: S608 (our own names)
        self._raw.execute("PRAGMA ignore_check_constraints = ON")
        try:
            with _refusing(layout.table):
                self._raw.executemany(statement, rows(layout.table, chunks, converters))
        finally:
            self._raw.execute("PRAGMA ignore_check_constraints = OFF")

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Check the rows, and build the indexes last, because nobody can read the rows meanwhile.

        AUTOINCREMENT notes the highest id of a table by itself.
        """
        with self._checking():
            yield
        build_indexes(self._raw, self._indexes)
        if self.keeps_history:
            for table in COUNTED_TABLES:
                self._raw.execute(_ADD_SEQUENCE, (table,))
                self._raw.execute(_RAISE_SEQUENCE, (table,))

    @contextmanager
    def _checking(self) -> Iterator[None]:
        """Check before the caller goes on. In a private file check in a thread, while the caller goes on."""
        queries = {}
        for layout in self.layouts:
            # Checking times takes longer than all other rules, and they were checked when they were read.
            known = {f"{layout.table}_{each.name}_timestamp" for each in layout.columns}
            rules = [rule["sqltext"] for rule in self._rules[layout.table] if rule["name"] not in known]
            condition = " AND ".join(f"({rule})" for rule in rules)
            queries[layout] = f"SELECT 1 FROM {layout.table} WHERE NOT ({condition}) LIMIT 1"  # noqa: S608 (the schema's own rules)

        def breaking(connection: sqlite3.Connection) -> list[Layout]:
            return [layout for layout, query in queries.items() if connection.execute(query).fetchone()]

        if not self._private:
            self._refuse(breaking(self._raw))
            yield
            return
        self._raw.execute("COMMIT")
        place = uri(self._private, f"mode=ro&{WITHOUT_LOCKS}")
        another = sqlite3.connect(place, uri=True, check_same_thread=False)
        with closing(another) as reader, ThreadPoolExecutor(1) as thread:
            found = thread.submit(breaking, reader)
            try:
                yield
                broken = found.result()
            except BaseException:
                while not found.done():
                    # This ends only a statement that is running now.
                    reader.interrupt()
                    wait([found], timeout=0.05)
                raise
        self._refuse(broken)

    def _refuse(self, broken: Iterable[Layout]) -> None:
        for layout in broken:
            # An UPDATE that changes nothing is refused with the name of the rule.
            same = ", ".join(f"{name} = {name}" for name in layout.names)
            with _refusing(layout.table):
                self._raw.execute(f"UPDATE {layout.table} SET {same}")  # noqa: S608 (our own names)
                raise sqlite3.IntegrityError("CHECK constraint failed")

    def triggers(self) -> list[str]:
        """Ask the schema."""
        found = self._raw.execute("SELECT name, sql, tbl_name FROM sqlite_master WHERE type = 'trigger'")
        tables = {layout.table for layout in self.layouts}
        return [
            f"trigger {name} on {table}"
            for name, sql, table in found
            if table in tables and not search.is_ours(name, sql)
        ]

    def faults(self) -> list[str]:
        """Ask for SQLite's own two checks."""
        found = [text for (text,) in self._raw.execute("PRAGMA integrity_check(10)")]
        orphans = self._raw.execute("PRAGMA foreign_key_check").fetchall()
        return [text for text in found if text != "ok"] + [
            f"row {row} of {table} has no parent in {parent}" for table, row, parent, _ in orphans[:10]
        ]

    def _type_of(self, table: str, column: ReflectedColumn) -> str:
        # SQLite keeps times and truth values as text and numbers: their rules say what they are.
        rules = {rule["name"] for rule in self._rules[table]}
        if f"{table}_{column['name']}_timestamp" in rules:
            return "timestamp"
        if f"{table}_{column['name']}_flag" in rules:
            return "boolean"
        return {"INTEGER": "integer", "TEXT": "text"}.get(str(column["type"]), "")

    @cached_property
    def _rules(self) -> dict[str, list[ReflectedCheckConstraint]]:
        found = self._inspector.get_multi_check_constraints()
        return {table: rules for (_, table), rules in found.items()}

    @property
    def _raw(self) -> LimitedConnection:
        return raw_connection(self.connection)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _refusing(table: str) -> Iterator[None]:
    """Raise DataCorrupt for rows that the engine refuses."""
    try:
        yield
    except sqlite3.IntegrityError as exc:
        raise DataCorrupt(
            f"the rows of {table} break a rule: {exc}",
            "nothing was changed; correct them in their database, or use another archive",
        ) from exc


def _decodable(table: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass chunks of whole rows on; raise DataCorrupt for a text that could never be loaded again."""
    for chunk in chunks:
        try:
            chunk.decode()
        except UnicodeDecodeError as exc:
            beginning = chunk.rfind(b"\n", 0, exc.start) + 1
            row = chunk[beginning:].partition(b"\t")[0].decode()
            raise DataCorrupt(
                f"row {row} of {table} holds text that is not UTF-8",
                "correct it, or give it up: 'taskdb restore latest --replace --no-safety-backup'",
            ) from exc
        yield chunk
