"""Settings: what a run works with, from its options and the layers below them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import URL

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.database.url import may_be_same, may_replicate, parse_url, without_pooler
from taskdb_cli.errors import HomeMissing, InvalidConfiguration
from taskdb_cli.system.environment import KEYS, READ_ADDRESS, LogSettings, read_settings
from taskdb_cli.system.layers import ADDRESSES, Layer, Layers, find_layers

_OPTION = "--database-url"


class Addresses(NamedTuple):
    """Where one database is reached, and where it is read."""

    database_url: URL
    direct_url: URL
    read_url: URL | None = None
    """The address of a replica."""


@dataclass(frozen=True)
class Settings:
    """Everything that a command needs to know about where it runs. `SETTINGS` says what the fields mean."""

    database_url: URL
    direct_url: URL
    options: Options
    pool: Pool
    log: LogSettings
    layers: Layers = field(compare=False)
    """Where they come from."""
    read_url: URL | None = None
    read_lag: float = 10
    backup_dir: str | None = None
    backup_label: str | None = None
    backup_recipients: Path | None = None
    backup_identity: Path | None = None
    api_statement_timeout: float = 5
    client_timeout: int = 30
    history_keep: str = "90d"
    health_limits: str = ""

    def database(self, *, long_lived: bool = False) -> Database:
        """Return the database of these settings, not connected yet.

        A server is `long_lived`: it keeps a pool of connections, and its statements have the API's limit.
        """
        return Database(self.database_url, self._options(long_lived=long_lived))

    def replica_database(self, *, long_lived: bool = False) -> Database:
        """Return the replica of the database, not connected yet; `long_lived` means the same as above.

        Raises InvalidConfiguration if no replica is named where the database is.
        """
        layer = self.layers.addressing
        if self.read_url is None or layer is None:
            raise InvalidConfiguration("no replica of the database is set", self._replica_hint())
        options = self._options(long_lived=long_lived)
        pooled = options.pooled or without_pooler(self.read_url) != self.read_url
        name, source = layer.name_of(READ_ADDRESS), layer.place_of(READ_ADDRESS)
        return Database(self.read_url, replace(options, pooled=pooled, source=source, read_address=name))

    def direct_replica_database(self) -> Database:
        """Return the replica past a pooler of Neon, for long work; raise as `replica_database` does."""
        replica = self.replica_database()
        direct = without_pooler(replica.url)
        pooled = self.options.pooled and direct == replica.url
        return Database(direct, replace(replica.options, pooled=pooled))

    def _options(self, *, long_lived: bool) -> Options:
        if not long_lived:
            return self.options
        return replace(self.options, pool=self.pool, statement_timeout=self.api_statement_timeout)

    def _replica_hint(self) -> str:
        for layer in self.layers.layers:
            if READ_ADDRESS in layer.values:
                return f"{layer.place_of(READ_ADDRESS)} is not used, because the database is named elsewhere"
        return f"set {READ_ADDRESS} in the same place as the address of the database, a PostgreSQL server"

    def direct_database(self) -> Database:
        """Return the same database by its direct endpoint, past any pooler.

        Raises InvalidConfiguration when only a pooler's address is known, whose sessions can hold no lock.
        """
        if self.options.pooled and self.direct_url == self.database_url:
            hint = "set TASKDB_DIRECT_URL to it in the same place as TASKDB_DATABASE_URL"
            raise InvalidConfiguration("this needs the direct address of the database, past the pooler", hint)
        layer, source = self.layers.addressing, self.options.source
        if layer and layer.direct_address and source != _OPTION:
            source = layer.place_of(layer.direct_address)
        return Database(self.direct_url, replace(self.options, pooled=False, source=source))

    def profile_of(self, database: Database) -> str | None:
        """Return the name of the profile of this run, if the database is the one that it is used for."""
        profile = self.layers.profile
        mine = database.url in (self.database_url, self.direct_url, self.read_url)
        return profile.name if profile and mine and self.layers.is_its_database else None

    def protector_of(self, database: Database) -> str | None:
        """Return the name of the protected profile whose database this is, however the database was named.

        A profile that is not used is compared by its addresses. Raises InvalidConfiguration for one that may
        be protected and is written wrongly, because it may be that of this database.
        """
        profiles, used = self.layers.profiles, self.profile_of(database)
        if used and profiles.get(used, "").protected:
            return used
        own = database.backend.whereabouts()
        for name in filter(profiles.may_protect, profiles.tables):
            try:
                values = profiles.get(name, "").values
                given = [(key, values[KEYS[key]]) for key in Addresses._fields if values.get(KEYS[key])]
                if any(own & Database(parse_url(text, key)).backend.whereabouts() for key, text in given):
                    return name
            except InvalidConfiguration as exc:
                problem = f"the profile {name} may protect {database.backend.place}, but {exc.message}"
                raise InvalidConfiguration(problem, exc.hint) from exc
        return None

    def other_database(self, url: str, source: str) -> Database:
        """Return another database by its direct endpoint, reached with the same limits.

        The schema of these settings does not apply to it. `source` says in an error where the URL came
        from. Raises InvalidConfiguration.
        """
        direct = _direct(parse_url(url, source), source)
        return Database(direct, replace(self.options, pooled=False, schema=None, source=source))


def load_settings(
    *,
    database_url: str | None = None,
    profile: str | None = None,
    env_file: Path | None = None,
    schema: str | None = None,
    log_file: Path | None = None,
    log_format: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings; the arguments are the options that the user gave.

    Raises InvalidConfiguration that names the variable at fault, and never shows a password.
    """
    given = os.environ if environment is None else environment
    layers = find_layers(given, database_url=database_url, profile=profile, env_file=env_file)
    return settings_of(
        layers, database_url=database_url, schema=schema, log_file=log_file, log_format=log_format
    )


