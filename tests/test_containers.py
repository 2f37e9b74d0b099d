"""The Dockerfile and compose.yaml, as far as they can be tried without Docker."""

from __future__ import annotations

import json
import re
import shlex
import subprocess

import pytest
import yaml

from taskdb_cli.system.environment import ONLY_IN_ENVIRONMENT, SETTINGS
from tests.pages import ROOT
from tests.test_docs import parse

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
SERVICES = yaml.safe_load(COMPOSE)["services"]
OURS = [service for service in SERVICES.values() if service["image"] == "taskdb"]
NIGHT = 20_784 * 86_400 + 3 * 3600 + 17 * 60
"""A moment at 3:17 UTC, in seconds."""


def instruction(name: str) -> str:
    """The last instruction of this name in the Dockerfile, without the name."""
    return re.findall(rf"^ *{name} +(.*)$", DOCKERFILE, re.MULTILINE)[-1]


def in_shell(text: str) -> list[list[str]]:
    """The command lines of taskdb in a script."""
    return [shlex.split(line) for line in re.findall(r"(?<![\w/])taskdb [^&|;]*", text)]


def command_lines() -> list[list[str]]:
    """Every command line of taskdb in both files."""
    assert json.loads(instruction("ENTRYPOINT")) == ["taskdb"]
    found = [["taskdb", *json.loads(instruction("CMD"))]]
    for service in OURS:
        words = service["command"]
        found += in_shell(*words) if "entrypoint" in service else [["taskdb", *words]]
        found += in_shell(" ".join(service.get("healthcheck", {}).get("test", ())))
    return found


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_a_command_line_of_a_container(words):
    """Every command and option that a container starts with exists."""
    if words[1:] != ["--help"]:
        assert parse(words).startswith("taskdb ")


def test_there_are_command_lines():
    """The container of each service does its work, and the nightly one is watched."""
    assert [words[1] for words in command_lines()] == ["--help", "migrate", "serve", "backup", "--quiet"]


def test_the_settings_of_containers_exist():
    """A container is given settings that taskdb knows."""
    named = set(re.findall(r"\bTASKDB_\w+", DOCKERFILE + COMPOSE))
    assert named
    assert named <= {*SETTINGS, *ONLY_IN_ENVIRONMENT}


def test_no_password_is_given_away():
    """Compose refuses to start without the password of the database; no file of the project has one."""
    assert COMPOSE.count("${") == len(re.findall(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}", COMPOSE)) > 0
    assert SERVICES["db"]["environment"]["POSTGRES_PASSWORD"].startswith("${")


def test_containers_of_taskdb_may_do_little():
    """They run as an ordinary user with a fixed number, on a root file system that nobody writes to."""
    uid = re.search(r"--uid (\d+) ", DOCKERFILE)[1]
    assert instruction("USER") == f"{uid}:{uid}"
    for service in OURS:
        assert service["read_only"] is True
        assert (service["tmpfs"], service["cap_drop"]) == (["/tmp"], ["ALL"])


def test_a_new_volume_belongs_to_the_user_of_the_image():
    """Docker gives it the owner of the directory in the image, so each place of the page is one there."""
    page = (ROOT / "docs/installation.md").read_text(encoding="utf-8")
    places = set(re.findall(r"--volume [\w-]+:(/\w+)", page))
    made = re.search(r"useradd .*--home-dir (\S+) --create-home.* install .*=taskdb (/\w+)", DOCKERFILE)
    assert places == {"/data", "/backups"} == set(made.groups())


def test_a_missing_backup_is_seen_at_the_first_look():
    """The nightly container is unhealthy after one failed check, since the next one is an hour away."""
    assert SERVICES["backup"]["healthcheck"]["retries"] == 1


@pytest.mark.parametrize(("now", "seconds"), [(NIGHT - 1, 1), (NIGHT, 86_400), (NIGHT + 3600, 82_800)])
def test_the_nightly_container_sleeps_until_it_is_time(now, seconds):
    """It wakes at 3:17 UTC, and a backup that ends within the second is not made twice."""
    [script] = SERVICES["backup"]["command"]
    sleep = script.partition(" &&")[0].replace("$$", "$")
    printed = subprocess.check_output(
        ["/bin/sh", "-c", f"date() {{ echo {now}; }}; sleep() {{ echo $1; }}; {sleep}"]
    )
    assert int(printed) == seconds
