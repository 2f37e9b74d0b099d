"""The page of all figures, and the same as JSON, by which a later run is compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from measuring import Figure, table
from this_machine import absent


@dataclass(frozen=True)
class Measured:
    """What one script measured, when and on which commit, and the load before all; its name is its file's."""

    name: str
    command: str
    minutes: float
    date: str
    commit: str
    load: str
    failed: bool
    figures: list[Figure]


def read(page: Path) -> dict[str, Measured]:
    """Return what the page shows, by the names of the scripts."""
    path = page.with_suffix(".json")
    if not path.exists():
        return {}
    found = json.loads(path.read_text())["scripts"]
    measured = [
        Measured(**{**each, "figures": [Figure(**figure) for figure in each["figures"]]}) for each in found
    ]
    return {each.name: each for each in measured}


def write(page: Path, scripts: Iterable[Measured], facts: dict[str, str]) -> None:
    """Write the page, and the JSON beside it."""
    scripts = list(scripts)
    kept = {"machine": facts, "scripts": [asdict(each) for each in scripts]}
    page.parent.mkdir(parents=True, exist_ok=True)
    page.with_suffix(".json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    page.write_text(_page(scripts, facts))


def _page(scripts: list[Measured], facts: dict[str, str]) -> str:
    # Two scripts may have measured the same, one of them with more turns.
    figures = list({figure.name: figure for each in scripts for figure in each.figures}.values())
    goals = [each for each in figures if each.at_most is not None or each.at_least is not None]
    others = [each for each in figures if each not in goals]
    missed = [each for each in goals if each.missed]
    headers = ["script", "tables", "minutes", "date", "commit", "load before"]
    parts = [
        "# Every figure\n",
        "`benchmarks/all.py` wrote this page. [Benchmarks](../README.md) says how each is measured.\n",
        table(["", "the machine"], list(facts.items())),
    ]
    if failed := [f"`{each.name}`" for each in scripts if each.failed]:
        parts.append(f"**Failed: {', '.join(failed)}.**\n")
    if names := absent():
        parts.append(f"Not installed, and so not measured: {', '.join(names)}.\n")
    parts += [
        f"## Goals\n\n{len(goals) - len(missed)} of {len(goals)} are met.\n",
        table(
            ["figure", "goal", "measured", ""], [[each.name, _goal(each), *_judged(each)] for each in goals]
        ),
        "## Other figures\n",
        table(["figure", "measured"], [[each.name, _number(each)] for each in others]),
        "## Complete tables\n",
        table(headers, [_row(each) for each in scripts]),
    ]
    return "\n".join(parts)


def _row(each: Measured) -> list[object]:
    link = f"[{each.name}]({each.name}.md)"
    return [f"`{each.command}`", link, each.minutes, each.date, each.commit, each.load]


def _goal(figure: Figure) -> str:
    most = figure.at_most is not None
    number = figure.at_most if most else figure.at_least
    return f"{number:g} {figure.unit}".rstrip() + (" at most" if most else " at least")


def _judged(figure: Figure) -> list[str]:
    number = _number(figure)
    return [f"**{number}**", "**missed**"] if figure.missed else [number, ""]


def _number(figure: Figure) -> str:
    digits = f"{figure.value:.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"
    return f"{digits} {figure.unit}".rstrip()


def require(last: dict[str, Measured], page: Path) -> None:
    """Leave if there is no page to compare with."""
    if not last:
        sys.exit(f"error: no figures beside {page}: run all.py without --compare first")
