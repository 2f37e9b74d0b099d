"""Users and tasks for tests that need some."""

from typing import Any

from taskdb_cli.database import Database
from taskdb_cli.models.task import TaskCreate
from taskdb_cli.models.user import User, UserCreate
from taskdb_cli.services import task, user
from tests.conftest import NOW


def add_user(database: Database, email: str = "ann@example.com", **fields: Any) -> User:
    """Make a user, called as their address is."""
    given = UserCreate.model_validate({"email": email, "name": email.partition("@")[0].title(), **fields})
    return database.write(lambda session: user.create(session, given, now=NOW))


def add_task(database: Database, owner: str = "ann@example.com", title: str = "Write", **fields: Any) -> int:
    """Make a task of a user who exists, and return its id."""
    given = TaskCreate.model_validate({"title": title, **fields})
    return database.write(lambda session: task.create(session, owner, given, now=NOW))["id"]


def emails(database: Database) -> list[str]:
    """Return the addresses of all users, in the order of their ids."""
    return [found.email for found in database.read(user.find)]


def titles(database: Database) -> list[str]:
    """Return the titles of all tasks, in the order of their ids."""
    everything = task.TaskFilter(), task.TaskSort.parse("id")
    page = database.read(lambda session: task.find(session, *everything, limit=1000))
    return [record["title"] for record in page.records]
