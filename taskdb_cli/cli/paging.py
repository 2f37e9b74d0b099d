"""Pages of a listing on the command line: where to begin, and how to go on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskdb_cli.cli.output import Output, show_records
from taskdb_cli.errors import InvalidInput
from taskdb_cli.output.formats import Format, Record, View
from taskdb_cli.text.escaping import brief

if TYPE_CHECKING:
    from sqlmodel import Session

    from taskdb_cli.cli.context import Invocation
    from taskdb_cli.services.listing.pages import Page
    from taskdb_cli.services.listing.sorting import Order, Position

MOST_ROWS = 10**9
"""The highest limit, well within what either engine can count to."""

Limit = Annotated[
    int, typer.Option("--limit", metavar="N", min=0, max=MOST_ROWS, help="How many at most; 0 means all.")
]
After = Annotated[
    str | None,
    typer.Option(metavar="CURSOR", help="Go on where the last page ended.", show_default=False),
]
Fields = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES", help="Only these fields, comma-separated, in that order.", show_default=False
    ),
]
Count = Annotated[bool, typer.Option("--count", help="Print only how many match.")]
Explain = Annotated[bool, typer.Option("--explain", help="Print the SQL and how the engine runs it.")]


@dataclass(frozen=True)
class Listing:
    """One listing as it was typed: what a cursor of it is bound to, and where this page begins."""

    typed: dict[str, Any]
    now: datetime
    after: Position | None

    @classmethod
    def begin(cls, run: Invocation, after: str | None, typed: dict[str, Any], order: Order) -> Listing:
        """Return the listing from its start, or from a cursor, whose first page says what now is.

        Raises InvalidInput for a cursor that is damaged or belongs to another listing.
        """
        if after is None:
            return cls(typed, run.now, None)
        from taskdb_cli.services.listing.cursor import Cursor

        cursor = Cursor.decode(after, typed, order)
        return cls(typed, cursor.now, cursor.position)

    def show(
        self,
        run: Invocation,
        view: View,
        output: Output,
        limit: int,
        *,
        page: Callable[[Session], Page],
        stream: Callable[[Session], Generator[Record, None, None]],
    ) -> None:
        """Print one page and how to get the next, or everything as a stream if the limit is 0."""
        if limit == 0:
            _show_all(run, view, output, stream)
            return
        found = run.database.read(page)
        shown = show_records(run.counting(found.records), view, output)
        if found.next is not None:
            from taskdb_cli.services.listing.cursor import Cursor

            run.say(f"{len(found.records)} shown, more follow; --limit 0 shows all")
            run.say(f"next: --after {Cursor(found.next, self.now).encode(self.typed)}")
        elif shown is Format.TABLE:
            _say_end(run, len(found.records))


def _show_all(
    run: Invocation,
    view: View,
    output: Output,
    stream: Callable[[Session], Generator[Record, None, None]],
) -> None:
    number = 0
    with run.database.stream(stream) as records:

        def counted() -> Iterator[Record]:
            nonlocal number
            for number, record in enumerate(records, 1):  # noqa: B007 (read when all are shown)
                yield record

        shown = show_records(run.counting(counted()), view, output)
    if shown is Format.TABLE:
        _say_end(run, number)


def _say_end(run: Invocation, number: int) -> None:
    run.say(f"{number} shown, and that is all" if number else "nothing matches")


def choose_fields(view: View, names: str | None) -> View:
    """Return the view with only the named fields; raise InvalidInput naming the valid ones."""
    if names is None:
        return view
    chosen = tuple(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in view.fields:
            raise InvalidInput(f"there is no field {brief(name)!r}", f"fields are {', '.join(view.fields)}")
    return View(chosen, chosen)
