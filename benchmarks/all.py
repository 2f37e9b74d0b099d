"""Run every benchmark on this machine, and write one page of all figures: `python benchmarks/all.py --quick`.

`--quick` takes ten minutes on two idle cores, with 100 000 and 1 000 000 tasks. `--full` adds 10 000 000 and
more turns, and takes hours. `--try` shows in two minutes that each script still runs. The databases are built
for it, and are removed at the end.

The page has every ratio with its goal, and marks what misses it. A JSON file beside it has the same for
programs. With `--compare` neither is written: the ratios are held against those of the last page. One that is
worse by more than 15 % is measured twice more, together with the others of its script, and the best of the
three counts. If it is still worse, its name is printed, and the exit code is 1. No milliseconds are compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from databases import PROGRAMS
from measuring import Figure, table
from this_machine import absent, load, machine

HERE = Path(__file__).resolve().parent
PAGE = HERE / "results" / "all.md"
BEFORE_HISTORY = "2fa29d7"
"""The last commit without the history, which writes are compared with."""
ALLOWED = 1.15
"""How many times worse than on the last page a ratio may be."""
AGAIN = 2
"""How often a script is run again of which a ratio is worse than that."""


@dataclass(frozen=True)
class Mode:
    """How large the databases are, and how often each work is run."""

    sizes: tuple[int, ...]
    huge: tuple[int, ...]
    """More sizes, of PostgreSQL alone."""
    share: float
    """Of the turns that a script makes by itself."""
    gigabytes: int
    """Free room that it needs on the disk."""

    def turns(self, full: int) -> list[str]:
        """Return the option for a share of so many turns."""
        return ["--turns", str(max(1, round(full * self.share)))]

    def tasks(self, *sizes: int) -> list[str]:
        """Return the option for these sizes."""
        return ["--tasks", *map(str, sizes)]


MODES = {
    "try": Mode((2_000, 10_000), (), 0, 2),
    "quick": Mode((100_000, 1_000_000), (), 0.25, 15),
    "full": Mode((100_000, 1_000_000), (10_000_000,), 1, 60),
}


@dataclass(frozen=True)
class Step:
    """A script with its arguments; its tables get a file of this name."""

    name: str
    script: str
    arguments: list[str]


def builds(mode: Mode) -> Iterator[Step]:
    """Yield what makes the databases."""
    yield Step("build", "build", mode.tasks(*sorted({10_000, *mode.sizes})))
    if mode.huge:
        yield Step("build-huge", "build", ["--engine", "postgresql", *mode.tasks(*mode.huge)])


def steps(mode: Mode) -> Iterator[Step]:
    """Yield what is measured."""
    small, large = mode.sizes
    thorough = bool(mode.huge)
    postgresql = ["--engine", "postgresql"]
    yield Step("startup", "startup", [*mode.tasks(10_000), *mode.turns(20)])
    yield Step("listing", "listing", [*mode.tasks(small, large), *mode.turns(30)])
    yield Step("indexes", "indexes", [*mode.tasks(*mode.sizes[: 1 + thorough]), *mode.turns(9)])
    writers = ["--writers", "1", "4", *(["16"] if thorough else [])]
    layers = ["--layer-turns", str(round(1500 * mode.share) or 1)]
    yield Step("writing", "writing", [*mode.turns(8), *writers, *layers])
    beside = ["--against", BEFORE_HISTORY, "--imported", "100000" if thorough else "0"]
    yield Step("history", "writing", [*mode.turns(30), *beside])
    yield Step("history-size", "history_size", mode.turns(20))
    yield Step("api", "api", [*mode.tasks(large), *mode.turns(15)])
    yield Step("health", "health", [*mode.tasks(*mode.sizes), *mode.turns(7)])
    yield Step("backup", "backup", [*mode.tasks(large), *mode.turns(4), "--what", "backup", "restore"])
    yield Step("offsite", "backup", [*mode.tasks(small), *mode.turns(6), "--what", "offsite"])
    yield Step("archives", "backup", [*mode.turns(6), "--what", "archives"])
    only = [] if thorough else ["--only", "CSV", "insert", "rows"]
    yield Step("transfer", "transfer", [*mode.tasks(small), *mode.turns(4), *only])
    yield Step("peers", "peers", [*mode.tasks(10_000), *mode.turns(8)])
    yield Step("search", "search", [*mode.tasks(*mode.sizes), *mode.turns(20)])
    if thorough:
        huge = [*postgresql, *mode.tasks(*mode.huge)]
        yield Step("listing-huge", "listing", [*postgresql, *mode.tasks(large, *mode.huge), *mode.turns(30)])
        yield Step("indexes-huge", "indexes", [*huge, *mode.turns(9), "--reading-only"])
        yield Step("health-huge", "health", [*huge, *mode.turns(7)])
        yield Step("backup-huge", "backup", [*huge, "--turns", "1", "--what", "backup", "restore"])
        yield Step(
            "transfer-large", "transfer", [*mode.tasks(large), "--turns", "1", "--only", "CSV", "insert"]
        )
        yield Step("search-huge", "search", [*huge, *mode.turns(20)])


@dataclass
class Measured:
    """What one script has measured, or that it failed."""

    step: Step
    seconds: float = 0.0
    figures: list[Figure] = field(default_factory=list)
    failed: bool = False


def run(step: Step, directory: Path, output: Path) -> Measured:
    """Run a script to its end, and read its figures."""
    sys.stderr.write(f"\n{step.name}: {step.script}.py {' '.join(step.arguments)}\n")
    path = output / f"{step.name}.md"
    command = [sys.executable, "-W", "ignore", str(HERE / f"{step.script}.py"), *step.arguments]
    options = ["--directory", str(directory)]
    if step.script != "build":
        options += ["--output", str(path)]
    begun = time.perf_counter()
    done = subprocess.run([*command, *options], stdout=subprocess.DEVNULL, check=False)
    measured = Measured(step, time.perf_counter() - begun, failed=done.returncode != 0)
    figures = path.with_suffix(".json")
    if figures.exists():
        measured.figures = [Figure(**each) for each in json.loads(figures.read_text())]
        figures.unlink()
    return measured


def worse(last: dict[str, Figure], now: dict[str, Figure]) -> list[str]:
    """Return the names of steady ratios that are worse than on the last page by more than is allowed."""
    return [
        name
        for name, figure in now.items()
        if name in last and figure.steady and not figure.unit and _change(last[name], figure) > ALLOWED
    ]


def _change(last: Figure, now: Figure) -> float:
    """Return how many times as bad a ratio is as it was."""
    before, after = max(last.value, 1e-9), max(now.value, 1e-9)
    return before / after if now.more_is_better else after / before


def better(one: Figure, other: Figure) -> Figure:
    """Return the better of two measurements of a figure."""
    return other if (other.value > one.value) == one.more_is_better else one


def compare(measured: list[Measured], last: dict[str, Figure], directory: Path, output: Path) -> int:
    """Hold the ratios against the last page's, measure again what is worse, and return the exit code."""
    regressed: list[str] = []
    for each in measured:
        now = {figure.name: figure for figure in each.figures}
        for _ in range(AGAIN):
            if not (names := worse(last, now)):
                break
            sys.stderr.write("worse, and measured again: " + "; ".join(names) + "\n")
            for figure in run(each.step, directory, output).figures:
                now[figure.name] = better(now.get(figure.name, figure), figure)
        each.figures = list(now.values())
        regressed += worse(last, now)
    found = {figure.name: figure for each in measured for figure in each.figures}
    rows = [
        [name, last[name].value, found[name].value, _change(last[name], found[name])] for name in regressed
    ]
    if rows:
        sys.stdout.write(table(["worse by more than 15 %", "last page", "now", "times as bad"], rows))
    failed = [each.step.name for each in measured if each.failed]
    sys.stdout.write(f"{len(found)} figures, {len(regressed)} worse than on the last page\n")
    if failed:
        sys.stdout.write(f"failed: {', '.join(failed)}\n")
    return 1 if regressed or failed else 0


