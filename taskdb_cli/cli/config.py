"""taskdb config: say which settings count, where each comes from, and which database is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskdb_cli.cli.backup_location import BackupLocation
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.output import Output, show_json, show_records
from taskdb_cli.errors import (
    DatabaseMissing,
    HomeMissing,
    InvalidConfiguration,
    InvalidInput,
    SchemaBehind,
    TaskdbError,
)
from taskdb_cli.output.formats import SETTINGS_IN_USE, Format
from taskdb_cli.system.clock import require_zone
from taskdb_cli.text.escaping import hide_secrets

if TYPE_CHECKING:
    from taskdb_cli.config import Settings
    from taskdb_cli.database import Database
    from taskdb_cli.services.config import About
    from taskdb_cli.system.layers import Layer, Layers

HASTY = {"connect_timeout": 10, "statement_timeout": 10, "lock_timeout": 5}
"""Seconds that the database is waited for at most."""


def config(
    ctx: typer.Context,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 2 if a setting is wrong or the database cannot be reached.")
    ] = False,
    output: Output,
) -> None:
    """Show each setting and its origin, and the database."""
    run = invocation(ctx)
    report = Report(ctx)
    if check:
        report.check_profiles()
    match output.effective_format:
        case Format.TABLE:
            from taskdb_cli.output.config import print_config

            refused = [name for name in ("profiles", "dotenv") if getattr(report.layers, name).refused]
            print_config(report.record(), sys.stdout, refused=refused)
        case Format.JSON:
            show_json(report.record())
        case _:
            show_records([*report.rows, *report.database_rows], SETTINGS_IN_USE, output)
    for warning in report.warnings:
        run.say(f"warning: {warning}")
    if check and report.troubles:
        first, *others = report.troubles
        raise InvalidConfiguration("; ".join([first.message, *(each.message for each in others)]), first.hint)
    for trouble in report.troubles:
        run.say(f"trouble: {trouble.message}" + (f" ({trouble.hint})" if trouble.hint else ""))


@dataclass
class Report:
    """All settings of a run, with the database that they name, and what is wrong with either."""

    ctx: typer.Context
    troubles: list[TaskdbError] = field(default_factory=list)
    layers: Layers = field(init=False)
    incomplete: bool = False
    """Whether a file of settings was refused."""
    settings: Settings | None = None
    """None if a command would not run with them."""
    database: Database | None = None
    about: About | None = None
    """None if the database was not reached."""
    problem: TaskdbError | None = None
    """Why the database was not reached, or what is wrong with its schema."""
    recipients: list[str] = field(default_factory=list)
    """The public keys for which backups are encrypted."""

    def __post_init__(self) -> None:
        """Read the settings, and look at the database that they name."""
        failures: list[InvalidConfiguration] = []
        run = invocation(self.ctx)
        self.options = run.options
        self.layers = run.find_layers(failures)
        self.troubles += failures
        dotenv = self.layers.dotenv
        odd = [*self.layers.warnings, *(f"the dotenv file {dotenv.path} {each}" for each in dotenv.warnings)]
        self.troubles += map(InvalidConfiguration, odd)
        self.incomplete = bool(failures)
        if failures:
            # The settings that are left may name another database than a command would use.
            self.problem = failures[0]
            return
        try:
            self.settings = run.settings_in(self.layers)
        except InvalidConfiguration as exc:
            self.problem = exc
            self.troubles.append(exc)
            return
        for check in (require_zone, partial(self._check, run, self.settings)):
            try:
                check()
            except InvalidInput as exc:
                self.troubles.append(exc)
        try:
            self._look(self.settings)
        except TaskdbError as exc:
            self.problem = exc
        if self.problem and not isinstance(self.problem, (DatabaseMissing, SchemaBehind)):
            # A migration makes and upgrades a database, so that is no trouble.
            self.troubles.append(self.problem)
        try:
            self._compare(self.settings)
        except TaskdbError as exc:
            self.troubles.append(exc)

    def _check(self, run: Invocation, settings: Settings) -> None:
        """Raise InvalidInput for a setting that only some commands look at."""
        from taskdb_cli.cli.history_prune import history_begin
        from taskdb_cli.health.registry import parse_limits

        run.open_log_of(settings)
        # What follows reads them again otherwise, and a dotenv file may be a pipe.
        run.settings = settings
        parse_limits(settings.health_limits)
        history_begin(run)
        location = BackupLocation(self.ctx)
        with suppress(HomeMissing):
            _ = location.chosen_label, location.directory
        if location.recipients(None):
            self.recipients = location.recipient_texts(None)

    def _look(self, settings: Settings) -> None:
        from taskdb_cli.services.config import describe

        self.database = _hasty(settings).database()
        self.about = describe(self.database)
        self.problem = self.about.problem

    def _compare(self, settings: Settings) -> None:
        """Raise TaskdbError if the replica cannot be reached, or is a replica of another database."""
        if settings.read_url is None or self.database is None or not (self.about and self.about.revision):
            return
        from taskdb_cli.database.replica import require_same

        require_same(self.database, _hasty(settings).replica_database())

    def check_profiles(self) -> None:
        """Look at every profile and at the name of the default one, also if they are not used."""
        profiles = self.layers.profiles
        names = list(profiles.tables) if profiles.default is None else [*profiles.tables, profiles.default]
        for name in names:
            try:
                profiles.get(name, f"default_profile in {profiles.path}")
            except InvalidConfiguration as exc:
                if exc.message not in [each.message for each in self.troubles]:
                    self.troubles.append(exc)

    @property
    def warnings(self) -> Iterator[str]:
        """Which files hold a secret that others may read. Commands run with them nevertheless."""
        from taskdb_cli.system.trusted import is_open

        dotenv, key = self.layers.dotenv, self.settings and self.settings.backup_identity
        advice = "and others may read it; run 'chmod 600' on it"
        if dotenv.exposes_password:
            yield f"the dotenv file {dotenv.path} holds a password, {advice}"
        with suppress(OSError, ValueError):
            if key and is_open(key.stat()):
                yield f"the identity file {key} holds a secret key, {advice}"

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Every setting as a record."""
        from taskdb_cli.system.environment import KEYS, ONLY_IN_ENVIRONMENT

        found = []
        for variable in (*KEYS.values(), "TASKDB_PROFILE", *sorted(ONLY_IN_ENVIRONMENT)):
            name = variable.removeprefix("TASKDB_").lower()
            value, source, origin = self._setting(name, variable)
            text = None if value in (None, "") else hide_secrets(str(value))
            found.append(
                {"name": name, "variable": variable, "value": text, "source": source, "origin": origin}
            )
        return found

    def _setting(self, name: str, variable: str) -> tuple[object, str, str]:
        """Return the value of a setting, the kind of place that it comes from, and that place."""
        from taskdb_cli.config import Addresses, data_directory, default_of

        layers, given = self.layers, self.options.get(name)
        if name in Addresses._fields:
            return self._address(name)
        if name == "profile":
            profile = layers.profile.name if layers.profile else None
            return profile, layers.choice or "default", layers.chosen_by or "default"
        if given is not None:
            return given, "option", f"--{name.replace('_', '-')}"
        if name == "debug" and self.ctx.find_root().params.get("debug"):
            return 1, "option", "--debug"
        if name in ("env_file", "debug"):
            known = layers.dotenv.path if name == "env_file" else os.environ.get(variable)
            place = "environment" if os.environ.get(variable) else "default"
            return known, place, place
        if variable in (values := layers.values()):
            text, layer = values[variable]
            return text, *self._place(layer)
        if name == "backup_dir":
            with suppress(HomeMissing):
                return data_directory(variable) / "backups", "default", "default"
        value = self.settings.options.pooled if self.settings and name == "pooled" else default_of(variable)
        return int(value) if isinstance(value, bool) else value, "default", "default"

    def _address(self, name: str) -> tuple[object, str, str]:
        from taskdb_cli.config import choose_urls
        from taskdb_cli.database.url import shown
        from taskdb_cli.system.environment import READ_ADDRESS
        from taskdb_cli.system.layers import ADDRESSES

        value: str | None = "not known" if self.incomplete else "not usable"
        with suppress(InvalidConfiguration):
            if not self.incomplete:
                url = getattr(choose_urls(self.options["database_url"], self.layers), name)
                value = None if url is None else shown(url)
        layer = self.layers.addressing
        given: Mapping[str, str] = {}
        direct_name = ""
        if self.options["database_url"] is not None:
            source, origin = "option", "--database-url"
        elif layer:
            source, origin = self._place(layer)
            if layer.address == "DATABASE_URL" and name != "read_url":
                origin += ", DATABASE_URL"
            given, direct_name = layer.values, ADDRESSES[layer.address or ""]
        else:
            source, origin = "default", "default"
        if name == "read_url" and READ_ADDRESS not in given:
            return None, "default", "default"
        derived = name == "direct_url" and direct_name not in given
        return value, source, "from database_url" if derived else origin

    def _place(self, layer: Layer) -> tuple[str, str]:
        return layer.kind, layer.origin.removeprefix("the ")

    @property
    def database_rows(self) -> list[dict[str, Any]]:
        """What is known of the database, as records like those of settings."""
        empty = dict.fromkeys(SETTINGS_IN_USE.fields)
        known = self.record()["database"].items()
        return [empty | {"name": f"database.{name}", "value": value} for name, value in known]

    def record(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        layers, about = self.layers, self.about
        used = layers.profile.name if layers.profile and layers.is_its_database else None
        guard = None
        with suppress(InvalidConfiguration):  # --check looks for mistakes in profiles that are not used
            guard = self.settings.protector_of(self.database) if self.settings and self.database else None
        return {
            "settings": self.rows,
            "database": {
                "place": self.database and self.database.backend.place,
                "profile": used,
                "protected_by": guard,
                "engine": about and about.engine,
                "version": about and about.version,
                "size": about and about.size,
                "revision": about and about.revision,
                "newest_revision": about and about.head,
                "problem": self.problem and hide_secrets(self.problem.message),
                "hint": self.problem and (hide_secrets(self.problem.hint) or None),
            },
            "files": {"profiles": _text(layers.profiles.path), "dotenv": _text(layers.dotenv.path)},
            "profiles": list(layers.profiles.tables),
            "troubles": [
                {"message": hide_secrets(each.message), "hint": hide_secrets(each.hint)}
                for each in self.troubles
            ],
            "recipients": self.recipients,
        }


def _hasty(settings: Settings) -> Settings:
    """Return the settings with limits of time that a person has patience for."""
    given = settings.options
    limits: dict[str, Any] = {name: min(getattr(given, name) or most, most) for name, most in HASTY.items()}
    return replace(settings, options=replace(given, **limits, retry_budget=0))


def _text(path: Path | None) -> str | None:
    return None if path is None else hide_secrets(str(path))
