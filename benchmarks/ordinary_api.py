"""What a user would otherwise write, for benchmarks/api.py: an ordinary FastAPI and SQLModel application.

It does the same work for a page: it looks the request's token up by its hash, reads a keyset page, and lets
FastAPI validate and write the response model. The tables are those of taskdb, so that the values are equal.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import or_, tuple_
from sqlmodel import Session, SQLModel, col, create_engine, select

from taskdb_cli.models.task import Task
from taskdb_cli.models.token import AccessToken
from taskdb_cli.models.user import User
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus

engine = create_engine(os.environ["ORDINARY_URL"])
app = FastAPI()


def get_session() -> Iterator[Session]:
    """Give each request a session."""
    with Session(engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session)]


def get_token(
    session: SessionDep, credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]
) -> AccessToken:
    """Return the access token of the request, if it is in force."""
    digest = sha256(credentials.credentials.encode()).hexdigest()
    query = select(AccessToken, User).outerjoin(User, col(AccessToken.user_id) == col(User.id))
    found = session.exec(query.where(AccessToken.token_hash == digest)).first()
    if found is None:
        raise HTTPException(401, "unknown token")
    token, user = found
    if token.expires_at is not None and token.expires_at <= datetime.now(UTC):
        raise HTTPException(401, "expired token")
    if user is not None and not user.is_active:
        raise HTTPException(401, "inactive user")
    return token


class TaskPublic(SQLModel):
    """A task as clients see it."""

    id: int
    user_id: int
    user: str
    external_id: str | None
    title: str
    description: str | None
    status: TaskStatus
    priority: str
    due_at: datetime | None
    completed_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


class TaskPage(SQLModel):
    """Some tasks, and where the next page begins."""

    items: list[TaskPublic]
    next: str | None


@app.get("/users/{user}/tasks")
def list_tasks(  # noqa: PLR0917 (a parameter of a query is a parameter)
    session: SessionDep,
    token: Annotated[AccessToken, Depends(get_token)],
    user: int,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    after: str | None = None,
    status: Annotated[list[TaskStatus] | None, Query()] = None,
    search: str | None = None,
) -> TaskPage:
    """List the tasks of a user, newest first."""
    if token.user_id not in (None, user):
        raise HTTPException(404, "user not found")
    query = select(Task, User.email).join(User).where(Task.user_id == user)
    if status:
        query = query.where(col(Task.status).in_(status))
    if search:
        query = query.where(or_(col(Task.title).icontains(search), col(Task.description).icontains(search)))
    if after:
        created_at, id = urlsafe_b64decode(after).decode().split(" ")
        place = datetime.fromisoformat(created_at), int(id)
        query = query.where(tuple_(Task.created_at, Task.id) < place)
    query = query.order_by(col(Task.created_at).desc(), col(Task.id).desc()).limit(limit + 1)
    rows = session.exec(query).all()
    if not rows and session.get(User, user) is None:
        raise HTTPException(404, "user not found")
    items = [
        TaskPublic.model_validate(task, update={"user": email, "priority": TaskPriority(task.priority).word})
        for task, email in rows[:limit]
    ]
    following = None
    if len(rows) > limit:
        last = rows[limit - 1][0]
        following = urlsafe_b64encode(f"{last.created_at.isoformat()} {last.id}".encode()).decode()
    return TaskPage(items=items, next=following)
