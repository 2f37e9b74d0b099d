"""Column types and constraint expressions that the tables share.

`schema.py` of each engine in `taskdb_cli.database` says how the engine writes them.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import Enum
from typing import Any, ClassVar, NoReturn

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Dialect, SmallInteger, Text, func
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import column
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Boolean, TypeDecorator, TypeEngine

from taskdb_cli.errors import ValueCorrupt
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus

MAX_ID = 2**63 - 1
"""The largest identity that either engine can hold."""

MAX_VERSION = 2**31 - 1
"""The largest version of a row that either engine can hold."""


# A listing calls a result processor for each value. So it is a plain function or a look-up, where
# `process_result_value` would cost three calls.
class _Known(dict[Any, Any]):
    """The members of an enumeration by their stored values."""

    def __init__(self, noun: str, meanings: Iterable[Enum]) -> None:
        super().__init__({None: None, **{each.value: each for each in meanings}})
        self.noun = noun

    def __missing__(self, value: object) -> NoReturn:
        raise ValueCorrupt(self.noun, value)


def _read_time(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise ValueCorrupt("time", value) from None
    if time.tzinfo is not UTC:
        raise ValueCorrupt("time", value)
    return time


class BigNumber(BigInteger):
    """A whole number of 64 bits."""


class SmallNumber(SmallInteger):
    """A whole number of 16 bits or more."""


class Flag(Boolean):
    """A truth value."""


class TextTimestamp(TypeDecorator[datetime]):
    """A UTC time as text of one fixed width, so that its text order is its time order."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Write the time as YYYY-MM-DDTHH:MM:SS.ffffffZ."""
        if value is None:
            return None
        return value.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], datetime | None]:
        """Read the time back with its zone."""
        return _read_time


class EnumValue(TypeDecorator[Any]):
    """A member of an enumeration as its value."""

    meanings: ClassVar[_Known]

    def process_bind_param(self, value: object, dialect: Dialect) -> Any:
        """Write the value."""
        return None if value is None else self.impl_instance.python_type(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """Read the value as a member."""
        return self.meanings.__getitem__


class StatusText(EnumValue):
    """A status as its word."""

    impl = Text
    cache_ok = True
    meanings = _Known("status", TaskStatus)


class PriorityNumber(EnumValue):
    """A priority as its number."""

    impl = SmallNumber
    cache_ok = True
    meanings = _Known("priority", TaskPriority)


def text_type() -> TypeEngine[str]:
    """Return the type of a text, which both engines compare by code point."""
    return Text().with_variant(Text(collation="C"), "postgresql")


def status_type() -> TypeEngine[TaskStatus]:
    """Return the type of a status."""
    return StatusText().with_variant(StatusText(collation="C"), "postgresql")


def timestamp_type() -> TypeEngine[datetime]:
    """Return the type of a point in time, kept in UTC with microseconds."""
    return DateTime(timezone=True).with_variant(TextTimestamp(), "sqlite")


class NoUppercase(FunctionElement[bool]):
    """True when a text holds none of the letters A to Z."""

    inherit_cache = True


class OneLine(FunctionElement[bool]):
    """True when a text holds no control character at all."""

    inherit_cache = True


class PlainText(FunctionElement[bool]):
    """True when a text holds no control character other than tab, newline and carriage return."""

    inherit_cache = True


class IsTimestamp(FunctionElement[bool]):
    """True when a column holds a real point in time between the years 1 and 9999."""

    inherit_cache = True


class IsUuid(FunctionElement[bool]):
    """True when a text is a UUID in lower case."""

    inherit_cache = True


def check(table: str, rule: str, expression: ColumnElement[bool]) -> CheckConstraint:
    """Return the CHECK constraint `{table}_{rule}`."""
    return CheckConstraint(expression, name=f"{table}_{rule}")


def one_line_rules(table: str, name: str, longest: int) -> list[CheckConstraint]:
    """Return the rules of a short text: not blank, at most `longest` characters, on one line."""
    field = column(name, Text)
    return [
        check(table, f"{name}_not_blank", func.trim(field) != ""),
        check(table, f"{name}_length", func.length(field) <= longest),
        check(table, f"{name}_one_line", OneLine(field)),
    ]


def plain_text_rules(table: str, name: str, longest: int) -> list[CheckConstraint]:
    """Return the rules of a long text: at most `longest` characters, free of control characters."""
    field = column(name, Text)
    return [
        check(table, f"{name}_length", func.length(field) <= longest),
        check(table, f"{name}_plain_text", PlainText(field)),
    ]


def timestamp_rules(table: str, *names: str) -> list[CheckConstraint]:
    """Return the rules that keep these columns real points in time."""
    return [check(table, f"{name}_timestamp", IsTimestamp(column(name))) for name in names]
