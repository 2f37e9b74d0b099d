"""The `taskdb` command."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from taskdb_cli.system import signals

GARBAGE_THRESHOLD = 300_000
"""How many objects may pile up before a collection; importing everything makes a third of them."""


def main() -> NoReturn:
    """Run the command line of this process and exit with its code.

    Most commands live for half a second, a third of which would go into collecting garbage while
    modules load and into taking them down again: the first is put off, the second left out.
    """
    if sys.argv[1:] == ["--version"]:
        from taskdb_cli import __version__

        # What goes wrong here goes wrong below as well, where it is told as every error.
        with suppress(OSError, AttributeError):
            sys.stdout.write(f"taskdb {__version__}\n")
            sys.stdout.flush()
            leave(0)
    gc.set_threshold(GARBAGE_THRESHOLD)
    signals.listen()
    try:
        from taskdb_cli.cli.run import run

        leave(run(sys.argv[1:]))
    except KeyboardInterrupt:
        # Before the boundary of the command line was there, or after it.
        with suppress(OSError, AttributeError):
            sys.stderr.write(f"error: {signals.interrupted().message}\n")
        leave(signals.exit_code())


def leave(code: int) -> NoReturn:
    """End the process at once; everything that matters is written and closed by now."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
