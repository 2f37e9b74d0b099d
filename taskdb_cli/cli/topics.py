"""Topics of `taskdb help`: the pages of the manual, and which commands they are about."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

import typer

from taskdb_cli.output import manual

ABOUT = {
    "tasks": (
        "task create",
        "task update",
        "task start",
        "task done",
        "task reopen",
        "task cancel",
        "task delete",
    ),
    "interactive": ("task create", "task edit"),
    "lists": ("task list", "user list"),
    "import": ("task import", "user import"),
    "backup": ("backup",),
    "offsite": ("backup",),
    "scheduled": ("backup", "health"),
    "restore": ("restore",),
    "disaster": ("restore",),
    "history": ("history", "undo", "task history", "user history"),
    "privacy": ("history prune", "user erase", "user export"),
    "search": ("search",),
    "health": ("health",),
    "migrations": ("migrate",),
    "settings": ("config",),
    "api": ("serve",),
    "tokens": ("token",),
}
"""The commands that a page is about. A group stands for its commands too."""

SECTIONS = ("start", "exit-codes")
"""The headings that are listed among the topics. Every other one can be named too."""

SYNONYMS = {
    "age": "encryption",
    "azure": "azure-blob-storage",
    "bucket": "offsite",
    "compose": "docker-compose",
    "cron": "scheduled",
    "date": "times",
    "drill": "test-restores",
    "encrypt": "encryption",
    "env": "settings",
    "gdpr": "privacy",
    "install": "installation",
    "metrics": "health",
    "nagios": "tell-nagios",
    "neon": "postgresql",
    "postgres": "postgresql",
    "prometheus": "tell-prometheus",
    "retention": "delete-old-archives",
    "s3": "offsite",
    "systemd": "scheduled",
    "taskwarrior": "import",
    "uninstall": "installation#remove",
}
"""Words that people look for, and the page or the heading about each."""


def topics_of(path: str, *, takes_times: bool, commands: Collection[str]) -> list[str]:
    """Return what `taskdb help` calls the pages about a command, whose path has no `taskdb`."""
    pages = [
        page for page, about in ABOUT.items() if any(f"{path} ".startswith(f"{each} ") for each in about)
    ]
    return [manual.named(page, commands) for page in [*pages, *(["times"] if takes_times else [])]]


def topics(commands: Collection[str]) -> dict[str, str]:
    """Return the title of each topic that is listed."""
    sections = {name: name.replace("-", " ").capitalize() for name in SECTIONS}
    pages = {
        manual.named(name, commands): manual.title_of(page)
        for name, page in manual.pages().items()
        if name != "index"
    }
    return dict(sorted((pages | sections).items()))


def topic_names(commands: Collection[str]) -> list[str]:
    """Return the name of every topic, also of those that are not listed."""
    return [*topics(commands), *SYNONYMS, *manual.headings()]


def show_topics(ctx: Any) -> None:
    """Print the help of taskdb and the topics."""
    formatter = ctx.make_formatter()
    with formatter.section("Topics"):
        formatter.write_dl([*topics(ctx.command.commands).items()])
    typer.echo(f"{ctx.get_help()}\n\n{formatter.getvalue()}", nl=False)


def show_topic(ctx: Any, words: list[str]) -> bool:
    """Show the page or the section that words name; return whether there is one."""
    from taskdb_cli.output.pager import paged

    topic = "-".join(words).lower()
    text = manual.find(SYNONYMS.get(topic, topic))
    if text:
        with paged(sys.stdout) as stream:
            manual.write_page(text, stream, ctx.find_root().command.commands)
    return bool(text)
