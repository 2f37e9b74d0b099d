"""Completion: what each shell is told, so that no shell runs what is offered.

What is offered may be stored data, such as an address that holds `$(reboot)`. The scripts that
`taskdb --install-completion` installs are Typer's own. They put the words into the command line of
bash as they are, and have zsh evaluate them.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO

from typer._click.shell_completion import (
    CompletionItem,
    ShellComplete,
    add_completion_class,
    split_arg_string,
)
from typer._completion_classes import BashComplete, FishComplete, PowerShellComplete, ZshComplete

LONGEST_WORD = 300
"""Longer words are not completed: an address has at most 254 characters, and an option goes before it."""

LONGEST_LINE = 10_000
"""Characters of a command line that is completed at all."""

LONGEST_WAIT = 5.0
"""Seconds until completion gives up, whatever it waits for."""


class Completion(ShellComplete):
    """Offers only words that fit on a line, and says nothing about errors."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return what can be offered for the last word; nothing with invisible or control characters."""
        if len(incomplete) > LONGEST_WORD or not incomplete.isprintable():
            return []
        option = re.match("-[^=]*=", incomplete)
        if option and "--" in args:
            # Typer would complete the value of an option here, but this is no option.
            return []
        # Typer completes only what stands behind --option=, but the shells replace the whole word.
        before = option[0] if option else ""
        dashes_are_options = not incomplete.startswith("-") and "--" not in args
        return [
            CompletionItem(before + item.value, help=" ".join((item.help or "").split()))
            for item in super().get_completions(args, incomplete)
            if item.value.isprintable() and not (dashes_are_options and item.value.startswith("-"))
        ]

    def offered(self) -> list[str]:
        """Return the lines that the shell is given; none after an error or when it takes too long."""
        typed = os.environ.get("COMP_WORDS", "") + os.environ.get("_TYPER_COMPLETE_ARGS", "")
        if len(typed) > LONGEST_LINE:
            return []
        deadline = threading.Timer(LONGEST_WAIT, os._exit, (1,))
        deadline.daemon = True
        deadline.start()
        try:
            # A message in the middle of a command line that is being typed helps nobody.
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()), suppress(Exception):
                return [
                    line
                    for item in self.get_completions(*self.get_completion_args())
                    if (line := self.format_completion(item))
                ]
        finally:
            deadline.cancel()
        return []

    def complete(self) -> str:
        """Return one line for each word."""
        return "\n".join(self.offered())


class Bash(Completion, BashComplete):
    """Quotes words for bash, which inserts them unchanged in place of a part of the typed word.

    Bash splits words at `@`, `:` and `=` before it asks. It replaces the part behind the last `:` or
    `=`, from the last `@` on, or behind a quote that is still open.
    """

    replaced_after = ""
    quote = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor without their quotes; raise ValueError for unfinished ones."""
        typed = os.environ["COMP_WORDS"]
        # Typer's script puts newlines between the words, and the one for older versions of bash spaces.
        words = typed.split("\n" if "\n" in typed else " ")[: int(os.environ["COMP_CWORD"]) + 1]
        *complete, word = re.sub("\n([@:=]+)(\n|$)", r"\1", "\n".join(words)).split("\n")
        incomplete, self.quote = _unquote(word)
        if self.quote:
            before = word[: word.rindex(self.quote)]
        else:
            before = word.removesuffix(re.sub("^[@:=]+$", "", words[-1])).removesuffix("@")
        self.replaced_after = _unquote_whole(before)
        return [_unquote_whole(argument) for argument in complete[1:]], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Return the part of the word that bash inserts, each special character in quotes of its own."""
        if not item.value.startswith(self.replaced_after):
            return ""
        text = item.value.removeprefix(self.replaced_after)
        quoted = re.sub(r"[^\w@%+=:,./-]", lambda found: self.quote + _in_quotes(found[0]) + self.quote, text)
        # Bash drops a quote at the beginning and adds none at the end when there is one.
        return self._doubled(quoted)

    def _doubled(self, text: str) -> str:
        if not self.quote:
            return text
        first = self.quote if text.startswith(self.quote) else ""
        last = self.quote if text.endswith(self.quote) else ""
        return first + text + last


def _in_quotes(character: str) -> str:
    # Bash takes the words for patterns of file names first, so none of these may stand there as it is.
    if character in "*?[\\":
        return f"$'\\x{ord(character):02x}'"
    return '"\'"' if character == "'" else f"'{character}'"


def _unquote(word: str) -> tuple[str, str]:
    """Return what a word of a command line means, and the quote that is still open at its end."""
    plain = re.sub(r"\$'\\x([0-9a-f]{2})'", lambda found: f"\\{chr(int(found[1], 16))}", _plain(word))
    for quote in ("", "'", '"'):
        with suppress(ValueError):
            return "".join(shlex.split(plain + quote)), quote
    raise ValueError(word)


def _unquote_whole(word: str) -> str:
    text, quote = _unquote(word)
    if quote:
        raise ValueError(word)
    return text


def _plain(text: str) -> str:
    """Drop the backslash before `$` and a backquote, which shlex would keep between double quotes."""
    return re.sub(r"\\(.)", lambda found: found[1] if found[1] in "$`" else found[0], text)


class LineCompletion(Completion):
    """Reads the line up to the cursor, as zsh and fish give it."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor without their quotes."""
        typed = _plain(os.environ.get("_TYPER_COMPLETE_ARGS", ""))
        words = split_arg_string(typed)[1:]
        incomplete = words.pop() if words and not typed.endswith(" ") else ""
        return words, incomplete


class Zsh(LineCompletion, ZshComplete):
    """Gives zsh a command to evaluate; zsh itself quotes what it inserts."""

    def format_completion(self, item: CompletionItem) -> str:
        """Return word and help for `_describe`, escaped once for that and once for the evaluation."""
        word = re.sub(r"[\\:]", r"\\\g<0>", item.value)
        described = f"{word}:{item.help}" if item.help else word
        return re.sub(r"[^\w@%+/.,-]", r"\\\g<0>", described)

    def complete(self) -> str:
        """Return the command that offers the words, or file names if there are none."""
        offered = " ".join(self.offered())
        return f"local -a offered; offered=( {offered} ); _describe taskdb offered" if offered else "_files"


class Fish(LineCompletion, FishComplete):
    """Gives fish one word a line, with its help after a tab; fish itself quotes what it inserts."""

    def format_completion(self, item: CompletionItem) -> str:
        """Return the word and its help."""
        return f"{item.value}\t{item.help}" if item.help else str(item.value)

    def complete(self) -> str:
        """Return the words; leave with 1 if fish asks whether there are any and there are none."""
        offered = self.offered()
        if os.environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
            raise SystemExit(0 if offered else 1)
        return "\n".join(offered)


class PowerShell(Completion, PowerShellComplete):
    """Offers only words that PowerShell takes as they are, because it would insert others unquoted."""

    def format_completion(self, item: CompletionItem) -> str:
        """Return the word and its help, or nothing for a word that needs quotes."""
        plain = re.fullmatch(r"[\w./+-][\w./+@=-]*", item.value, re.ASCII)
        return f"{item.value}:::{item.help or ' '}" if plain else ""


def quote_completions() -> None:
    """Take the place of Typer's own classes, which put the words on the command line unquoted."""
    for name, shell in (("bash", Bash), ("zsh", Zsh), ("fish", Fish)):
        add_completion_class(shell, name)
    for name in ("powershell", "pwsh"):
        add_completion_class(PowerShell, name)
