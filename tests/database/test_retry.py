"""Trying again: how often, for how long, and after what."""

import pytest

from taskdb_cli.database import retry
from taskdb_cli.database.retry import persist
from taskdb_cli.errors import ConnectionFailed, ConnectionLost, DatabaseUnavailable, NotFound


class Clock:
    """Time that passes only while somebody waits or works."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The clock that the retries go by."""
    made = Clock()
    monkeypatch.setattr(retry.time, "monotonic", lambda: made.now)
    monkeypatch.setattr(retry.time, "sleep", made.sleep)
    return made


class Work:
    """Takes some seconds, and fails with each of the errors before it succeeds."""

    def __init__(self, clock: Clock, *errors: Exception, seconds: float = 0) -> None:
        self.clock = clock
        self.errors = list(errors)
        self.seconds = seconds
        self.runs = 0

    def __call__(self) -> str:
        self.runs += 1
        self.clock.now += self.seconds
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def lost(number: int = 0) -> ConnectionLost:
    return ConnectionLost(f"lost {number}")


def test_success_at_once(clock):
    """What works is run once, and not waited for."""
    work = Work(clock)
    assert persist(work, budget=0) == "done"
    assert (work.runs, clock.waits) == (1, [])


def test_passing_faults(clock):
    """Passing faults are tried again, after waits that stay within their limit."""
    work = Work(clock, *(lost() for _ in range(20)))
    assert persist(work, budget=1000) == "done"
    assert work.runs == 21
    assert 0 <= min(clock.waits) <= max(clock.waits) <= retry.LONGEST_WAIT
    assert len(set(clock.waits)) > 1


@pytest.mark.parametrize("error", [DatabaseUnavailable("no"), NotFound("no"), ValueError("no")])
@pytest.mark.parametrize("before", [0, 1])
def test_other_faults(clock, error, before):
    """A fault that does not pass is raised at once, also by a later attempt."""
    work = Work(clock, *[lost()] * before, error)
    with pytest.raises(type(error)) as raised:
        persist(work, budget=1000)
    assert raised.value is error
    assert work.runs == before + 1


def test_last_error_is_raised(clock):
    """When the budget is spent, the error of the last attempt comes out."""
    errors = [lost(number) for number in range(10)]
    work = Work(clock, *errors, seconds=10)
    with pytest.raises(ConnectionLost) as raised:
        persist(work, budget=25)
    assert raised.value is errors[work.runs - 1]
    assert work.runs == 3


def test_budget_counts_the_first_attempt(clock):
    """An attempt that took all of the budget is the only one."""
    work = Work(clock, lost(1), lost(2), lost(3), seconds=30)
    with pytest.raises(ConnectionLost):
        persist(work, budget=20)
    assert work.runs == 1


def test_no_budget(clock):
    """Without a budget nothing is tried again."""
    work = Work(clock, lost(1), lost(2))
    with pytest.raises(ConnectionLost):
        persist(work, budget=0)
    assert work.runs == 1


def test_cost_of_another_attempt(clock):
    """No attempt is begun that could only fail after the budget."""

    def silent() -> ConnectionFailed:
        return ConnectionFailed("silent", "", passing=True, cost=15)

    work = Work(clock, *(silent() for _ in range(10)), seconds=15)
    with pytest.raises(ConnectionFailed):
        persist(work, budget=40)
    assert work.runs == 2


def test_cost_of_a_second_attempt(clock):
    """The cost counts after the first attempt too."""
    silent = ConnectionFailed("silent", "", passing=True, cost=15)
    work = Work(clock, silent, seconds=15)
    with pytest.raises(ConnectionFailed):
        persist(work, budget=20)
    assert work.runs == 1
