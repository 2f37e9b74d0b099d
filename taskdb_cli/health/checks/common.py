"""Checks of both engines, and the parts of checks that both engines share."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    CheckConstraint,
    PrimaryKeyConstraint,
    Select,
    UniqueConstraint,
    and_,
    func,
    not_,
    select,
)
from sqlalchemy.sql.elements import Grouping
from sqlmodel import col

from taskdb_cli.errors import DataCorrupt
from taskdb_cli.health.examination import Examination
from taskdb_cli.health.registry import SQLITE, check
from taskdb_cli.health.report import Limits, Result, Status, Unit, Unmeasured, judged, none_of
from taskdb_cli.models import metadata
from taskdb_cli.models.task import Task
from taskdb_cli.services.listing import pages
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS, task_query
from taskdb_cli.services.listing.query import TaskFilter
from taskdb_cli.services.listing.sorting import Order

FEWEST_TASKS = 10_000
"""A planner is right to read a smaller table from end to end."""

PAGE = 50
MB = 1e6

_MAKE = "make it anew by the SQL that 'taskdb migrate sql' prints, or restore a backup into a new database"
_RESTORE = "correct the rows, or restore a backup into a new database"


@check("connection")
def connection(exam: Examination) -> Result:
    """Judge how long connecting takes. If only the first connection was slow, the server had been asleep."""
    try:
        exam.require_connection()
    except (Unmeasured, DataCorrupt):
        assert exam.failure is not None
        return Result(Status.CRITICAL, exam.failure.message, remedy=exam.failure.hint)
    seconds, limits = exam.connecting_seconds, exam.thresholds.connection
    if limits.judge(seconds) is not Status.OK:
        begun = time.perf_counter()
        exam.database.engine.raw_connection().close()
        again = time.perf_counter() - begun
        if limits.judge(again) is Status.OK:
            message = (
                f"a cold start: the first connection took {seconds * 1000:.0f} ms,"
                f" a second one {again * 1000:.0f} ms"
            )
            return judged(again, limits, message, unit=Unit.SECONDS)
    message = f"{exam.database.backend.place} answered in {seconds * 1000:.0f} ms"
    remedy = "look at the network and at the server's load"
    return judged(seconds, limits, message, remedy=remedy, unit=Unit.SECONDS)


@check("revision")
def revision(exam: Examination) -> Result:
    """Demand the newest revision."""
    if problem := exam.schema_problem:
        return Result(Status.CRITICAL, problem.message, remedy=problem.hint)
    return Result(Status.OK, "the schema is at the newest revision")


@check("drift", on=SQLITE)
def drift(exam: Examination, ignored: Collection[str] = ()) -> Result:
    """Find other differences from the models, and what has been added.

    It is critical that a table is missing, or not the kind of table that keeps all rows after a crash.
    """
    found = [
        line
        for line in exam.differences
        if not (_is_of_constraint(line) or _is_of_index(line) or line in ignored)
        # The index of a unique constraint is missed as a constraint.
        and not (line.startswith("index ") and line.replace("index ", "constraint ", 1) in exam.differences)
    ]
    return none_of(
        found,
        "the tables are as the models say",
        "the tables were changed",
        remedy="undo the change that was made by hand; 'taskdb migrate check' lists all",
        status=Status.CRITICAL if any(line.startswith("table ") for line in found) else Status.WARNING,
    )


def _is_of_constraint(line: str) -> bool:
    return line.startswith(("constraint ", "primary key ")) and not line.endswith(" is not of taskdb")


def _is_of_index(line: str) -> bool:
    # A unique constraint brings an index of its name, and is missed as a constraint.
    extra = line.endswith(" is not of taskdb") or line.split()[1].endswith("_key")
    return line.startswith("index ") and not extra


def lost_constraints(exam: Examination) -> list[str]:
    """Return each constraint that is missing, or is not as the models say."""
    return [line for line in exam.differences if _is_of_constraint(line)]


def judge_constraints(lost: Sequence[str], remedy: str = "") -> Result:
    """Judge constraints that are missing or not enforced."""
    return none_of(
        lost,
        "every constraint is there and validated",
        "rules are not enforced as they should be",
        remedy=remedy or _MAKE,
    )


def judge_indexes(exam: Examination, invalid: Mapping[str, str]) -> Result:
    """Demand that every index is there. `invalid` names indexes that answer no query, with the remedies."""
    lost = [line for line in exam.differences if _is_of_index(line)]
    return none_of(
        [f"{name} is invalid" for name in invalid] + lost,
        "every index is there and valid",
        "queries will be slow",
        remedy="; ".join([*invalid.values(), *([_MAKE] if lost else [])]),
        status=Status.WARNING,
    )


@check("orphans", on=SQLITE)
def orphans(exam: Examination) -> Result:
    """Count rows whose parent does not exist, such as tasks without their user. This reads whole tables."""
    found, remedies, total = [], [], 0
    for table in metadata().sorted_tables:
        for key in table.foreign_keys:
            column, parent = key.parent.name, key.column.table.name
            number = exam.connection.exec_driver_sql(
                f"SELECT count(*) FROM {table.name} WHERE {column} IS NOT NULL"
                f" AND NOT EXISTS (SELECT 1 FROM {parent} WHERE {parent}.id = {table.name}.{column})"
            ).scalar_one()
            if number:
                total += number
                found.append(f"{number:,} rows of {table.name} miss their row of {parent}")
                remedies.append(f"DELETE FROM {table.name} WHERE {column} NOT IN (SELECT id FROM {parent})")
    if not found:
        return Result(Status.OK, "every foreign key finds its row", 0)
    remedy = f"restore a backup into a new database, or {'; '.join(remedies)}"
    return Result(Status.CRITICAL, "; ".join(found), total, remedy=remedy)


@dataclass(frozen=True)
class Identity:
    """The next id of a table, the highest id in it, and the highest id that it can give out."""

    table: str
    next: int | None
    """None if nothing gives ids out."""
    highest: int
    most: int
    remedy: str
    """What sets the next id right."""
    collides: bool = True
    """Whether an insert fails if the next id is taken. Otherwise an id is given out twice at worst."""

    @property
    def is_used_up(self) -> bool:
        """Whether there is no next id."""
        return self.next is not None and self.next > self.most

    @property
    def fault(self) -> str:
        """What is wrong with the next id, or nothing."""
        if self.next is None:
            return f"{self.table} has no sequence that gives out ids"
        if self.is_used_up:
            return f"{self.table} has used its last id, {self.most}"
        if self.next <= self.highest:
            return f"the next id of {self.table} is {self.next}, but its highest id is {self.highest}"
        return ""

    @property
    def more_ids(self) -> str:
        """What makes room for more ids."""
        # The counter alone may be at the end, as after an import of one row that was deleted again.
        if self.highest < self.most // 2:
            return self.remedy
        return f"raise the highest value of the identity of {self.table}.id, or reload the rows with new ids"


def numbered_tables() -> list[str]:
    """Return the names of our tables whose rows get an id from the database."""
    return [table.name for table in metadata().sorted_tables if table.c["id"].identity is not None]


def judge_identities(identities: list[Identity]) -> Result:
    """Demand that each table has a next id, and that it is above the highest id in the table."""
    bad = [each for each in identities if each.fault]
    return none_of(
        [each.fault for each in bad],
        "new ids are above all that are there",
        "new rows cannot get an id, or get one that is taken",
        remedy="; ".join(each.more_ids if each.is_used_up else each.remedy for each in bad),
        status=Status.CRITICAL if any(each.collides or each.is_used_up for each in bad) else Status.WARNING,
    )


def judge_ids_left(identities: list[Identity], limits: Limits) -> Result:
    """Judge how many of the possible ids are left, in per cent."""
    left = []
    for each in identities:
        if each.next is None:
            raise Unmeasured("a table has no sequence that gives out ids")
        left.append(100 * (1 - max(each.next, each.highest + 1) / each.most))
    least = min(left)
    worst = identities[left.index(least)]
    message = f"{least:.2f} % of the ids of {worst.table} are left"
    return judged(max(0.0, least), limits, message, remedy=worst.more_ids, unit=Unit.PERCENT)


def judge_rules(broken: list[str]) -> Result:
    """Judge the rows that break a rule."""
    return none_of(broken, "no row breaks a rule", "rows break the rules of their table", remedy=_RESTORE)


def broken_rules(exam: Examination, *, unvalidated: Mapping[str, str], vouches: bool) -> Iterator[str]:
    """Yield each rule of the models that rows break, and how many.

    Where an engine `vouches`, rows must have kept a constraint that is in force and was validated. Only the
    others are counted then: those that were lost, and the `unvalidated` ones, given with their tables.
    """
    suspect = {line.split()[1] for line in lost_constraints(exam)} | set(unvalidated)

    def is_changed(name: str) -> bool:
        return any(line.startswith(f"{name} is ") for line in exam.differences)

    for table in metadata().sorted_tables:
        doubtful = {
            str(rule.name): not_(Grouping(rule.sqltext))
            for rule in table.constraints
            if isinstance(rule, CheckConstraint) and (not vouches or str(rule.name) in suspect)
        }
        # Since PostgreSQL 18 a NOT NULL is a constraint with its own name.
        new = table.name in unvalidated.values()
        doubtful |= {
            f"NOT NULL of {name}": column.is_(None)
            for name, column in table.columns.items()
            if not column.nullable and (new or is_changed(f"column {table.name}.{name}"))
        }
        if doubtful:
            # One pass over the table counts all rules. A rule may have several conditions, joined by AND.
            counts = [func.count().filter(condition) for condition in doubtful.values()]
            numbers = exam.connection.execute(select(*counts).select_from(table)).one()
            yield from (
                f"{each:,} break {name}" for name, each in zip(doubtful, numbers, strict=True) if each
            )
        for rule in table.constraints:
            if not isinstance(rule, UniqueConstraint | PrimaryKeyConstraint):
                continue
            is_key = isinstance(rule, PrimaryKeyConstraint)
            lost = is_changed(f"primary key of {table.name}") if is_key else str(rule.name) in suspect
            if lost and (number := _count_repeated(exam, rule)):
                names = ", ".join(rule.columns.keys())
                yield f"{number:,} values of {names} of {table.name} occur more than once"


def _count_repeated(exam: Examination, rule: UniqueConstraint | PrimaryKeyConstraint) -> int:
    """Count the values that several rows share. Rows without one of the values share nothing."""
    columns = list(rule.columns)
    present = and_(*(column.is_not(None) for column in columns))
    groups = select(*columns).where(present).group_by(*columns).having(func.count() > 1)
    number: int = exam.connection.execute(select(func.count()).select_from(groups.subquery())).scalar_one()
    return number


def judge_plans(exam: Examination, tasks: int, reads_all: Callable[[Select[object]], bool]) -> Result:
    """Ask for the plans of the usual forms of `task list`, without running them.

    `reads_all` says whether the plan of a query reads every task.
    """
    if tasks < FEWEST_TASKS:
        raise Unmeasured(f"{tasks:,} tasks are too few for a plan to matter")
    # The newest task has an owner, who has at least this task.
    newest = select(col(Task.user_id)).order_by(col(Task.id).desc()).limit(1)
    owner = exam.connection.execute(newest).scalar_one()
    forms: list[tuple[str, TaskFilter, list[int], str]] = [
        ("", TaskFilter(), [], "-created"),
        ("--overdue ", TaskFilter(overdue_at=exam.now), [], "due"),
    ]
    of_one = TaskFilter(users=(str(owner),))
    forms += [("--user ", of_one, [owner], sort) for sort in ("-created", "due", "-updated", "-priority")]
    slow = [
        f"{options}--sort {sort}"
        for options, filter, owners, sort in forms
        for query in pages.queries(task_query(filter, owners), Order.parse(sort, TASK_SORT_KEYS), limit=PAGE)
        if reads_all(query)
    ]
    return none_of(
        slow,
        "the usual lists are read from an index",
        "these read every task",
        remedy="ANALYZE tasks; then look at 'taskdb task list --explain' and at the check indexes",
        status=Status.WARNING,
    )
