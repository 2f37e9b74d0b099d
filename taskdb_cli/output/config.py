"""The settings of a run, its files and its database, as tables for people."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from taskdb_cli.output.tables import console_for
from taskdb_cli.text.amounts import in_one_size
from taskdb_cli.text.escaping import escape


def print_config(report: Mapping[str, Any], stream: TextIO, *, refused: Collection[str]) -> None:
    """Print what `taskdb config -o json` has; what decides most comes last, next to the prompt.

    `refused` names the files that could not be used.
    """
    console, settings = console_for(stream), report["settings"]
    defaults = [each for each in settings if each["source"] == "default"]
    _print(console, ("Default", "Value"), ((each["name"], each["value"]) for each in defaults))
    chosen = [each for each in settings if each["source"] != "default"]
    _print(console, ("Setting", "Value", "From"), ((x["name"], x["value"], _source(x)) for x in chosen))
    profiles, dotenv = report["files"]["profiles"] or "none", report["files"]["dotenv"] or "none"
    known = "refused" if "profiles" in refused else ", ".join(report["profiles"]) or "no profiles"
    if "dotenv" in refused:
        dotenv = f"{report['files']['dotenv'] or '.env'}: refused"
    files = [("Profiles", f"{profiles}: {known}"), ("Dotenv", dotenv)]
    recipients = [("Encrypted to", each) for each in report["recipients"]]
    _print(console, ("", ""), [*files, *recipients, *_database(report)])


def _source(setting: Mapping[str, Any]) -> str:
    # The paths of the files follow below.
    place = str(setting["origin"]).partition(" in /")[0]
    return "dotenv" if setting["source"] == "dotenv" else place


def _database(report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    found = report["database"]
    yield "Database", found["place"] or "not known"
    if name := found["protected_by"] or found["profile"]:
        yield "Profile", f"{name}, protected" if found["protected_by"] else name
    if found["engine"]:
        yield "Engine", f"{found['engine']} {found['version']}"
        yield "Size", in_one_size(found["size"])
        newest = found["newest_revision"]
        at = found["revision"] or "none"
        yield "Revision", f"{at}, the newest" if at == newest else f"{at}; the newest is {newest}"
    if found["problem"]:
        yield "Problem", found["problem"] + (f" ({found['hint']})" if found["hint"] else "")


def _print(console: Console, names: tuple[str, ...], rows: Iterable[tuple[str | None, ...]]) -> None:
    first, *others = names
    columns = (Column(first, no_wrap=True), *(Column(each, overflow="fold") for each in others))
    table = Table(
        *columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=bool(first)
    )
    for row in rows:
        table.add_row(*(Text(escape(cell or "not set")) for cell in row))
    if table.rows:
        console.print(table, "")
