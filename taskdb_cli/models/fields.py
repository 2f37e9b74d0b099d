"""Field types of the Create and Update schemas, which check what a caller gives.

Each type refuses what the constraint of its column would refuse, with a reason that a person can act on.
The constraints of the database have the last word.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ValidationError,
    WithJsonSchema,
)

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from taskdb_cli.text.escaping import BLANK, described
from taskdb_cli.text.faults import reasons

EMAIL_LENGTH = 254
NAME_LENGTH = 200
TITLE_LENGTH = 500
EXTERNAL_ID_LENGTH = 200
DESCRIPTION_LENGTH = 20_000
TIME_LENGTH = 100
"""Characters that the text of a time may have. No parser accepts a text nearly as long."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_LINES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANK = re.compile(f"[{BLANK}]")
_VISIBLE = re.compile(f"[^{BLANK}]")
_STATUSES = frozenset(TaskStatus)

SPECIAL_DOMAINS = ("arpa", "invalid", "local", "localhost", "onion")
"""The special-use domain names of IANA that need a setting. Others, such as `test`, are always allowed."""


def is_one_line(value: str) -> bool:
    """Return whether a text is valid UTF-8 and holds no control character."""
    return not (_SURROGATE.search(value) or _CONTROL.search(value))


def _refuse(value: str, longest: int, forbidden: re.Pattern[str]) -> None:
    if len(value) > longest:
        raise ValueError(f"has {len(value)} characters; at most {longest} are allowed")
    if value.isprintable():
        return  # Most texts are, and looking for each fault takes longer.
    if _SURROGATE.search(value):
        raise ValueError("is not valid UTF-8")
    if found := forbidden.search(value):
        raise ValueError(f"contains the control character U+{ord(found[0]):04X}")


def _one_line(longest: int) -> AfterValidator:
    def validate(value: str) -> str:
        _refuse(value, longest, _CONTROL)
        if not value.strip(" "):
            raise ValueError("is empty")
        if not _VISIBLE.search(value):
            raise ValueError("has only blanks and invisible characters")
        return value

    return AfterValidator(validate)


def _description(value: str) -> str | None:
    _refuse(value, DESCRIPTION_LENGTH, _CONTROL_BUT_LINES)
    return value or None


def normalize_email(value: str) -> str:
    """Return the address as it is stored: checked, normalized and lower-cased.

    The syntax is that of RFC 5321 and RFC 6531 as `email-validator` reads them. DNS is not asked. Rules that
    only a new address must keep are those of `Email` and `domain_fault`.
    Raises ValueError for anything else. The length is checked first, because the time that Unicode
    normalization takes grows with its square.
    """
    _refuse(value, EMAIL_LENGTH, _CONTROL)
    import email_validator

    # Such addresses may be stored, so they must be found. `domain_fault` finds fault with new ones.
    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()
    has_dot = value.rpartition("@")[2].lower() not in SPECIAL_DOMAINS
    try:
        checked = email_validator.validate_email(
            value, check_deliverability=False, test_environment=True, globally_deliverable=has_dot
        )
    except email_validator.EmailNotValidError as exc:
        raise ValueError(f"is not an e-mail address: {str(exc).rstrip('.')}") from exc
    email = checked.normalized.lower()
    _refuse(email, EMAIL_LENGTH, _CONTROL)
    return email


def domain_fault(email: str) -> str:
    """Return why a new address, normalized, needs TASKDB_ALLOW_SPECIAL_DOMAINS, or nothing if it does not."""
    for domain in SPECIAL_DOMAINS:
        if email.endswith((f"@{domain}", f".{domain}")):
            return f"ends in the special-use domain {domain!r} (TASKDB_ALLOW_SPECIAL_DOMAINS=1 allows it)"
    return ""


def _new_email(value: str) -> str:
    email = normalize_email(value)
    if found := _BLANK.search(value):
        raise ValueError(f"contains the invisible character U+{ord(found[0]):04X}")
    if email.startswith("-"):
        raise ValueError("begins with '-', and programs would read it as an option")
    return email


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999") from None


def _moment(value: object) -> object:
    # pydantic itself would take a number, even as text, for seconds since 1970.
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and value[4:5] == "-" and len(value) <= TIME_LENGTH:
        return value
    raise ValueError(f"must be a time such as 2026-12-01T17:00:00Z, not {described(value)}")


def _status(value: object) -> object:
    if not isinstance(value, str) or value not in _STATUSES:
        raise ValueError(f"must be one of {', '.join(TaskStatus)}, not {described(value)}")
    return value


def _priority(value: object) -> object:
    # Callers give the word. The number is how it is stored.
    if isinstance(value, TaskPriority):
        return value
    try:
        return TaskPriority.from_word(value if isinstance(value, str) else "")
    except ValueError as exc:
        raise ValueError(f"{exc}, not {described(value)}") from None


def _text(longest: int, pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "maxLength": longest, "pattern": f"^{pattern}$"})


_CONTROLS = r"\u0000-\u001f\u007f-\u009f"
# Readers of JSON know `\u` with four digits only.
_BLANKS = re.sub("[\x7f-\uffff]", lambda found: f"\\u{ord(found[0]):04x}", BLANK)
_LINE = f"[^{_CONTROLS}]*[^{_BLANKS}{_CONTROLS}][^{_CONTROLS}]*"
_STORED_LINE = f"[^{_CONTROLS}]*[^ {_CONTROLS}][^{_CONTROLS}]*"
_LINES = r"[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*"
_PRIORITIES = {"type": "string", "enum": [priority.word for priority in TaskPriority]}

# The JSON schemas tell readers of OpenAPI what the validators check.
Email = Annotated[
    str,
    AfterValidator(_new_email),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": EMAIL_LENGTH}),
]
Name = Annotated[str, _one_line(NAME_LENGTH), _text(NAME_LENGTH, _LINE)]
Title = Annotated[str, _one_line(TITLE_LENGTH), _text(TITLE_LENGTH, _LINE)]
# A row of an older version may have invisible characters only.
StoredName = Annotated[str, _text(NAME_LENGTH, _STORED_LINE)]
StoredTitle = Annotated[str, _text(TITLE_LENGTH, _STORED_LINE)]
StoredExternalId = Annotated[str, _text(EXTERNAL_ID_LENGTH, _STORED_LINE)]
# An empty text means that there is none.
ExternalId = Annotated[str, _one_line(EXTERNAL_ID_LENGTH), _text(EXTERNAL_ID_LENGTH, f"({_LINE})?")]
Description = Annotated[str, AfterValidator(_description), _text(DESCRIPTION_LENGTH, _LINES)]
Status = Annotated[
    TaskStatus, BeforeValidator(_status), WithJsonSchema({"type": "string", "enum": [*TaskStatus]})
]
Priority = Annotated[TaskPriority, BeforeValidator(_priority), WithJsonSchema(_PRIORITIES)]
Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_moment),
    AfterValidator(_utc),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class Given(BaseModel):
    """What a caller gives. A field that is not declared is refused."""

    model_config = {"extra": "forbid", "defer_build": True}

    @classmethod
    def checked(cls, values: Mapping[str, object]) -> Self:
        """Return the schema holding these values; raise InvalidInput that says what is wrong with which."""
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            raise InvalidInput("; ".join(reasons(exc))) from exc