def page(mode: str, measured: list[Measured], facts: dict[str, str]) -> str:
    """Return the page."""
    figures = [figure for each in measured for figure in each.figures]
    goals = [each for each in figures if each.at_most is not None or each.at_least is not None]
    others = [each for each in figures if each not in goals]
    missed = [each for each in goals if each.missed]
    parts = [
        "# Every figure\n",
        f"`python benchmarks/all.py --{mode}` wrote this page. [Benchmarks](../README.md) says how.\n",
        table(["", "this run"], [[name, value] for name, value in facts.items()]),
    ]
    if failed := [f"`{each.step.name}`" for each in measured if each.failed]:
        parts.append(f"**Failed: {', '.join(failed)}.**\n")
    if names := absent():
        parts.append(f"Not installed, and so not measured: {', '.join(names)}.\n")
    parts += [
        f"## Goals\n\n{len(goals) - len(missed)} of {len(goals)} are met.\n",
        table(
            ["figure", "goal", "measured", ""], [[each.name, _goal(each), *_shown(each)] for each in goals]
        ),
        "## Other figures\n",
        table(["figure", "measured"], [[each.name, _number(each)] for each in others]),
        "## Complete tables\n",
        table(
            ["script", "minutes", "tables"],
            [
                [_line(each.step), each.seconds / 60, f"[{each.step.name}]({each.step.name}.md)"]
                for each in measured
            ],
        ),
    ]
    return "\n".join(parts)


