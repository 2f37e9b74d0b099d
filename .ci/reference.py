"""Write what the manual says about commands, settings, exit codes, checks and routes, from the code.

`python .ci/reference.py` writes. With `--check` it exits 1 and names the first file that is not up to date.
In docs/, what stands between the lines `<!-- generated: NAME -->` and `<!-- end of NAME -->` is written, and
NAME is a key of `SECTIONS`. The whole of docs/commands.md, of docs/api-reference.md and of `.env.example` is
written too.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import man_pages
import openapi_page
from command_tree import HELP, Command, Row, shared_rows, walk
from sqlalchemy import make_url

from taskdb_cli.api.app import create_app
from taskdb_cli.cli.commands import ALIASES, OWN_NAMES
from taskdb_cli.cli.words import HIDDEN
from taskdb_cli.config import default_of
from taskdb_cli.database import Database
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.health.registry import CHECKS, Check, in_units
from taskdb_cli.output import formats
from taskdb_cli.system.environment import ONLY_IN_ENVIRONMENT, SETTINGS, Setting

PROJECT = Path(__file__).resolve().parent.parent

ENV_PREFACE = """\
# Copy this file to .env, in the directory that taskdb runs in or in a parent of it. Remove a # to set one.
# An option of the command line and a variable of the environment win over this file.
# Values are taken as they are: ${NAME} is not expanded. Run 'chmod 600 .env', because it holds passwords.
"""
SERVER = "postgresql://user:password@localhost:5432/taskdb"
NEON = (
    "postgresql://user:password@ep-name-123456{}.eu-central-1.aws.neon.tech/neondb"
    "?sslmode=require&channel_binding=require"
)
EXAMPLES = {
    "TASKDB_DATABASE_URL": SERVER,
    "TASKDB_DIRECT_URL": SERVER,
    "TASKDB_READ_URL": SERVER.replace("localhost", "replica"),
    "DATABASE_URL": NEON.format("-pooler"),
    "DATABASE_URL_UNPOOLED": NEON.format(""),
    "TASKDB_PROFILE": "work",
    "TASKDB_SCHEMA": "taskdb",
    "TASKDB_ACTOR": "ann",
    "TASKDB_POOLED": "0",
    "TASKDB_ALLOW_SPECIAL_DOMAINS": "1",
    "TASKDB_BACKUP_DIR": "/var/backups/taskdb",
    "TASKDB_BACKUP_LABEL": "taskdb",
    "TASKDB_BACKUP_RECIPIENTS": "/etc/taskdb/recipients.txt",
    "TASKDB_BACKUP_IDENTITY": "/media/usb/taskdb-key.txt",
    "TASKDB_HEALTH_LIMITS": "connection=500ms:5s disk=10%:5%",
}
"""What stands in `.env.example` in place of the default."""

COMMANDS_PREFACE = """\
# Commands

This page has every command with its options and examples. A terminal shows the same:

```console
$ taskdb help task done | head -n 3
Usage: taskdb task done [OPTIONS] [ID…]

  Mark tasks as done, all or nothing.
```

`USER` is an id or an e-mail address. The options of `taskdb` itself may stand behind every command too.
[What you may type](typing.md) has the words of other tools that taskdb understands.

Many commands take these options:

