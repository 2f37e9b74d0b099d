"""The `taskdb` command."""

from __future__ import annotations

import sys
from contextlib import suppress


def main() -> None:
    """Run the command line of this process and exit with its code."""
    if sys.argv[1:] == ["--version"]:
        from taskdb_cli import __version__

        # What goes wrong here goes wrong below as well, where it is told as every error.
        with suppress(OSError, AttributeError):
            sys.stdout.write(f"taskdb {__version__}\n")
            sys.stdout.flush()
            return
    from taskdb_cli.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
