"""Change a task as a text in a person's editor: front matter of `name: value` lines, then the description.

What is as it was in the text stays as it is stored. So a value that a line cannot hold, such as a time with
microseconds or a title that ends in a space, changes only if a person changes it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from taskdb_cli import services
from taskdb_cli.cli.answers import due_in_words, is_told
from taskdb_cli.cli.changes import UPDATE, Way, change_tasks
from taskdb_cli.cli.context import DECLINED, Invocation
from taskdb_cli.cli.output import Output
from taskdb_cli.cli.prompts import agree, say_error
from taskdb_cli.errors import (
    ExternalIdTaken,
    InvalidConfiguration,
    InvalidInput,
    Refused,
    StaleVersion,
    UserNotFound,
)
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from taskdb_cli.output.formats import Record
from taskdb_cli.system import signals
from taskdb_cli.system.clock import to_local
from taskdb_cli.system.paths import temporary_storage
from taskdb_cli.text.escaping import brief, escape
from taskdb_cli.times import parse_when

EDITORS = ("sensible-editor", "editor", "vim", "vi", "nano")
"""What is tried if neither VISUAL nor EDITOR names an editor."""

LONGEST_TEXT = 200_000
"""Bytes that a text may have; a description has at most 20,000 characters."""

_FENCE = "---"
_FIELDS = ("title", "status", "priority", "due", "user")
_NOTES = (
    "# Lines that begin with # are not read. The description begins below ---",
    f"# status: {', '.join(TaskStatus)}",
    f"# priority: {', '.join(each.word for each in TaskPriority)}",
    "# due: 2026-12-01, friday 17:00, in 2 weeks, … or none",
)
_UNSTORED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that no rule allows in a text. Only a row that another program wrote has them."""


# The text


def render(task: Record) -> str:
    """Return a task as a text to edit."""
    values = {
        "title": _as_line(task["title"]),
        "status": str(task["status"]),
        "priority": task["priority"].word,
        "due": _as_time(task["due_at"]),
        "user": _as_line(task["user"]),
    }
    description = task["description"] or ""
    if _UNSTORED.search(description):
        description = escape(description, lines=True)
    lines = [_FENCE, f"# task {task['id']}, version {task['version']}", *_NOTES]
    lines += [f"{name}: {value}" for name, value in values.items()]
    return "\n".join([*lines, _FENCE, description, ""])


def parse(text: str) -> dict[str, str]:
    """Return the values of a text by the names of its front matter, and `description`.

    Raises InvalidInput that names the line for anything but each name once, with a value that may be empty.
    """
    lines = re.split("\r*\n", text.removeprefix("\ufeff"))
    begin = next((number for number, line in enumerate(lines) if line.strip()), 0)
    fences = [number for number, line in enumerate(lines) if line.rstrip() == _FENCE]
    if fences[:1] != [begin]:
        raise InvalidInput(f"line {begin + 1} must be {_FENCE}", "it stands above and below the fields")
    if len(fences) == 1:
        raise InvalidInput(f"a second line {_FENCE} is missing", "the description comes after it")
    end, values = fences[1], {}
    for number, line in enumerate(lines[begin + 1 : end], begin + 2):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or name not in _FIELDS:
            problem = f"line {number} is not a field: {brief(line)!r}"
            raise InvalidInput(problem, f"fields are {', '.join(_FIELDS)}, each as 'name: value'")
        if name in values:
            raise InvalidInput(f"line {number} is a second {name}", "keep one of them")
        values[name] = value.strip()
    if missing := [name for name in _FIELDS if name not in values]:
        lost = f"the line of {' and '.join(missing)} is missing"
        raise InvalidInput(lost, "leave it as it was, or write 'due: none'")
    return {**values, "description": "\n".join(lines[end + 1 :]).strip("\n")}


def changes(before: Mapping[str, str], after: Mapping[str, str], *, now: datetime) -> dict[str, Any]:
    """Return the fields that differ between two texts, as `TaskUpdate` takes them, and `user`.

    Raises InvalidInput for a due date that is no time.
    """
    values: dict[str, Any] = {name: value for name, value in after.items() if value != before[name]}
    if "due" in values:
        due = values.pop("due").lower()
        values["due_at"] = None if due in ("", "none") else parse_when(due, now=now, end_of_day=True)
    for name in {"status", "priority"} & values.keys():
        values[name] = values[name].lower()
    return values


def _as_line(text: str) -> str:
    return escape(text) if _UNSTORED.search(text) or {"\n", "\r"} & {*text} else text


def _as_time(moment: datetime | None) -> str:
    """Return the shortest text that means exactly this moment."""
    if moment is None:
        return "none"
    local = to_local(moment)
    wall = local.replace(tzinfo=None)
    for text in (f"{wall.date()}", wall.isoformat(" ", "minutes"), wall.isoformat(" "), local.isoformat()):
        try:
            if parse_when(text, now=moment, end_of_day=True) == moment:
                return text
        except InvalidInput:
            # The local clock shows this time twice.
            continue
    return moment.astimezone(UTC).isoformat()