{shared}
"""

RECORDS = {
    "user": formats.USERS,
    "task": formats.TASKS,
    "access token": formats.TOKENS,
    "operation of the history": formats.OPERATIONS,
    "archive": formats.ARCHIVES,
}
"""The records that commands list, and their fields."""


# Commands


def in_markdown(text: str) -> str:
    """Return a text of the help as Markdown, with command lines in it as code."""
    text = re.sub(r"([*<\\`])", r"\\\1", text.strip())
    return re.sub(r"'((?:taskdb|--)[^']*)'", r"`\1`", text)


def option_list(rows: Iterable[tuple[str, str]]) -> str:
    """Return options or arguments as a list."""
    return "\n".join(f"- `{name}`: {in_markdown(text)}" for name, text in rows)


def commands_page(every: Sequence[Command]) -> str:
    """Return the page about all commands. What many of them take is described once."""
    shared = shared_rows(every)
    preface = COMMANDS_PREFACE.format(shared=option_list(shared))
    return preface + "".join(command_section(each, shared) for each in every)


def command_section(each: Command, shared: Sequence[Row]) -> str:
    """Return what the page about all commands says of one."""
    path, command, help = each
    level = 2 if help.commands or path.count(" ") < 2 else 3  # noqa: PLR2004 (words of a command in a group)
    parts = [f"{'#' * level} {path}", *map(in_markdown, each.paragraphs)]
    if each.acts:
        parts.append(f"```text\n{path} {help.usage}\n```")
    if help.examples:
        parts.append("```sh\n" + "\n".join(help.examples) + "\n```")
    for title, rows in help.commands:
        paths = {f"{path} {name}": text for name, text in rows if name in command.commands}
        lines = [f"- [`{each}`](#{each.replace(' ', '-')}): {in_markdown(paths[each])}" for each in paths]
        parts += [f"**{title}**", "\n".join(lines)]
    for title, rows in help.parameters if each.acts or path == "taskdb" else ():
        if own := [row for row in rows if row not in shared and (row[0] != HELP or path == "taskdb")]:
            parts += [f"**{title}**", option_list(own)]
        if also := [row[0] for row in rows if row in shared]:
            parts.append(f"Also: {code(also)}.")
    if help.topics:
        names = [topic.removesuffix(".md") for topic in help.topics]
        parts.append(f"More: {', '.join(f'[{name}]({name}.md)' for name in names)}.")
    return "\n" + "\n\n".join(parts) + "\n"


# Tables and lists


def table(header: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def settings_list() -> str:
    """Return the variables of the environment."""
    rows = (setting_row(*item) for item in SETTINGS.items())
    return "".join(f"- {name}: {means}.{usual and f' Default: {usual}.'}\n" for name, means, usual in rows)


def setting_row(name: str, setting: Setting) -> Sequence[str]:
    """Return the name of a variable, what it means, and its default."""
    meaning = setting.help
    if setting.words:
        meaning += ": " + " or ".join(f"`{word}`" for word in setting.words)
    if name in ONLY_IN_ENVIRONMENT:
        meaning += "; read from the environment only"
    value = default_of(name)
    return f"`{name}`", meaning, setting.default or (f"`{value}`" if value not in ("", None) else "")


def exit_codes_table() -> str:
    """Return the exit codes."""
    rows = ((str(int(code)), code.name.lower().replace("_", " "), code.when) for code in ExitCode)
    return table(("code", "name", "when"), rows)


def checks_list() -> str:
    """Return the checks of health: those of both engines, and those of one."""
    lists: dict[str, str] = {"Both engines": "", "PostgreSQL": "", "SQLite": ""}
    for name, check in CHECKS.items():
        engine, colon, looks_at = check.looks_at.partition(": ")
        if not colon or engine not in lists:
            engine, looks_at = "Both engines", check.looks_at
        judged = judgement(check)
        of_what = "Limits" if judged.endswith("`") or not check.judged else "Fault"
        lists[engine] += f"- `{name}`: {looks_at}. {of_what}: {judged}.\n"
    return "\n".join(f"**{engine}**\n\n{lines}" for engine, lines in lists.items())


def judgement(check: Check) -> str:
    """Return when a check warns and is critical, or how bad its faults are."""
    limits = [check.limits.warning, check.limits.critical]
    shown = ":".join("" if each is None else in_units(each, check.unit) for each in limits).strip(":")
    return (
        ", by default ".join(filter(None, [check.judged, f"`{shown}`" if shown else ""])) or "none unless set"
    )


def routes_table() -> str:
    """Return the routes of the HTTP API."""
    schema = create_app(Database(make_url("sqlite:///none.sqlite3"))).openapi()
    routes = (
        (f"`{method.upper()} {path}`", operation["description"].partition("\n")[0].rstrip("."))
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    )
    described = ("`GET /openapi.json`", "Get the description of all routes, with schemas and examples")
    return table(("route", "what it does"), chain(routes, [described]))


def fields_list() -> str:
    """Return the fields of each kind of record, and the columns of TSV."""
    return "".join(
        f"- **{name}**: {code(view.fields)}\n    - in `tsv`: {code(view.columns or view.fields)}\n"
        for name, view in RECORDS.items()
    )


def code(names: Sequence[str]) -> str:
    """Return names as code, with commas."""
    return ", ".join(f"`{name}`" for name in names)


def short_options_table() -> str:
    """Return the short options and their long names."""
    found = (re.match(r"(-\w), (--[\w-]+)", name) for each in walk() for name, _ in each.rows)
    names = dict(each.groups() for each in found if each)
    return table(("short", "long"), ((f"`{short}`", f"`{long}`") for short, long in names.items()))


def aliases_table() -> str:
    """Return the words of other tools and what they mean."""
    words: dict[str, list[str]] = {}
    for group, aliases in ALIASES.items():
        for word, meaning in aliases.items():
            words.setdefault(f"{group} {' '.join(meaning)}".strip(), []).append(f"{group} {word}".strip())
    for group, word in OWN_NAMES.items():
        words[group] = [f"{group} {word}"]
    words |= {name: [other] for name, other in HIDDEN.items()}
    words |= {"COMMAND… --help": ["help COMMAND…"], "--version": ["version", HIDDEN["--version"]]}
    return table(("word", "meaning"), ((code(each), f"`{meaning}`") for meaning, each in words.items()))


SECTIONS: Mapping[str, Callable[[], str]] = {
    "settings": settings_list,
    "exit-codes": exit_codes_table,
    "checks": checks_list,
    "routes": routes_table,
    "fields": fields_list,
    "short-options": short_options_table,
    "aliases": aliases_table,
}
"""What stands between the marker lines of each name."""


def with_sections(text: str, missing: set[str]) -> str:
    """Return a page with its sections written anew, and drop their names from those that are missing."""

    def write(found: re.Match[str]) -> str:
        missing.discard(found[1])
        return f"<!-- generated: {found[1]} -->\n\n{SECTIONS[found[1]]()}\n<!-- end of {found[1]} -->\n"

    return re.sub(r"<!-- generated: ([\w-]+) -->\n.*?<!-- end of \1 -->\n", write, text, flags=re.DOTALL)


# The dotenv file


def env_example() -> str:
    """Return the example of a dotenv file."""
    shown = (item for item in SETTINGS.items() if item[0] not in ONLY_IN_ENVIRONMENT)
    return ENV_PREFACE + "".join(env_line(*item) for item in shown)


def env_line(name: str, setting: Setting) -> str:
    """Return the variable as it stands in a dotenv file, commented out, below what it means."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", setting.help).replace("`", "")
    comment = textwrap.fill(
        f"{plain[0].upper()}{plain[1:]}.", 100, initial_indent="# ", subsequent_indent="# "
    )
    value = EXAMPLES.get(name) or default_of(name)
    return f"\n{comment}\n# {name}={'' if value is None else value}\n"


