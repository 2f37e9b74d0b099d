"""What tests have of any object storage: a server in a process of its own, and a bucket there."""

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlencode

import pytest

from tests.processes import start_on_free_port

Answer = tuple[HTTPResponse, bytes]


class ObjectServer(ABC):
    """A server in a process of its own, and requests past all of taskdb."""

    def __init__(self, *command: str, cwd: Path | None = None) -> None:
        """Start it; the command is completed by a port."""
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

        def start(port: int) -> subprocess.Popen[bytes]:
            self.port = port
            return subprocess.Popen([*command, str(port)], cwd=cwd, **streams)

        _, self._process = start_on_free_port(start, lambda _: self._answers())

    def _answers(self) -> bool:
        try:
            self.request("GET", "/")
        except OSError:
            return False
        return True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def request(self, method: str, path: str, body: bytes = b"", **query: str) -> Answer:
        """Send a request that may do anything."""

    def send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        target = quote(path) + (f"?{urlencode(query)}" if query else "")
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


class Bucket(ABC):
    """A bucket for one test."""

    scheme: ClassVar[str]
    making: ClassVar[Mapping[str, str]]
    listing: ClassVar[Mapping[str, str]]
    key: ClassVar[str]
    """The element of a list that has the name of an object."""

    def __init__(self, server: ObjectServer, name: str) -> None:
        self.server, self.name = server, name
        answer, content = server.request("PUT", f"/{name}", **self.making)
        assert answer.status in (200, 201), content

    @property
    def address(self) -> str:
        return f"{self.scheme}://{self.name}/backups"

    def put(self, key: str, data: bytes) -> None:
        answer, _ = self.server.request("PUT", f"/{self.name}/{key}", data)
        assert answer.status in (200, 201)

    def get(self, key: str) -> bytes | None:
        answer, content = self.server.request("GET", f"/{self.name}/{key}")
        return content if answer.status == 200 else None

    def keys(self) -> list[str]:
        """Return the names of all objects."""
        _, content = self.server.request("GET", f"/{self.name}", **self.listing)
        return [each.partition(f"</{self.key}>")[0] for each in content.decode().split(f"<{self.key}>")[1:]]

    @abstractmethod
    def uploads(self) -> int:
        """Return the number of uploads in parts that are not finished."""

    @abstractmethod
    def use(self, monkeypatch: pytest.MonkeyPatch, endpoint: str, home: Path) -> None:
        """Give this process credentials for the service, and no others."""

    @abstractmethod
    def move(self, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
        """Let this process take another address for that of the service."""

    @abstractmethod
    def delete(self) -> None:
        """Delete the bucket."""
