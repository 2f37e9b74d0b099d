"""What a benchmark ran on, and what is installed there."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("sqlalchemy", "sqlmodel", "psycopg", "django", "sqlite-utils", "fastapi")
PEERS = {"django": "django", "sqlite-utils": "sqlite_utils", "taskwarrior": "task"}
"""Packages that only the benchmarks use: modules of Python, or programs."""
IDLE = 0.5


def absent() -> list[str]:
    """Return the peers that are not installed."""
    found = {name for name, word in PEERS.items() if importlib.util.find_spec(word) or shutil.which(word)}
    return [name for name in PEERS if name not in found]


def machine(programs: Path) -> dict[str, str]:
    """Return what distinguishes a run here from one elsewhere."""
    model = _value(Path("/proc/cpuinfo"), "model name") or platform.machine()
    memory = int((_value(Path("/proc/meminfo"), "MemTotal") or "0").split()[0]) / 1024**2
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES if name not in absent())
    return {
        "processor": f"{len(os.sched_getaffinity(0))} cores, {model}",
        "memory": f"{memory:.0f} GiB",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "databases": f"{_output([str(programs / 'postgres'), '--version'])}, SQLite {sqlite3.sqlite_version}",
        "Python": f"{platform.python_version()}, {packages}",
    }


def today() -> str:
    """Return the date."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def commit(repository: Path) -> str:
    """Return the commit that is checked out, and whether the product differs from it."""
    git = ["git", "-C", str(repository)]
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "taskdb_cli", "migrations"], check=False)
    return _output([*git, "rev-parse", "--short", "HEAD"]) + (", changed" if changed.returncode else "")


def has_commit(repository: Path, name: str) -> bool:
    """Return whether the history of this clone goes back to a commit."""
    return not subprocess.run(
        ["git", "-C", str(repository), "cat-file", "-e", f"{name}^{{commit}}"],
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode


def load() -> str:
    """Return the load of the last minute, and whether the machine is idle: ask before a benchmark runs."""
    average = os.getloadavg()[0]
    return f"{average:.2f}, {'idle' if average < IDLE else 'not idle'}"


def _value(path: Path, name: str) -> str:
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
