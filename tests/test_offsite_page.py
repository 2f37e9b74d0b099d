"""The jobs of docs/offsite.md are run as cron and GitHub run them."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pyrage
import pytest
import yaml

from tests.contents import fill
from tests.pages import DOCS, blocks, run_as_job
from tests.test_docs import parse

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
PAGES = ("offsite.md", "disaster.md")
BIN = Path(sys.executable).parent
CRON_LINE = re.compile(r"(?:[\d*/,-]+ +){5}taskdb  (?P<command>.*)")


def command_lines() -> list[str]:
    """Every command line of taskdb in the blocks of both pages."""
    found = []
    for page in PAGES:
        for block in blocks(page, "sh", "console", "cron", "yaml"):
            lines = [line for line in block.text.splitlines() if not line.lstrip().startswith("#")]
            text = re.sub(r'"\$\([^)]*\)"', "OUTPUT", "\n".join(lines))
            found += re.findall(r"(?<![/\w.'-])taskdb (?=[a-z-])[^&|;()\n]*", text)
    return sorted(set(found))


@pytest.mark.parametrize("line", command_lines())
def test_a_command_line_of_the_pages(line):
    """Every command and option that the pages name exists."""
    assert parse(shlex.split(line, comments=True)).startswith("taskdb ")


def test_the_pages_install_an_extra_that_exists():
    """The extra that brings buckets and encryption has the name that the pages give it."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    named = {each for page in PAGES for each in re.findall(r"install '([^']*)'", (DOCS / page).read_text())}
    assert named == {".[offsite]"}
    assert "offsite" in project["optional-dependencies"]


@pytest.fixture
def key(tmp_path):
    """A key in a file, as the machine that verifies has it."""
    made = pyrage.x25519.Identity.generate()
    (tmp_path / "key.txt").write_text(f"{made}\n")
    (tmp_path / "key.txt").chmod(0o600)
    return made


@pytest.fixture
def values(bucket, url, key) -> dict[str, str]:
    """What the variables of the page are here."""
    fill(url, users=5, tasks=100)
    return {
        **{name: value for name, value in os.environ.items() if name.startswith("AWS_")},
        "AWS_REGION": "us-east-1",
        "TASKDB_DATABASE_URL": url.render_as_string(hide_password=False),
        "TASKDB_BACKUP_DIR": bucket.address,
    }


def run(command: str, shell: str, environment: dict[str, str]) -> tuple[int, str]:
    """Run a command in a shell; return its code, and all that it prints."""
    variables = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8", **environment}
    return run_as_job([*shell.split(), command], variables)


def write_files(directory: Path, given: Mapping[str, str]) -> list[str]:
    """Write the files of /etc/taskdb that the page shows; return the texts of the crontabs."""
    crontabs = []
    for block in blocks("offsite.md", "text", "ini", "sh", "cron"):
        if named := re.match("# (/etc/.*)", block.text):
            text = block.text
            for mark, value in given.items():
                text = text.replace(mark, value)
            if block.language == "cron":
                crontabs.append(text)
            else:
                (directory / Path(named[1]).name).write_text(text)
    return crontabs


def test_no_key_of_the_manual_is_taken():
    """A reader who copies a public key from a page gets an error, and no archives that nobody can open."""
    named = {name for page in DOCS.glob("*.md") for name in re.findall(r"\bage1\w+", page.read_text())}
    assert named
    for name in named:
        with pytest.raises(pyrage.RecipientError):
            pyrage.x25519.Recipient.from_str(name)


@SQLITE_ONLY
def test_the_jobs_of_cron(values, key, tmp_path):
    """The machine that backs up and the one that verifies do their work, and print nothing."""
    yours = {
        "/etc/taskdb": str(tmp_path),
        "/opt/taskdb/bin": str(BIN),
        "KEY_ID": values["AWS_ACCESS_KEY_ID"],
        "SECRET": values["AWS_SECRET_ACCESS_KEY"],
        "= auto": "= us-east-1",
        "https://ACCOUNT_ID.r2.cloudflarestorage.com": values["AWS_ENDPOINT_URL"],
        "s3://example-backups/neondb": values["TASKDB_BACKUP_DIR"],
    }
    [public] = set(re.findall("^age1.*$", (DOCS / "offsite.md").read_text(), re.MULTILINE))
    [url] = re.findall("'(postgresql://.*)'", (DOCS / "offsite.md").read_text())
    yours |= {public: str(key.to_public()), url: values["TASKDB_DATABASE_URL"]}
    jobs = []
    for crontab in write_files(tmp_path, yours):
        environment = {"PATH": "/usr/bin:/bin", **dict(re.findall(r"^(\w+)=(.*)$", crontab, re.MULTILINE))}
        jobs += [(job["command"], environment) for job in CRON_LINE.finditer(crontab)]
    backup, health, verify = jobs
    for command, environment in (backup, verify, health):
        assert run(command, "/bin/sh -c", environment) == (0, ""), command


@SQLITE_ONLY
def test_the_workflow_of_github(values, key):
    """Its steps run with its variables, and the key is not among them."""
    [block] = blocks("offsite.md", "yaml")
    workflow = yaml.safe_load(block.text)
    # YAML takes the word `on` for a truth value.
    assert set(workflow[True]) == {"schedule", "workflow_dispatch"}
    [job] = workflow["jobs"].values()
    known = values | {"TASKDB_RECIPIENT": str(key.to_public())}
    environment = {}
    for name, value in job["env"].items():
        given = re.fullmatch(r"\$\{\{ (?:secrets|vars)\.(\w+) \}\}", value)
        environment[name] = known[given[1]] if given else values.get(name, value)
    assert [name for name in environment if "IDENTITY" in name] == []
    checkout, install, *steps = job["steps"]
    assert "repository" in checkout["with"]
    assert install["run"].startswith("pipx install ")
    for step in steps:
        code, printed = run(step["run"], "/bin/bash -e -c", environment)
        assert code == 0, printed
        assert values["AWS_SECRET_ACCESS_KEY"] not in printed
