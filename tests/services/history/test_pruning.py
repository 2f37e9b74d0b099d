"""Old operations are forgotten, at the service."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from taskdb_cli.models.history import CHANGES, OPERATIONS
from taskdb_cli.services import user
from taskdb_cli.services.history import pruning
from tests.conftest import NOW
from tests.samples import add_task, add_user


def operations(database):
    """The ids of all operations."""
    query = sa.select(OPERATIONS.c.id).order_by(OPERATIONS.c.id)
    return database.read(lambda session: [*session.scalars(query)])


def changes(database):
    """The operation of each change."""
    query = sa.select(CHANGES.c.operation_id).order_by(CHANGES.c.id)
    return database.read(lambda session: [*session.scalars(query)])


@pytest.fixture
def aged(database):
    """Four operations, one a day, the last of them a day before NOW, with one change each but the last."""
    add_user(database)
    add_task(database)
    add_task(database)
    database.write(lambda session: user.remove(session, ["1"], now=NOW))
    for number, operation in enumerate(operations(database)):
        aged = sa.update(OPERATIONS).where(OPERATIONS.c.id == operation)
        aged = aged.values(at=NOW - timedelta(days=4 - number))
        database.write(lambda session, aged=aged: session.execute(aged))
    return database


def test_older_operations_go(aged):
    """What is older than the time goes with its changes, and nothing else."""
    before = NOW - timedelta(days=2)
    expected = pruning.Pruned(2, 2)
    assert aged.read(lambda session: pruning.count_older(session, before=before)) == expected
    assert pruning.prune(aged, before=before) == expected
    assert operations(aged) == [3, 4]
    assert changes(aged) == [3, 4, 4, 4]
    assert pruning.prune(aged, before=before) == pruning.Pruned()


def test_portions(aged, monkeypatch):
    """Any number of operations goes, some of them in each transaction, the oldest first."""
    first = aged.write(lambda session: pruning.prune_some(session, before=NOW, most=1))
    assert (first, operations(aged)) == (pruning.Pruned(1, 1), [2, 3, 4])
    assert pruning.prune(aged, before=NOW) == pruning.Pruned(3, 5)
    assert (operations(aged), changes(aged)) == ([], [])
