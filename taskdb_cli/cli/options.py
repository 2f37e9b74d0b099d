"""What several commands share: each argument and option, declared once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection
from dataclasses import is_dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from taskdb_cli.cli.completion import complete_profiles, complete_users
from taskdb_cli.cli.context import Invocation
from taskdb_cli.cli.offers import complete_list, complete_operations, complete_tasks
from taskdb_cli.errors import InvalidInput
from taskdb_cli.output.formats import View
from taskdb_cli.services.listing.query import PERIODS, Filter, ListQuery, Parameter
from taskdb_cli.text.escaping import brief
from taskdb_cli.times import parse_when

if TYPE_CHECKING:
    from taskdb_cli.services.listing.cursor import ListRequest


# int() itself refuses some thousands of digits.
_ID = re.compile(r"[+-]?\d{1,4000}", re.ASCII)
_RANGE = re.compile(r"(\d{1,4000})-(\d{1,4000})", re.ASCII)
WIDEST_RANGE = 10_000
"""How many ids a range may span."""


def optional(help: str, **more: Any) -> Any:
    """Return an option that has no default to show."""
    return typer.Option(help=help, show_default=False, **more)


def optional_user(help: str) -> Any:
    """Return an option that names a user."""
    return optional(help, metavar="USER", autocompletion=complete_users)


def _note_confirmation(ctx: typer.Context, name: str | None) -> str | None:
    if isinstance(ctx.obj, Invocation):
        ctx.obj.confirmed = name
    return name


def _note_replica(ctx: typer.Context, given: bool) -> bool:
    if isinstance(ctx.obj, Invocation):
        ctx.obj.replica = given
    return given


def parse_ids(word: str) -> list[int | range]:
    """Return the ids of one word, such as `7`, `1,2,7` or `3-9`. Raise ValueError for anything else."""
    ids: list[int | range] = []
    for part in word.removesuffix(",").split(","):
        if match := _RANGE.fullmatch(part):
            first, last = int(match[1]), int(match[2])
            if first > last:
                raise ValueError(f"{brief(part)!r} runs backwards; write {brief(f'{last}-{first}')}")
            if last - first >= WIDEST_RANGE:
                raise ValueError(f"{brief(part)!r} has more than {WIDEST_RANGE:,} ids")
            ids.append(range(first, last + 1))
        elif _ID.fullmatch(part):
            ids.append(int(part))
        else:
            raise ValueError(f"{brief(part)!r} is not an id; write ids as 7, 1,2,7 or 3-9")
    return ids


def parse_users(word: str) -> list[str | range]:
    """Return the users of one word: an e-mail address, or ids as `parse_ids` reads them."""
    if not re.fullmatch(r"\d[\d,-]*", word, re.ASCII):
        return [word]
    return [id if isinstance(id, range) else str(id) for id in parse_ids(word)]


def only_fields(view: View) -> Any:
    """Return an option that chooses some of the fields of a view."""
    help = "Only these fields, comma-separated, in that order."
    return optional(help, metavar="NAMES", autocompletion=complete_list(view.fields))


UserArgument = Annotated[
    str, typer.Argument(metavar="USER", help="An id or an e-mail address.", autocompletion=complete_users)
]
UserArguments = Annotated[
    list[Any],
    typer.Argument(
        metavar="USER…",
        help="E-mail addresses, or ids: 7, 1,2,7 or 3-9.",
        parser=parse_users,
        autocompletion=complete_users,
    ),
]
TaskArgument = Annotated[
    int, typer.Argument(metavar="ID", help="The id of a task.", autocompletion=complete_tasks)
]
TaskArguments = Annotated[
    list[Any] | None,
    typer.Argument(
        metavar="ID…",
        help="The ids of tasks: 7, 1,2,7 or 3-9.",
        parser=parse_ids,
        autocompletion=complete_tasks,
        show_default=False,
    ),
]
OperationArgument = Annotated[
    int,
    typer.Argument(metavar="OPERATION", help="The id of an operation.", autocompletion=complete_operations),
]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for a confirmation.")]
Confirm = Annotated[
    str | None,
    optional(
        "Confirm a change of a protected profile by its name.",
        metavar="PROFILE",
        callback=_note_confirmation,
        autocompletion=complete_profiles,
    ),
]
"""The value is in the `Invocation`, where `Invocation.confirm` looks at it."""
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")]
IfVersion = Annotated[int | None, optional("Change it only if it has this version.", metavar="N", min=1)]
IfNotExists = Annotated[
    bool, typer.Option("--if-not-exists", help="Print the existing one instead of failing.")
]
Page = Annotated[
    int | None, optional("Show this page; --limit sets its length.", metavar="N", min=1, max=10**9)
]
Wide = Annotated[bool, typer.Option("--wide", help="Show all columns in full.")]
Count = Annotated[bool, typer.Option("--count", help="Print only the number of matches.")]
Replica = Annotated[
    bool,
    typer.Option("--replica", help="Read the replica that TASKDB_READ_URL names.", callback=_note_replica),
]
"""The value is in the `Invocation`, whose database it chooses."""
Explain = Annotated[bool, typer.Option("--explain", help="Print the SQL and how the engine runs it.")]


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of each parameter that stands for several.

    That is a parameter whose type is a dataclass of options, such as `cli.output.Output`, or a dictionary
    that is annotated with the query of a list.
    """
    own = inspect.signature(command, eval_str=True)
    groups: dict[str, tuple[Callable[..., Any], list[str]]] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in own.parameters.items():
        kind: Any = parameter.annotation
        [query] = getattr(kind, "__metadata__", [None])[:1]
        if isinstance(query, ListQuery):
            filters = query.filters.values()
            kind, options = dict, [_option_of(each, each in filters) for each in query.parameters]
        elif is_dataclass(kind):
            options = [*inspect.signature(cast("type", kind), eval_str=True).parameters.values()]
        else:
            parameters.append(parameter)
            continue
        groups[name] = kind, [option.name for option in options]
        parameters += [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]

    if not groups:
        return command

    @wraps(command)
    def with_options(**given: Any) -> None:
        for name, (kind, options) in groups.items():
            given[name] = kind(**{option: given.pop(option) for option in options})
        command(**given)

    with_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def _option_of(parameter: Parameter, is_filter: bool) -> inspect.Parameter:
    """Return the option that gives this parameter of a list."""
    more: dict[str, Any] = {"help": parameter.help.replace("repeat for several", "several with commas")}
    if parameter.name == "limit":
        # Either engine can count to the highest limit.
        more = {"help": "The most records to show; 0 shows all.", "min": 0, "max": 10**9}
    elif parameter.metavar in ("USER", "ID"):
        more["autocompletion"] = complete_users if parameter.metavar == "USER" else complete_tasks
    elif parameter.choices:
        more["autocompletion"] = complete_list(parameter.choices)
    option = typer.Option(
        parameter.option or f"--{parameter.name.replace('_', '-')}",
        metavar=parameter.metavar,
        show_default=bool(parameter.default),
        rich_help_panel="Filters" if is_filter else None,
        **more,
    )
    return inspect.Parameter(
        parameter.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=parameter.default,
        annotation=Annotated[parameter.type, option],
    )


