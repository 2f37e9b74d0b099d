"""Tasks: the table, and what callers may write to it."""

from datetime import datetime
from typing import ClassVar, Self

from pydantic import field_validator, model_validator
from sqlalchemy import Column, ForeignKey, Identity, Integer, UniqueConstraint
from sqlalchemy.sql.expression import column
from sqlmodel import Field, SQLModel

from taskdb_cli.models.fields import (
    DESCRIPTION_LENGTH,
    EXTERNAL_ID_LENGTH,
    TITLE_LENGTH,
    Description,
    ExternalId,
    Given,
    Moment,
    Priority,
    Status,
    Title,
)
from taskdb_cli.models.types import (
    BigNumber,
    PriorityNumber,
    check,
    one_line_rules,
    plain_text_rules,
    status_type,
    text_type,
    timestamp_rules,
    timestamp_type,
)
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus


class Task(SQLModel, table=True):
    """A piece of work that one user owns. Construct it from a validated `TaskCreate`."""

    __tablename__: ClassVar[str] = "tasks"
    __table_args__ = (
        UniqueConstraint("user_id", "external_id", name="tasks_user_id_external_id_key"),
        *one_line_rules("tasks", "external_id", EXTERNAL_ID_LENGTH),
        *one_line_rules("tasks", "title", TITLE_LENGTH),
        *plain_text_rules("tasks", "description", DESCRIPTION_LENGTH),
        check("tasks", "status_known", column("status").in_([status.value for status in TaskStatus])),
        check("tasks", "priority_known", column("priority").between(1, 4)),
        check(
            "tasks",
            "completed_when_done",
            (column("status") == TaskStatus.DONE.value) == column("completed_at").is_not(None),
        ),
        check("tasks", "version_positive", column("version") >= 1),
        *timestamp_rules("tasks", "due_at", "completed_at", "created_at", "updated_at"),
        {"sqlite_autoincrement": True, "sqlite_strict": True},
    )

    id: int = Field(default=None, sa_column=Column(BigNumber, Identity(always=True), primary_key=True))
    user_id: int = Field(
        sa_column=Column(
            BigNumber, ForeignKey("users.id", name="tasks_user_id_fkey", ondelete="CASCADE"), nullable=False
        )
    )
    external_id: str | None = Field(default=None, sa_column=Column(text_type()))
    title: str = Field(sa_column=Column(text_type(), nullable=False))
    description: str | None = Field(default=None, sa_column=Column(text_type()))
    status: TaskStatus = Field(sa_column=Column(status_type(), nullable=False))
    priority: TaskPriority = Field(sa_column=Column(PriorityNumber, nullable=False))
    due_at: datetime | None = Field(default=None, sa_column=Column(timestamp_type()))
    completed_at: datetime | None = Field(default=None, sa_column=Column(timestamp_type()))
    version: int = Field(default=1, sa_column=Column(Integer, nullable=False))
    created_at: datetime = Field(sa_column=Column(timestamp_type(), nullable=False))
    updated_at: datetime = Field(sa_column=Column(timestamp_type(), nullable=False))


class TaskCreate(Given):
    """What a caller gives to create a task. The owner is given apart from it."""

    external_id: ExternalId | None = None
    title: Title
    description: Description | None = None
    status: Status = TaskStatus.TODO
    priority: Priority = TaskPriority.MEDIUM
    due_at: Moment | None = None
    completed_at: Moment | None = None
    created_at: Moment | None = None
    updated_at: Moment | None = None

    @field_validator("external_id", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _completed_only_when_done(self) -> Self:
        if self.completed_at is not None and self.status is not TaskStatus.DONE:
            raise ValueError(f"completed_at is set, but the status is {self.status}, not done")
        return self


class TaskUpdate(Given):
    """What a caller gives to change a task. An absent field stays as it is."""

    title: Title = Field(default=None)
    description: Description | None = None
    status: Status = Field(default=None)
    priority: Priority = Field(default=None)
    due_at: Moment | None = None
