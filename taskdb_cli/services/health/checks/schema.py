"""Whether the tables are what this version works on."""

from __future__ import annotations

from taskdb_cli.services.health.result import Check, Status
from taskdb_cli.services.health.subject import Look

_MAKE = "make it anew by the SQL that 'taskdb migrate sql' prints, or restore a backup into a new database"


def revision(look: Look) -> Check:
    """Demand the newest revision."""
    problem = look.subject.schema_problem
    if problem is not None:
        return look.found(Status.CRITICAL, problem.message, remedy=problem.hint)
    return look.found(Status.OK, "the schema is at the newest revision")


def constraints(look: Look) -> Check:
    """Demand that every rule is there, as the models say, and was held against old rows too."""
    unvalidated = look.probe.unvalidated()
    changed = [line for line in look.subject.differences if _is_of_constraint(line)]
    if changed:
        message = "rules are not enforced as they should be"
        return look.none_of(changed, "", message, remedy=_MAKE)
    return look.none_of(
        list(unvalidated),
        "every constraint is there and validated",
        "rows from before these constraints were never held to them",
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
    """Find what else differs from the models, and what has been added."""
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
