"""Lists on the command line: their options, and how a page is printed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskdb_cli.cli.completion import complete_users, complete_words
from taskdb_cli.cli.output import Output, show_records
from taskdb_cli.errors import InvalidInput
from taskdb_cli.output.formats import Format, Record, View
from taskdb_cli.services.listing.query import Filter, ListQuery, Parameter
from taskdb_cli.text.escaping import brief
from taskdb_cli.times import parse_when

if TYPE_CHECKING:
    from taskdb_cli.cli.context import Invocation
    from taskdb_cli.services.listing.cursor import ListRequest
    from taskdb_cli.services.listing.pages import Page

MOST_ROWS = 10**9
"""The highest limit, well within what either engine can count to."""

Fields = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES", help="Only these fields, comma-separated, in that order.", show_default=False
    ),
]
Count = Annotated[bool, typer.Option("--count", help="Print only how many match.")]
Explain = Annotated[bool, typer.Option("--explain", help="Print the SQL and how the engine runs it.")]


def option_of(parameter: Parameter) -> inspect.Parameter:
    """Return the option that gives this parameter of a list."""
    more: dict[str, Any] = {"help": parameter.help}
    if parameter.name == "limit":
        more = {"help": "How many at most; 0 means all.", "min": 0, "max": MOST_ROWS}
    elif parameter.name == "user":
        more["autocompletion"] = complete_users
    elif parameter.choices:
        more["autocompletion"] = complete_words(parameter.choices)
    option = typer.Option(
        parameter.option or f"--{parameter.name.replace('_', '-')}",
        metavar=parameter.metavar,
        show_default=bool(parameter.default),
        **more,
    )
    return inspect.Parameter(
        parameter.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=parameter.default,
        annotation=Annotated[parameter.type, option],
    )


def read_request(run: Invocation, query: ListQuery[Filter], given: dict[str, Any]) -> ListRequest[Filter]:
    """Return the list that the options of a query ask for; raise InvalidInput for a bad value."""
    from taskdb_cli.services.listing.cursor import ListRequest

    return ListRequest.read(query, given, now=run.now, parse_time=partial(parse_when, end_of_day=False))


def show_list(
    run: Invocation,
    request: ListRequest[Any],
    view: View,
    output: Output,
    *,
    find: Callable[..., Page],
    stream: Callable[..., Generator[Record, None, None]],
    **more: object,
) -> None:
    """Print one page and how to get the next, or everything as a stream if the limit is 0.

    `find` and `stream` are those of the records' service, which get `more` as it is.
    """
    wanted = request.filter, request.order
    if request.limit == 0:
        with run.database.stream(
            lambda session: stream(session, *wanted, after=request.after, **more)
        ) as records:
            shown = show_records(run.counting(records), view, output)
    else:
        page = run.database.read(
            lambda session: find(session, *wanted, limit=request.limit, after=request.after, **more)
        )
        shown = show_records(run.counting(page.records), view, output)
        if page.next is not None:
            run.say(f"{len(page.records)} shown, more follow; --limit 0 shows all")
            run.say(f"next: --after {request.cursor(page)}")
            return
    if shown is Format.TABLE:
        run.say(f"{run.log.rows} shown, and that is all" if run.log.rows else "nothing matches")


def choose_fields(view: View, names: str | None) -> View:
    """Return the view with only the named fields; raise InvalidInput naming the valid ones."""
    if names is None:
        return view
    chosen = tuple(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in view.fields:
            raise InvalidInput(f"there is no field {brief(name)!r}", f"fields are {', '.join(view.fields)}")
    return View(chosen, chosen)
