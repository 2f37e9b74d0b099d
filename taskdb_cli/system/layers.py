"""The places that settings come from, and which of them wins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.system.dotenv import DotenvFile, read_dotenv_file
from taskdb_cli.system.environment import SETTINGS, unknown_variables
from taskdb_cli.system.profiles import Profile, ProfilesFile, profiles_path, read_profiles_file

ADDRESSES = {"TASKDB_DATABASE_URL": "TASKDB_DIRECT_URL", "DATABASE_URL": "DATABASE_URL_UNPOOLED"}
"""The variables that name a database, each with that of its direct address."""

_OF_ONE_DATABASE = frozenset({"TASKDB_SCHEMA", "TASKDB_POOLED", "TASKDB_BACKUP_LABEL", "TASKDB_USER"})
"""What a profile says about its own database, and not about another one."""


@dataclass(frozen=True)
class Layer:
    """Settings from one place, by the names of their variables. None of them is empty."""

    kind: Literal["profile", "environment", "dotenv", "default profile"]
    origin: str
    """The place, as an error names it."""
    values: Mapping[str, str]

    @property
    def address(self) -> str | None:
        """The variable that names a database here, or None."""
        return next((name for name in ADDRESSES if name in self.values), None)

    @property
    def direct_address(self) -> str | None:
        """The variable that names the direct address of that database here, or None."""
        name = ADDRESSES.get(self.address or "", "")
        return name if name in self.values else None

    def name_of(self, variable: str) -> str:
        """Return what a setting is called here."""
        return variable.removeprefix("TASKDB_").lower() if self.kind.endswith("profile") else variable

    def place_of(self, variable: str) -> str:
        """Return a setting and its place, as an error names them."""
        return f"{self.name_of(variable)} in {self.origin}"


@dataclass(frozen=True)
class Layers:
    """Everything that settings are read from, except for options."""

    layers: tuple[Layer, ...]
    """The first one that has a setting decides about it."""
    dotenv: DotenvFile
    profiles: ProfilesFile
    profile: Profile | None
    """The profile of the run. If it names a database, that may still be another one than the run uses."""
    choice: str
    """Where the profile was chosen: option, environment, dotenv or default profile."""
    chosen_by: str
    """What chose it, as an error names it."""
    is_its_database: bool
    """Whether the run works on the database of the profile, or on one that no profile names."""
    warnings: tuple[str, ...]
    """What is odd about names in the environment and the dotenv file, and about the file of profiles."""

    @property
    def addressing(self) -> Layer | None:
        """The layer whose database is used, unless an option names another one."""
        return next((each for each in self.layers if each.address), None)

    def values(self) -> dict[str, tuple[str, Layer]]:
        """Return the text of each setting that is set, and the layer that decides about it."""
        found: dict[str, tuple[str, Layer]] = {}
        for layer in reversed(self.layers):
            found |= {name: (text, layer) for name, text in layer.values.items()}
        return found


def find_layers(
    environment: Mapping[str, str],
    *,
    database_url: str | None,
    profile: str | None,
    env_file: Path | None,
    failures: list[InvalidConfiguration] | None = None,
) -> Layers:
    """Read the dotenv file and the file of profiles, and put all places of settings in their order.

    The arguments are options. Raises InvalidConfiguration for a file that is refused or a profile that does
    not exist. With a list of `failures` the file or profile is left out instead, and the error added.
    """
    if profile is not None and database_url is not None:
        raise InvalidConfiguration(
            "--profile and --database-url both name a database", "leave one of them out"
        )
    variable = environment.get("TASKDB_ENV_FILE")
    named = env_file or (Path(variable) if variable else None)
    dotenv, profiles = DotenvFile(named, refused=True), ProfilesFile(profiles_path(), refused=True)
    used = None
    with _collecting(failures):
        dotenv = read_dotenv_file(named)
    # An option names a profile of this file, so nothing could be said about the settings without it.
    with _collecting(failures if profile is None else None):
        profiles = read_profiles_file()
    in_dotenv = f"the dotenv file {dotenv.path}"
    layers = [
        Layer("environment", "the environment", _settings_in(environment)),
        Layer("dotenv", in_dotenv, _settings_in(dotenv.values)),
    ]
    choices = (
        (profile, "option", "--profile"),
        (environment.get("TASKDB_PROFILE") or None, "environment", "TASKDB_PROFILE in the environment"),
        (dotenv.values.get("TASKDB_PROFILE"), "dotenv", f"TASKDB_PROFILE in {in_dotenv}"),
        (profiles.default, "default profile", f"default_profile in {profiles.path}"),
    )
    name, choice, chosen_by = next((each for each in choices if each[0] is not None), (None, "", ""))
    is_its_database = False
    if name is not None and not profiles.refused:
        with _collecting(failures if profile is None else None):
            used = profiles.get(name, chosen_by)
            place = {"option": 0, "environment": 1}.get(choice, 2)
            is_default = choice == "default profile"
            origin = f"the {'default ' if is_default else ''}profile {name} in {profiles.path}"
            layer = Layer("default profile" if is_default else "profile", origin, used.values)
            others = [database_url, *(each.address for each in layers[:place])]
            is_its_database = not layer.address or others == [None] * len(others)
            if not is_its_database:
                kept = {key: text for key, text in used.values.items() if key not in _OF_ONE_DATABASE}
                layer = replace(layer, values=kept)
            layers.insert(place, layer)
    warnings = [
        *unknown_variables((each for each in environment if environment[each]), "the environment"),
        *unknown_variables(dotenv.values, in_dotenv),
        *profiles.warnings,
    ]
    return Layers(tuple(layers), dotenv, profiles, used, choice, chosen_by, is_its_database, tuple(warnings))


def _settings_in(values: Mapping[str, str]) -> dict[str, str]:
    return {name: values[name] for name in SETTINGS if values.get(name)}


@contextmanager
def _collecting(failures: list[InvalidConfiguration] | None) -> Iterator[None]:
    try:
        yield
    except InvalidConfiguration as exc:
        if failures is None:
            raise
        failures.append(exc)
