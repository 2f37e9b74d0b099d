"""Random command lines, made of the real commands and options and of values that nobody should type.

They are safe to run: what they write is below the working directory and the home directory of the test, they
connect to this machine only, and none of them serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any, get_args

from typer.main import get_command

from taskdb_cli.cli.app import app

PASSWORD = "hunter2-Zq9"

NEVER = ("serve", "--debug", "--install-completion", "--show-completion")
"""One runs until it is stopped, one asks for a traceback, the others look for the shell above the tests."""

TEXTS = (
    "",
    " ",
    "-",
    "--",
    "---",
    "-1",
    "0",
    "1",
    "2",
    "\N{ARABIC-INDIC DIGIT THREE}",
    "²",
    "1_000",
    "+1",
    " 1",
    "1e3",
    "0x10",
    "nan",
    "inf",
    "-0.0",
    "1.5",
    str(2**31),
    str(2**63 - 1),
    str(2**63),
    str(-(2**63) - 1),
    "9" * 400,
    "9" * 5000,
    "x" * 201,
    "x" * 9999,
    "é" * 300,
    "\N{GRINNING FACE}" * 70,
    "a\u0301" * 500,
    "\udcff",
    "a\udc80b\udcfe",
    "\udce2\udc82",
    "\x01",
    "\x07\x08\x7f",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31m",
    "line\nbreak",
    "tab\tbreak",
    "carriage\rreturn",
    "\u202egpj.exe",
    "\u2028",
    "\ufeff",
    "\ufffe",
    "%",
    "%s%n",
    "%00",
    "_%\\",
    "'; DROP TABLE tasks; --",
    '"',
    "`id`",
    "$(id)",
    "{}",
    "{0.__class__}",
    "[red]x[/]",
    "[/nonsense]",
    "[]",
    "null",
    "ann@example.com",
    "ANN@EXAMPLE.COM",
    "a@b",
    "@",
    "a@" + "b" * 64 + ".com",
    "a@xn--\udcff.com",
    "a@☃.example",
    "2026-13-01",
    "2026-02-30T25:61",
    "0000-00-00",
    "0001-01-01",
    "9999-12-31T23:59:59.9999999+14:00",
    "9999-12-31T23:59:59-12:00",
    "+999999999d",
    "-99999999999999999999w",
    "+3d",
    "tomorrow",
    "in 2 weeks",
    "99:99",
    "latest",
    "head",
    "base",
    "0001:0003",
    "0003:0001",
    "+1",
    "-2",
    "todo",
    "open",
    "urgent",
    "id,id",
    "-due,id",
    "title,nothing",
    ",",
    "tasks",
    "pg_catalog",
    "quick_check",
    "backup",
    "--help",
    "--no-such",
    "-o",
    "json",
    "-vvv",
)

IMPOSSIBLE_HOSTS = (
    "a..b",
    "..",
    ".a",
    "a b",
    "a%20b",
    "%00",
    "%0A",
    "%ff",
    "\udcff",
    "\x1b[31m",
    "a" * 64,
    "a" * 64 + ".example.com",
    ".".join(["a" * 60] * 5),
    "é" * 60 + ".example.com",
    "xn--\xff",
    "\xad",
    "[::1",
    "127.0.0.1,a..b",
    "a'b",
    "a\\b",
    "a$b",
)
"""What no host can be called."""

HOSTS = (
    *IMPOSSIBLE_HOSTS,
    "",
    "127.0.0.1",
    "localhost",
    "[::1]",
    "::1",
    "[fe80::1%25lo]",
    "[127.0.0.1]",
    ".",
    "%20",
    "a" * 64 + ".com",
    "xn--" + "a" * 60,
    "\u2024\u2024",
    "☃" * 30,
    "\u06271",
    "a,b..c",
    "127.0.0.1,127.0.0.1",
    ",",
    "%2Fno%2Fsuch",
    "%2F" + "x" * 200,
    "@",
)

PORTS = (
    "",
    ":1",
    ":0",
    ":65536",
    ":-1",
    ":abc",
    ":",
    ":99999999999999999999",
    ":\N{ARABIC-INDIC DIGIT ONE}",
    ":1,2",
    ":%31",
    ":\udcff",
)

QUERIES = (
    "",
    "",
    "?",
    "?sslmode=nonsense",
    "?nonsense=1",
    "?connect_timeout=x",
    "?host=a..b",
    "?hostaddr=::::",
    "?port=0",
    "?options=-c%20nonsense%3D1",
    "?options=%ff",
    "?service=none",
    "?passfile=%2Fdev%2Fnull%00",
    "?sslrootcert=\udcff",
    "?application_name=\udcff",
    "?a=1&a=2&&=&",
    "?password=" + PASSWORD + "&host=/no/such",
    "#fragment",
)

SQLITE_URLS = (
    "sqlite://",
    "sqlite:///",
    "sqlite:////",
    "sqlite:///:memory:",
    "sqlite:///new.sqlite3",
    "sqlite:///there.sqlite3",
    "sqlite:///there.sqlite3?mode=ro",
    "sqlite:///file:there.sqlite3?mode=memory",
    "sqlite:///folder",
    "sqlite:///text.txt",
    "sqlite:///empty",
    "sqlite:///null",
    "sqlite:///loop",
    "sqlite:////proc/self/mem",
    "sqlite:////proc/nothing.sqlite3",
    "sqlite:///%00",
    "sqlite:///%ff",
    "sqlite:///\udcff",
    "sqlite:///a\nb",
    "sqlite:///" + "x" * 300,
    "sqlite:///" + "x/" * 3000 + "y",
    "sqlite://host/path",
    "sqlite://u:" + PASSWORD + "@h/path",
    "sqlite:///~/x",
    "sqlite+aiosqlite:///x",
)

OTHER_URLS = (
    "",
    " ",
    "x",
    "://",
    "mysql://u:" + PASSWORD + "@h/d",
    "postgresql",
    "postgres:",
    "é://x",
    "\udcff://x",
)

PATHS = (
    "",
    ".",
    "..",
    "-",
    "~",
    "text.txt",
    "empty",
    "users.csv",
    "tasks.json",
    "folder",
    "folder/",
    "null",
    "full",
    "loop",
    "there.sqlite3",
    "text.txt/below",
    "no/such/place",
    "/proc/no/such",
    "/proc/self/mem",
    "new.file",
    "new\nline",
    "\x1b[31m",
    "\udcff",
    "x" * 256,
    "x/" * 3000,
    "archives",
    "latest",
)


PLAUSIBLE = ("1", "2", "ann@example.com", "id", "tomorrow")

_OF_PATHS = ("PATH", "DIR", "FILE", "ARCHIVE", "ARCHIVE…")


@dataclass(frozen=True)
class _Command:
    words: tuple[str, ...]
    parameters: Sequence[Any]


def _walk(command: Any, words: tuple[str, ...] = ()) -> list[_Command]:
    below = getattr(command, "commands", {})
    found = [] if words[:1] == ("serve",) else [_Command(words, command.params)]
    return [*found, *(each for name, child in below.items() for each in _walk(child, (*words, name)))]


_ALL = _walk(get_command(app))
_ROOT, COMMANDS = _ALL[0], _ALL[1:]


class CommandLines:
    """Makes command lines; the same seed makes the same ones."""

    def __init__(self, seed: int, url: str) -> None:
        self._random = Random(seed)
        self._url = url

    def next(self) -> list[str]:
        """Return the words of one command line after `taskdb`; none holds a zero byte."""
        command = self._random.choice(COMMANDS)
        line = [*self._options(_ROOT, 0.08), *command.words]
        rest = self._options(command, self._random.choice([0.15, 0.4]))
        for parameter in command.parameters:
            if parameter.param_type_name == "argument" and self._random.random() > 0.1:
                count = 1 if parameter.nargs == 1 else self._random.choice([1, 1, 2, 3, 40])
                rest += [self._value(parameter) for _ in range(count)]
        if self._random.random() < 0.1:
            self._random.shuffle(rest)
        line += rest
        if self._random.random() < 0.15:
            # Words that stand where none should be.
            other = self._random.choice(COMMANDS)
            stray = [self._any(), "--", "-", *self._options(other, 0.5)]
            line.insert(self._random.randrange(len(line) + 1), self._random.choice(stray))
        if self._random.random() < 0.05:
            line += line[-2:]
        return [word.replace("\0", "") for word in line if word not in NEVER]

    def _options(self, command: _Command, share: float) -> list[str]:
        words: list[str] = []
        for parameter in command.parameters:
            wanted = 0.9 if parameter.required or parameter.name == "yes" else share
            if parameter.param_type_name != "option" or self._random.random() > wanted:
                continue
            for _ in range(self._random.choice([1, 1, 1, 1, 2])):
                name = self._random.choice([*parameter.opts, *parameter.secondary_opts])
                if name in NEVER:
                    continue
                if parameter.is_flag or parameter.count:
                    words.append(name)
                elif self._random.random() < 0.2 and name.startswith("--"):
                    words.append(f"{name}={self._value(parameter)}")
                else:
                    words += [name, self._value(parameter)]
        return words

    def _value(self, parameter: Any) -> str:
        if parameter.name == "wait":
            return self._random.choice(["0", "0.1", "-1", "x", "nan", "1e9", "\udcff"])
        if parameter.metavar == "URL":
            return self._database_url()
        if parameter.metavar in _OF_PATHS:
            return self._random.choice(PATHS)
        choices = self._choices(parameter)
        share = self._random.random()
        if choices and share < 0.7:
            return self._random.choice(choices)
        return self._random.choice(PLAUSIBLE) if share < 0.4 else self._any()

    def _choices(self, parameter: Any) -> list[str]:
        kind = parameter.type_descriptor.annotation
        for each in (kind, *get_args(kind)):
            if isinstance(each, type) and issubclass(each, Enum):
                return [str(member.value) for member in each]
        return []

    def _any(self) -> str:
        if self._random.random() < 0.8:
            return self._random.choice(TEXTS)
        codes = [*range(1, 128), *range(0xDC80, 0xDD00), 0xE9, 0x85, 0x200B, 0x202E, 0x1F600]
        return "".join(chr(self._random.choice(codes)) for _ in range(self._random.randrange(1, 12)))

    def _database_url(self) -> str:
        kind = self._random.random()
        if kind < 0.15:
            return self._url
        if kind < 0.45:
            return self._random.choice(SQLITE_URLS)
        if kind < 0.55:
            return self._random.choice(OTHER_URLS)
        user = self._random.choice(
            ["", "ann@", f"ann:{PASSWORD}@", f"\udcff:{PASSWORD}@", f"a%00:{PASSWORD}@", f":{PASSWORD}/x@"]
        )
        name = self._random.choice(
            ["", "/", "/x", "/%00", "/%ff", "/\udcff", "/a=b", "/" + "x" * 200, "/x/y"]
        )
        scheme = self._random.choice(["postgresql", "postgres", "postgresql+psycopg", "postgresql+x"])
        return "".join(
            [
                scheme,
                "://",
                user,
                self._random.choice(HOSTS),
                self._random.choice(PORTS),
                name,
                self._random.choice(QUERIES),
            ]
        )
