"""Ends this process, with the tracebacks of its threads, if it runs taskdb for too long."""

import faulthandler
import os
import sys


def _runs_a_command() -> bool:
    words = sys.orig_argv
    code = words[words.index("-c") + 1] if "-c" in words else ""
    return "serve" not in words and ("taskdb_cli" in words or "taskdb_cli" in code)


# Without a stderr there is no place for tracebacks.
if sys.stderr is not None and _runs_a_command():
    faulthandler.dump_traceback_later(int(os.environ["TESTS_WATCHDOG_LIMIT"]), exit=True)
