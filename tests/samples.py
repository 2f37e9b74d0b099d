"""Users and tasks for tests that need some."""

from typing import Any

from taskdb_cli.database import Database
from taskdb_cli.models.task import TaskCreate
from taskdb_cli.models.token import TokenCreate
from taskdb_cli.models.user import User, UserCreate
from taskdb_cli.services import task, token, user
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS, USER_SORT_KEYS
from taskdb_cli.services.listing.pages import Order, Record
from taskdb_cli.services.listing.query import TaskFilter, UserFilter
from tests.conftest import NOW


def add_user(database: Database, email: str = "ann@example.com", **fields: Any) -> User:
    """Make a user, called as their address is."""
    given = UserCreate.model_validate({"email": email, "name": email.partition("@")[0].title(), **fields})
    return database.write(lambda session: user.create(session, given, now=NOW))


def add_task(database: Database, owner: str = "ann@example.com", title: str = "Write", **fields: Any) -> int:
    """Make a task of a user who exists, and return its id."""
    given = TaskCreate.model_validate({"title": title, **fields})
    return database.write(lambda session: task.create(session, owner, given, now=NOW))["id"]


def add_token(database: Database, name: str, owner: str | None = None, **fields: Any) -> str:
    """Make an access token, for one user or everybody, and return it."""
    given, secret = TokenCreate.model_validate({"name": name, **fields}), token.generate()
    database.write(lambda session: token.create(session, given, secret, now=NOW, owner=owner))
    return secret


def emails(database: Database) -> list[str]:
    """Return the addresses of all users, in the order of their ids."""
    return [found["email"] for found in user_records(database)]


def user_records(database: Database, **filters: Any) -> list[Record]:
    """Return the records of the matching users, in the order of their ids."""
    everything = UserFilter(**filters), Order.parse("id", USER_SORT_KEYS)
    return database.read(lambda session: user.find(session, *everything, limit=1000)).records


def titles(database: Database) -> list[str]:
    """Return the titles of all tasks, in the order of their ids."""
    return [record["title"] for record in task_records(database)]


def task_records(database: Database) -> list[Record]:
    """Return the records of all tasks, in the order of their ids."""
    everything = TaskFilter(), Order.parse("id", TASK_SORT_KEYS)
    return database.read(lambda session: list(task.stream(session, *everything)))
