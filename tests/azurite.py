"""A blob service of Azure over HTTP for tests, and a container of it for one test."""

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

ACCOUNT = "taskdbtests"
KEY = base64.b64encode(b"the key of the tests, which nobody else has").decode()
_VERSION = "2021-12-02"


class AzureServer:
    """Azurite in a process and a directory of its own, and requests past all of taskdb."""

    def __init__(self, program: str, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        where = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port)]
        how = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
        self._process = subprocess.Popen(
            [program, *where, *how],
            cwd=directory,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self.request("GET", "/", comp="list")
                return
            except OSError:
                assert self._process.poll() is None, "Azurite has ended"
                time.sleep(0.05)
        pytest.fail("Azurite did not start")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    def request(self, method: str, path: str, body: bytes = b"", **query: str) -> tuple[HTTPResponse, bytes]:
        """Send a request with the key of the account."""
        path = f"/{ACCOUNT}{quote(path)}"
        headers = {
            "x-ms-blob-type": "BlockBlob",
            "x-ms-date": formatdate(usegmt=True),
            "x-ms-version": _VERSION,
        }
        signed = [method, "", "", str(len(body) or ""), *[""] * 8]
        signed += [f"{name}:{headers[name]}" for name in sorted(headers)]
        signed += [f"/{ACCOUNT}{path}", *(f"{name}:{query[name]}" for name in sorted(query))]
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{_signature(signed)}"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path + (f"?{urlencode(query)}" if query else ""), body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def shared_access_signature() -> str:
    """Return a SAS that lets somebody do everything with the blobs of the account."""
    known = {"sv": _VERSION, "ss": "b", "srt": "sco", "sp": "rwdlac", "se": "2999-01-01T00:00:00Z"}
    signed = [ACCOUNT, *(known[name] for name in ("sp", "ss", "srt")), "", known["se"], "", "", _VERSION]
    return urlencode({**known, "sig": _signature([*signed, "", ""])})


def _signature(lines: list[str]) -> str:
    signature = hmac.new(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256)
    return base64.b64encode(signature.digest()).decode()


class BlobContainer:
    """A container for one test."""

    def __init__(self, server: AzureServer, name: str) -> None:
        self.server, self.name = server, name
        answer, content = server.request("PUT", f"/{name}", restype="container")
        assert answer.status == 201, content

    @property
    def address(self) -> str:
        return f"az://{self.name}/backups"

    def put(self, key: str, data: bytes) -> None:
        answer, _ = self.server.request("PUT", f"/{self.name}/{key}", data)
        assert answer.status == 201

    def get(self, key: str) -> bytes | None:
        answer, content = self.server.request("GET", f"/{self.name}/{key}")
        return content if answer.status == 200 else None

    def keys(self) -> list[str]:
        """Return the names of all blobs."""
        _, content = self.server.request("GET", f"/{self.name}", restype="container", comp="list")
        return [each.partition("</Name>")[0] for each in content.decode().split("<Name>")[1:]]

    def uploads(self) -> int:
        """Return 0: nobody is told of blocks that belong to no blob, and Azure drops them."""
        return 0

    def use(self, monkeypatch: pytest.MonkeyPatch, endpoint: str, _home: Path) -> None:
        """Give this process credentials for the account, and no others."""
        for name in [name for name in os.environ if name.startswith("AZURE_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
        self.move(monkeypatch, endpoint)

    def move(self, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
        """Let this process take another address for that of the service."""
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"{endpoint.removesuffix(f'/{ACCOUNT}')}/{ACCOUNT}")


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