# The editor


def edit_task(run: Invocation, id: int, output: Output) -> None:
    """Let a person edit a task, and change the fields that differ then.

    A text that is refused can be edited again. If nothing comes of a changed text, the error names a file
    that keeps it. Raises InvalidInput if there is no terminal, Refused if the editor fails or the person
    gives up, TaskNotFound, and StaleVersion if somebody else has changed the task meanwhile.
    """
    if not run.may_ask:
        why = "--no-input was given" if run.on_terminal else "there is no terminal"
        raise InvalidInput(f"no editor can be opened: {why}", f"'taskdb task update {id}' needs none")
    editor = _find_editor()
    task = run.database.read(partial(services.task.get, id=id))
    original = render(task)
    with _private_file(f"task-{id}.md", original) as file:
        while True:
            _run_editor(editor, file)
            # Hours may have passed, and "in 2 hours" means from now on.
            run.now = datetime.now(UTC)
            try:
                values = changes(parse(original), parse(_read(file)), now=run.now)
                if values:
                    _change(run, task, values, output)
                else:
                    run.say(f"nothing was changed in task {id}")
                return
            except StaleVersion as exc:
                exc.message = f"task {id} was changed by somebody else meanwhile"
                raise
            except (InvalidInput, UserNotFound, ExternalIdTaken) as exc:
                say_error(exc)
                if not agree("Edit it again?"):
                    raise Refused(DECLINED) from exc


def _change(run: Invocation, task: Record, values: dict[str, Any], output: Output) -> None:
    owner, due = values.pop("user", None), values.get("due_at")
    if not is_told(output):
        run.say_time("due", due, deadline=True)
    change = partial(change_tasks, run, UPDATE, [task["id"]], values, output=output, way=Way())
    change(owner=owner, if_version=task["version"], after=due_in_words(run, due))


def _find_editor() -> list[str]:
    """Return the words that begin the editor's command line; raise InvalidConfiguration if there is none."""
    for setting in ("VISUAL", "EDITOR"):
        if value := os.environ.get(setting, "").strip():
            problem = f"{setting} names no program that can be run: {brief(value)!r}"
            try:
                program, *more = shlex.split(value)
            except ValueError as exc:
                raise InvalidConfiguration(problem, str(exc).lower()) from None
            if found := shutil.which(os.path.expanduser(program)):  # noqa: PTH111 (a name is no path)
                return [found, *more]
            raise InvalidConfiguration(problem, "set it to an editor, such as nano or 'code --wait'")
    if found := next(filter(None, map(shutil.which, EDITORS)), None):
        return [found]
    raise InvalidConfiguration("no editor was found", "set EDITOR to one")


def _run_editor(editor: Sequence[str], file: Path) -> None:
    """Wait until the person has closed the editor. Raise Refused if it says that it failed."""
    try:
        with signals.left_to_child():
            # The answer of the command may go to a pipe.
            code = subprocess.run([*editor, str(file)], stdout=2, check=False).returncode  # noqa: S603
    except OSError as exc:
        problem = f"the editor {editor[0]} cannot be run: {exc.strerror}"
        raise InvalidConfiguration(problem, "set VISUAL or EDITOR to another one") from exc
    if code in (-signal.SIGINT, 128 + signal.SIGINT):
        raise KeyboardInterrupt
    if code:
        how = f"ended with code {code}" if code > 0 else f"was ended by signal {-code}"
        raise Refused(f"the editor {how}: nothing was changed")


@contextmanager
def _private_file(name: str, text: str) -> Iterator[Path]:
    """Yield a file of the text that only its owner can read.

    It is removed at the end. After an error it stays, and the error names it, if the text was changed.
    """
    directory, kept = Path(mkdtemp(prefix="taskdb-")), False
    file = directory / name
    try:
        with temporary_storage("nothing was changed"):
            file.touch(mode=0o600)
            file.write_bytes(text.encode())
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    try:
        yield file
    except BaseException as exc:
        with suppress(OSError, Refused):
            kept = _read_bytes(file) != text.encode()
        if not kept:
            raise
        # Typer would replace a KeyboardInterrupt, and forget its note.
        error = signals.interrupted() if isinstance(exc, KeyboardInterrupt) else exc
        error.add_note(f"your text is in {file}")
        raise error from exc.__cause__
    finally:
        if not kept:
            shutil.rmtree(directory, ignore_errors=True)


def _read(file: Path) -> str:
    data = _read_bytes(file)
    if len(data) > LONGEST_TEXT:
        raise InvalidInput(f"the text has more than {LONGEST_TEXT:,} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidInput("the text is not UTF-8", "save it in that encoding") from None


def _read_bytes(file: Path) -> bytes:
    # A pipe would be waited for.
    if not file.is_file():
        raise Refused("the text was deleted, or is not a regular file any more: nothing was changed")
    with file.open("rb") as stream:
        return stream.read(LONGEST_TEXT + 1)
