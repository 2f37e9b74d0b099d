"""What Tab offers for values of commands: words of a list, checks of health, and tasks by their ids."""

from collections.abc import Callable, Iterable

import typer

from taskdb_cli.cli.completion import hasty_database
from taskdb_cli.models.vocabulary import OPEN_STATUSES, TaskStatus

_TITLE_LENGTH = 60
_STATUSES = {
    "done": OPEN_STATUSES,
    "cancel": OPEN_STATUSES,
    "start": frozenset({TaskStatus.TODO}),
    "reopen": frozenset(TaskStatus) - {TaskStatus.TODO},
}
"""The tasks that a command would change."""


def complete_list(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Return a function that offers the words, also behind a comma, but none that stands there already.

    A word may have a `-` in front, which means descending.
    """

    def offer(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        sign = "-" if last.startswith("-") else ""
        taken = {word.lstrip("-") for word in before.split(",")}
        return [f"{before}{comma}{sign}{word}" for word in words if word not in taken]

    return offer


def complete_checks(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the checks of health that are not named yet, also behind a comma."""
    from taskdb_cli.health.registry import CHECKS

    named = ",".join([*(ctx.params.get("only") or ()), *(ctx.params.get("skip") or ())]).split(",")
    return complete_list(name for name in CHECKS if name not in named)(incomplete)


def complete_tasks(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the ids that begin as typed, newest first, with titles, also behind a comma.

    Tasks that the command would not change are left out. Raise TaskdbError if there is no database.
    """
    from taskdb_cli.services import task as service
    from taskdb_cli.text.escaping import brief

    before, comma, digits = incomplete.rpartition(",")
    if digits and not (digits.isascii() and digits.isdecimal()):
        return []
    statuses = _STATUSES.get(ctx.info_name or "", frozenset())
    found = hasty_database(ctx).read(
        lambda session: service.find_by_prefix(session, digits, statuses=statuses, limit=50)
    )
    return [(f"{before}{comma}{id}", brief(title, _TITLE_LENGTH)) for id, title in found]


def complete_operations(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the ids of operations that begin as typed, newest first, with who did what.

    Raise TaskdbError if there is no database.
    """
    from taskdb_cli.services.history import operations as service
    from taskdb_cli.text.amounts import in_words
    from taskdb_cli.text.escaping import brief

    if incomplete and not (incomplete.isascii() and incomplete.isdecimal()):
        return []
    found = hasty_database(ctx).read(lambda session: service.find_by_prefix(session, incomplete, limit=50))
    return [
        (str(each["id"]), brief(f"{each['command']}, {in_words({'rows': each['rows']})}, {each['actor']}"))
        for each in found
    ]
