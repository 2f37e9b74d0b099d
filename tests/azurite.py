"""A blob service of Azure over HTTP for tests, and a container of it for one test."""

import base64
import hashlib
import hmac
import os
import shutil
import tempfile
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote, urlencode

import pytest

from tests.buckets import Answer, Bucket, ObjectServer

ACCOUNT = "taskdbtests"
KEY = base64.b64encode(b"the key of the tests, which nobody else has").decode()
_VERSION = "2021-12-02"


class AzureServer(ObjectServer):
    """Azurite."""

    def __init__(self, program: str, directory: Path) -> None:
        how = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
        command = ["env", f"AZURITE_ACCOUNTS={ACCOUNT}:{KEY}", program, "--blobHost", "127.0.0.1"]
        super().__init__(*command, *how, "--blobPort", cwd=directory)

    @property
    def url(self) -> str:
        return f"{super().url}/{ACCOUNT}"

    def request(self, method: str, path: str, body: bytes = b"", **query: str) -> Answer:
        """Send a request with the key of the account."""
        path = f"/{ACCOUNT}{path}"
        headers = {
            "x-ms-blob-type": "BlockBlob",
            "x-ms-date": formatdate(usegmt=True),
            "x-ms-version": _VERSION,
        }
        signed = [method, "", "", str(len(body) or ""), *[""] * 8]
        signed += [f"{name}:{headers[name]}" for name in sorted(headers)]
        signed += [f"/{ACCOUNT}{quote(path)}", *(f"{name}:{query[name]}" for name in sorted(query))]
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{_signature(signed)}"
        return self.send(method, path, body, headers, query)


def shared_access_signature() -> str:
    """Return a SAS that lets somebody do everything with the blobs of the account."""
    known = {"sv": _VERSION, "ss": "b", "srt": "sco", "sp": "rwdlac", "se": "2999-01-01T00:00:00Z"}
    signed = [ACCOUNT, *(known[name] for name in ("sp", "ss", "srt")), "", known["se"], "", "", _VERSION]
    return urlencode({**known, "sig": _signature([*signed, "", ""])})


def _signature(lines: list[str]) -> str:
    signature = hmac.new(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256)
    return base64.b64encode(signature.digest()).decode()


class BlobContainer(Bucket):
    """A container."""

    scheme = "az"
    making = MappingProxyType({"restype": "container"})
    listing = MappingProxyType({"restype": "container", "comp": "list"})
    key = "Name"

    def uploads(self) -> int:
        """Return 0: nobody is told of blocks that belong to no blob, and Azure drops them."""
        return 0

    def use(self, monkeypatch: pytest.MonkeyPatch, endpoint: str, _home: Path) -> None:
        for name in [name for name in os.environ if name.startswith("AZURE_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
        self.move(monkeypatch, endpoint)

    def move(self, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"{endpoint.removesuffix(f'/{ACCOUNT}')}/{ACCOUNT}")

    def delete(self) -> None:
        self.server.request("DELETE", f"/{self.name}", restype="container")


@pytest.fixture(scope="session")
def azure_server() -> Iterator[AzureServer]:
    """The server, started when a test first asks for it."""
    program = shutil.which("azurite-blob")
    if not program:
        if os.environ.get("CI") == "true":
            pytest.fail("azurite is not installed, which is an error where CI is true")
        pytest.skip("azurite is not installed")
    with tempfile.TemporaryDirectory() as directory:
        server = AzureServer(program, Path(directory))
        yield server
        server.stop()
