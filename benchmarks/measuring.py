"""Times side by side, and tables of them."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

T = TypeVar("T")
Works = Mapping[str, Callable[[], object]]


def median_ms(works: Works, *, most: int = 30, least: int = 3, seconds: float = 1.5) -> dict[str, float]:
    """Run the works in turn, as `times_ms` does; return the median milliseconds of each."""
    taken = times_ms(works, most=most, least=least, seconds=seconds)
    return {name: statistics.median(times) for name, times in taken.items()}


def times_ms(works: Works, *, most: int = 30, least: int = 3, seconds: float = 1.5) -> dict[str, list[float]]:
    """Run the works in turn, again and again for some seconds; return the milliseconds of each turn.

    In turn, because a machine that others use is now fast, now slow: only what ran side by side
    compares. What a work returns as a float is its own measurement; else its time is taken.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    end = time.perf_counter() + seconds
    for turn in range(most):
        if turn >= least and time.perf_counter() > end:
            break
        for name, work in works.items():
            start = time.perf_counter()
            measured = work()
            elapsed = (time.perf_counter() - start) * 1000
            taken[name].append(measured if isinstance(measured, float) else elapsed)
    return taken


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the ratios of each turn, which disturbances by others move least."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def track(items: Sequence[T], description: str) -> Iterator[T]:
    """Yield the items, and show on stderr how many are done and how long it has taken."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(items, description=description)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; numbers stand to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [all(_is_number(row[i]) for row in cells) for i in range(len(headers))]
    rule = ["---:" if right else "---" for right in numeric]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(headers), rule, *cells]) + "\n"


def add_output_option(parser: argparse.ArgumentParser) -> None:
    """Declare where the report is written besides stdout."""
    parser.add_argument("--output", type=Path, help="write the report to this file too")


def report(sections: Mapping[str, str], path: Path | None) -> None:
    """Print sections under their headings, and write them to a file if one is given."""
    text = "\n".join(f"## {heading}\n\n{body}" for heading, body in sections.items())
    sys.stdout.write(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


_LARGE = 100


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value >= _LARGE else f"{value:.2f}"
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value).replace("|", r"\|")


def _is_number(cell: str) -> bool:
    return cell.removesuffix("x").replace(" ", "").replace(".", "").isdigit() or cell == ""
