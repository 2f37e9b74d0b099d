"""/history: every operation that changed rows, and how. Nobody writes it by a request.

A token of one user sees the operations that changed rows of this user, and in them only the changes of these
rows. If a task came from another user or went to one, the token sees only the side of its own user.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import Path, Request, Response
from sqlmodel import Session

from taskdb_cli.api import listings, routing
from taskdb_cli.api.auth import Authorized
from taskdb_cli.api.schemas import LifePage, OperationDetails, OperationPage
from taskdb_cli.api.tasks import TaskPath, seen
from taskdb_cli.api.users import UserPath
from taskdb_cli.errors import OperationNotFound, UserNotFound
from taskdb_cli.models.types import MAX_ID
from taskdb_cli.services.history import operations as service
from taskdb_cli.services.listing.pages import Record
from taskdb_cli.services.token import Access

router = routing.described_router("history")

OperationPath = Annotated[int, Path(ge=1, le=MAX_ID, description="The id of an operation.", examples=[29])]


@router.get("/history", response_model=OperationPage, openapi_extra=listings.OPERATIONS.described())
def list_operations(caller: Authorized, http: Request) -> Response:
    """List the operations that changed rows, the newest first."""
    request, _ = listings.OPERATIONS.read(http, caller.now)

    def work(session: Session, access: Access) -> Response:
        wanted = request.filter
        if access.user_id is not None:
            for user in wanted.users:
                access.require_user(session, user)
            for task in wanted.tasks:
                _require_task(session, access, task)
            wanted = replace(wanted, users=(str(access.user_id),))
        find = partial(service.find, session, wanted)
        return listings.page_response(request, find, show=partial(_shown, access))

    return caller.read(work)


@router.get(
    "/history/{operation}", response_model=OperationDetails, openapi_extra=listings.CHANGES.described()
)
def get_operation(caller: Authorized, operation: OperationPath, http: Request) -> Response:
    """Get an operation, with a page of its changes."""
    request, _ = listings.CHANGES.read(http, caller.now, operation=operation)
    request = replace(request, order=service.IN_ORDER)

    def work(session: Session, access: Access) -> Response:
        record, show = service.get(session, operation), partial(_shown, access)
        find = partial(service.changes, session, operation, of=access.user_id)
        if access.user_id is not None and not find(limit=1).records:
            raise OperationNotFound(operation)
        return listings.page_response(request, find, show=show, items="changes", of=show(record))

    return caller.read(work)


@router.get(
    "/tasks/{id}/history",
    response_model=LifePage,
    openapi_extra=listings.CHANGES.described(),
    tags=["tasks"],
)
def list_changes_of_task(caller: Authorized, id: TaskPath, http: Request) -> Response:
    """List how a task changed, the oldest change first, also if it is deleted."""

    def require(session: Session, access: Access) -> int:
        if access.user_id is not None:
            _require_task(session, access, id)
        return id

    return _life(caller, http, "tasks", str(id), require)


@router.get(
    "/users/{user}/history",
    response_model=LifePage,
    openapi_extra=listings.CHANGES.described(),
    tags=["users"],
)
def list_changes_of_user(caller: Authorized, user: UserPath, http: Request) -> Response:
    """List how a user changed, the oldest change first, also if they are deleted."""

    def require(session: Session, access: Access) -> int:
        found = service.find_user(session, user)
        if access.user_id not in (None, found):
            raise UserNotFound(user)
        return found

    return _life(caller, http, "users", user, require)


def _life(
    caller: Authorized, http: Request, table: str, ref: str, require: Callable[[Session, Access], int]
) -> Response:
    request, _ = listings.CHANGES.read(http, caller.now, table=table, row=ref)
    request = replace(request, order=service.IN_ORDER)

    def work(session: Session, access: Access) -> Response:
        find = partial(service.life, session, table, require(session, access), of=access.user_id)
        return listings.page_response(request, find, show=partial(_shown, access))

    return caller.read(work)


def _require_task(session: Session, access: Access, id: int) -> None:
    """Raise TaskNotFound for a task that, by the history, never belonged to the user."""
    if not service.life(session, "tasks", id, limit=1, of=access.user_id).records:
        seen(session, access, id)


def _shown(access: Access, record: Record) -> Record:
    """Return an operation or a change without the values that the bearer of a token must not see."""
    if access.user_id is None:
        return record
    if "rows" in record:
        return {**record, "rows": None}
    moved = record["fields"].get("user_id") if record["action"] == "updated" else None
    if moved is None:
        return record
    came = moved["new"] == access.user_id
    hidden = {"old" if came else "new": None}
    fields = {name: {**values, **hidden} for name, values in record["fields"].items()}
    return {**record, "owner_id": None if came else record["owner_id"], "fields": fields}
