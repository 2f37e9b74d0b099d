"""What a page of the documentation shows in a terminal, and a terminal to compare it with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import pexpect

HOME = "/home/you"
"""The home directory on the pages. A real one should be as long: lines are wrapped by it."""

PROMPT = "<<done:>>"
SECONDS = 60

_PART = re.compile(
    r"^<!-- (?P<mark>run|on|answer): (?P<value>.*?) -->$|^```(?P<kind>console|sh)\n(?P<block>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
VARIABLE = (
    (r"\[\d+\] \d+\n", ""),
    (r"-[0-9a-f]{6}-\d{8}T\d{6}\.\d{6}Z", "-STAMP"),
    (r"-[0-9a-f]{6}\b", "-PLACE"),
    (r"\b\d{8}T\d{4}(?:\d\d(?:\.\d{6}Z)?)?\b", "STAMP"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?", "TIME"),
    (rf"{_DAY},? \d\d? {_MONTH}(?: \d{{4}})?(?: \d\d:\d\d(?::\d\d)?(?: GMT)?)?", "TIME"),
    (rf"\d\d? {_MONTH}(?: \d{{4}})?(?: \d\d:\d\d)?", "TIME"),
    (r"\d{4}-\d\d-\d\d|(?<= )\d{4}-(?:\d\d|W\d\d)\b|\b\d\d:\d\d(?::\d\d)?\b", "TIME"),
    (r"\b(?:in|for) \d+ (?:second|minute|hour|day|week|month|year)s?\b", "SOON"),
    (r"\b\d+ (?:second|minute|hour|day|week|month|year)s? (?:ago|old)\b", "AGO"),
    (rf"\b(?:today|tomorrow|yesterday|just now|{_DAY})(?= |\)|\n|$)", "SOON"),
    (r"\b\d[\d.,]* ?(?:µs|ms|s|min|h)\b", "DURATION"),
    (r"\b\d[\d.,]* ?(?:B|kB|MB|GB|bytes)(?![\w])", "SIZE"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "ID"),
    (r"\b(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{8,64}\b", "ID"),
    (r"─+", "─"),
    (r" +", " "),
    (r" $", ""),
)
"""What differs from run to run, and what stands in its place while a page is compared."""


class Step(NamedTuple):
    """One command of a page, with what it prints; None if the page does not show the command."""

    command: str
    output: str | None
    engines: str
    answers: tuple[str, ...] = ()


def read_steps(page: Path, *, scripts: bool = False) -> Iterator[Step]:
    """Yield the commands of a page in their order, also those in its hidden comments.

    With `scripts` each block of `sh` is a command too, whose output is not shown.
    """
    engines, answers = "", []
    for part in _PART.finditer(page.read_text(encoding="utf-8")):
        if part["mark"] == "run":
            yield Step(part["value"], None, "")
        elif part["mark"] == "on":
            engines = part["value"]
            assert engines in {"postgresql", "postgresql only"}, engines
        elif part["mark"] == "answer":
            answers.append(part["value"])
        elif part["kind"] == "sh":
            if scripts:
                yield Step(part["block"], None, "")
        else:
            assert part["block"].startswith("$ "), part["block"]
            for piece in re.split(r"^\$ ", part["block"], flags=re.MULTILINE)[1:]:
                found = re.fullmatch(r"([^\n]*\n)((?:> [^\n]*\n)*)(.*)", piece, re.DOTALL)
                more = [line.removeprefix("> ") for line in found[2].splitlines(keepends=True)]
                yield Step(found[1] + "".join(more), found[3], engines, tuple(answers))
            engines, answers = "", []


def steady(text: str) -> str:
    """Replace what differs from run to run."""
    for pattern, replacement in VARIABLE:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def is_shown(expected: str, printed: str, *, wrapped: bool = False) -> bool:
    """Tell whether a terminal printed what a page shows, `…` being any text, and alone any lines.

    With `wrapped` lines may be broken at other places.
    """
    if wrapped:
        expected, printed = (" ".join(text.split()) + "\n" for text in (expected, printed))
    lines = [
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(steady(line)).replace("…", ".*") + r"\n"
        for line in expected.rstrip().splitlines()
    ]
    text = steady(printed).rstrip("\n")
    return re.fullmatch("".join(lines), f"{text}\n" if text else "") is not None


class TerminalShell:
    """A bash in a terminal of 100 columns, with an environment of its own."""

    def __init__(self, directory: Path, home: Path, programs: str, variables: dict[str, str]) -> None:
        environment = {
            "HOME": str(home),
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "TERM": "xterm",
            "NO_COLOR": "1",
            "TASKDB_PAGER": "cat",
            "PS1": PROMPT.replace("done:", r"done:$?"),
            "PS2": "",
            **variables,
        }
        self._bash = pexpect.spawn(
            "/bin/bash",
            ["--norc", "--noprofile", "--noediting", "+m"],
            env=environment,
            cwd=directory,
            dimensions=(50, 100),
            encoding="utf-8",
            timeout=SECONDS,
        )
        self._bash.delaybeforesend = None
        self._wait()
        # bash sets PS2 itself if it is empty.
        self.run("PS2=; set +m")

    def _wait(self, answers: tuple[str, ...] = ()) -> tuple[str, int]:
        printed = ""
        waiting = list(answers)
        ended = re.compile(PROMPT.replace("done:", r"done:(\d+)"))
        while self._bash.expect([ended, r"(?:\]|:|\?) $"] if waiting else [ended]) == 1:
            printed += self._bash.before + self._bash.after
            self._bash.sendline(waiting.pop(0))
        return printed + self._bash.before, int(self._bash.match[1])

    def run(self, command: str, answers: tuple[str, ...] = ()) -> tuple[str, int]:
        """Type a command, and return what the terminal shows, and the code."""
        typed = command.rstrip("\n")
        self._bash.sendline(typed)
        printed, code = self._wait(answers)
        printed = printed.replace("\r\n", "\n").removeprefix(f"{typed}\n")
        # A progress bar draws over its line.
        printed = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|.*\r(?!\n)", "", printed)
        # On a slow machine one is shown at all, and the terminal erases it in the end.
        printed = re.sub(r"^.*━.*\n", "", printed, flags=re.MULTILINE)
        return printed, code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bash.close(force=True)
