"""Whether the rows keep the rules, those apart that the engine vouches for."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import (
    CheckConstraint,
    PrimaryKeyConstraint,
    UniqueConstraint,
    and_,
    func,
    not_,
    select,
)
from sqlalchemy.sql.elements import Grouping

from taskdb_cli.database.health import Identity, NotMeasured
from taskdb_cli.health.checks.schema import lost_rules
from taskdb_cli.health.report import Check, Status, Unit
from taskdb_cli.health.subject import Look
from taskdb_cli.models import metadata

_RESTORE = "correct the rows, or restore a backup into a new database"


def orphans(look: Look) -> Check:
    """Count rows whose parent does not exist, such as tasks without their user; this reads whole tables."""
    found = [each for each in look.probe.orphans() if each.number]
    if not found:
        return look.found(Status.OK, "every foreign key finds its row", value=0)
    parts = [f"{each.number:,} rows of {each.table} miss their row of {each.parent}" for each in found]
    remedies = [
        f"DELETE FROM {each.table} WHERE {each.column} NOT IN (SELECT id FROM {each.parent})"
        for each in found
    ]
    return look.found(
        Status.CRITICAL,
        "; ".join(parts),
        value=sum(each.number for each in found),
        remedy=f"restore a backup into a new database, or {'; '.join(remedies)}",
    )


def identity(look: Look) -> Check:
    """Demand that each table has a next id, and that it is above the highest id in the table."""
    bad = {each: fault for each in look.subject.identities if (fault := _fault(each))}
    return look.none_of(
        list(bad.values()),
        "new ids are above all that are there",
        "new rows cannot get an id, or get one that is taken",
        remedy="; ".join(_more_ids(each) if _is_used_up(each) else each.remedy for each in bad),
        status=Status.CRITICAL if any(_fails(each) for each in bad) else Status.WARNING,
    )


def _fault(identity: Identity) -> str:
    if identity.next is None:
        return f"{identity.table} has no sequence that gives out ids"
    if _is_used_up(identity):
        return f"{identity.table} has used its last id, {identity.most}"
    if identity.next <= identity.highest:
        return f"the next id of {identity.table} is {identity.next}, but its highest id is {identity.highest}"
    return ""


def _fails(identity: Identity) -> bool:
    return identity.collides or _is_used_up(identity)


def _is_used_up(identity: Identity) -> bool:
    return identity.next is not None and identity.next > identity.most


def _more_ids(identity: Identity) -> str:
    # The counter alone may be at the end, as after an import of one row that was deleted again.
    if identity.highest < identity.most // 2:
        return identity.remedy
    table = identity.table
    return f"raise the highest value of the identity of {table}.id, or reload the rows with new ids"


def identity_left(look: Look) -> Check:
    """Judge how many of the ids that there can be are left, in per cent."""
    left = {
        each: 100 * (1 - max(each.next, each.highest + 1) / each.most)
        for each in look.subject.identities
        if each.next is not None
    }
    if len(left) < len(look.subject.identities):
        raise NotMeasured("a table has no sequence that gives out ids")
    worst = min(left, key=lambda each: left[each])
    message = f"{left[worst]:.2f} % of the ids of {worst.table} are left"
    return look.judged(max(0.0, left[worst]), message, remedy=_more_ids(worst), unit=Unit.PERCENT)


def rules(look: Look) -> Check:
    """Look for rows that break a rule.

    Where the constraint is in force and validated, a server vouches for every row; where it is not, or
    where no engine can vouch for it, all rows are held to it here.
    """
    look.probe.require_all_rows()
    broken = [*look.probe.broken_rows(), *_broken(look)]
    return look.none_of(
        broken, "no row breaks a rule", "rows break the rules of their table", remedy=_RESTORE
    )


def _broken(look: Look) -> Iterator[str]:
    unvalidated = look.probe.unvalidated()
    suspect = lost_rules(look.subject.differences) | set(unvalidated)
    for table in metadata().sorted_tables:
        checks = [rule for rule in table.constraints if isinstance(rule, CheckConstraint)]
        doubtful = {
            str(rule.name): not_(Grouping(rule.sqltext))
            for rule in checks
            if not look.probe.vouches or str(rule.name) in suspect
        }
        # Since PostgreSQL 18 a NOT NULL is a constraint with its own name.
        new = table.name in unvalidated.values()
        doubtful |= {
            f"NOT NULL of {name}": column.is_(None)
            for name, column in table.columns.items()
            if not column.nullable and (new or _is_changed(f"column {table.name}.{name}", look))
        }
        if doubtful:
            # One pass over the table counts all rules. A rule may have several conditions, joined by AND.
            counts = [func.count().filter(condition) for condition in doubtful.values()]
            numbers = look.subject.connection.execute(select(*counts).select_from(table)).one()
            yield from (
                f"{number:,} break {name}" for name, number in zip(doubtful, numbers, strict=True) if number
            )
        for rule in table.constraints:
            if not isinstance(rule, UniqueConstraint | PrimaryKeyConstraint):
                continue
            if isinstance(rule, PrimaryKeyConstraint):
                lost = _is_changed(f"primary key of {table.name}", look)
            else:
                lost = str(rule.name) in suspect
            if lost:
                yield from _repeated(look, rule)


def _is_changed(name: str, look: Look) -> bool:
    return any(line.startswith(f"{name} is ") for line in look.subject.differences)


def _repeated(look: Look, rule: UniqueConstraint | PrimaryKeyConstraint) -> Iterator[str]:
    """Count the values that several rows share; rows without one of the values share nothing."""
    columns = list(rule.columns)
    present = and_(*(column.is_not(None) for column in columns))
    groups = select(*columns).where(present).group_by(*columns).having(func.count() > 1)
    number = look.subject.connection.execute(select(func.count()).select_from(groups.subquery())).scalar_one()
    if number:
        names = ", ".join(rule.columns.keys())
        yield f"{number:,} values of {names} of {rule.table.name} occur more than once"
