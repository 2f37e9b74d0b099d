"""A bar on the terminal while something takes long, and nothing anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from taskdb_cli.cli.context import Invocation

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 1.0
"""Seconds that work may take before the bar shows."""


@contextmanager
def progress(
    run: Invocation, doing: str, *, total: int | None = None, then: str | None = None
) -> Iterator[Callable[[int], None]]:
    """Show how many bytes are done of a total, if that is known; `then` is what follows the last one."""
    if not sys.stderr.isatty() or run.verbosity < 0:
        yield lambda _: None
        return
    began = time.monotonic()
    bar = _bar()
    task = bar.add_task(doing, total=total)

    def advance(done: int) -> None:
        bar.update(task, completed=done)
        if then and total is not None and done >= total:
            bar.update(task, description=then)
            # update() takes None for "as it is".
            bar.tasks[task].total = None
        if time.monotonic() - began > PATIENCE:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
