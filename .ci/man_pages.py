"""The man pages: taskdb(1), and one for each command or group of commands below it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from command_tree import HELP, Command, Row, shared_rows

from taskdb_cli import __version__
from taskdb_cli.exit_codes import ExitCode

SIGNS = {"\\": "\\e", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}
"""How roff writes the signs that it would read as something else, or print as something prettier."""


def write(every: Sequence[Command], variables: Iterable[Row]) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each page."""
    root, *rest = every
    subjects = {name: [*some] for name, some in groupby(rest, lambda each: each.path.split()[1])}
    yield "taskdb.1", root_page(root, [*subjects], variables)
    for name, commands in subjects.items():
        yield f"taskdb-{name}.1", command_page(commands, shared_rows(every))


def root_page(root: Command, subjects: Iterable[str], variables: Iterable[Row]) -> str:
    """Return the page about taskdb as a whole."""
    codes = ((f"{int(code)}, {code.name.lower().replace('_', ' ')}", code.when) for code in ExitCode)
    commands = (
        section(title, tagged((f"taskdb-{name}(1)", text) for name, text in rows), level="SS")
        for title, rows in root.help.commands
    )
    parts = [
        top(root),
        section("SYNOPSIS", synopsis([root])),
        section("DESCRIPTION", texts(root.paragraphs)),
        section("COMMANDS", "".join(commands)),
        section("OPTIONS", texts(["These options may also stand behind every command."]) + tagged(root.rows)),
        section("EXIT STATUS", tagged(codes)),
        section("ENVIRONMENT", tagged(variables)),
        section("EXAMPLES", examples(root)),
        see_also([f"taskdb-{name}" for name in subjects], ["TOPIC"]),
    ]
    return "".join(parts)


def command_page(commands: Sequence[Command], shared: Sequence[Row]) -> str:
    """Return the page about a command, and about those that are in it if it is a group.

    The page of a group describes once what many commands take.
    """
    first, *rest = commands
    parts = [
        top(first),
        section("SYNOPSIS", synopsis(each for each in commands if each.acts)),
        section("DESCRIPTION", texts(first.paragraphs)),
    ]
    if first.acts:
        parts += [
            section("OPTIONS", options(first, shared if rest else [])),
            section("EXAMPLES", examples(first)),
        ]
    if rest:
        parts.append(
            section("COMMANDS", "".join(section(each.path, body(each, shared), "SS") for each in rest))
        )
        taken = [row for row in shared if any(row in each.rows for each in commands)]
        parts.append(section("COMMON OPTIONS", tagged(taken)))
    topics = dict.fromkeys(topic for each in commands for topic in each.help.topics)
    return "".join([*parts, see_also(["taskdb"], [*topics])])


def body(each: Command, shared: Sequence[Row]) -> str:
    """Return what the page of a group says of one of its commands."""
    return texts(each.paragraphs) + options(each, shared) + ".PP\n" + examples(each)


# Parts


def top(each: Command) -> str:
    """Return the header of a page, and its name in one line."""
    name, first = each.path.replace(" ", "-"), each.paragraphs[0].rstrip(".")
    return (
        '.\\" Written by .ci/reference.py\n'
        f'.TH {literal(name.upper())} 1 "" "taskdb {__version__}" "Manual of taskdb"\n.nh\n.ad l\n'
        f".SH NAME\n{literal(name)} \\- {prose(first[0].lower() + first[1:])}\n"
    )


def section(title: str, text: str = "", level: str = "SH") -> str:
    """Return a section or a subsection."""
    return f".{level} {literal(title)}\n{text}"


def synopsis(commands: Iterable[Command]) -> str:
    """Return the usage of commands, a line for each."""
    lines = (f"{bold(each.path)} {italic(each.help.usage)}\n" for each in commands)
    return f".nf\n{''.join(lines)}.fi\n"


def texts(paragraphs: Iterable[str]) -> str:
    """Return paragraphs."""
    return ".PP\n".join(f"{prose(each)}\n" for each in paragraphs)


def tagged(rows: Iterable[Row]) -> str:
    """Return names, each with its text indented below."""
    return "".join(f".TP\n{option(name)}\n{prose(text or 'See the examples.')}\n" for name, text in rows)


def options(each: Command, shared: Sequence[Row]) -> str:
    """Return the arguments and options of a command, without those that are described elsewhere."""
    rows = [row for row in each.rows if row[0] != HELP]
    also = ", ".join(option(row[0]) for row in rows if row in shared)
    own = tagged(row for row in rows if row not in shared)
    return own + (f".PP\nCommon options: {also}.\n" if also else "")


def examples(command: Command) -> str:
    """Return the examples of a command."""
    return ".nf\n" + "".join(f"{line(literal(each))}\n" for each in command.help.examples) + ".fi\n"


def see_also(pages: Iterable[str], topics: Sequence[str]) -> str:
    """Return where more is said."""
    lines = [f"{bold(page)}(1)" for page in pages]
    lines += [bold(f"taskdb help {topic}") for topic in topics]
    return section("SEE ALSO", ",\n".join(lines) + "\n")


# Text


def literal(text: str) -> str:
    """Return a text to be read as it is typed: a hyphen is a minus."""
    return signs(text).replace("-", "\\-")


def bold(text: str) -> str:
    """Return a text in bold, to be read as it is typed."""
    return f"\\fB{literal(text)}\\fR"


def line(text: str) -> str:
    """Return a line of roff that is none of its commands. Only a point at its beginning could make it one."""
    return f"\\&{text}" if text.startswith(".") else text


def signs(text: str) -> str:
    """Return a text in ASCII, without signs that roff takes for something else."""
    text = "".join(SIGNS.get(each, each) for each in text)
    return re.sub(r"[^\x00-\x7f]", lambda found: f"\\[u{ord(found[0]):04X}]", text)


def prose(text: str) -> str:
    """Return a sentence of the help or of a table in Markdown: code and command lines are bold."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text.strip())
    pieces = re.split(r"`([^`]*)`|'((?:taskdb|--)[^']*)'", text)
    plain, code = pieces[::3], [one or other for one, other in zip(pieces[1::3], pieces[2::3], strict=True)]
    written = [words(plain[0])]
    for each, after in zip(code, plain[1:], strict=True):
        written += [bold(each), words(after)]
    return line("".join(written))


def words(text: str) -> str:
    """Return plain words. The hyphen of a word such as e-mail stays one, and every other is a minus."""
    parts = re.split(r"(?<![\w-])([a-zA-Z]+(?:-[a-zA-Z]+)+)(?![\w-])", text)
    return "".join(signs(part) if number % 2 else literal(part) for number, part in enumerate(parts))


def option(name: str) -> str:
    """Return the name of an option in bold and its value in italics, or another name in bold."""
    parts = re.split(r"(?<!\w)(--?[\w-]+)", name)
    if len(parts) == 1:
        return bold(name)
    return "".join(bold(part) if number % 2 else italic(part) for number, part in enumerate(parts))


def italic(text: str) -> str:
    """Return a text whose words in capital letters, which stand for values, are in italics."""
    return re.sub(r"[A-Z]{1,}[A-Z=|]*", lambda found: f"\\fI{found[0]}\\fR", literal(text))