def refuse_options_before(ctx: typer.Context, kept: Collection[str] = ()) -> None:
    """Raise InvalidInput for an option of a group that would not reach the subcommand that was named."""
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if (
            parameter.expose_value
            and name not in kept
            and ctx.params.get(name) not in (parameter.get_default(ctx), None, [], ())
        ):
            path = f"{ctx.command_path} {ctx.invoked_subcommand}"
            raise InvalidInput(
                f"{parameter.opts[0]} before '{ctx.invoked_subcommand}' would have no effect",
                f"'{path} --help' shows the options of the subcommand",
            )


def read_request(run: Invocation, query: ListQuery[Filter], given: dict[str, Any]) -> ListRequest[Filter]:
    """Return the list that the options of a query ask for; raise InvalidInput for a bad value."""
    from taskdb_cli.services.listing.cursor import ListRequest

    request = ListRequest.read(query, given, now=run.now, parse_time=partial(parse_when, end_of_day=False))
    for name, parameter in query.filters.items():
        if parameter.metavar == "WHEN" and parameter.name in request.asked:
            run.say_time(parameter.name.replace("_", " "), getattr(request.filter, name))
    for names in PERIODS:
        begin, end = (getattr(request.filter, name, None) for name in names)
        if begin and end and begin >= end:
            first, last = (f"--{query.filters[name].name.replace('_', '-')}" for name in names)
            run.say(f"nothing can match: {first} is not before {last}")
    return request


def choose_fields(view: View, names: str | None) -> View:
    """Return the view with only the named fields; raise InvalidInput naming the valid ones."""
    if names is None:
        return view
    chosen = tuple(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in view.fields:
            raise InvalidInput(f"there is no field {brief(name)!r}", f"fields are {', '.join(view.fields)}")
    return View(chosen, chosen, named=True)
