"""The commands of taskdb and what their help says, for the page and the man pages about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import typer

from taskdb_cli.cli.app import app
from taskdb_cli.cli.help import Help, help_of

MANY = 20
"""An option that more commands take is described once."""

HELP = "-h, --help"

Row = tuple[str, str]
"""The name of an option, an argument or a command, and its text."""


class Command(NamedTuple):
    """A command or a group, its path such as `taskdb task list`, and its help."""

    path: str
    command: Any
    help: Help

    @property
    def acts(self) -> bool:
        """Whether it does something without another command behind it."""
        return not self.help.commands or self.command.invoke_without_command

    @property
    def paragraphs(self) -> list[str]:
        """What it says about itself."""
        return [" ".join(part.split()) for part in self.command.help.split("\n\n")]

    @property
    def rows(self) -> list[Row]:
        """Its arguments and options."""
        return [row for _, some in self.help.parameters for row in some]


def walk(command: Any = None, parent: Any = None, name: str = "taskdb") -> Iterator[Command]:
    """Yield each command that help shows: a group first, then what is in it."""
    command = command or typer.main.get_command(app)
    context = command.context_class(command, info_name=name, parent=parent, **command.context_settings)
    help = help_of(command, context)
    yield Command(context.command_path, command, help)
    for _, rows in help.commands:
        for each, _ in rows:
            # `history list` is `history` itself.
            if each in command.commands:
                yield from walk(command.commands[each], context, each)


def shared_rows(every: Sequence[Command]) -> list[Row]:
    """Return the options that many commands take."""
    numbers = Counter(row for each in every for row in each.rows)
    return [row for row, number in numbers.items() if number > MANY and row[0] != HELP]
