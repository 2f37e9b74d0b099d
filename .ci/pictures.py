"""Make the pictures of the documentation: what commands print on a terminal, as SVG.

`python .ci/pictures.py` writes them into docs/pictures. With `--check` it exits 1 if they are not up to date.
The commands run on a new database of a small team, with the tasks of pictures.csv, and on a clock that
stands still.
"""

from __future__ import annotations

import csv
import importlib
import io
import os
import pkgutil
import pty
import re
import secrets
import shlex
import shutil
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from html import escape
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

import taskdb_cli
from taskdb_cli.__main__ import main as run_taskdb

PROJECT = Path(__file__).resolve().parent.parent
DATA = PROJECT / "tests/data"
COLUMNS, LINES = 80, 60
HOME = "/home/you"
"""The home directory in the pictures."""

NOW = "2026-11-27 09:12"
TEAM = {"ann": "Ann Berg", "ben": "Ben Okafor", "eva": "Eva Martin", "tom": "Tom Sato"}
BACKUP = ("cron", "taskdb backup")
WORK = (
    ("2026-10-18 02:30", *BACKUP),
    ("2026-10-18 09:20", "ann", "taskdb backup verify latest --drill"),
    ("2026-11-01 02:30", *BACKUP),
    ("2026-11-08 02:30", *BACKUP),
    ("2026-11-15 02:30", *BACKUP),
    ("2026-11-22 02:30", *BACKUP),
    ("2026-11-23 10:05", "ann", "taskdb task create --user ben@example.com 'Renew the certificate'"),
    ("2026-11-24 02:30", *BACKUP),
    ("2026-11-24 14:30", "ben", "taskdb task start 28"),
    ("2026-11-25 02:30", *BACKUP),
    ("2026-11-25 16:20", "ann", "taskdb task update 28 --priority urgent --due '2026-11-27 17:00'"),
    ("2026-11-26 02:30", *BACKUP),
    ("2026-11-27 02:30", *BACKUP),
)
"""What the team does until now: when, who and how."""


class Theme(NamedTuple):
    """The colours of a terminal, and of the line around its picture."""

    colours: TerminalTheme
    border: str


def _theme(background: str, foreground: str, border: str, *colours: str) -> Theme:
    """Return a theme; the colours are red, green, yellow, blue, magenta and cyan."""
    palette = [_rgb(colour) for colour in (foreground, *colours, foreground)]
    return Theme(TerminalTheme(_rgb(background), _rgb(foreground), palette), border)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


