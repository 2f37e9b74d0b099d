"""Tasks: the table, and what callers may write to it."""

from datetime import datetime
from typing import ClassVar, Self

from pydantic import field_validator, model_validator
from sqlalchemy import Column, ForeignKey, Identity, Integer, UniqueConstraint
from sqlalchemy.sql.expression import column
from sqlmodel import Field, SQLModel

from taskdb_cli.models import fields, types
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus


class Task(SQLModel, table=True):
    """A piece of work that one user owns. Construct it from a validated `TaskCreate`."""

    __tablename__: ClassVar[str] = "tasks"
    __table_args__ = (
        UniqueConstraint("user_id", "external_id", name="tasks_user_id_external_id_key"),
        *types.one_line_rules("tasks", "external_id", fields.EXTERNAL_ID_LENGTH),
        *types.one_line_rules("tasks", "title", fields.TITLE_LENGTH),
        *types.plain_text_rules("tasks", "description", fields.DESCRIPTION_LENGTH),
        types.check("tasks", "status_known", column("status").in_([status.value for status in TaskStatus])),
        types.check("tasks", "priority_known", column("priority").between(1, 4)),
        types.check(
            "tasks",
            "completed_when_done",
            (column("status") == TaskStatus.DONE.value) == column("completed_at").is_not(None),
        ),
        types.check("tasks", "version_positive", column("version") >= 1),
        *types.timestamp_rules("tasks", "due_at", "completed_at", "created_at", "updated_at"),
        {"sqlite_autoincrement": True, "sqlite_strict": True},
    )

    id: int = Field(default=None, sa_column=Column(types.BigNumber, Identity(always=True), primary_key=True))
    user_id: int = Field(
        sa_column=Column(
            types.BigNumber,
            ForeignKey("users.id", name="tasks_user_id_fkey", ondelete="CASCADE"),
            nullable=False,
        )
    )
    external_id: str | None = Field(default=None, sa_column=Column(types.text_type()))
    title: str = Field(sa_column=Column(types.text_type(), nullable=False))
    description: str | None = Field(default=None, sa_column=Column(types.text_type()))
    status: TaskStatus = Field(sa_column=Column(types.status_type(), nullable=False))
    priority: TaskPriority = Field(sa_column=Column(types.PriorityNumber, nullable=False))
    due_at: datetime | None = Field(default=None, sa_column=Column(types.timestamp_type()))
    completed_at: datetime | None = Field(default=None, sa_column=Column(types.timestamp_type()))
    version: int = Field(default=1, sa_column=Column(Integer, nullable=False))
    created_at: datetime = Field(sa_column=Column(types.timestamp_type(), nullable=False))
    updated_at: datetime = Field(sa_column=Column(types.timestamp_type(), nullable=False))


TASKS = Task.metadata.tables["tasks"]


class TaskCreate(fields.Given):
    """What a caller gives to create a task. The owner is given apart from it."""

    external_id: fields.ExternalId | None = None
    title: fields.Title
    description: fields.Description | None = None
    status: fields.Status = TaskStatus.TODO
    priority: fields.Priority = TaskPriority.MEDIUM
    due_at: fields.Moment | None = None
    completed_at: fields.Moment | None = None
    created_at: fields.Moment | None = None
    updated_at: fields.Moment | None = None

    @field_validator("external_id", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _completed_only_when_done(self) -> Self:
        if self.completed_at is not None and self.status is not TaskStatus.DONE:
            raise ValueError(f"completed_at is set, but the status is {self.status}, not done")
        return self


class TaskUpdate(fields.Given):
    """What a caller gives to change a task. An absent field stays as it is."""

    title: fields.Title = Field(default=None)
    description: fields.Description | None = None
    status: fields.Status = Field(default=None)
    priority: fields.Priority = Field(default=None)
    due_at: fields.Moment | None = None
