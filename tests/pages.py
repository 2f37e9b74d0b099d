"""Pages of the documentation as somebody follows them: their blocks, and a terminal to paste these into."""

from __future__ import annotations

import re
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block, its language, and the heading that it stands under."""

    heading: str
    language: str
    text: str


def blocks(page: str, *languages: str) -> Iterator[Block]:
    """Yield the blocks of a page that have one of the languages, or all, in their order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        if not languages or found["language"] in languages:
            # A comment of the shell looks like a heading.
            before = _FENCE.sub("", text[: found.start()])
            [*_, heading] = re.findall(r"^#+ (.*)$", before, re.MULTILINE)
            yield Block(heading, found["language"], textwrap.dedent(found["text"]))


def filled_in(text: str, given: Mapping[str, str]) -> str:
    """Replace what a page marks as the reader's own: the capital letters between quotes."""
    marks = re.compile("|".join(map(re.escape, given)))

    def fill_in(quoted: re.Match[str]) -> str:
        left = marks.sub("", quoted[0])
        assert not re.search("[A-Z]{4}", left), quoted[0]
        return marks.sub(lambda mark: given[mark[0]], quoted[0])

    return re.sub("'[^'\n]*'", fill_in, text)


def run_as_job(words: list[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a program in /, with these variables only; return its code, and all that it prints."""
    done = subprocess.run(
        words,
        env=dict(environment),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


class Shell:
    """A shell in a terminal that stays open; it ends with the first command that fails."""

    _END = "--- that was all ---"

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self._bash = subprocess.Popen(
            ["/bin/bash", "--norc", "-e"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
            text=True,
        )

    def paste(self, text: str) -> str:
        """Run commands, and return what they print; fail if one of them fails."""
        self._bash.stdin.write(f"{{ {text}\n}} </dev/null\necho '{self._END}'\n")
        self._bash.stdin.flush()
        printed = ""
        while not printed.endswith(f"{self._END}\n"):
            line = self._bash.stdout.readline()
            assert line, f"{text}\n{printed}"
            printed += line
        assert "Traceback" not in printed
        return printed.removesuffix(f"{self._END}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bash.kill()
        self._bash.communicate()