def _line(step: Step) -> str:
    return f"`{step.script}.py {' '.join(step.arguments)}`"


def _goal(figure: Figure) -> str:
    most = figure.at_most is not None
    number = figure.at_most if most else figure.at_least
    return f"{number:g} {figure.unit}".rstrip() + (" at most" if most else " at least")


def _shown(figure: Figure) -> list[str]:
    number = _number(figure)
    return [f"**{number}**", "**missed**"] if figure.missed else [number, ""]


def _number(figure: Figure) -> str:
    return (
        f"{figure.value:.3g} {figure.unit}".rstrip()
        if figure.value < 1000
        else f"{figure.value:.0f} {figure.unit}"
    )


def main() -> None:
    """Run all, and write the page or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes = parser.add_mutually_exclusive_group(required=True)
    for name in MODES:
        modes.add_argument(f"--{name}", dest="mode", action="store_const", const=name)
    parser.add_argument("--only", nargs="+", help="run these steps alone, and what builds the databases")
    parser.add_argument(
        "--directory", type=Path, help="where the databases are built; default: a temporary one"
    )
    parser.add_argument("--output", type=Path, default=PAGE, help="the page; default: %(default)s")
    parser.add_argument("--compare", action="store_true", help="compare with the last page, and write none")
    given = parser.parse_args()
    mode = MODES[given.mode]
    chosen = [step for step in steps(mode) if not given.only or step.name in given.only]
    last = _read(given.output.with_suffix(".json")) if given.compare else {}
    with TemporaryDirectory(prefix="taskdb-all-", dir=given.directory) as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        _require_room(directory, mode)
        facts = machine(HERE.parent, PROGRAMS) | {"load before": load()}
        output = directory if given.compare else given.output.parent
        for step in builds(mode):
            if run(step, directory, output).failed:
                sys.exit("error: the databases could not be built")
        measured = [run(step, directory, output) for step in chosen]
        if given.compare:
            sys.exit(compare(measured, last, directory, output))
    given.output.write_text(page(given.mode, measured, facts))
    kept = {
        "mode": given.mode,
        "machine": facts,
        "figures": [asdict(f) for each in measured for f in each.figures],
    }
    given.output.with_suffix(".json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    sys.stdout.write(given.output.read_text())
    sys.exit(any(each.failed for each in measured))


def _read(path: Path) -> dict[str, Figure]:
    if not path.exists():
        sys.exit(f"error: there is no {path} to compare with: run all.py without --compare first")
    return {each["name"]: Figure(**each) for each in json.loads(path.read_text())["figures"]}


def _require_room(directory: Path, mode: Mode) -> None:
    free = shutil.disk_usage(directory).free / 1e9
    if free < mode.gigabytes:
        sys.exit(
            f"error: {directory} has {free:.0f} GB free, and this needs {mode.gigabytes}: see --directory"
        )


if __name__ == "__main__":
    main()
