"""An S3 server over HTTP for tests, and a bucket for one test, of that or of another service."""

import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from types import MappingProxyType

import pytest

from tests.azurite import BlobContainer
from tests.buckets import Answer, Bucket, ObjectServer

_numbers = count()
_OF_CONNECTIONS = {"connection", "content-length", "transfer-encoding"}
_ANYBODY = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


class MotoServer(ObjectServer):
    """moto's server."""

    def __init__(self) -> None:
        code = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])"
        super().__init__(sys.executable, "-c", code)

    def request(self, method: str, path: str, body: bytes = b"", **query: str) -> Answer:
        """Send a request that nobody has signed."""
        return self.send(method, path, body, {"Authorization": _ANYBODY}, query)


class S3Bucket(Bucket):
    """A bucket of S3."""

    scheme = "s3"
    making = MappingProxyType({})
    listing = MappingProxyType({"list-type": "2"})
    key = "Key"

    def begin_upload(self, key: str) -> None:
        """Begin an upload in parts, as a run does that then dies."""
        answer, _ = self.server.request("POST", f"/{self.name}/{key}", uploads="")
        assert answer.status == 200

    def uploads(self) -> int:
        _, content = self.server.request("GET", f"/{self.name}", uploads="")
        return content.decode().count("<UploadId>")

    def use(self, monkeypatch: pytest.MonkeyPatch, endpoint: str, home: Path) -> None:
        use_bucket(monkeypatch, endpoint, home)

    def move(self, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)

    def delete(self) -> None:
        """Let the server forget everything: what it holds, it holds in memory."""
        self.server.request("POST", "/moto-api/reset")


def use_bucket(monkeypatch: pytest.MonkeyPatch, endpoint: str, home: Path) -> None:
    """Give this process credentials for a server, and no others."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATASKDBTESTS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret/of+the+tests")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


on_each_service = pytest.mark.parametrize("bucket", ["s3", "azure"], indirect=True)
"""Run a test with a bucket of S3, and with a container of Azure."""


@pytest.fixture(scope="session")
def s3_server() -> Iterator[MotoServer]:
    """The server, started when a test first asks for it."""
    server = MotoServer()
    yield server
    server.stop()


@pytest.fixture
def bucket(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Bucket]:
    """An empty bucket, which this process has credentials for: of S3, or of the service in the parameter."""
    name = f"bucket-{os.getpid()}-{next(_numbers)}"
    service = getattr(request, "param", "s3")
    kind = BlobContainer if service == "azure" else S3Bucket
    found = kind(request.getfixturevalue(f"{service}_server"), name)
    found.use(monkeypatch, found.server.url, tmp_path)
    yield found
    found.delete()


class Middleman:
    """Passes requests on to a server, but for the faults that are set.

    `answers` are (status, error code) pairs that the next requests get instead, the last one for ever if
    `always`; `lose` lets that many requests through and breaks the connection in place of the answer;
    `unconditional` names the conditions, in lower case, that are taken out of requests; `before` is called
    with each method and path; `sent` counts the bytes of the answers for each path.
    """

    def __init__(self, server: ObjectServer) -> None:
        self.server = server
        self.answers: list[tuple[int, str]] = []
        self.always = False
        self.unconditional: tuple[str, ...] = ()
        self.lose = 0
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self.requests: list[str] = []
        self.sent: Counter[str] = Counter()
        middleman = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with suppress(ConnectionError):
                    self.raw_requestline = self.rfile.readline(65537)
                    if not self.raw_requestline or not self.parse_request():
                        self.close_connection = True
                        return
                    middleman.serve(self)

            def log_message(self, *_: object) -> None:
                """Be silent."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.requests.append(f"{request.command} {request.path}")
        self.before(request.command, request.path)
        if self.answers:
            status, code = self.answers[0] if self.always else self.answers.pop(0)
            text = b"" if request.command == "HEAD" else f"<Error><Code>{code}</Code></Error>".encode()
            self._answer(request, status, {}, text)
            return
        ignored = self.unconditional
        headers = {name: each for name, each in request.headers.items() if name.lower() not in ignored}
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.request(request.command, request.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if self.lose:
            self.lose -= 1
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        kept = {name: each for name, each in answer.headers.items() if name.lower() not in _OF_CONNECTIONS}
        if request.command == "HEAD":
            kept["Content-Length"] = answer.headers["Content-Length"]
        self._answer(request, answer.status, kept, content)

    def _answer(
        self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes
    ) -> None:
        request.send_response_only(status)
        for name, each in ({"Content-Length": str(len(content))} | headers).items():
            request.send_header(name, each)
        request.end_headers()
        # Whoever has the whole answer may look at once.
        self.sent[request.path] += len(content)
        request.wfile.write(content)

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def middleman(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Middleman]:
    """What this process takes for the service of the bucket."""
    middleman = Middleman(bucket.server)
    bucket.move(monkeypatch, middleman.url)
    yield middleman
    middleman.stop()
