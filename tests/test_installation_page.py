"""docs/installation.md is followed on a machine that has nothing but Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.pages import DOCS, ROOT, Shell, blocks

SOAK = os.environ.get("TASKDB_SOAK") == "1"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TEXT = (DOCS / "installation.md").read_text(encoding="utf-8")


def section(heading: str, way: str) -> str:
    """The commands below a heading that are for one way of installing."""
    if heading == f"With {way}":
        return "".join(block.text for block in blocks("installation.md", "sh") if block.heading == heading)
    text = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    [row] = re.findall(rf"^\| {way} \| (.*) \|$", text, re.MULTILINE)
    return row.strip("`") if row.startswith("`") else ""


def follow(way: str, shell: Shell, home: Path) -> None:
    """Install and remove taskdb as the page says; in between, in the soak only, add extras and upgrade it."""
    user = "~/.local/bin/taskdb user create --email you@example.com --name You --if-not-exists"
    for heading in (f"With {way}", *(["Extras"] if SOAK else ()), "Man pages"):
        shell.paste(section(heading, way))
        assert "you@example.com" in shell.paste(user)
    assert "taskdb-task.1\n" in shell.paste("ls -L ~/.local/share/man/man1")
    shell.paste(section("Remove", way))
    assert shell.paste("ls ~/.local/bin") == ""
    assert [file.name for file in home.rglob("*.sqlite3")] == ["taskdb.sqlite3"]
    [stays] = [path for path in (home / ".local/share").iterdir() if any(path.rglob("*.sqlite3"))]
    assert f"`~/{stays.relative_to(home)}`" in TEXT


def variables(home: Path, *more: Path) -> dict[str, str]:
    """What a shell has on the machine, with the place that packages come from."""
    programs = [*more, home / ".local/bin", Path(sys.base_prefix) / "bin", "/usr/bin", "/bin"]
    known = {
        name: value for name, value in os.environ.items() if re.match("PIP_|UV_|SSL_|HTTPS?_PROXY", name)
    }
    path = ":".join(map(str, programs))
    return known | {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "SHELL": "/bin/bash"}


def test_installing_by_pip(tmp_path):
    """The lines for pip do what they say, without asking an index for what taskdb needs."""
    packages = ":".join(each for each in sys.path if each.endswith("-packages"))
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PYTHONPATH": packages}
    with Shell(variables(tmp_path) | offline, ROOT) as shell:
        follow("pip", shell, tmp_path)
        assert {path.name for path in (tmp_path / ".local/share").iterdir()} == {"man", "taskdb"}


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="it downloads packages: TASKDB_SOAK=1")
@pytest.mark.parametrize("way", ["pipx", "uv"])
def test_installing_by_a_tool(tmp_path, way):
    """The lines for pipx and uv do the same, with packages from the index."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "tool"], check=True)
    subprocess.run([tmp_path / "tool/bin/pip", "install", "-q", way], check=True)
    home = tmp_path / "home"
    home.mkdir()
    with Shell(variables(home, tmp_path / "tool/bin"), ROOT) as shell:
        follow(way, shell, home)


def test_the_page_says_what_the_project_says():
    """The page has each extra for users, and the oldest Python, as the project declares them."""
    extras = re.findall(r"^\| `(\w+)` \|", TEXT.partition("## Extras")[2].partition("\n## ")[0], re.MULTILINE)
    assert sorted(extras) == sorted(set(PROJECT["optional-dependencies"]) - {"bench", "dev", "docs", "test"})
    assert f"| Python | {PROJECT['requires-python'].removeprefix('>=')} or newer" in TEXT


def test_nothing_names_a_package_that_nobody_has_published():
    """No text and no hint tells people to install by a name, which a stranger could register one day."""
    named = re.compile(r"taskdb-cli\[|(?:\bpipx? install|\buv tool install|\buvx) (?:-\S+ )*['\"]?taskdb\b")
    assert named.search("pip install -q 'taskdb'")
    assert not named.search("pipx uninstall taskdb-cli")
    places = [*ROOT.glob("*.md"), ROOT / "Dockerfile", ROOT / "compose.yaml"]
    for name in ("taskdb_cli", "docs", "man", "contrib", "benchmarks", ".ci", ".github"):
        places += [path for path in (ROOT / name).rglob("*") if path.suffix != ".pyc" and path.is_file()]
    texts = {path.relative_to(ROOT): path.read_text(errors="replace") for path in places}
    assert {path for path, text in texts.items() if named.search(text)} == set()
