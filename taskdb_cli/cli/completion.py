r"""What the shell offers when a person presses Tab, quoted for each shell so that no shell runs it.

Stored data may be offered, such as an address that contains `$(reboot)`. The scripts that
`taskdb --install-completion` installs are Typer's, but keep the words in their order. They insert the words
into the command line of bash unchanged, and have zsh evaluate them.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from io import StringIO
from typing import TYPE_CHECKING

import typer
from typer._click import shell_completion as shells
from typer._completion_classes import BashComplete, FishComplete, PowerShellComplete, ZshComplete
from typer._completion_shared import _completion_scripts as scripts

from taskdb_cli.text.escaping import escape

if TYPE_CHECKING:
    from taskdb_cli.config import Settings
    from taskdb_cli.database import Database

# Longer words and lines are not completed. An address has at most 254 characters.
LONGEST_WORD = 300
LONGEST_LINE = 10_000


# Otherwise bash and fish would sort the words. A bash before 4.4 cannot leave them in their order.
_BASH = "complete -o default -F %(complete_func)s %(prog_name)s"
scripts["bash"] = scripts["bash"].replace(
    _BASH, f"{_BASH.replace('complete', 'complete -o nosort', 1)} 2>/dev/null ||\n  {_BASH}"
)
scripts["fish"] = scripts["fish"].replace("complete ", "complete --keep-order ", 1)


def complete_words(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Return a function that offers those of the words that begin as typed."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


def complete_users(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the e-mail addresses that begin as typed. Raise TaskdbError if there is no database."""
    from taskdb_cli.services import user as service

    found = hasty_database(ctx).read(lambda session: service.find_by_prefix(session, incomplete, limit=50))
    return [user.email for user in found]


def complete_profiles(incomplete: str) -> list[str]:
    """Offer the names of profiles that begin as typed. Raise TaskdbError for a file that is refused."""
    from taskdb_cli.system.profiles import read_profiles_file

    return [name for name in read_profiles_file().tables if name.startswith(incomplete)]


def settings_of(ctx: typer.Context) -> Settings:
    """Return the settings that the command line so far asks for; open no log. Raise InvalidConfiguration."""
    from taskdb_cli.config import load_settings

    given = ctx.find_root().params
    names = ("database_url", "profile", "env_file", "schema")
    return load_settings(**{name: given.get(name) for name in names})


def hasty_database(ctx: typer.Context) -> Database:
    """Return the database of these settings, which gives up early, because a person is waiting."""
    settings = settings_of(ctx)
    hasty = replace(settings.options, connect_timeout=2, statement_timeout=2, lock_timeout=1, retry_budget=0)
    return replace(settings, options=hasty).database()


class _Completion(shells.ShellComplete):
    """Offers only words that fit on a line and have no invisible characters, and is silent about errors."""

    def get_completion_args(self) -> tuple[list[str], str]:
        typed = _drop_escapes(os.environ.get("_TYPER_COMPLETE_ARGS", ""))
        words = shells.split_arg_string(typed)[1:]
        incomplete = words.pop() if words and not typed.endswith(" ") else ""
        return words, incomplete

    def get_completions(self, args: list[str], incomplete: str) -> list[shells.CompletionItem]:
        option = re.match("-[^=]*=", incomplete)
        # After --, Typer would still complete the value of an option.
        if len(incomplete) > LONGEST_WORD or not incomplete.isprintable() or (option and "--" in args):
            return []
        # Typer completes only the part behind --option=, but the shells replace the whole word.
        before = option[0] if option else ""
        value = incomplete.removeprefix(before)
        dashes = incomplete.startswith("-") or "--" in args
        # Typer would take a key that is sorted by in descending order for an option.
        is_key = value.startswith("-") and (before or "".join(args[-1:])) in ("--sort", "--sort=")
        sign = "-" if is_key else ""
        found = super().get_completions(args, before + value.removeprefix(sign))
        shown = [item for item in found if item.value.isprintable() and (dashes or item.value[:1] != "-")]
        return [
            shells.CompletionItem(
                before + sign + each.value, help=escape(" ".join((each.help or "").split()))
            )
            for each in shown
        ]

    def offered(self) -> list[str]:
        """Return the lines for the shell, or none after an error or when it takes too long."""
        typed = os.environ.get("COMP_WORDS", "") + os.environ.get("_TYPER_COMPLETE_ARGS", "")
        lines: list[str] = []
        deadline = threading.Timer(5.0, os._exit, (1,))
        deadline.daemon = True
        deadline.start()
        # A message in the middle of a command line that is being typed helps nobody.
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()), suppress(Exception):
            if len(typed) <= LONGEST_LINE:
                items = self.get_completions(*self.get_completion_args())
                lines = [line for item in items if (line := self.format_completion(item))]
        deadline.cancel()
        return lines

    def complete(self) -> str:
        return "\n".join(self.offered())


