"""Keys of encrypted archives: public keys, for which they are encrypted, and secret ones, which open them.

They are keys of age or of SSH, as `age` takes them. Nothing here repeats or shows a secret key.
"""

import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from taskdb_cli.errors import ExtraMissing, InvalidInput
from taskdb_cli.system.trusted import read_text
from taskdb_cli.text.escaping import brief

Recipients = tuple[Any, ...]
"""Public keys. The secret key of any of them opens the archive."""

Identities = tuple[Any, ...]
"""Secret keys."""

_SECRET = re.compile("SECRET|PRIVATE", re.IGNORECASE)
_KEY = re.compile(r"AGE-|age1|ssh-\w+ ", re.IGNORECASE)
_SHOWN = 24
"""The longest text, in characters, that is repeated whole: keys are longer."""
_PUBLIC = "give a key 'age1…' that 'age-keygen' made, or an ssh-ed25519 or ssh-rsa public key"
_MAKE_KEY = "'age-keygen -o FILE' makes one, which must be among the recipients of the backup"

_log = logging.getLogger("taskdb.backup")


def recipients_of(texts: Iterable[str]) -> Recipients:
    """Return the recipients that a person names by their public keys.

    Raises InvalidInput, which never repeats a secret key, and ExtraMissing if there is no pyrage.
    """
    return tuple(_recipient(text, f"the recipient {brief(_beginning(text))!r}") for text in texts)


def recipients_in(path: Path) -> Recipients:
    """Return the recipients in a file, as `age -R` takes it: a public key a line, and # comments.

    Raises as `recipients_of` does, also for a file that names none.
    """
    lines = _lines(_read(path, "recipients")[0])
    found = tuple(_recipient(line, f"line {number} of {path}") for number, line in lines)
    if not found:
        raise InvalidInput(f"{path} names no recipient", f"write one on each line: {_PUBLIC}")
    return found


def public_keys_in(path: Path) -> list[str]:
    """Return the lines of a file of recipients without the comments; raise InvalidInput."""
    return [line for _, line in _lines(_read(path, "recipients")[0])]


def identities_of(path: Path) -> Identities:
    """Return the secret keys in an identity file of age, or in an SSH private key file.

    Raises InvalidInput, which never shows what is in the file, and ExtraMissing.
    """
    text, status = _read(path, "identity")
    if text.startswith(("-----BEGIN AGE ENCRYPTED FILE", "age-encryption.org/")):
        raise _protected(path, f"<(age -d {path})")
    if text.startswith("-----BEGIN "):
        found: Identities = (_ssh_identity(text, path),)
    else:
        found = tuple(_identity(line, f"line {number} of {path}", path) for number, line in _lines(text))
    if not found:
        raise InvalidInput(f"{path} holds no identity", _MAKE_KEY)
    if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        _log.warning("others may read the identity file %s; run 'chmod 600' on it", path)
    return found


def opens(identities: Identities, recipients: Recipients) -> bool:
    """Return whether one of the identities opens what is encrypted for the recipients."""
    pyrage = load_pyrage()
    if not identities:
        return False
    try:
        pyrage.decrypt(pyrage.encrypt(b"", list(recipients)), list(identities))
    except pyrage.DecryptError:
        return False
    return True


def _recipient(text: str, what: str) -> Any:
    pyrage, text = load_pyrage(), text.strip()
    if _SECRET.search(text):
        hint = "'age-keygen -y FILE' shows the public key of an identity file"
        raise InvalidInput(f"{what} is a secret key, and a recipient is a public key", hint)
    kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
    try:
        return kind.Recipient.from_str(text)
    except pyrage.RecipientError as exc:
        small = "; an RSA key must have 2048 bits" if "TooSmall" in str(exc) else ""
        raise InvalidInput(f"{what} is not a public key for encryption{small}", _PUBLIC) from None


def _beginning(text: str) -> str:
    """Return so little of a key that it is no secret."""
    return text if len(text) <= _SHOWN and not _SECRET.search(text) else f"{text[: _SHOWN // 2]}…"


def _identity(line: str, what: str, path: Path) -> Any:
    pyrage = load_pyrage()
    if line.startswith("AGE-PLUGIN-"):
        raise InvalidInput(f"{what} is an identity of a plugin, which taskdb cannot use", _MAKE_KEY)
    if line.startswith(("age1", "ssh-")):
        hint = f"name the file that holds the secret key instead of {path}"
        raise InvalidInput(f"{what} is a public key, and an identity is a secret key", hint)
    try:
        return pyrage.x25519.Identity.from_str(line)
    except pyrage.IdentityError:
        raise InvalidInput(f"{what} is not an identity that age made", _MAKE_KEY) from None


def _ssh_identity(text: str, path: Path) -> Any:
    pyrage = load_pyrage()
    try:
        return pyrage.ssh.Identity.from_buffer(text.encode())
    except pyrage.IdentityError as exc:
        if "decrypted first" in str(exc) or "EncryptedPem" in str(exc):
            raise _protected(path, "a copy of the key without a passphrase ('ssh-keygen -p')") from None
        what = f"{path} is not an SSH private key of type ssh-ed25519 or ssh-rsa"
        raise InvalidInput(what, _MAKE_KEY) from None


def _protected(path: Path, instead: str) -> InvalidInput:
    return InvalidInput(
        f"{path} is protected by a passphrase, which taskdb does not ask for", f"use {instead}"
    )


def _read(path: Path, noun: str) -> tuple[str, os.stat_result]:
    if _KEY.match(path.name):
        raise InvalidInput(
            f"the {noun} file was given as a key", "write the key to a file, and name the file"
        )
    try:
        return read_text(path, named=True)
    except (OSError, ValueError) as exc:
        what = exc.strerror if isinstance(exc, OSError) else exc
        raise InvalidInput(f"the {noun} file {path} cannot be read: {what}", "check the path") from exc


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that say something, each with its number."""
    for number, line in enumerate(text.splitlines(), 1):
        if (said := line.strip()) and not said.startswith("#"):
            yield number, said


def load_pyrage() -> Any:
    """Return the library, imported only where it is needed; raise ExtraMissing if it is missing."""
    try:
        import pyrage
    except ImportError as exc:
        raise ExtraMissing("encryption needs a package that is not installed", "offsite") from exc
    return pyrage
