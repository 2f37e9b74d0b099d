"""The `taskdb` command."""

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from taskdb_cli import __version__
from taskdb_cli.system import signals


def main() -> NoReturn:
    """Run the command line of this process and exit with its code.

    Most commands run for half a second. Collecting garbage while modules load, and removing the modules at
    the end, would take a third of that: the first is put off, and the second is left out.
    """
    if os.name == "nt":
        sys.stderr.write("error: taskdb does not run on Windows (install it in WSL, on Linux or on macOS)\n")
        leave(1)
    if sys.argv[1:] in (["--version"], ["-V"], ["version"]):
        # An error here happens again below, which reports it.
        with suppress(OSError, AttributeError):
            sys.stdout.write(f"taskdb {__version__}\n")
            sys.stdout.flush()
            leave(0)
    gc.set_threshold(300_000)  # objects; importing everything makes a third of them
    signals.listen()
    try:
        from taskdb_cli.cli.run import run

        leave(run(sys.argv[1:]))
    except KeyboardInterrupt:
        # The signal came before or after `run`, which reports interruptions itself.
        with suppress(OSError, AttributeError):
            sys.stderr.write(f"error: {signals.interrupted().message}\n")
        leave(signals.exit_code())


def leave(code: int) -> NoReturn:
    """End the process at once. Everything that matters is written and closed by now."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError):  # a closed stream is None
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
