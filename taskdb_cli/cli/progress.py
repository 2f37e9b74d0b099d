"""A progress bar on a terminal, for work that takes long."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from taskdb_cli.cli.context import Invocation

PATIENCE = 1.0
"""Seconds of work before the bar shows."""


@contextmanager
def progress(
    run: Invocation, doing: str, *, total: int | None = None, then: str | None = None
) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows how many bytes are done, out of a total if it is known.

    After the last byte the bar shows `then`, the name of the work that follows.
    """
    if not sys.stderr.isatty() or run.verbosity < 0:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(doing, total=total)

    def advance(done: int) -> None:
        bar.update(task, completed=done)
        if then and total is not None and done >= total:
            bar.update(task, description=then)
            # update() would take None for "unchanged".
            bar.tasks[task].total = None
        if time.monotonic() - began > PATIENCE:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
