"""Run every benchmark on this machine, and write one page of all figures: `python benchmarks/all.py --quick`.

`--quick` takes ten minutes on two idle cores, with 100 000 and 1 000 000 tasks. `--full` adds 10 000 000 and
what takes long with 1 000 000: half an hour in all. `--try` shows in two minutes that each script still runs.
The databases are built for it, and are removed at the end.

The page has every ratio with its goal, and marks what misses it. A JSON file beside it has the same for
programs. With `--compare` neither is written: the ratios are held against those of the last page. One that is
worse by more than 15 % is measured twice more, together with the others of its script, and the best of the
three counts. If it is still worse, its name is printed, and the exit code is 1. No milliseconds are compared.
"""

from __future__ import annotations

import argparse
import compileall
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import figures_page
from databases import PROGRAMS
from figures_page import Measured
from measuring import Figure, table
from this_machine import commit, has_commit, load, machine, today

HERE = Path(__file__).resolve().parent
PAGE = HERE / "results" / "all.md"
BEFORE = load()
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
    "full": Mode((100_000, 1_000_000), (10_000_000,), 0.25, 60),
}


@dataclass(frozen=True)
class Step:
    """A script with its arguments; its tables get a file of this name."""

    name: str
    script: str
    arguments: list[str]


def builds(mode: Mode, *, huge: bool) -> Iterator[Step]:
    """Yield what makes the databases."""
    yield Step("build", "build", mode.tasks(*sorted({10_000, *mode.sizes})))
    if huge:
        yield Step("build-huge", "build", ["--engine", "postgresql", *mode.tasks(*mode.huge)])


def steps(mode: Mode) -> Iterator[Step]:
    """Yield what is measured."""
    small, large = mode.sizes
    thorough = bool(mode.huge)
    postgresql = ["--engine", "postgresql"]
    yield Step("startup", "startup", [*mode.tasks(10_000), *mode.turns(20)])
    engines = ["--engine", "sqlite"] if thorough else []
    yield Step("listing", "listing", [*engines, *mode.tasks(small, large), *mode.turns(20)])
    yield Step("indexes", "indexes", [*mode.tasks(small), *mode.turns(6)])
    writers = ["--writers", "1", "4"]
    layers = ["--layer-turns", str(round(1500 * mode.share) or 1)]
    yield Step("writing", "writing", [*mode.turns(6), *writers, *layers])
    beside = ["--against", BEFORE_HISTORY, "--imported", "0"]
    if has_commit(HERE.parent, BEFORE_HISTORY):
        yield Step("history", "writing", [*mode.turns(30), *beside])
    yield Step("history-size", "history_size", mode.turns(20))
    yield Step("api", "api", [*mode.tasks(large), *mode.turns(15)])
    yield Step("replica", "replica", [*mode.tasks(large), *mode.turns(20)])
    yield Step("health", "health", [*mode.tasks(*mode.sizes), *mode.turns(7)])
    yield Step("backup", "backup", [*mode.tasks(large), *mode.turns(4), "--what", "backup", "restore"])
    yield Step("offsite", "backup", [*mode.tasks(small), *mode.turns(6), "--what", "offsite"])
    yield Step("archives", "backup", [*mode.turns(4), "--what", "archives"])
    only = ["--only", "CSV", "insert", "rows"]
    yield Step("transfer", "transfer", [*mode.tasks(small), *mode.turns(2), *only])
    yield Step("peers", "peers", [*mode.tasks(10_000), *mode.turns(6)])
    yield Step("search", "search", [*mode.tasks(*mode.sizes), *mode.turns(20)])
    if thorough:
        huge = [*postgresql, *mode.tasks(*mode.huge)]
        yield Step(
            "listing-huge", "listing", [*postgresql, *mode.tasks(*mode.sizes, *mode.huge), *mode.turns(20)]
        )
        yield Step("indexes-huge", "indexes", [*huge, *mode.turns(6), "--reading-only"])
        yield Step("health-huge", "health", [*huge, *mode.turns(4)])
        yield Step("backup-huge", "backup", [*huge, "--turns", "1", "--what", "backup", "restore"])
        yield Step("offsite-large", "backup", [*mode.tasks(large), *mode.turns(6), "--what", "offsite"])
        yield Step("transfer-large", "transfer", [*mode.tasks(large), "--turns", "1", "--only", "CSV"])
        yield Step("search-huge", "search", [*huge, *mode.turns(20)])