THEMES = {
    "light": _theme(
        *("#ffffff", "#0b0f14", "#d0d7de"),
        *("#c21d2a", "#136b2d", "#855600", "#0757ba", "#7a3bc9", "#0e656d"),
    ),
    "dark": _theme(
        *("#0d1117", "#e6edf3", "#3d444d"),
        *("#ff7b72", "#56d364", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd"),
    ),
}

SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {terminal_width} {terminal_height}"
role="img" aria-labelledby="{unique_id}">
<title id="{unique_id}">TITLE</title>
<style>
.{unique_id}-text {{
font: {char_height}px ui-monospace, SFMono-Regular, Menlo, Consolas,
"DejaVu Sans Mono", "Liberation Mono", monospace;
}}
{styles}
</style>
<rect width="100%" height="100%" rx="10" fill="BACKGROUND" stroke="BORDER" stroke-width="2"/>
<g class="{unique_id}-text" transform="translate(24 0)">{backgrounds}{matrix}
</g>
</svg>
"""
"""What Rich fills in. It needs no font of the network: `textLength` fits any font to the columns."""

ASPECT = 0.6
"""The width of a character by its height, in most monospaced fonts."""


class _Kind(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)


class Clock(datetime, metaclass=_Kind):
    """`datetime` on a clock that stands still."""

    __slots__ = ()
    stands_at = datetime.now(UTC)

    def __new__(cls, *values: Any, **named: Any) -> Any:
        """Return a datetime, never a Clock."""
        return datetime(*values, **named)  # noqa: DTZ001 (the caller's own)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        """Return the time of the clock."""
        return cls.stands_at.astimezone(tz)


def load_taskdb() -> None:
    """Import all of taskdb, on the clock that stands still. Each command is a fork of this process."""
    for found in pkgutil.walk_packages(taskdb_cli.__path__, "taskdb_cli."):
        module = importlib.import_module(found.name)
        if vars(module).get("datetime") is datetime:
            vars(module)["datetime"] = Clock


class Team:
    """A team's database in a home directory of its own, and the clock of its commands."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, line: str, at: str = NOW, *, by: str = "ann", answer: str = "", code: int = 0) -> Text:
        """Run a command at a time, answer what it asks, and return what a terminal shows of it."""
        pid, terminal = pty.fork()
        if pid == 0:
            self._become(shlex.split(line), at, by)
        printed = b""
        while chunk := _read(terminal):
            printed += chunk
            if answer and printed.endswith(b"[y/N] "):
                os.write(terminal, answer.encode() + b"\n")
        os.close(terminal)
        shown = printed.decode().replace("\r\n", "\n").replace(str(self.home), HOME)
        if (found := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])) != code:
            raise SystemExit(f"{line}: exit code {found}\n{shown}")
        return Text.assemble(("$ ", "dim"), (line, "bold"), "\n", Text.from_ansi(shown))

    def _become(self, words: list[str], at: str, actor: str) -> NoReturn:
        termios.tcsetwinsize(0, (LINES, COLUMNS))
        os.environ.clear()
        os.environ |= {
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "TZ": "UTC",
            "TASKDB_ACTOR": actor,
            "TASKDB_BACKUP_LABEL": "shop",
            # How full the disk is depends on the machine.
            "TASKDB_HEALTH_LIMITS": "disk=: backup_space=:",
        }
        time.tzset()
        # Whatever is measured has taken 83 ms.
        time.monotonic = time.perf_counter = chain([0.0], repeat(0.083)).__next__
        Clock.stands_at = _moment(at)
        os.chdir(self.home)
        sys.argv[:] = words
        # Python opened its streams on another terminal, or on none.
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, closefd=False)  # noqa: SIM115 (the process ends with them)
            for number, mode in enumerate("rww")
        )
        run_taskdb()

    def seed(self) -> None:
        """Let the team work until now."""
        for user, name in TEAM.items():
            self.run(f"taskdb user create --email {user}@example.com --name '{name}'", "2026-09-28 08:00")
        for at, by, line in WORK:
            self._import_tasks(at)
            self.run(line, at, by=by)

    def _import_tasks(self, until: str) -> None:
        with Path(__file__).with_suffix(".csv").open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        created = header.index("created_at")
        some = self.home / "tasks.csv"
        with some.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *(row for row in rows if row[created] < until)])
        self.run(f"taskdb task import {some.name}", until)
        some.unlink()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # On Linux this is how a terminal ends.
        return b""


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def take_pictures(team: Team) -> Iterator[tuple[str, str, Text]]:
    """Yield the name, the title and the text of each picture."""
    yield (
        "list",
        "Open tasks of a team, the most urgent first; late ones are red",
        team.run("taskdb task list --status open --sort -priority,due"),
    )
    yield (
        "stats",
        "How many tasks have each status and priority, and how many were created and completed in each week",
        team.run("taskdb stats"),
    )
    yield (
        "history",
        "The history of a task: who changed what, and when",
        team.run("taskdb task history 28"),
    )
    yield (
        "backup-list",
        "The archives of a database, with age, size, rows, last verification and last test restore",
        team.run("taskdb backup list"),
    )
    deleted = team.run("taskdb task delete 20-22 --yes")
    undone = team.run("taskdb undo", "2026-11-27 09:13", answer="y")
    yield "undo", "Three tasks are deleted by mistake, and undo brings them back", deleted + undone
    shutil.copy(DATA / "import/todoist.csv", team.home)
    imported = team.run("taskdb task import todoist.csv --user tom@example.com")
    listed = team.run("taskdb task list --user tom@example.com --sort due --limit 3")
    yield "import", "Tasks come in from Todoist, and taskdb says what it could not keep", imported + listed
    yield (
        "health",
        "Health says that the last backup is three days old, and which command helps",
        team.run("taskdb health", "2026-11-30 09:12", code=2),
    )


def draw(name: str, title: str, shown: Text, theme: Theme) -> str:
    """Return the SVG of what a terminal shows."""
    # Two columns and a line are the margin on each side.
    width = COLUMNS + 4
    console = Console(
        record=True, file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor"
    )
    for line in Text("\n").join([Text(), shown]).split("\n", allow_blank=True):
        for part in line.divide(range(COLUMNS, len(line), COLUMNS)):
            part.rstrip()
            console.print(part)
    colours = theme.colours
    words = {
        "TITLE": escape(title),
        "BACKGROUND": colours.background_color.hex,
        "BORDER": theme.border,
    }
    svg = console.export_svg(
        title="",
        theme=colours,
        code_format=re.sub("|".join(words), lambda found: words[found[0]], SVG),
        font_aspect_ratio=ASPECT,
        unique_id=name,
    )
    # Rich also draws the ends of lines. It clips lines, but no line is too long here.
    svg = re.sub(r'<text [^>]*>\n</text>| clip-path="[^"]*"', "", svg)
    return svg.replace("<text ", '\n<text lengthAdjust="spacingAndGlyphs" ')


@contextmanager
def _home() -> Iterator[Path]:
    """Make a home directory with a path as long as `HOME`, which taskdb makes room for."""
    path = Path(f"/tmp/{secrets.token_hex(2)}")  # noqa: S108 (made for us alone, below)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def main() -> None:
    """Write the pictures, or compare them."""
    load_taskdb()
    old = []
    with _home() as home:
        team = Team(home)
        team.seed()
        for name, title, shown in take_pictures(team):
            for theme, colours in THEMES.items():
                file = PROJECT / f"docs/pictures/{name}-{theme}.svg"
                svg = draw(file.stem, title, shown, colours)
                if "--check" not in sys.argv:
                    file.write_text(svg, encoding="utf-8")
                elif not file.exists() or file.read_text(encoding="utf-8") != svg:
                    old.append(file.name)
    if old:
        sys.exit(f"{', '.join(old)}: run 'python .ci/pictures.py', and look at them")


if __name__ == "__main__":
    main()
