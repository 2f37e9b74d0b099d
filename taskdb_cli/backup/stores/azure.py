"""Containers of Azure Blob Storage as stores, and who we are to them.

The account, its key or a shared access signature (SAS), and the endpoint come from the variables of Azure's
tools, never from an address. There are no other ways to sign in: they need services that no test here has.
"""

import os
import re
from base64 import b64decode, b64encode
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from taskdb_cli.backup.stores import Found, Leftover
from taskdb_cli.backup.stores.addresses import is_endpoint
from taskdb_cli.backup.stores.connections import options
from taskdb_cli.backup.stores.objects import ObjectStore
from taskdb_cli.errors import ExtraMissing, InvalidConfiguration

if TYPE_CHECKING:
    from obstore.store import AzureCredential, AzureStore, HTTPStore, S3Store

_CREDENTIALS = "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN"
_VARIABLES = {
    "accountname": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"),
    "accountkey": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"),
    "sharedaccesssignature": ("AZURE_STORAGE_SAS_TOKEN",),
    "blobendpoint": ("AZURE_STORAGE_ENDPOINT", "AZURE_STORAGE_SERVICE_ENDPOINT"),
}
"""Settings, as a connection string calls them, and the variables for each."""

_CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"


class Azure:
    """The blob service of an account, with its key or a SAS.

    Raises InvalidConfiguration if the extra, the credentials or a usable endpoint are missing.
    """

    def __init__(self, *, location: str) -> None:
        try:
            import obstore  # noqa: F401 (missing here is better than missing in the middle)
        except ImportError as exc:
            raise ExtraMissing(f"{exc.name} is not installed, and buckets need it", "offsite") from None
        text = os.environ.get(_CONNECTION)
        found = _connection(text) if text else {name: _variable(names) for name, names in _VARIABLES.items()}
        self.account = found.get("accountname", "")
        key = found.get("accountkey", "")
        self.sas = "" if key else found.get("sharedaccesssignature", "").removeprefix("?")
        given = found.get("blobendpoint")
        suffix = found.get("endpointsuffix") or "core.windows.net"
        self.endpoint = (given or f"https://{self.account}.blob.{suffix}").rstrip("/")
        # A key signs the name of the account too. A SAS needs no name.
        if not (key or self.sas) or (not self.account and (key or not given)):
            raise InvalidConfiguration(f"{location}: no credentials were found", _CREDENTIALS)
        if self.account and not re.fullmatch(r"[a-z0-9]{3,24}", self.account):
            raise InvalidConfiguration("the name of the Azure account is not valid", _CREDENTIALS)
        if not is_endpoint(self.endpoint):
            message = "the endpoint in AZURE_STORAGE_ENDPOINT is not the address of a service"
            raise InvalidConfiguration(message, "write https://HOST, without user, password and query")
        if key and not _is_base64(key):
            message = "the key of the Azure account is not Base64"
            raise InvalidConfiguration(message, "copy it as it is shown for the account")
        if not re.fullmatch(r"[!-~]*", self.sas) or (self.sas and "sig=" not in self.sas):
            message = "AZURE_STORAGE_SAS_TOKEN is not a shared access signature"
            raise InvalidConfiguration(message, "copy it as it was made: sv=…&sig=…")
        self.credential: AzureCredential = (
            {"access_key": key, "expires_at": None} if key else {"sas_token": self.sas, "expires_at": None}
        )


def _is_base64(text: str) -> bool:
    with suppress(ValueError):
        return b64encode(b64decode(text)).decode() == text
    return False


def _variable(names: tuple[str, ...]) -> str:
    return next((found for name in names if (found := os.environ.get(name))), "")


def _connection(text: str) -> dict[str, str]:
    """Return the settings of a connection string; their names are in lower case."""
    pairs = [each.partition("=") for each in text.strip().split(";") if each.strip()]
    if not all(equals for _, equals, _ in pairs):
        raise InvalidConfiguration(f"{_CONNECTION} is not a connection string", "copy it as Azure shows it")
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


@dataclass(frozen=True)
class Container(ObjectStore):
    """The blobs directly below a prefix of a container. Nothing is asked of it until it is used."""

    scheme: ClassVar[str] = "az"

    @cached_property
    def account(self) -> Azure:
        """The account that the container belongs to."""
        return Azure(location=str(self))

    def _store(self, seconds: float) -> "AzureStore":
        from obstore.store import AzureStore

        return AzureStore(
            self.bucket,
            config={
                "endpoint": self.endpoint,
                "account_name": self.account.account or "none",
                # obstore reads its own variables, and these must not decide.
                "use_emulator": False,
                "use_fabric_endpoint": False,
                "skip_signature": False,
            },
            credential_provider=lambda: self.account.credential,
            **options(self.endpoint, self.patience, seconds),
        )

    @property
    def endpoint(self) -> str:
        """The address of the service."""
        return self.account.endpoint

    def make(self) -> None:
        """Raise NotFound if there is no such container."""
        import obstore

        self._ask(lambda: next(iter(obstore.list(self.objects, self.prefix or None)), None))

    def list_files(self) -> list[Found]:
        """Return the blobs of the prefix; a missing container is an error, and so is a name like `..`."""
        import obstore

        listed = self._ask(lambda: obstore.list_with_delimiter(self.objects, self.prefix or None))
        found = []
        for each in listed["objects"]:
            # Lists show tags without the quotes that they have everywhere else.
            tag = (each["e_tag"] or "").strip('"')
            name = each["path"][len(self._below) :]
            if name:
                found.append(Found(name, each["size"], each["last_modified"], f'"{tag}"' if tag else ""))
        return found

    def leftovers(self) -> list[Leftover]:
        """Return none: Azure shows no unfinished upload as a blob, and drops its parts after a week."""
        return []

    def _refusal(self) -> None:
        """Return nothing: credentials are not renewed."""

    @cached_property
    def deletions(self) -> "S3Store | AzureStore | HTTPStore":
        """The same, for deletions. A SAS goes with a plain request, because obstore sends a batch."""
        from obstore.store import HTTPStore

        if not self.account.sas:
            return self.objects
        url = f"{self.endpoint}/{self.bucket}?{self.account.sas}"
        return HTTPStore.from_url(url, **options(self.endpoint, self.patience, self.patience.answering))
