"""Lists on the command line: what is asked for, and how a page is printed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from taskdb_cli.cli.output import Output, show_records
from taskdb_cli.errors import InvalidInput
from taskdb_cli.output.formats import Format, View
from taskdb_cli.services.listing.query import Filter, ListQuery
from taskdb_cli.text.escaping import brief
from taskdb_cli.times import parse_when

if TYPE_CHECKING:
    from taskdb_cli.cli.context import Invocation
    from taskdb_cli.services.listing.cursor import ListRequest


def read_request(run: Invocation, query: ListQuery[Filter], given: dict[str, Any]) -> ListRequest[Filter]:
    """Return the list that the options of a query ask for; raise InvalidInput for a bad value."""
    from taskdb_cli.services.listing.cursor import ListRequest

    return ListRequest.read(query, given, now=run.now, parse_time=partial(parse_when, end_of_day=False))


def show_list(
    run: Invocation, request: ListRequest[Any], view: View, output: Output, service: Any, **more: object
) -> None:
    """Print one page and how to get the next, or everything as a stream if the limit is 0.

    `service` is the module of the records' service. Its `find` and `stream` get `more` as it is.
    """
    wanted = {"filter": request.filter, "order": request.order, "after": request.after, **more}
    if request.limit == 0:
        with run.database.stream(partial(service.stream, **wanted)) as records:
            shown = show_records(run.counting(records), view, output)
    else:
        page = run.database.read(partial(service.find, limit=request.limit, **wanted))
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
