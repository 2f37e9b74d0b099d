"""The progress bar of long work, on a terminal only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from taskdb_cli.system.steps import Step, Told
from taskdb_cli.text.amounts import in_one_size, in_words

if TYPE_CHECKING:
    from rich.progress import Task

PATIENCE = 1.0
"""Seconds of work before a progress bar shows."""


@contextmanager
def progress_bar() -> Iterator[Told]:
    """Yield a function that shows steps on stderr: how much is done, rows or bytes a second, the time left.

    A step without a total shows how long it has taken.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.text import Text

    class Pace(ProgressColumn):
        max_refresh = 0.5

        def render(self, task: Task) -> Text:
            return Text(_pace(task), no_wrap=True)

    console = Console(stderr=True)
    # The words beside the bar take 50 columns.
    columns = (TextColumn("{task.description}"), BarColumn(max(4, min(40, console.width - 50))), Pace())
    bar = Progress(*columns, console=console, transient=True)
    show_after = time.monotonic() + PATIENCE
    # While one statement runs, there is no progress to report.
    timer = threading.Timer(PATIENCE, bar.start)
    timer.daemon = True

    def show(step: Step) -> None:
        current = bar.tasks[0] if bar.tasks else None
        if current and (current.description, current.total) == (step.doing, step.total):
            bar.update(current.id, completed=step.done, step=step)
        else:
            if current:
                bar.remove_task(current.id)
            bar.add_task(step.doing, total=step.total, completed=step.done, step=step)
        if time.monotonic() > show_after:
            bar.start()

    timer.start()
    try:
        yield show
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


def in_bytes(show: Told, doing: str, *, total: int | None = None, then: str = "") -> Callable[[int], None]:
    """Return a function that shows how many bytes are done; after the last one, `then` is what follows."""

    def advance(done: int) -> None:
        over = then and total is not None and done >= total
        show(Step(then, done) if over else Step(doing, done, total))

    return advance


def _pace(task: Task) -> str:
    """Return how much is done, how fast, and how long it takes yet or has taken."""
    step: Step = task.fields["step"]
    seconds, words = task.elapsed or 0, list[str]()
    if step.done and seconds:
        if step.rows is None:
            words += in_one_size(step.done), f"{in_one_size(step.done / seconds)}/s"
        else:
            words += in_words({"rows": step.rows}), f"{step.rows / seconds:,.0f} rows/s"
    if step.total is None:
        words.append(str(timedelta(seconds=int(seconds))))
    elif words:
        words.append(f"{timedelta(seconds=round((step.total - step.done) * seconds / step.done))} left")
    return ", ".join(words)
