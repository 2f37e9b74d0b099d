"""Lists of users and tasks: one page, or everything, and how to see the rest."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from taskdb_cli.cli.context import Invocation
from taskdb_cli.cli.output import Output, show_count, show_records
from taskdb_cli.errors import InvalidInput
from taskdb_cli.output.formats import Format, Record, View

if TYPE_CHECKING:
    from sqlmodel import Session

    from taskdb_cli.services.listing.cursor import ListRequest
    from taskdb_cli.services.listing.pages import Page

COUNTED = 10_000
"""Up to this many records a terminal shows the exact number. Counting a million tasks takes too long."""

SEARCHED = 50_000
"""Up to how many records are searched to count those that hold a text."""


def require_pages(request: ListRequest[Any], page: int | None, *, count: bool, explain: bool = False) -> None:
    """Raise InvalidInput if --page is combined with an option that excludes pages."""
    others = {
        "--limit 0": request.limit == 0,
        "--after": request.after is not None,
        "--count": count,
        "--explain": explain,
    }
    if page is not None and any(others.values()):
        other = next(name for name, given in others.items() if given)
        raise InvalidInput(f"--page cannot be combined with {other}", "leave one of them out")


def show_list(
    run: Invocation,
    request: ListRequest[Any],
    view: View,
    output: Output,
    service: Any,
    *,
    page: int | None,
    wide: bool,
    count: bool,
    nothing: str = "nothing matches",
    **more: object,
) -> None:
    """Print one page and how to see more, everything as a stream if the limit is 0, or only the number.

    A person is told `nothing` if there is nothing.
    `service` is the module of the records' service. Its `find` and `stream` get `more` as it is.
    """
    if count:
        show_count(run.database.read(lambda session: service.count(session, request.filter)), output)
        return
    wanted = {"filter": request.filter, "order": request.order, "after": request.after, **more}
    show = partial(show_records, view=view, output=output, wide=wide, equal=request.filter.equal)
    if request.limit == 0:
        with closing(_stream(run, partial(service.stream, **wanted))) as records:
            shown = show(records)
        _say_end(run, shown, nothing=nothing)
        return
    before = ((page or 1) - 1) * request.limit
    at_terminal = output.effective_format is Format.TABLE and sys.stdout.isatty()
    by_number = at_terminal and request.after is None

    def read(session: Session) -> tuple[Page, int]:
        found = service.find(session, limit=request.limit, skip=before, **wanted)
        total = before + len(found.records)
        if found.next is not None and by_number:
            total = _count(session, service, request.filter)
        elif before and not found.records:
            total = service.count(session, request.filter)
        return found, total

    found, total = run.database.read(read)
    run.rows = number = len(found.records)
    shown = show(found.records)
    if found.next is None:
        if before >= total > 0:
            last = -(-total // request.limit)
            run.say(f"page {page} is past the end: {total:,} match, and --page {last} is the last")
        else:
            _say_end(run, shown, before, nothing=nothing)
    elif by_number:
        some = f"{before + 1:,}\u2013{before + number:,}" if before else f"{number:,}"
        # A page that is far down shows more than are counted.
        least = max(COUNTED if total else 0, before + number)
        of = f"{total:,}" if 0 < total <= COUNTED else f"more than {least:,}"
        run.say(f"{some} of {of} \u00b7 --limit 0 shows all \u00b7 --page {(page or 1) + 1}")
    else:
        run.say(f"{number:,} shown, more follow; --limit 0 shows all")
        run.say(f"next: --after {request.cursor(found)}")


def _count(session: Session, service: Any, filter: Any) -> int:
    """Return how many records match, a higher number than COUNTED if more do, or 0 if it takes too long."""
    if (
        getattr(filter, "search", "")
        and service.count(session, replace(filter, search=""), most=SEARCHED + 1) > SEARCHED
    ):
        return 0
    number: int = service.count(session, filter, most=COUNTED + 1)
    return number


def _say_end(run: Invocation, shown: Format, before: int = 0, *, nothing: str) -> None:
    number = run.rows or 0
    if shown is Format.TABLE:
        some = f"{before + 1:,}\u2013{before + number:,}" if before else f"{number:,} shown"
        run.say(f"{some}, and that is all" if number else nothing)


def _stream(run: Invocation, work: Any) -> Generator[Record, None, None]:
    """Yield the rows of a stream, and end its transaction after the last, before anybody has read them."""
    with run.database.stream(work) as records:
        yield from run.counting(records)
