"""/tasks: what users have to do."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import Path, Request, Response
from sqlmodel import Session

from taskdb_cli.api import listings, routing
from taskdb_cli.api.auth import Authorized
from taskdb_cli.api.routing import IfMatch, Versions
from taskdb_cli.api.schemas import TaskDeletion, TaskPage, TaskPatch, TaskRecord
from taskdb_cli.api.users import DryRun
from taskdb_cli.errors import TaskNotFound
from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.models.types import MAX_ID
from taskdb_cli.models.vocabulary import TaskStatus
from taskdb_cli.services import task as service
from taskdb_cli.services.listing.pages import Record
from taskdb_cli.services.token import Access

router = routing.described_router("tasks")

TaskPath = Annotated[int, Path(ge=1, le=MAX_ID, description="The id of a task.", examples=[7])]
_CHANGE = {"priority": "urgent", "due_at": "2026-12-01T17:00:00Z"}
_VERBS = {
    "start": (TaskStatus.IN_PROGRESS, "Mark a task as in progress."),
    "done": (TaskStatus.DONE, "Mark a task as done; one that is done already keeps its time."),
    "reopen": (TaskStatus.TODO, "Mark a task as to do again."),
    "cancel": (TaskStatus.CANCELLED, "Mark a task as cancelled."),
}


@router.get("/tasks", response_model=TaskPage, openapi_extra=listings.TASKS.described())
def list_tasks(caller: Authorized, http: Request) -> Response:
    """List tasks, with the filters of `task list`; a token of one user lists only the tasks of that user."""
    request, _ = listings.TASKS.read(http, caller.now)

    def work(session: Session, access: Access) -> Response:
        for user in request.filter.users:
            access.require_user(session, user)
        wanted = request.filter
        if access.user_id is not None:
            wanted = replace(wanted, users=(str(access.user_id),))
        return listings.page_response(request, partial(service.find, session, wanted))

    return caller.read(work)


@router.get("/tasks/{id}", response_model=TaskRecord)
def get_task(caller: Authorized, id: TaskPath) -> Response:
    """Get a task."""
    return routing.record_response(caller.read(lambda session, access: seen(session, access, id)))


@router.patch("/tasks/{id}", response_model=TaskRecord, openapi_extra=routing.example(_CHANGE))
def update_task(caller: Authorized, id: TaskPath, given: TaskPatch, versions: IfMatch) -> Response:
    """Change a task; what is not given stays, and `user` gives the task to another."""
    values = given.model_dump(exclude_unset=True)
    owner = values.pop("user", None)
    return _change(caller, id, TaskUpdate.model_construct(**values), versions, owner)


@router.delete("/tasks/{id}", response_model=TaskDeletion)
def delete_task(caller: Authorized, id: TaskPath, versions: IfMatch, dry_run: DryRun = False) -> Response:
    """Delete a task."""

    def work(session: Session, access: Access) -> None:
        _lock(session, access, id, versions)
        service.remove(session, [id])

    caller.write(work, dry_run=dry_run)
    return routing.json_response({"tasks_deleted": [id], "dry_run": dry_run})


def _mover(status: TaskStatus) -> Callable[..., Response]:
    def move(caller: Authorized, id: TaskPath, versions: IfMatch) -> Response:
        return _change(caller, id, TaskUpdate(status=status), versions)

    return move


for _verb, (_status, _words) in _VERBS.items():
    router.post(
        f"/tasks/{{id}}/{_verb}", name=f"{_verb}_task", description=_words, response_model=TaskRecord
    )(_mover(_status))


def _change(
    caller: Authorized, id: int, changes: TaskUpdate, versions: Versions, owner: str | None = None
) -> Response:
    def work(session: Session, access: Access) -> Record:
        _lock(session, access, id, versions)
        if owner is not None:
            access.require_user(session, owner)
        [record] = service.change(session, [id], changes, now=caller.now, owner=owner)
        return record

    return routing.record_response(caller.write(work))


def _lock(session: Session, access: Access, id: int, versions: Versions) -> None:
    """Raise StaleVersion, and TaskNotFound as `seen` does.

    If the token is one user's, or versions are named, nobody else can give the task away or change it until
    this transaction ends.
    """
    if access.user_id is not None or versions is not None:
        service.lock_tasks(session, [id])
    routing.require_version("task", seen(session, access, id), versions)


def seen(session: Session, access: Access, id: int) -> Record:
    """Return a task's record; raise TaskNotFound for another's too, if the token is one user's."""
    record = service.get(session, id)
    if access.user_id not in (None, record["user_id"]):
        raise TaskNotFound([id])
    return record
