"""The `taskdb` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process and exit with its code."""
    if sys.argv[1:] == ["--version"]:
        from taskdb_cli import __version__

        sys.stdout.write(f"taskdb {__version__}\n")
        return
    from taskdb_cli.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