def settings_of(
    layers: Layers,
    *,
    database_url: str | None = None,
    schema: str | None = None,
    log_file: Path | None = None,
    log_format: str | None = None,
) -> Settings:
    """Return the settings that options and layers say; raise as `load_settings` does."""
    chosen, layer = choose_urls(database_url, layers), layers.addressing
    source = layer.place_of(layer.address) if layer and layer.address else ""
    if database_url is not None:
        source = _OPTION
    values = layers.values()
    # Only one of the addresses is used, and it is checked where it is parsed.
    addresses = {*ADDRESSES, *ADDRESSES.values(), READ_ADDRESS}
    for name, (text, layer) in values.items():
        if name not in addresses and layer.kind != "environment" and "${" in text:
            problem = f"{layer.place_of(name)} contains ${{, which is not expanded"
            raise InvalidConfiguration(problem, "write the value out")
    behind_pooler = without_pooler(chosen.database_url) != chosen.database_url
    texts = {"TASKDB_POOLED": f"{behind_pooler:d}"} | {name: values[name][0] for name in values}
    read = partial(read_settings, places={name: layer.place_of(name) for name, (_, layer) in values.items()})
    # A replica counts only where it is named beside its database.
    texts.pop(READ_ADDRESS, None)
    return read(
        Settings,
        texts,
        **chosen._asdict(),
        options=read(Options, texts, schema=schema, source=source),
        pool=read(Pool, texts, "POOL_"),
        log=read(LogSettings, texts, "LOG_", file=log_file, format=log_format),
        layers=layers,
    )


def default_of(variable: str) -> object:
    """Return the default of the field that a variable sets, or None."""
    for prefix, kind in (("", Options), ("", Settings), ("LOG_", LogSettings), ("POOL_", Pool)):
        name = variable.removeprefix(f"TASKDB_{prefix}").lower()
        if name in kind.__dataclass_fields__:
            # A dataclass has its defaults as attributes.
            return getattr(kind, name, None)
    return None


def data_directory(setting: str) -> Path:
    """Return where taskdb keeps what no setting places. Raises HomeMissing, which names the setting."""
    from platformdirs import user_data_path

    try:
        return user_data_path("taskdb", appauthor=False)
    except RuntimeError:
        raise HomeMissing(f"{setting}, or HOME or XDG_DATA_HOME") from None


def choose_urls(option: str | None, layers: Layers) -> Addresses:
    """Return the addresses of the database, all from the first layer that names a database.

    They are never mixed from two layers: what is restored must be what is read.
    """
    if option is not None:
        url = parse_url(option, _OPTION)
        return Addresses(url, _direct(url, _OPTION))
    layer = layers.addressing
    if layer is None or layer.address is None:
        return _default_addresses(layers)
    name, direct_name = layer.address, layer.direct_address
    url = parse_url(layer.values[name], layer.place_of(name))
    past_pooler = _direct(url, layer.place_of(name))
    read = _replica_of(url, layer) if READ_ADDRESS in layer.values else None
    if direct_name is None:
        return Addresses(url, past_pooler, read)
    direct = parse_url(layer.values[direct_name], layer.place_of(direct_name))
    _direct(direct, layer.place_of(direct_name))
    if not may_be_same(url, direct):
        hint = f"make them the pooled and the direct address of one, or unset {layer.name_of(direct_name)}"
        problem = f"{layer.name_of(name)} and {layer.place_of(direct_name)} name two databases"
        raise InvalidConfiguration(problem, hint)
    return Addresses(url, direct, read)


def _default_addresses(layers: Layers) -> Addresses:
    """Return the SQLite file of this user. Raises InvalidConfiguration if only a second address is set."""
    pairs = [*ADDRESSES.items(), ("TASKDB_DATABASE_URL", READ_ADDRESS)]
    for layer, (name, other) in product(layers.layers, pairs):
        if other in layer.values:
            problem = f"{layer.place_of(other)} is set without {name}"
            raise InvalidConfiguration(problem, f"set {name} beside it")
    # The path goes into the URL as it is: a home directory may have any character in its name.
    url = URL.create("sqlite", database=str(data_directory("TASKDB_DATABASE_URL") / "taskdb.sqlite3"))
    return Addresses(url, url)


def _direct(url: URL, place: str) -> URL:
    """Return the URL past a pooler; raise InvalidConfiguration that names the place of one libpq refuses."""
    try:
        return without_pooler(url)
    except InvalidConfiguration as exc:
        exc.message = f"{place}: {exc.message}"
        raise


def _replica_of(url: URL, layer: Layer) -> URL:
    place = layer.place_of(READ_ADDRESS)
    read = parse_url(layer.values[READ_ADDRESS], place)
    _direct(read, place)
    if not may_replicate(url, read):
        problem = f"{place} names a replica, which only a PostgreSQL server has"
        raise InvalidConfiguration(problem, f"unset {layer.name_of(READ_ADDRESS)}")
    return read
