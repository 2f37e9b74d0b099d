"""Times side by side, tables of them, and the figures that later runs are held against."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

T = TypeVar("T")
Works = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Figure:
    """A ratio, or a number of some unit, with its goal.

    Its name stays the same from run to run. One that is not `steady`, such as the highest of many, differs
    between two runs by more than a change of the product would explain.
    """

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    more_is_better: bool = False
    steady: bool = True

    @property
    def missed(self) -> bool:
        """Whether the goal is missed."""
        over = self.at_most is not None and self.value > self.at_most
        return over or (self.at_least is not None and self.value < self.at_least)


FIGURES: list[Figure] = []
"""What this process has measured; `report` writes it."""


def record(
    name: str,
    value: float,
    *,
    unit: str = "",
    at_most: float | None = None,
    at_least: float | None = None,
    more_is_better: bool = False,
    steady: bool = True,
) -> float:
    """Remember a figure, and return its value; a goal of at least so much says that more is better."""
    more = more_is_better or at_least is not None
    FIGURES.append(Figure(name, round(value, 4), unit, at_most, at_least, more, steady))
    return value


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


def add_output_option(parser: argparse.ArgumentParser, *, turns: int | None = None) -> None:
    """Declare where the report is written besides stdout, and how often each is run."""
    parser.add_argument("--output", type=Path, help="write the report to this file too, and its figures")
    if turns:
        parser.add_argument("--turns", type=int, default=turns, help="how often each is run")


def report(sections: Mapping[str, str], path: Path | None) -> None:
    """Print sections under their headings; write them to a file if one is given, the figures beside it."""
    text = "\n".join(f"## {heading}\n\n{body}" for heading, body in sections.items())
    sys.stdout.write(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.with_suffix(".json").write_text(json.dumps([asdict(figure) for figure in FIGURES], indent=1))


_LARGE = 100


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value >= _LARGE else f"{value:.2f}"
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value).replace("|", r"\|")


def _is_number(cell: str) -> bool:
    return cell.removesuffix("x").replace(" ", "").replace(".", "").isdigit() or cell == ""
