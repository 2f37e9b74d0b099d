"""The README is followed as it stands, in a fresh clone and a clean shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.console import HOME, TerminalShell, is_shown, read_steps
from tests.pages import ROOT

README = ROOT / "README.md"
SOAK = os.environ.get("TASKDB_SOAK") == "1"
TEST_COMMAND = "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pytest"


def test_the_readme_is_short():
    """Nobody reads more than 8 KB before they try something."""
    assert len(README.read_bytes()) <= 8192


def test_the_test_command_is_the_one_of_ci():
    """The README installs and tests as the script of CI does."""
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert f"\n{TEST_COMMAND}\n" in README.read_text(encoding="utf-8")
    assert "\npip install --quiet --editable '.[dev]'\n" in script
    assert "\npytest\n" in script


def test_the_commands_of_the_readme(tmp_path):
    """Each command does what the README shows; a last line for cron makes a backup without an environment.

    The command that runs all tests runs one of them, in the soak only: it installs for a minute.
    """
    clone, home = tmp_path / "taskdb", tmp_path / "you"
    home.mkdir()
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, clone], check=True)
    # Where the packages come from, and what was downloaded already, is the machine's affair.
    variables = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pip"
    variables |= {"PIP_CACHE_DIR": str(cache), "PYTEST_ADDOPTS": "-n0 -k test_there_are_commands"}
    with TerminalShell(clone, home, f"{sys.base_prefix}/bin", variables) as shell:
        for step in read_steps(clone / "README.md", scripts=True):
            if step.command.strip() == TEST_COMMAND and not SOAK:
                continue
            printed, code = shell.run(step.command)
            assert code == 0, f"{step.command}\n{printed}"
            assert is_shown(step.output or "…", printed.replace(str(home), HOME)), printed
    [line] = re.findall(r"^17 3 \* \* \*  (.*)$", printed, re.MULTILINE)
    done = subprocess.run(
        ["/usr/bin/env", "-i", f"HOME={home}", "PATH=/usr/bin:/bin", "/bin/sh", "-c", line],
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
