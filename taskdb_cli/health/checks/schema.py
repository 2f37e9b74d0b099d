"""Whether the tables are what this version works on."""

from __future__ import annotations

from taskdb_cli.database.health import our_tables
from taskdb_cli.health.report import Check, Status
from taskdb_cli.health.subject import Look

_MAKE = "make it anew by the SQL that 'taskdb migrate sql' prints, or restore a backup into a new database"


def revision(look: Look) -> Check:
    """Demand the newest revision."""
    problem = look.subject.schema_problem
    if problem is not None:
        return look.found(Status.CRITICAL, problem.message, remedy=problem.hint)
    return look.found(Status.OK, "the schema is at the newest revision")


def constraints(look: Look) -> Check:
    """Demand that every constraint is there, is enforced, and was checked for older rows too."""
    unvalidated = look.probe.unvalidated()
    unenforced = look.probe.unenforced()
    changed = [line for line in look.subject.differences if _is_of_constraint(line)]
    if unenforced:
        # The reasons above name these already.
        changed = [line for line in changed if "with disabled triggers, not" not in line]
    if faults := [*unenforced, *changed]:
        message = "rules are not enforced as they should be"
        remedy = "; ".join(dict.fromkeys(unenforced.values())) or _MAKE
        return look.none_of(faults, "", message, remedy=remedy)
    return look.none_of(
        list(unvalidated),
        "every constraint is there and validated",
        "older rows were never checked against these constraints",
        remedy="; ".join(look.probe.how_to_validate(table, name) for name, table in unvalidated.items()),
        status=Status.WARNING,
    )


def indexes(look: Look) -> Check:
    """Demand that every index is there, as the models say, and answers queries."""
    invalid = look.probe.invalid_indexes()
    changed = [line for line in look.subject.differences if _is_of_index(line)]
    return look.none_of(
        [f"{name} is invalid" for name in invalid] + changed,
        "every index is there and valid",
        "queries will be slow",
        remedy="; ".join(
            [look.probe.how_to_rebuild(name) for name in invalid] + ([_MAKE] if changed else [])
        ),
        status=Status.WARNING,
    )


def drift(look: Look) -> Check:
    """Find what else differs from the models, and what has been added.

    It is critical that a table is missing, or not the kind of table that keeps all rows after a crash.
    """
    invalid = {f"index {name} is not of taskdb" for name in look.probe.invalid_indexes()}
    others = [
        line
        for line in look.subject.differences
        if not _is_of_constraint(line) and not _is_of_index(line) and line not in invalid
    ]
    others = [line for line in others if not _repeats_a_constraint(line, look.subject.differences)]
    return look.none_of(
        others,
        "the tables are as the models say",
        "the tables were changed",
        remedy="undo the change that was made by hand; 'taskdb migrate check' lists all",
        status=Status.CRITICAL if any(line.startswith("table ") for line in others) else Status.WARNING,
    )


def access(look: Look) -> Check:
    """Demand that the role sees every row, and that it may change all tables or none."""
    found = look.probe.access()
    if found.filtered:
        return look.none_of(
            list(found.filtered),
            "",
            f"row level security hides rows from the role {found.role}",
            remedy="use a role with BYPASSRLS, or ALTER TABLE … DISABLE ROW LEVEL SECURITY",
        )
    if found.unreadable:
        return look.none_of(
            list(found.unreadable),
            "",
            f"the role {found.role} may not read",
            remedy="GRANT SELECT on them to it",
        )
    all_or_none = len(found.read_only) in (0, len(our_tables()))
    return look.none_of(
        [] if all_or_none else list(found.read_only),
        f"the role {found.role} sees every row",
        f"the role {found.role} may change some tables, but not",
        remedy="GRANT INSERT, UPDATE, DELETE on them to it, or on none",
        status=Status.WARNING,
    )


def lost_rules(differences: list[str]) -> set[str]:
    """Return the constraints that are missing, or not what they should be."""
    return {line.split()[1] for line in differences if _is_of_constraint(line)}


def _is_of_constraint(line: str) -> bool:
    return line.startswith(("constraint ", "primary key ")) and not line.endswith(" is not of taskdb")


def _is_of_index(line: str) -> bool:
    # A unique constraint brings an index of its name, and is missed as a constraint.
    extra = line.endswith(" is not of taskdb") or line.split()[1].endswith("_key")
    return line.startswith("index ") and not extra


def _repeats_a_constraint(line: str, differences: list[str]) -> bool:
    return line.startswith("index ") and line.replace("index ", "constraint ", 1) in differences
