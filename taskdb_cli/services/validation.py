"""Check values that came from outside, and say what is wrong with them so that a person can act on it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from pydantic import ValidationError
from sqlmodel import SQLModel

from taskdb_cli.errors import InvalidInput, TaskdbError, Violation
from taskdb_cli.text.escaping import brief

Schema = TypeVar("Schema", bound=SQLModel)

MOST_REASONS = 20
"""How many fields at fault are named; a person mends no more of them at once."""


def validate(schema: type[Schema], values: Mapping[str, object]) -> Schema:
    """Return the schema holding these values.

    Raises InvalidInput that names the fields at fault and why.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as exc:
        raise InvalidInput("; ".join(reasons(exc))) from exc


def reasons(error: ValidationError) -> list[str]:
    """Return one phrase for each field at fault: its name and why; of many, the last says how many more."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    named = [reason(each["loc"], each["type"], each["msg"]) for each in details[:MOST_REASONS]]
    more = len(details) - len(named)
    return [*named, f"and {more} more"] if more else named


def reason(place: tuple[int | str, ...], kind: str, message: str) -> str:
    """Return the phrase for one field at fault, as pydantic tells its place, kind and message."""
    field = brief(".".join(map(str, place)))
    if kind == "missing":
        return f"{field} is missing"
    if kind == "extra_forbidden":
        return f"{field} is not a known field"
    if kind == "timezone_aware":
        return f"{field} must be a time with a zone, such as 2026-12-01T17:00:00Z"
    text = brief(message.removeprefix("Value error, "))
    if not field:
        return text
    return f"{field} {text}" if kind == "value_error" else f"{field}: {text}"


@contextmanager
def explained(**errors: TaskdbError) -> Iterator[None]:
    """Raise the error that belongs to the name of a constraint when that constraint is broken."""
    try:
        yield
    except Violation as exc:
        if exc.constraint not in errors:
            raise
        raise errors[exc.constraint] from exc
