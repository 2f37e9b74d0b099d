"""What `taskdb task list` is compared with: the same listing as a script of SQLModel and Rich alone."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlmodel import Field, Session, SQLModel, col, create_engine, select


class User(SQLModel, table=True):
    """A person who owns tasks."""

    __tablename__ = "users"
    id: int | None = Field(default=None, primary_key=True)
    email: str
    name: str
    is_active: bool
    version: int
    created_at: str
    updated_at: str


class Task(SQLModel, table=True):
    """A piece of work that one user owns."""

    __tablename__ = "tasks"
    id: int | None = Field(default=None, primary_key=True)
    user_id: int = Field(foreign_key="users.id")
    external_id: str | None
    title: str
    description: str | None
    status: str
    priority: int
    due_at: str | None
    completed_at: str | None
    version: int
    created_at: str
    updated_at: str


columns: list[Any] = [
    *(Task.id, Task.user_id, User.email, Task.external_id, Task.title, Task.description, Task.status),
    *(Task.priority, Task.due_at, Task.completed_at, Task.version, Task.created_at, Task.updated_at),
]
query = (
    select(*columns)
    .join_from(Task, User, col(User.id) == col(Task.user_id))
    .order_by(col(Task.created_at).desc(), col(Task.id).desc())
    .limit(51)
)
table = Table("ID", "Status", "Priority", "Due", "User", "Title")
with Session(create_engine(sys.argv[1])) as session:
    for row in session.exec(query).all()[:50]:
        table.add_row(*map(str, (row.id, row.status, row.priority, row.due_at, row.email, row.title)))
Console(width=200).print(table)
