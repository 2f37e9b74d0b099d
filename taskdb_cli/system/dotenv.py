"""The dotenv file: which one is read, whether it can be trusted, and what it says."""

import io
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.system.trusted import Untrusted, holds_password, is_open, read_text


@dataclass(frozen=True)
class DotenvFile:
    """What a dotenv file says, and what is odd about it. Without a path there is no dotenv file."""

    path: Path | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    refused: bool = False
    open: bool = False
    """Whether others than its owner may read it."""

    @property
    def exposes_password(self) -> bool:
        """Whether others may read a password in it."""
        return self.open and any(map(holds_password, self.values.values()))

    def log(self, *, use: bool) -> None:
        """Log the warnings, and with `use` which file is used."""
        logger = logging.getLogger("taskdb.settings")
        if use:
            logger.info("dotenv file: %s", self.path or "none")
        for warning in self.warnings:
            logger.warning("the dotenv file %s %s", self.path, warning)


def read_dotenv_file(named: Path | None) -> DotenvFile:
    """Read the file that the user named, or else the nearest .env of the working directory and its parents.

    Values are taken literally. Variables that are empty are left out. Raises InvalidConfiguration, also for
    a .env that was not named and that somebody else may have written.
    """
    path = named or _nearest()
    if path is None:
        return DotenvFile()
    try:
        text, status = read_text(path, named=named is not None)
    except (OSError, ValueError) as exc:
        problem = f"cannot be read: {exc.strerror}" if isinstance(exc, OSError) else f"is refused: {exc}"
        hint = f"{'or name it' if isinstance(exc, Untrusted) else 'name another one'} with --env-file"
        raise InvalidConfiguration(f"the dotenv file {path} {problem}", hint) from exc
    from dotenv.parser import parse_stream

    bindings = list(parse_stream(io.StringIO(text)))
    values = {binding.key: binding.value for binding in bindings if binding.key is not None}
    misread = [binding.original.line for binding in bindings if binding.error]
    warnings = [f"is not understood in line {line}, which is passed over" for line in misread[:1]]
    # A file that was named may have any owner and mode. If everybody may write it there is a warning.
    who, may_write = ("everybody", stat.S_IWOTH) if named else ("its group", stat.S_IWGRP)
    if stat.S_ISREG(status.st_mode) and status.st_mode & may_write:
        warnings.append(f"can be changed by {who}: run 'chmod go-w' on it")
    given = {name: value for name, value in values.items() if value}
    return DotenvFile(path, given, tuple(warnings), open=is_open(status))


def _nearest() -> Path | None:
    # A virtual environment may have this name. A broken link is an error, because settings are missing.
    found = (directory / ".env" for directory in (Path.cwd() / ".env").parents)
    return next((path for path in found if os.path.lexists(path) and not path.is_dir()), None)
