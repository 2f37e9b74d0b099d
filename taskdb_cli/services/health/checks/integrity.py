"""Whether the rows keep the rules, those apart that the engine vouches for."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import CheckConstraint, func, not_, select
from sqlalchemy.sql.elements import Grouping

from taskdb_cli.models import metadata
from taskdb_cli.services.health.checks.schema import lost_rules
from taskdb_cli.services.health.result import Check, Status, Unit
from taskdb_cli.services.health.subject import Look

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
    """Demand that the next id of each table is above the highest one in it."""
    behind = [each for each in look.subject.identities if each.next <= each.highest]
    status = Status.CRITICAL if any(each.collides for each in behind) else Status.WARNING
    return look.none_of(
        [f"{each.table} would give out {each.next}, and has {each.highest}" for each in behind],
        "new ids are above all that are there",
        "new ids collide with old ones" if status is Status.CRITICAL else "ids may be given out twice",
        remedy="; ".join(each.remedy for each in behind),
        status=status,
    )


def identity_left(look: Look) -> Check:
    """Judge how many of the ids that there can be are left, in per cent."""
    left = {each.table: 100 * (1 - each.next / each.most) for each in look.subject.identities}
    table = min(left, key=lambda name: left[name])
    message = f"{left[table]:.2f} % of the ids of {table} are left"
    remedy = f"raise the highest value of the identity of {table}.id, or reload the rows with new ids"
    return look.judged(max(0.0, left[table]), message, remedy=remedy, unit=Unit.PERCENT)


def rules(look: Look) -> Check:
    """Look for rows that break a rule.

    Where the constraint is in force and validated, a server vouches for every row; where it is not, or
    where no engine can vouch for it, all rows are held to it here.
    """
    suspect = lost_rules(look.subject.differences) | set(look.probe.unvalidated())
    broken = [*look.probe.broken_rows(), *_broken(look, suspect)]
    return look.none_of(
        broken, "no row breaks a rule", "rows break the rules of their table", remedy=_RESTORE
    )


def _broken(look: Look, suspect: set[str]) -> Iterator[str]:
    for table in metadata().sorted_tables:
        checks = [rule for rule in table.constraints if isinstance(rule, CheckConstraint)]
        doubtful = [rule for rule in checks if not look.probe.vouches or str(rule.name) in suspect]
        if not doubtful:
            continue
        # One pass over the table for all of them. A rule may be several conditions, with AND between.
        counts = [func.count().filter(not_(Grouping(rule.sqltext))) for rule in doubtful]
        numbers = look.subject.connection.execute(select(*counts).select_from(table)).one()
        for rule, number in zip(doubtful, numbers, strict=True):
            if number:
                yield f"{number:,} break {rule.name}"
