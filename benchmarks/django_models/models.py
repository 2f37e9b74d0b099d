"""The two models of taskdb as one would write them with Django, with the same indexes."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F


class User(models.Model):
    """A person who owns tasks."""

    email = models.CharField(max_length=320, unique=True)
    name = models.CharField(max_length=200)
    is_active = models.BooleanField(default=True)
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    def __str__(self) -> str:
        """Return the e-mail address."""
        return self.email


class Task(models.Model):
    """A piece of work that one user owns."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, db_index=False)
    external_id = models.CharField(max_length=200, null=True)  # noqa: DJ001 (as in taskdb)
    title = models.CharField(max_length=200)
    description = models.TextField(null=True)  # noqa: DJ001 (as in taskdb)
    status = models.CharField(max_length=20)
    priority = models.IntegerField()
    due_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        """The keys and indexes of taskdb's table."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "external_id"], name="tasks_external_id_unique")
        ]
        indexes: ClassVar = [
            models.Index(fields=["user", "created_at", "id"], name="tasks_user_created"),
            models.Index(fields=["user", "due_at", "id"], name="tasks_user_due"),
            models.Index(fields=["user", "updated_at", "id"], name="tasks_user_updated"),
            models.Index(fields=["user", "priority", "id"], name="tasks_user_priority"),
            models.Index(F("user"), F("status"), F("due_at"), F("id"), name="tasks_user_status_due"),
            models.Index(fields=["created_at", "id"], name="tasks_created"),
            models.Index(
                fields=["due_at", "id"],
                condition=models.Q(status__in=["in_progress", "todo"]),
                name="tasks_open_due",
            ),
        ]

    def __str__(self) -> str:
        """Return the title."""
        return self.title
