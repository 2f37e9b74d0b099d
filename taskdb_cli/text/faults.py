"""What pydantic and json find wrong, in words for people. Their own sentences are not repeated."""

import json
import re
import sys
from collections.abc import Callable
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from taskdb_cli.text.escaping import brief, described

NOT_KNOWN = "is not a known field"
_MOST_REASONS = 20
"""How many fields at fault are named; a person mends no more of them at once."""

_EXAMPLE = "2026-12-01T17:00:00Z"
_WHOLE, _OBJECT = "must be a whole number", "must be an object"
_EXPECTED = {
    "string_type": "must be text",
    "string_unicode": "must be valid UTF-8",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "greater_than_equal": "must be greater than or equal to {ge}",
    "less_than_equal": "must be less than or equal to {le}",
    "enum": "must be {expected}",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dataclass_type": _OBJECT,
}
"""What is expected instead of a value, by pydantic's name of the fault."""

_WITHOUT_VALUE = {
    "missing": "is missing",
    "json_invalid": "is not valid JSON",
    "timezone_aware": f"must be a time with a zone, such as {_EXAMPLE}",
    "string_too_long": "has more than {max_length} characters",
    "string_too_short": "has fewer than {min_length} characters",
    "too_long": "has more than {max_length} values",
    "too_short": "has fewer than {min_length} values",
}


class NotJson(ValueError):
    """Python reads a value that JSON does not have."""


def reasons(
    error: Any, *, skip: int = 0, known: tuple[str, ...] = (), not_known: str = NOT_KNOWN
) -> list[str]:
    """Return one phrase for each field at fault: its name and why; of many, the last says how many more.

    The error is a ValidationError, or one of its form. The first `skip` parts of a place are left out.
    Of a field that does not exist it says `not_known`, and names the likely one of those `known`.
    """
    details = error.errors()
    named = [
        _reason(each, ".".join(map(str, each["loc"][skip:])), known, not_known)
        for each in details[:_MOST_REASONS]
    ]
    more = len(details) - len(named)
    return [*named[:-1], f"{named[-1]}; and {more} more"] if more else named


@lru_cache
def _likely(field: str, known: tuple[str, ...]) -> str:
    # All records of a long file may have the same wrong field.
    near = get_close_matches(field.lower(), known, n=1, cutoff=0.75)
    return f", did you mean {near[0]}?" if near else ""


def _reason(detail: dict[str, Any], place: str, known: tuple[str, ...], not_known: str) -> str:
    field, kind, context = brief(place), detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{field} {not_known}{_likely(field, known)}"
    if kind == "value_error":
        # One of our own validators.
        return f"{field} {brief(detail['msg'].removeprefix('Value error, '))}".strip()
    if context.get("min_length") == 1 and kind.endswith("too_short"):
        return f"{field} is empty".strip()
    if kind in _WITHOUT_VALUE:
        return f"{field} {_WITHOUT_VALUE[kind].format(**context)}".strip()
    value = described(detail["input"])
    if kind in _EXPECTED:
        fault = f"{_EXPECTED[kind].format(**context)}, not {value}"
    elif kind.startswith("datetime"):
        fault = f"must be a time such as {_EXAMPLE}, not {value}"
    else:
        fault = f"is not valid: {value}"
    return f"{field}: {fault}" if field else fault


def json_fault(error: Exception, place: Callable[[int], str], unfinished: str) -> str:
    """Return why a text is not JSON, and at which place: it is `unfinished` if only its end is missing."""
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        if error.msg.startswith("Unterminated") or error.pos >= len(error.doc.rstrip()):
            return unfinished
        return f"is not valid JSON: {_unexpected(error)} at {place(error.pos)}"
    detail = str(error)
    if not isinstance(error, NotJson):
        detail = f"holds a number of more than {sys.get_int_max_str_digits()} digits"
    return f"is not valid JSON: {detail}"


def _unexpected(error: json.JSONDecodeError) -> str:
    """Return what stands where JSON has something else."""
    rest, before = error.doc[error.pos : error.pos + 100], error.doc[: error.pos].rstrip()
    shown = repr(rest[0]) if rest[0].isprintable() else f"U+{ord(rest[0]):04X}"
    separator = "colon" if ":" in error.msg else "comma"
    word = re.match(r"[A-Za-z_]*", rest)
    cases = (
        (error.msg.startswith("Invalid control"), f"the control character {shown} in a text"),
        (error.msg.startswith("Invalid"), "an unknown escape in a text"),
        (error.msg == "Extra data", f"{shown} after the end of the object"),
        ("delimiter" in error.msg and rest[0] in '"{[', f"{shown} without a {separator} before it"),
        (rest[0] in "}]" and before.endswith(","), f"a comma before {rest[0]}"),
        (rest[0] == "'", "' in place of \""),
        (rest.startswith(("//", "/*", "#")), "a comment"),
        (word and word[0], f"{word and word[0]} without quotes"),
    )
    return next((words for applies, words in cases if applies), f"an unexpected {shown}")
