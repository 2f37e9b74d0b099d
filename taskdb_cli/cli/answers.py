"""The one line that a change is answered with on a terminal."""

import shutil
import sys
from collections.abc import Sequence
from datetime import datetime

from taskdb_cli.cli.context import Invocation
from taskdb_cli.cli.output import Output
from taskdb_cli.output.formats import Record, View
from taskdb_cli.system.clock import describe
from taskdb_cli.text.escaping import escape

SHORTEST_TITLE = 10
"""How many columns a title gets even in the narrowest terminal."""
MOST_IDS = 8
"""How many ids a line names. The others are counted."""


def is_told(output: Output) -> bool:
    """Return whether a person reads the answer and did not ask for a format of records."""
    return output.format is None and sys.stdout.isatty()


def wants_record(run: Invocation, output: Output) -> bool:
    """Return whether the whole record is to be printed: with -v, with -o, or for a program."""
    return run.verbosity > 0 or not is_told(output)


def answer(run: Invocation, before: str, title: str | None = None, after: str = "") -> None:
    """Print a line to stdout if it is a terminal, else to stderr; with --quiet print nothing.

    The title stands in quotes between the two texts. It is cut to make the line fit the terminal.
    """
    if not sys.stdout.isatty():
        run.say(before + ("" if title is None else f' "{title}"') + after)
    elif run.verbosity >= 0:
        before, after, width = escape(before), escape(after), shutil.get_terminal_size().columns
        middle = "" if title is None else f' "{_cut(escape(title), width - len(before) - len(after) - 3)}"'
        sys.stdout.write(f"{before}{middle}{after}\n")


def show_first(run: Invocation, records: Sequence[Record], view: View, total: int) -> None:
    """Print the first of the records that a change is about on stderr, and say how many more there are."""
    from taskdb_cli.output.tables import print_table

    print_table(records, view, sys.stderr)
    if more := total - len(records):
        run.say(f"and {more:,} more")


def due_in_words(run: Invocation, moment: object) -> str:
    """Return how a due date was understood, or '' if there is none."""
    if not isinstance(moment, datetime):
        return ""
    return f"due {describe(moment, run.now)}{', which is in the past' if moment < run.now else ''}"


def listed(ids: Sequence[int]) -> str:
    """Return ids as a line names them; those of a long list are counted."""
    named = ", ".join(map(str, ids[:MOST_IDS]))
    return named if len(ids) <= MOST_IDS else f"{named} and {len(ids) - MOST_IDS:,} more"


def _cut(text: str, room: int) -> str:
    room = max(room, SHORTEST_TITLE)
    if len(text) <= room // 2:
        return text  # no character is wider than two columns
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= room else f"{set_cell_size(text, room - 1).rstrip()}…"
