"""The package as it is built and installed, away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest

from taskdb_cli import __version__

ROOT = Path(__file__).resolve().parent.parent
CREATE_ANN = ["user", "create", "--email", "ann@example.com", "--name", "Ann"]


def execute(*command: object, **environment: str) -> str:
    """The output of a process that must succeed, without the path of this one."""
    given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run(
        [str(word) for word in command],
        env=given | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def new_venv(path: Path) -> Path:
    """Make an environment that has the dependencies of this one, but no taskdb; return its python."""
    venv.create(path, symlinks=True)
    site = sysconfig.get_path("purelib", "venv", {"base": str(path), "platbase": str(path)})
    # What a .pth file adds is not searched for further .pth files, such as that of an editable install.
    lines = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site) / "dependencies.pth").write_text("\n".join(lines) + "\n")
    return path / "bin" / "python"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive of the checkout, and the wheel that is built from that archive."""
    directory = tmp_path_factory.mktemp("dist")
    execute(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, ROOT)
    [archive] = directory.glob("*.tar.gz")
    [wheel] = directory.glob("*.whl")
    return archive, wheel


@pytest.fixture(scope="session")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the commands of an environment that the wheel is installed in."""
    python = new_venv(tmp_path_factory.mktemp("installed") / "venv")
    execute(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        built[1],
    )
    return python.parent


def test_the_wheel_holds_the_package_and_nothing_else(built):
    """Migrations and the type marker are inside the package; no test and no cache is anywhere."""
    with ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
    assert {name.partition("/")[0] for name in names} == {
        "taskdb_cli",
        f"taskdb_cli-{__version__}.data",
        f"taskdb_cli-{__version__}.dist-info",
    }
    revisions = {
        f"taskdb_cli/migrations/versions/{path.name}" for path in ROOT.glob("migrations/versions/*.py")
    }
    assert revisions
    assert revisions < names
    assert {"taskdb_cli/py.typed", "taskdb_cli/migrations/env.py"} < names
    assert "taskdb_cli/migrations/script.py.mako" in names
    assert not [name for name in names if "test" in name or "__pycache__" in name]
    modules = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("taskdb_cli/**/*.py")}
    assert modules < names
    assert {f"taskdb_cli/docs/{path.name}" for path in ROOT.glob("docs/*.md")} < names
    assert {Path(name).suffix for name in names if name.startswith("taskdb_cli/docs/")} == {".md", ".svg"}


@pytest.mark.usefixtures("isolated")
def test_the_manual_is_installed(installed):
    """The installed command shows its manual, and its man pages are where `man` looks for them."""
    assert execute(installed / "taskdb", "help", "exit-codes").startswith("## Exit codes\n")
    there = {page.name for page in installed.parent.glob("share/man/man1/*")}
    assert there == {page.name for page in ROOT.glob("man/*")} > {"taskdb.1", "taskdb-task.1"}


def test_the_source_archive_can_be_tested(built):
    """The source archive has the tests and what they and a maintainer need."""
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "alembic.ini",
        ".env.example",
        "LICENSE",
        "README.md",
        "tests/conftest.py",
        "Dockerfile",
        ".dockerignore",
        "compose.yaml",
        "contrib/systemd/taskdb-backup.timer",
    } < names
    assert {"migrations/env.py", "migrations/script.py.mako"} < names
    strays = [name for name in names if name.endswith((".pyc", ".sqlite3", ".env"))]
    assert [name for name in strays if not name.startswith("tests/data/")] == []


def test_the_wheel_needs_no_more_than_the_builder_gets(built, tmp_path):
    """From what .dockerignore lets through, the same wheel is built as from the whole checkout."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    for name in [line.removeprefix("!") for line in lines if line.startswith("!")]:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    [wheel] = (tmp_path / "dist").iterdir()
    with ZipFile(wheel) as ours, ZipFile(built[1]) as theirs:
        assert ours.namelist() == theirs.namelist()


@pytest.mark.usefixtures("isolated")
def test_versions_agree(built, installed):
    """The module, the metadata and the command tell one version; the metadata asks for our Python."""
    with ZipFile(built[1]) as wheel:
        metadata = message_from_bytes(wheel.read(f"taskdb_cli-{__version__}.dist-info/METADATA"))
    assert metadata["Version"] == __version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert execute(installed / "taskdb", "--version") == f"taskdb {__version__}\n"
    assert execute(installed / "taskdb", "-q", "--version") == f"taskdb {__version__}\n"
    assert execute(installed / "python", "-m", "taskdb_cli", "--version") == f"taskdb {__version__}\n"


def test_every_requirement_has_a_lower_bound():
    """No dependency is left to whatever version happens to be there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["api"], *extras["ics"], *extras["offsite"], *extras["test"]]
    assert [name for name in wanted if ">=" not in name] == ["taskdb-cli[all]"]


@pytest.mark.usefixtures("isolated")
def test_the_installed_command_migrates_from_anywhere(installed, empty_url):
    """From the wheel, in a directory of its own, the schema is made and used on each engine."""
    where = {"TASKDB_DATABASE_URL": empty_url.render_as_string(hide_password=False)}
    found = execute(installed / "python", "-c", "import taskdb_cli; print(taskdb_cli.__file__)").strip()
    assert Path(found).is_relative_to(installed.parent)
    execute(installed / "taskdb", "migrate", **where)
    execute(installed / "taskdb", "migrate", "check", **where)
    assert "ann@example.com" in execute(installed / "python", "-m", "taskdb_cli", *CREATE_ANN, **where)


@pytest.mark.usefixtures("isolated")
def test_the_installed_command_makes_the_embedded_database(installed, tmp_path):
    """On a fresh machine the first user is one command away."""
    assert "ann@example.com" in execute(installed / "taskdb", *CREATE_ANN)
    assert (tmp_path / "data" / "taskdb" / "taskdb.sqlite3").is_file()
    execute(installed / "python", "-m", "taskdb_cli", "migrate", "check")


@pytest.mark.usefixtures("isolated")
def test_a_plain_checkout_works(tmp_path):
    """With nothing but PYTHONPATH, python -m taskdb_cli finds the migrations beside the package."""
    python = new_venv(tmp_path / "venv")
    assert "ann@example.com" in execute(python, "-m", "taskdb_cli", *CREATE_ANN, PYTHONPATH=str(ROOT))
    execute(python, "-m", "taskdb_cli", "migrate", "check", PYTHONPATH=str(ROOT))


def test_the_check_script_refuses_an_old_python(tmp_path):
    """.ci/run says clearly that the interpreter is too old, before it makes anything."""
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    process = subprocess.run(
        [ROOT / ".ci" / "run"],
        env=os.environ | {"PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert f"{old} is not Python 3.11 or newer" in process.stderr