class Bash(_Completion, BashComplete):
    """Quotes words for bash, which inserts them unchanged in place of a part of the typed word.

    Bash splits words at `@`, `:` and `=` before it asks. It replaces the part behind the last `:` or
    `=`, from the last `@` on, or behind a quote that is still open.
    """

    replaced_after = ""
    quote = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor without their quotes. Raise ValueError for unfinished ones."""
        typed = os.environ["COMP_WORDS"]
        # Typer's script puts newlines between the words, or spaces in older versions of bash.
        words = typed.split("\n" if "\n" in typed else " ")[: int(os.environ["COMP_CWORD"]) + 1]
        *complete, word = re.sub("\n([@:=]+)(\n|$)", r"\1", "\n".join(words)).split("\n")
        for self.quote in ("", "'", '"'):
            with suppress(ValueError):
                incomplete = _unquote(word + self.quote)
                break
        else:
            raise ValueError(word)
        split = word.removesuffix(re.sub("^[@:=]+$", "", words[-1])).removesuffix("@")
        self.replaced_after = _unquote(word[: word.rindex(self.quote)] if self.quote else split)
        return [_unquote(argument) for argument in complete[1:]], incomplete

    def format_completion(self, item: shells.CompletionItem) -> str:
        """Return the part of the word that bash inserts, each special character in quotes of its own."""
        if not item.value.startswith(self.replaced_after):
            return ""
        text, quote = item.value.removeprefix(self.replaced_after), self.quote
        text = re.sub(r"[^\w@%+=:,./-]", lambda found: quote + _in_quotes(found[0]) + quote, text)
        # Bash drops a quote at the beginning, and adds no quote at the end if one stands there.
        return (quote if text.startswith(quote) else "") + text + (quote if text.endswith(quote) else "")


def _in_quotes(character: str) -> str:
    # Bash first takes words for patterns of file names, so these characters may not stand there unchanged.
    if character in "*?[\\":
        return f"$'\\x{ord(character):02x}'"
    return '"\'"' if character == "'" else f"'{character}'"


def _unquote(word: str) -> str:
    """Return what a word of a command line means. Raise ValueError if a quote or an escape is open."""
    word = re.sub(r"\$'\\x([0-9a-f]{2})'", lambda found: f"\\{chr(int(found[1], 16))}", _drop_escapes(word))
    return "".join(shlex.split(word))


def _drop_escapes(text: str) -> str:
    """Drop the backslash before `$` and a backquote, which shlex would keep between double quotes."""
    return re.sub(r"\\(.)", lambda found: found[1] if found[1] in "$`" else found[0], text)


class _Zsh(_Completion, ZshComplete):
    """Gives zsh a command to evaluate. Zsh itself quotes what it inserts."""

    def format_completion(self, item: shells.CompletionItem) -> str:
        # Escape the word for `_describe`, and then all of it for the evaluation.
        word = re.sub(r"[\\:]", r"\\\g<0>", item.value)
        described = f"{word}:{item.help}" if item.help else word
        return re.sub(r"[^\w@%+/.,-]", r"\\\g<0>", described)

    def complete(self) -> str:
        offered = " ".join(self.offered())
        # Without -V zsh would sort the words.
        return (
            f"local -a offered; offered=( {offered} ); _describe -V taskdb offered" if offered else "_files"
        )


class _Fish(_Completion, FishComplete):
    """Gives fish one word a line, with its help after a tab. Fish itself quotes what it inserts."""

    def format_completion(self, item: shells.CompletionItem) -> str:
        return f"{item.value}\t{item.help}" if item.help else str(item.value)

    def complete(self) -> str:
        offered = self.offered()
        if os.environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
            # Fish asks only whether there are any.
            raise SystemExit(0 if offered else 1)
        return "\n".join(offered)


class _PowerShell(_Completion, PowerShellComplete):
    """Offers only words that PowerShell takes unquoted, because it would insert others unquoted too."""

    get_completion_args = PowerShellComplete.get_completion_args

    def format_completion(self, item: shells.CompletionItem) -> str:
        plain = re.fullmatch(r"[\w./+-][\w./+@=-]*", item.value, re.ASCII)
        return f"{item.value}:::{item.help or ' '}" if plain else ""


def quote_completions() -> None:
    """Replace Typer's own classes, which put the words on the command line unquoted."""
    for shell in (Bash, _Zsh, _Fish, _PowerShell):
        shells.add_completion_class(shell, shell.name)
    shells.add_completion_class(_PowerShell, "pwsh")
