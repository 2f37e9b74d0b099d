"""The user's file of profiles: named sets of settings. A run uses at most one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from stat import S_IWGRP
from typing import Any

from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.system.environment import KEYS, SETTINGS, Setting, likely
from taskdb_cli.system.trusted import Untrusted, holds_password, is_open, read_text
from taskdb_cli.text.escaping import brief

NAME = "config.toml"
PROTECTED = "protected"

_TOO_LARGE = 10**12
_PROFILE_NAME = re.compile(r"[\w.-]{1,64}")


@dataclass(frozen=True)
class Profile:
    """Settings by the names of their variables.

    What destroys rows of the database of a `protected` profile asks for the profile's name.
    """

    name: str
    values: Mapping[str, str]
    protected: bool


@dataclass(frozen=True)
class ProfilesFile:
    """What the file says. Without a path, this user has no home directory and so no file."""

    path: Path | None = None
    default: str | None = None
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    refused: bool = False

    def get(self, name: str, source: str) -> Profile:
        """Return a profile; `source` says in an error who asked for it.

        Raises InvalidConfiguration for a profile or a key that does not exist, or a value that is not
        accepted.
        """
        if name not in self.tables:
            raise self._missing(name, source)
        values, protected = {}, False
        for key, value in self.tables[name].items():
            where = f"{brief(key)} of the profile {name} in {self.path}"
            if key == PROTECTED:
                if not isinstance(value, bool):
                    raise InvalidConfiguration(f"{where} must be true or false")
                protected = value
            elif variable := KEYS.get(key):
                values[variable] = _text(where, value, SETTINGS[variable])
            else:
                raise _unknown(where, key, [*KEYS, PROTECTED])
        for key in ("direct_url", "read_url"):
            if KEYS[key] in values and KEYS["database_url"] not in values:
                problem = f"{key} of the profile {name} in {self.path} is set without database_url"
                raise InvalidConfiguration(problem, "set database_url beside it")
        return Profile(name, values, protected)

    def may_protect(self, name: str) -> bool:
        """Return whether a profile is protected, or so wrongly written that it may be meant to be."""
        table = self.tables[name]
        return table[PROTECTED] is not False if PROTECTED in table else not table.keys() <= KEYS.keys()

    def _missing(self, name: str, source: str) -> InvalidConfiguration:
        problem = f"{source} names {brief(name)!r}, but there is no such profile in {self.path}"
        hint = 'write [profiles.NAME] into it, and under that database_url = "…"'
        if self.path is None:
            problem = f"{source} names {brief(name)!r}, but this user has no home directory for profiles"
            hint = "set HOME or XDG_CONFIG_HOME to an absolute path"
        elif meant := likely(name, self.tables):
            hint = f"did you mean {meant}?"
        elif self.tables:
            hint = f"its profiles are {', '.join(self.tables)}"
        return InvalidConfiguration(problem, hint)


def profiles_path() -> Path | None:
    """Return where the file is, whether or not it exists; None for a user without a home directory."""
    from platformdirs import user_config_path

    try:
        return user_config_path("taskdb", appauthor=False) / NAME
    except RuntimeError:
        return None


def read_profiles_file() -> ProfilesFile:
    """Read the user's file, if there is one; the profiles themselves are looked at when they are used.

    Raises InvalidConfiguration, which repeats nothing of the file but names, for a file that cannot be read,
    that others may have written, or that holds a password and may be read by others.
    """
    path = profiles_path()
    if path is None or not os.path.lexists(path):
        return ProfilesFile(path)
    try:
        text, status = read_text(path, named=False)
        if is_open(status) and holds_password(text):
            raise Untrusted(f"it holds a password, and others may read it; run {quote(f'chmod 600 {path}')}")
    except (OSError, ValueError) as exc:
        problem = f"cannot be read: {exc.strerror}" if isinstance(exc, OSError) else f"is refused: {exc}"
        raise InvalidConfiguration(f"the file of profiles {path} {problem}") from exc
    default, tables = _parse(text, path)
    warning = f"the file of profiles {path} can be changed by its group; run 'chmod go-w' on it"
    return ProfilesFile(path, default, tables, (warning,) if status.st_mode & S_IWGRP else ())


def _parse(text: str, path: Path) -> tuple[str | None, Mapping[str, Mapping[str, Any]]]:
    import tomllib

    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:
        # The message may repeat what the file says.
        line = re.search(r"\(at (line \d+), column \d+\)", str(exc))
        hint = 'a profile is [profiles.NAME], and under it lines such as database_url = "…"'
        where = f" in {line[1]}" if line else ""
        raise InvalidConfiguration(f"the file of profiles {path} is not TOML{where}", hint) from None
    for key in content:
        if key not in ("default_profile", "profiles"):
            raise _unknown(f"{brief(key)} in {path}", key, ["default_profile", "profiles"])
    default, tables = content.get("default_profile"), content.get("profiles", {})
    if not isinstance(default, str | None):
        raise InvalidConfiguration(f"default_profile in {path} must be the name of a profile, in quotes")
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise InvalidConfiguration(f"profiles in {path} must be tables", "begin each with [profiles.NAME]")
    if wrong := [name for name in tables if not _PROFILE_NAME.fullmatch(name)]:
        hint = "a name has letters, digits, dots, - and _, at most 64"
        raise InvalidConfiguration(f"{brief(wrong[0])!r} in {path} is not a valid name of a profile", hint)
    return default, tables


def _text(where: str, value: object, setting: Setting) -> str:
    """Return a value of the file as a variable would have it; raise InvalidConfiguration naming its place."""
    text = ""
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool):
        text = f"{value:d}" if setting.type is bool else ""
    elif isinstance(value, int | float) and setting.type in (int, float, bool):
        # Python refuses to write some thousand digits.
        text = str(value) if abs(value) < _TOO_LARGE else "too large"
    if not text:
        wanted = {bool: "true or false", int: "a number", float: "a number"}.get(
            setting.type, "a text in quotes"
        )
        raise InvalidConfiguration(f"{where} must be {wanted}")
    # The place of backups may also be a bucket, whose address a Path would change.
    if setting.type is Path or (setting is SETTINGS["TASKDB_BACKUP_DIR"] and text.startswith("~")):
        with suppress(RuntimeError):  # nobody has that name, so it is a path
            text = str(Path(text).expanduser())
    setting.parse(where, text)
    return text


def _unknown(where: str, key: str, known: list[str]) -> InvalidConfiguration:
    meant = likely(key, known)
    hint = f"did you mean {meant}?" if meant else f"it may be {', '.join(sorted(known))}"
    return InvalidConfiguration(f"{where} is not a setting", hint)
