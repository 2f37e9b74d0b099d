"""Run one command line: prepare the streams, and turn every failure into one line and an exit code."""

import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import pairwise, takewhile

from typer.exceptions import Abort, TyperException
from typer.main import get_command

from taskdb_cli import errors
from taskdb_cli.cli.app import app
from taskdb_cli.cli.completion import quote_completions
from taskdb_cli.cli.context import Invocation, write_stderr
from taskdb_cli.cli.output import StdoutError, prepare_streams
from taskdb_cli.cli.usage import usage_error
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.output.formats import write_error
from taskdb_cli.system import signals
from taskdb_cli.system.clock import time_zone_error
from taskdb_cli.text.escaping import brief, escape, hide_secrets

_get_command = cache(get_command)
"""Builds the command, which takes longer than most commands run. Only tests run several in one process."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Every failure ends here as one line on stderr."""
    this = Invocation()
    signals.note_change(made=None)
    with this.opened:
        code = _run(arguments, this)
    this.close_log(code)
    return code


def _run(arguments: Sequence[str], this: Invocation) -> int:
    try:
        prepare_streams()
        command = _get_command(app)
        if "_TASKDB_COMPLETE" in os.environ:
            quote_completions()  # after Typer has registered its own classes
        code = command(args=list(arguments), prog_name="taskdb", standalone_mode=False, obj=this)
        sys.stdout.flush()
        if code == ExitCode.INTERRUPTED:
            raise KeyboardInterrupt  # noqa: TRY301 (Typer has caught it)
        return code if isinstance(code, int) else ExitCode.OK
    except (BrokenPipeError, SystemExit) as exc:
        # Typer leaves with 1 when a pipe is closed under it.
        if not any(isinstance(each, BrokenPipeError) for each in (exc, exc.__context__)):
            raise
        # The reader has all that it wanted, as `head` does.
        _drop_unwritten_output()
        return this.failure_code(ExitCode.OK)
    except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 (the boundary)
        error = exc if isinstance(exc, errors.TaskdbError) else _translate(exc)
        if this.changed and isinstance(exc, StdoutError):
            hint = f"do not run it again; see '{this.look}'"
            error = errors.Incomplete(f"{this.changed}, but {error.message}", hint)
        for place, source in this.sources.items():
            if isinstance(error, errors.StorageFailed) and place in error.message:
                error.hint = "; ".join(filter(None, [error.hint, f"the address comes from {source}"]))
        return this.failure_code(_report(error, exc, arguments))


def _translate(error: BaseException) -> errors.TaskdbError:
    match error:
        case TyperException():
            return usage_error(error)
        case Abort() | KeyboardInterrupt():
            return signals.interrupted()
        case FileNotFoundError(filename=None):
            # Only asking for the working directory fails like this.
            hint = "change to another one, or use absolute paths"
            return errors.InvalidConfiguration("the working directory does not exist any more", hint)
        case OSError():
            return _translate_os_error(error)
        case UnicodeEncodeError():
            # Python keeps bytes that are not UTF-8 as surrogates, which no driver accepts.
            hint = "check the arguments and the environment"
            return errors.InvalidInput(f"{brief(error.object)!r} is not UTF-8 text", hint)
        case ValueError() if str(error).startswith("offset must be a timedelta"):
            # TZ is a value such as UTC+99.
            return time_zone_error()
        case RuntimeError() if str(error) == "Could not determine home directory.":
            # Typer installs shell completion for a user without a home directory.
            return errors.HomeMissing("HOME")
        case _:
            detail = str(error).strip().partition("\n")[0]
            hint = "this is a bug; --debug shows where it happened"
            return errors.TaskdbError(f"unexpected {type(error).__name__}: {detail}", hint)


def _translate_os_error(error: OSError) -> errors.StorageFailed:
    if isinstance(error, StdoutError) and error.errno == errno.EBADF:
        problem = f"stdout is closed, and the answer cannot be written: {error.strerror}"
        return errors.StorageFailed(problem, "redirect it to /dev/null if you do not need it")
    if isinstance(error, StdoutError):
        return errors.StorageFailed(f"the answer could not be written to stdout: {error.strerror}")
    where = error.filename or "cannot read or write"
    if error.errno == errno.ENAMETOOLONG:
        where = brief(where)
    return errors.StorageFailed(f"{where}: {error.strerror or error}")


def _drop_unwritten_output() -> None:
    """Discard what stdout cannot take. Otherwise Python would complain again when it closes the stream."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: errors.TaskdbError, cause: BaseException, arguments: Sequence[str]) -> int:
    _drop_unwritten_output()
    # Each text is filtered by itself, because a password that is hidden may extend to the end of its text.
    message = "; ".join(map(hide_secrets, [error.message, *getattr(cause, "__notes__", ())]))
    hint = hide_secrets(error.hint)
    words = list(takewhile(lambda word: word != "--", arguments))
    if "--debug" in words or os.environ.get("TASKDB_DEBUG", "0") not in ("", "0"):
        # The default formatting shows no local variables, which may hold user data.
        shown = "".join(map(hide_secrets, traceback.format_exception(cause)))
        write_stderr(escape(shown, lines=True).removesuffix("\n"))
    # The command line may not be parsed yet: errors of the parser are written as JSON too.
    asked = any(re.fullmatch("--json|(--output=|-[qvy]*o)(?i:json)", word) for word in words) or any(
        re.fullmatch("--output|-[qvy]*o", word) and value.lower() == "json" for word, value in pairwise(words)
    )
    if asked:
        body = {"code": error.code, "message": message, "hint": hint}
        details = (
            {name: hide_secrets(value) if isinstance(value, str) else value for name, value in each.items()}
            for each in error.details
        )
        with suppress(OSError):
            write_error(body, details, sys.stderr)
    else:
        write_stderr(escape(f"error: {message}{f' ({hint})' if hint else ''}"))
    return signals.exit_code() if isinstance(error, errors.Interrupted) else error.exit_code
