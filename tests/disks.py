"""Small disks, which can really be full."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import command

MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class SmallDisk:
    """A file system in a namespace of its own: only processes that enter it see what is there."""

    place: Path
    """Where those processes find it."""
    process: int

    @property
    def outside(self) -> Path:
        """Where this process finds it; SQLite, which follows links by itself, does not."""
        return Path(f"/proc/{self.process}/root{self.place}")

    @property
    def enter(self) -> list[str]:
        """How the command line of a process begins that sees the disk."""
        return ["nsenter", "--preserve-credentials", "--user", "--mount", f"--target={self.process}"]

    def taskdb(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run the command line as one who sees the disk."""
        return self.run(*command(*arguments))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command as one who sees the disk."""
        return subprocess.run(
            [*self.enter, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[SmallDisk]:
    """Mount one of so many bytes at a new directory.

    It vanishes with the process that holds it, even if the tests are killed. That needs no privilege
    where anybody may make namespaces (unshare and nsenter, of util-linux). Elsewhere the test is skipped,
    even if CI is true: what a machine permits cannot be installed.
    """
    place.mkdir()
    mount = f'mount -t tmpfs -o size={size},mode=700 taskdb-test "$0" && echo mounted && exec cat'
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        pytest.skip("unshare or nsenter is not installed")
    with subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout
        assert holder.stderr
        if holder.stdout.readline() != "mounted\n":
            pytest.skip(
                f"a namespace to mount a disk in is not permitted here: {holder.stderr.read().strip()}"
            )
        yield SmallDisk(place, holder.pid)


def fill(disk: Path, *, leave: float = 0) -> None:
    """Take room until no more than that share of it is free; by default, until no byte is."""
    with (disk / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
        while shutil.disk_usage(disk).free > leave * shutil.disk_usage(disk).total:
            ballast.write(b"x" * 4096)
    assert leave or os.statvfs(disk).f_bavail == 0
