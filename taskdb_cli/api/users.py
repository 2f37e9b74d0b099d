"""/users: people who own tasks."""

from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response
from sqlmodel import Session

from taskdb_cli.api import listings, routing
from taskdb_cli.api.auth import Authorized
from taskdb_cli.api.routing import IfMatch
from taskdb_cli.api.schemas import TaskPage, TaskRecord, UserDeletion, UserPage, UserRecord
from taskdb_cli.models.task import TaskCreate
from taskdb_cli.models.user import UserCreate, UserUpdate, user_record
from taskdb_cli.services import task as tasks
from taskdb_cli.services import user as service
from taskdb_cli.services.listing.pages import Record
from taskdb_cli.services.token import Access

router = routing.described_router("users")

UserPath = Annotated[
    str,
    Path(
        description="An id or an e-mail address. If the address contains a `/`, use the id.",
        examples=["ann@example.com"],
    ),
]
Heir = Annotated[str | None, Query(description="Give the tasks to this user instead of deleting them.")]
DryRun = Annotated[bool, Query(description="Say what would happen, and change nothing.")]

_USER = {"email": "ann@example.com", "name": "Ann"}
_TASK = {"title": "Renew the certificate", "priority": "high", "external_id": "cert-2026"}


@router.get("/users", response_model=UserPage, openapi_extra=listings.USERS.described())
def list_users(caller: Authorized, http: Request) -> Response:
    """List users; a token of one user lists that one."""
    request, given = listings.USERS.read(http, caller.now)

    def work(session: Session, access: Access) -> Response:
        wanted = replace(request.filter, id=access.user_id)
        find = partial(service.find, session, wanted, with_counts=given.with_counts)
        return listings.page_response(request, find)

    return caller.read(work)


@router.post("/users", status_code=201, response_model=UserRecord, openapi_extra=routing.example(_USER))
def create_user(caller: Authorized, given: UserCreate) -> Response:
    """Create a user."""

    def work(session: Session, access: Access) -> dict[str, Any]:
        access.require_everybody()
        allowed = caller.database.options.allow_special_domains
        return user_record(service.create(session, given, now=caller.now, special_domains=allowed))

    record = caller.write(work)
    return routing.record_response(record, 201, location=f"/users/{record['id']}")


@router.get("/users/{user}", response_model=UserRecord)
def get_user(caller: Authorized, user: UserPath) -> Response:
    """Get a user, by id or e-mail address."""

    def work(session: Session, access: Access) -> dict[str, Any]:
        access.require_user(session, user)
        return user_record(service.get(session, user))

    return routing.record_response(caller.read(work))


@router.patch("/users/{user}", response_model=UserRecord, openapi_extra=routing.example({"name": "Ann Lee"}))
def update_user(caller: Authorized, user: UserPath, given: UserUpdate, versions: IfMatch) -> Response:
    """Change a user; what is not given stays."""

    def work(session: Session, access: Access) -> dict[str, Any]:
        access.require_user(session, user)
        access.require_everybody()
        if versions is not None:
            routing.require_version("user", user_record(service.get(session, user, lock=True)), versions)
        allowed = caller.database.options.allow_special_domains
        return user_record(service.change(session, user, given, now=caller.now, special_domains=allowed))

    return routing.record_response(caller.write(work))


@router.delete("/users/{user}", response_model=UserDeletion)
def delete_user(
    caller: Authorized, user: UserPath, versions: IfMatch, reassign_to: Heir = None, dry_run: DryRun = False
) -> Response:
    """Delete a user with their tasks, or give the tasks to another user before; say how many those were."""

    def work(session: Session, access: Access) -> service.Deletion:
        access.require_user(session, user)
        access.require_everybody()
        if versions is not None:
            [seen], _ = service.involved(session, [user], reassign_to, lock=True)
            routing.require_version("user", user_record(seen), versions)
        return service.remove(session, [user], now=caller.now, reassign_to=reassign_to)

    return routing.json_response(caller.write(work, dry_run=dry_run).report(dry_run=dry_run))


@router.get(
    "/users/{user}/tasks",
    response_model=TaskPage,
    openapi_extra=listings.TASKS_OF_USER.described(),
    tags=["tasks"],
)
def list_tasks_of_user(caller: Authorized, user: UserPath, http: Request) -> Response:
    """List the tasks of a user."""
    request, _ = listings.TASKS_OF_USER.read(http, caller.now, path=user)
    wanted = replace(request.filter, users=(user,))

    def work(session: Session, access: Access) -> Response:
        access.require_user(session, user)
        return listings.page_response(request, partial(tasks.find, session, wanted))

    return caller.read(work)


@router.post(
    "/users/{user}/tasks",
    status_code=201,
    responses={200: {"model": TaskRecord}},
    response_model=TaskRecord,
    openapi_extra=routing.example(_TASK),
    tags=["tasks"],
)
def create_task(caller: Authorized, user: UserPath, given: TaskCreate) -> Response:
    """Create a task of a user, once.

    If the user has a task of the same `external_id` already, and that is as given, it is the answer (200);
    if it differs, the answer is 409.
    """

    def work(session: Session, access: Access) -> tuple[Record, bool]:
        access.require_user(session, user)
        return tasks.create_once(session, user, given, now=caller.now)

    record, made = caller.write(work)
    return routing.record_response(record, 201 if made else 200, location=f"/tasks/{record['id']}")