# Files


def texts() -> Iterator[tuple[Path, str]]:
    """Yield every file that has something generated, and what it should hold."""
    every = [*walk()]
    yield PROJECT / ".env.example", env_example()
    yield PROJECT / "docs/commands.md", commands_page(every)
    yield PROJECT / "docs/api-reference.md", openapi_page.render()
    settings = (setting_row(*item) for item in SETTINGS.items())
    variables = [
        (name.strip("`"), f"{means}; by default {usual}" if usual else means)
        for name, means, usual in settings
    ]
    for name, text in man_pages.write(every, variables):
        yield PROJECT / "man" / name, text
    missing = set(SECTIONS)
    for page in sorted(PROJECT.glob("docs/*.md")):
        if page.name not in ("api-reference.md", "commands.md"):
            yield page, with_sections(page.read_text(encoding="utf-8"), missing)
    if missing:
        sys.exit(f"no page of docs/ has the lines <!-- generated: {min(missing)} -->")


def main() -> int:
    """Write the files, or compare them; return the exit code."""
    check, wanted = "--check" in sys.argv, dict(texts())
    for file in sorted({*PROJECT.glob("man/*"), *wanted}):
        text = wanted.get(file)
        if text == (file.read_text(encoding="utf-8") if file.exists() else None):
            continue
        if check:
            name = file.relative_to(PROJECT)
            print(f"{name} is not up to date: run python .ci/reference.py", file=sys.stderr)
            return 1
        if text is None:
            file.unlink()
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
