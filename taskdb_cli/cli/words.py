"""How the words behind a command are read, where taskdb reads more than Typer does."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import takewhile
from typing import Any

from typer._click.exceptions import BadOptionUsage, NoSuchOption
from typer._click.parser import _OptionParser as OptionParser

from taskdb_cli.cli.context import Invocation
from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.escaping import brief

HIDDEN = {"--yes": "--force", "--version": "-V"}
"""Other names of options, which people know from other tools."""

_GLOBAL = "global "

_ONE_WORD = {"USER", "PRIORITY", "FORMAT", "URL", "CURSOR", "KEYS", "NAMES"}
"""The names of values that have no spaces."""


def close_matches(word: str, words: Sequence[str]) -> list[str]:
    """Return the words that a mistyped one may mean, the closest first, or the only one that it begins."""
    begun = {each for each in words if each.startswith(word)}
    return get_close_matches(word, words, cutoff=0.75) or ([*begun] if len(begun) == 1 else [])


class Words(OptionParser):
    """Reads the options and the other words of a command.

    Global options may stand behind any command. An option of the command that has the same name goes first.
    """

    def __init__(self, ctx: Any, text: str) -> None:
        super().__init__(ctx)
        self.text = text
        """The argument that all words which are no options belong to, if they must stand together."""
        self.joined: dict[int, str] = {}
        """How to type the option before a word so that it takes this word too, by the word's number.

        This is empty for an option that takes no such value.
        """

    def add_option(self, obj: Any, opts: Sequence[str], *args: Any, **more: Any) -> None:
        """Read an option under its names and its hidden name."""
        super().add_option(obj, [*opts, *(HIDDEN[name] for name in opts if name in HIDDEN)], *args, **more)

    def add_global_options(self, ctx: Any) -> None:
        """Read the options of the root command too, apart from options of the same name."""
        own = self._long_opt, self._short_opt
        self._long_opt, self._short_opt = {}, {}
        for parameter in ctx.find_root().command.params:
            parameter.add_to_parser(self, ctx)
        for option in {*self._long_opt.values(), *self._short_opt.values()}:
            option.dest = f"{_GLOBAL}{option.dest}"
        self._long_opt |= own[0]
        self._short_opt |= own[1]

    def parse_args(self, args: list[str]) -> Any:
        """Read all words. Raises Typer's UsageError or InvalidInput."""
        given, rest, order = super().parse_args(args)
        late = {name: given.pop(name) for name in [*given] if name.startswith(_GLOBAL)}
        if late:
            self._take_global_options({name.removeprefix(_GLOBAL): late[name] for name in late})
        return given, rest, order

    def _take_global_options(self, late: dict[str, Any]) -> None:
        """Give the root command options from behind another one. Of two values the later one counts."""
        root: Any = self.ctx.find_root()  # type: ignore[union-attr]
        for option in root.command.params:
            if option.name in late:
                if option.count:
                    late[option.name] += root.params[option.name]
                option.handle_parse_result(root, late, [])
        if isinstance(root.obj, Invocation):
            root.obj.take_options(root.params)

    def _process_opts(self, arg: str, state: Any) -> None:
        if re.match("--?[a-z]", arg, re.IGNORECASE):
            # Only a word such as -1 may be something else than an option.
            self.ignore_unknown_options = False
        words, rest = len(state.largs), [*state.rargs]
        name = arg.partition("=")[0]
        try:
            if f"-{name}" in self._long_opt and not name.startswith("--"):
                # Its first letter may be an option that would take the others as its value.
                raise NoSuchOption(name, possibilities=[f"-{name}"])  # noqa: TRY301 (as Typer raises it)
            super()._process_opts(arg, state)
        except (NoSuchOption, BadOptionUsage) as exc:
            exc.ctx = self.ctx
            if self.ctx:
                self.ctx.args = rest
            raise
        if len(state.largs) == words:
            value = rest[: len(rest) - len(state.rargs)]
            more = takewhile(lambda word: word[:1] != "-", state.rargs)
            self.joined[words] = _join(arg, value, [*more], state.order[-1])

    def _process_args_for_args(self, state: Any) -> None:
        words, ctx = [*state.largs, *state.rargs], self.ctx
        super()._process_args_for_args(state)
        if ctx is None or ctx.resilient_parsing or state.opts.get("help"):
            return
        self._take_json(state.opts)
        self._split_lists(state.opts)
        stray = len(words) if ctx.allow_extra_args else len(words) - len(state.largs)
        of_text = ""
        for number, joined in sorted(self.joined.items()):
            if self.text and 0 < number < stray:
                stray, of_text = number, f": the words of {self.text} stand together"
            elif self._takes_ids() and joined and number < stray and not _is_id(words[number]):
                stray = number
        if stray < len(words):
            what = f"unexpected {brief(words[stray])!r}{of_text}"
            raise InvalidInput(
                what,
                self.joined.get(stray)
                or (of_text and f"put them side by side, or quote the {self.text.lower()}")
                or f"'{ctx.command_path} --help' shows what it takes",
            )

    def _takes_ids(self) -> bool:
        return any(argument.obj.display_name_raw.startswith("ID") for argument in self._args)

    def _take_json(self, given: dict[str, Any]) -> None:
        if given.get("json") and (option := self._long_opt.get("--output")):
            chosen = given.setdefault(str(option.dest), "json")
            if chosen.lower() != "json":
                raise InvalidInput(f"--json means -o json, and -o is {brief(chosen)!r}", "leave one out")

    def _split_lists(self, given: dict[str, Any]) -> None:
        for option in self._long_opt.values():
            # The name of a column may have commas.
            if option.action == "append" and option.dest in given and option.dest != "map":
                values = ",".join(given[option.dest]).split(",")
                given[option.dest] = [value.strip() for value in values]


def _is_id(word: str) -> bool:
    return not set(word) - set("0123456789,-")


def _join(arg: str, value: Sequence[str], more: Sequence[str], option: Any) -> str:
    """Return what to type for an option that should take more words, or nothing if it cannot take them."""
    if not more:
        return ""
    if option.multiple:
        return f"several: {' '.join([arg, *value])},{','.join(more)}"
    if (
        option.is_flag
        or option.count
        or option.metavar in _ONE_WORD
        or option.type_descriptor.annotation is not str
    ):
        return ""
    quoted = brief(" ".join([*(value or [arg]), *more]))
    quoted = shlex.quote(quoted) if set(quoted) & set('"\\$`!') else f'"{quoted}"'
    return f"quote it: {f'{arg} {quoted}' if value else quoted}"
