"""What routes share: bodies as they are read, If-Match, and answers."""

import json
import re
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from email.message import Message
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json, to_json
from starlette.datastructures import Headers

from taskdb_cli.api.problems import UnsupportedBody
from taskdb_cli.api.schemas import PROBLEMS
from taskdb_cli.errors import InvalidInput, StaleVersion
from taskdb_cli.output.formats import Record, plain
from taskdb_cli.text.escaping import brief
from taskdb_cli.text.faults import json_fault

SCHEMA_HINT = "the schema is in /openapi.json"

# The texts of no record have as many characters as a large body may have of each mark, and no schema has as
# many fields.
_LARGE_BODY, _MOST_MARKS, _MOST_FIELDS = 80 * 1024, 25_000, 100
_LONGEST_TYPE = 200

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"[ \t,]*{_TAG}[ \t]*(?:,[ \t]*(?:{_TAG}[ \t]*)?)*")
_OURS = re.compile(r'"([1-9][0-9]{0,9})"')


class JsonRoute(APIRoute):
    """A route of FastAPI that reads a JSON body more strictly.

    FastAPI validates the body. By itself it would also accept a compressed body, another encoding, any media
    type that ends in +json, a field that is given twice, and a body of any number of values.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of FastAPI, behind the checks if the route takes a body."""
        handle = super().get_route_handler()

        async def read(request: Request) -> Response:
            _require_plain_json(request.headers)
            given = _JsonRequest(request.scope, request.receive)
            given.parsed = _parse(await given.body())
            return await handle(given)

        return read if self.body_field else handle


class _JsonRequest(Request):
    parsed: object = None

    async def json(self) -> object:
        """Return the body as it was parsed before."""
        return self.parsed


def _require_plain_json(headers: Headers) -> None:
    """Raise UnsupportedBody unless the headers say that the body is JSON in UTF-8 and not compressed."""
    codings = ",".join(headers.getlist("content-encoding")).lower().split(",")
    if {coding.strip() for coding in codings} - {"", "identity"}:
        raise UnsupportedBody("the body is compressed", "send it without Content-Encoding")
    described = Message()
    described["Content-Type"] = given = ",".join(headers.getlist("content-type"))
    if len(given) > _LONGEST_TYPE or described.get_content_type() != "application/json":
        raise UnsupportedBody("the body must be JSON", "send Content-Type: application/json")
    charsets = [value for name, value in described.get_params([]) if name == "charset"]
    if any(str(charset).lower() not in ("utf-8", "utf8") for charset in charsets):
        raise UnsupportedBody("the body must be in UTF-8", "JSON has no other encoding")


def _parse(body: bytes) -> dict[str, object]:
    """Return the object in a body; raise InvalidInput for anything else.

    This runs on the event loop. A body of hundreds of thousands of values would take long there.
    """
    is_large = len(body) > _LARGE_BODY
    if is_large and any(body.count(mark) > _MOST_MARKS for mark in (b"[", b"{", b",")):
        raise InvalidInput("the body has too many values", SCHEMA_HINT)
    try:
        given = from_json(body)
        json.loads(body, object_pairs_hook=_require_unique_names)
    except ValueError as exc:
        raise InvalidInput(f"the body {_json_fault(body)}", SCHEMA_HINT) from exc
    if not isinstance(given, dict):
        raise InvalidInput("the body should be an object", SCHEMA_HINT)
    if is_large and len(given) > _MOST_FIELDS:
        raise InvalidInput(f"the body has {len(given)} fields", SCHEMA_HINT)
    return given


def _json_fault(body: bytes) -> str:
    """Return why a body that was refused is not JSON."""

    def place(at: int) -> str:
        line, begin = text.count("\n", 0, at) + 1, text.rfind("\n", 0, at) + 1
        return f"line {line}, character {at - begin + 1}"

    try:
        text = body.decode()
        json.loads(text)
    except UnicodeDecodeError as exc:
        return f"is not UTF-8: byte 0x{body[exc.start]:02X} at position {exc.start + 1}"
    except (ValueError, RecursionError) as exc:
        return json_fault(exc, place, "is not valid JSON: its end is missing")
    return "is not valid JSON: a text holds half of a pair of surrogates"


def _require_unique_names(pairs: list[tuple[str, object]]) -> None:
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            raise InvalidInput(f"{brief(name)} is given twice", "name each field once")


def described_router(tag: str) -> APIRouter:
    """Return a router whose routes can end in each of the problems, and are called as their functions."""
    return APIRouter(
        tags=[tag],
        responses=PROBLEMS,
        route_class=JsonRoute,
        generate_unique_id_function=lambda route: route.name,
    )


def example(body: Mapping[str, object]) -> dict[str, Any]:
    """Return the part of OpenAPI that shows an example of a body."""
    return {"requestBody": {"content": {"application/json": {"example": dict(body)}}}}


Versions = frozenset[int] | None
"""The versions that a record may be at; None is any."""


async def _versions_of(
    if_match: Annotated[
        str | None,
        Header(
            max_length=2000,
            description='The ETag that the record must have, as `"3"`, or several with commas; '
            "else the answer is 412. `*` matches any; a weak ETag matches none.",
        ),
    ] = None,
) -> Versions:
    """Return the versions that a record may be at; raise InvalidInput for what is no list of ETags."""
    if if_match is None or if_match.strip() == "*":
        return None
    if not _TAGS.fullmatch(if_match):
        raise InvalidInput("If-Match is not a list of ETags", 'send the ETag of an answer, such as "3"')
    ours = (_OURS.fullmatch(tag) for tag in re.findall(_TAG, if_match))
    return frozenset(int(match[1]) for match in ours if match)


IfMatch = Annotated[Versions, Depends(_versions_of)]


def require_version(noun: str, record: Record, versions: Versions) -> None:
    """Raise StaleVersion for a record, which must be locked, that is at none of these versions."""
    if versions is not None and record["version"] not in versions:
        [expected] = versions if len(versions) == 1 else ["any that If-Match names"]
        raise StaleVersion(noun, record["id"], expected=expected, current=record["version"])


def record_response(record: Record, status: int = 200, *, location: str = "") -> Response:
    """Return a user or a task as JSON, with its version as ETag."""
    headers = {"ETag": f'"{record["version"]}"'} | ({"Location": location} if location else {})
    return json_response(plain(record, list(record)), status, headers)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as JSON."""
    return Response(to_json(body), status, headers, "application/json")