def run(step: Step, directory: Path, output: Path) -> Measured:
    """Run a script to its end, and read its figures; its tables go to a file in `output`."""
    command = " ".join([f"{step.script}.py", *step.arguments])
    sys.stderr.write(f"\n{step.name}: {command}\n")
    path, figures = output / f"{step.name}.md", output / f"{step.name}.json"
    words = [sys.executable, "-W", "ignore", str(HERE / f"{step.script}.py"), *step.arguments]
    options = ["--directory", str(directory)]
    if step.script != "build":
        options += ["--output", str(path)]
    begun = time.perf_counter()
    done = subprocess.run([*words, *options], stdout=subprocess.DEVNULL, check=False)
    minutes = round((time.perf_counter() - begun) / 60, 2)
    failed = done.returncode != 0
    found = []
    if figures.exists():
        found = [Figure(**each) for each in json.loads(figures.read_text())]
        figures.unlink()
    return Measured(step.name, command, minutes, today(), commit(HERE.parent), BEFORE, failed, found)


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


def compare(chosen: list[Step], last: dict[str, Figure], directory: Path) -> int:
    """Measure, hold the ratios against the last page's, measure again what is worse; return the exit code."""
    found: dict[str, Figure] = {}
    failed: list[str] = []
    for step in chosen:
        now: dict[str, Figure] = {}
        for turn in range(1 + AGAIN):
            measured = run(step, directory, directory)
            failed += [step.name] * measured.failed
            for figure in measured.figures:
                now[figure.name] = better(now.get(figure.name, figure), figure)
            if not (names := worse(last, now)) or turn == AGAIN:
                break
            sys.stderr.write(f"worse, so it is measured again: {'; '.join(names)}\n")
        found |= now
    regressed = worse(last, found)
    rows = [
        [name, last[name].value, found[name].value, _change(last[name], found[name])] for name in regressed
    ]
    if rows:
        sys.stdout.write(table(["worse by more than 15 %", "last page", "now", "times as bad"], rows))
    if failed:
        sys.stdout.write(f"failed: {', '.join(failed)}\n")
    sys.stdout.write(f"{len(found)} figures, {len(regressed)} of them worse than on the last page\n")
    return 1 if regressed or failed else 0


def main() -> None:
    """Run all, and write the page or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes = parser.add_mutually_exclusive_group(required=True)
    for name in MODES:
        modes.add_argument(f"--{name}", dest="mode", action="store_const", const=name)
    parser.add_argument("--only", nargs="+", help="run these alone, and keep the others of the last page")
    parser.add_argument(
        "--directory", type=Path, help="where the databases are built; default: a temporary one"
    )
    parser.add_argument("--output", type=Path, default=PAGE, help="the page; default: %(default)s")
    parser.add_argument("--compare", action="store_true", help="compare with the last page, and write none")
    given = parser.parse_args()
    mode = MODES[given.mode]
    # An installed program has bytecode. A checkout may have none, if PYTHONDONTWRITEBYTECODE is set.
    compileall.compile_dir(HERE.parent / "taskdb_cli", quiet=1)
    chosen = [step for step in steps(mode) if not given.only or step.name in given.only]
    scripts = figures_page.read(given.output)
    if given.compare:
        figures_page.require(scripts, given.output)
    with TemporaryDirectory(prefix="taskdb-all-", dir=given.directory) as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        _require_room(directory, mode)
        for step in builds(mode, huge=any(step.name.endswith("-huge") for step in chosen)):
            if run(step, directory, directory).failed:
                sys.exit("error: the databases could not be built")
        if given.compare:
            last = {figure.name: figure for each in scripts.values() for figure in each.figures}
            sys.exit(compare(chosen, last, directory))
        kept = scripts if given.only else {}
        for step in chosen:
            kept[step.name] = run(step, directory, given.output.parent)
            # What a later script breaks does not lose what the earlier ones have measured.
            figures_page.write(given.output, kept.values(), machine(PROGRAMS))
    sys.stdout.write(given.output.read_text())
    sys.exit(any(each.failed for each in kept.values()))


def _require_room(directory: Path, mode: Mode) -> None:
    free = shutil.disk_usage(directory).free / 1e9
    if free < mode.gigabytes:
        sys.exit(
            f"error: {directory} has {free:.0f} GB free, and this needs {mode.gigabytes}: see --directory"
        )


if __name__ == "__main__":
    main()
