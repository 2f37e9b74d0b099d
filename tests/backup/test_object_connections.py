"""How a bucket is reached: certificates, credentials and endpoints, and a service that says nothing."""

import http.server
import shutil
import socket
import ssl
import subprocess
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import pytest

from taskdb_cli.backup.stores import objects
from taskdb_cli.backup.stores.addresses import is_endpoint
from taskdb_cli.backup.stores.connections import Patience
from taskdb_cli.backup.stores.object_files import PART
from taskdb_cli.backup.stores.objects import ObjectStore
from taskdb_cli.backup.stores.places import store_at
from taskdb_cli.errors import InvalidConfiguration, StorageFailed, StoreUnavailable
from tests.s3 import on_each_service

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")


class _Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Say nothing of a handshake that fails."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost, and its key, in one file."""
    openssl = shutil.which("openssl") or pytest.skip("openssl makes the certificate")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = [openssl, "req", "-x509", *kind, *names, "-keyout", file, "-out", f"{file}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    with file.open("ab") as both:
        both.write(file.with_name("both.pem.crt").read_bytes())
    return file


@contextmanager
def _listening(certificate=None):
    """Yield the port of a server that speaks HTTP, or HTTPS."""
    server = _Quiet(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("endpoint", "secure", "error"),
    [
        ("https://127.0.0.1", False, InvalidConfiguration),
        ("http://127.0.0.1", True, InvalidConfiguration),
        ("https://localhost", True, StorageFailed),
        ("https://127.0.0.1", True, StorageFailed),
    ],
)
def test_the_wrong_protocol_or_certificate(request, bucket, monkeypatch, endpoint, secure, error):  # noqa: PLR0917
    """It is told at once as what it is: nothing of it passes by itself."""
    certificate = request.getfixturevalue("certificate")
    if error is StorageFailed and "localhost" not in endpoint:
        monkeypatch.setenv("AWS_CA_BUNDLE", f"{certificate}.crt")
    with _listening(certificate if secure else None) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"{endpoint}:{port}")
        for ask in (lambda store: store.list_files(), lambda store: store.size("x")):
            with pytest.raises(error, match=r"certificate|HTTPS") as refused:
                ask(ObjectStore.at(bucket.address))
            assert type(refused.value) is error


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
@pytest.mark.parametrize("value", ["hidden\n", "hid den", "hiddén"])
def test_credentials_that_cannot_be_any(bucket, monkeypatch, variable, value):
    """The variable is named, and its value is not."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidConfiguration, match=variable) as refused:
        ObjectStore.at(bucket.address).list_files()
    assert "hid" not in refused.value.message


@pytest.mark.parametrize(
    "text", ["", "[[[", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_bundle_without_certificates(bucket, monkeypatch, tmp_path, text):
    """It is told as such, also where no HTTPS is spoken."""
    (tmp_path / "bundle").write_text(text)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "bundle"))
    with pytest.raises(InvalidConfiguration, match="AWS_CA_BUNDLE"):
        ObjectStore.at(bucket.address).list_files()


def test_half_a_pair_of_keys(bucket, monkeypatch):
    """The one that is missing is named."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(InvalidConfiguration, match="without AWS_ACCESS_KEY_ID"):
        ObjectStore.at(bucket.address).list_files()


@pytest.mark.parametrize("host", ["a b", "a..b", ".a", "a,b", ""])
def test_hosts_that_cannot_be_any(host):
    """Nobody waits for what no network has."""
    assert not is_endpoint(f"http://{host}/x")
    assert all(map(is_endpoint, ("http://[::1]:9", "http://a_b-c.d.", "https://exämple.org/x")))


@on_each_service
@pytest.mark.parametrize("excluded", ["*", "127.0.0.1", "10.0.0.0/8, 127.0.0.0/8"])
def test_a_proxy_that_is_not_for_the_bucket(bucket, monkeypatch, excluded):
    """All requests read NO_PROXY alike."""
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", excluded)
    store = store_at(bucket.address)
    store.update("record", 10, lambda _: b"1")
    assert [each.name for each in store.list_files()] == ["record"]
    with store.create("file") as new:
        new.write(bytes(PART))
    assert store.size("file") == PART


@on_each_service
@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("excluded", ["", "10.0.0.0/8,x/9,127.0.0.1/33"])
def test_a_proxy_that_is_for_the_bucket(bucket, middleman, monkeypatch, variable, excluded):
    """All requests go to it, whichever variable names it."""
    monkeypatch.setenv(variable, middleman.url)
    monkeypatch.setenv("NO_PROXY", excluded)
    bucket.move(monkeypatch, bucket.server.url)
    store = store_at(bucket.address)
    store.update("record", 10, lambda _: b"1")
    assert [each.name for each in store.list_files()] == ["record"]
    assert store.size("record") == 1
    assert {each.partition(" ")[0] for each in middleman.requests} == {"GET", "PUT", "HEAD"}
    assert any("list" in each for each in middleman.requests)


@on_each_service
@pytest.mark.parametrize("proxy", ["ann:secret@127.0.0.1:1x", "ftp://ann:secret@127.0.0.1:9", "http://:9"])
def test_what_cannot_be_a_proxy(bucket, monkeypatch, proxy):
    """It is refused at once, without the password in it."""
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(InvalidConfiguration, match="HTTP_PROXY") as caught:
        store_at(bucket.address).list_files()
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"


@on_each_service
def test_a_proxy_that_does_not_answer(bucket, monkeypatch):
    """The hint names the variable that it is in."""
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(StoreUnavailable) as caught:
        store_at(bucket.address, patient=False).list_files()
    assert "ALL_PROXY" in caught.value.hint


@pytest.fixture
def profile(middleman, monkeypatch, tmp_path):
    """Uses a profile in place of the variables; what requests said of who sends them is in the list."""
    seen, serve = [], middleman.serve

    def watch(request):
        key = request.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
        seen.append((f"{request.command} {request.path}", key, request.headers["x-amz-security-token"]))
        serve(request)

    monkeypatch.setattr(middleman, "serve", watch)

    def use(*lines, more=()):
        for name in KEYS:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_PROFILE", "mine")
        (tmp_path / "aws-config").write_text("\n".join(["[profile mine]", *lines, *more]))
        return seen

    return use


@pytest.mark.parametrize("section", [False, True])
def test_a_profile_with_everything(bucket, middleman, profile, section):
    """Keys, a session token and the endpoint, of all services or of S3 alone, are in the file."""
    keys = ("aws_access_key_id = AKIAMINE", "aws_secret_access_key = x", "aws_session_token = mytoken")
    endpoint = f"endpoint_url = {middleman.url}"
    if section:
        seen = profile(*keys, "services = of-mine", more=("[services of-mine]", "s3 =", f"  {endpoint}"))
    else:
        seen = profile(*keys, endpoint)
    store = ObjectStore.at(bucket.address)
    store.update("record", 10, lambda _: b"1")
    assert store.read("record", 10) == b"1"
    assert {each[1:] for each in seen} == {("AKIAMINE", "mytoken")}


def _program(tmp_path, *, until=None):
    """Return a program that gives another key each time, for five minutes; none any more at some time."""
    ends = f"{datetime.now(UTC) + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
    given = f'"Version": 1, "SecretAccessKey": "hidden", "SessionToken": "t", "Expiration": "{ends}"'
    program = tmp_path / "credentials"
    last = f'[ "$n" -lt {until} ] || {{ echo "hidden" >&2; exit 1; }}' if until else ""
    program.write_text(
        f"#!/bin/sh\nn=$(($(cat '{program}.n' 2>/dev/null || echo 0) + 1))\necho $n > '{program}.n'\n"
        f'{last}\nprintf \'{{{given}, "AccessKeyId": "AKIA%s"}}\' $n\n'
    )
    program.chmod(0o755)
    return program


def _upload(store):
    with store.create("file") as new:
        for _ in range(3):
            new.write(bytes(PART))


def test_credentials_that_are_renewed_in_an_upload(bucket, middleman, profile, tmp_path):
    """Each request is signed by those that are valid when it is sent."""
    endpoint = f"endpoint_url = {middleman.url}"
    seen = profile(f"credential_process = {_program(tmp_path)}", endpoint)
    _upload(ObjectStore.at(bucket.address))
    assert bucket.keys() == ["backups/file"]
    begun = next(key for what, key, _ in seen if "?uploads" in what)
    completed = next(key for what, key, _ in seen if what.startswith("POST") and "uploadId" in what)
    assert begun != completed


def test_credentials_that_cannot_be_renewed(bucket, middleman, profile, tmp_path):
    """It is told as that, without what the program said, and no object appears."""
    endpoint = f"endpoint_url = {middleman.url}"
    profile(f"credential_process = {_program(tmp_path, until=5)}", endpoint)
    with pytest.raises(StorageFailed, match="renewed") as refused:
        _upload(ObjectStore.at(bucket.address))
    assert "hidden" not in refused.value.message
    assert bucket.keys() == []


@pytest.mark.parametrize("said", [None, "[]", '{"Version": 1}', '{"Version": 2}', "EXPIRED"])
def test_a_program_that_gives_no_usable_credentials(bucket, profile, tmp_path, said):
    """A missing program, other JSON, and credentials that have expired already."""
    program = tmp_path / "credentials"
    if said == "EXPIRED":
        said = (
            '{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "Expiration": "2020-01-01T00:00:00Z"}'
        )
    if said:
        program.write_text(f"#!/bin/sh\necho '{said}'\n")
        program.chmod(0o755)
    profile(f"credential_process = {program}")
    with pytest.raises(InvalidConfiguration):
        ObjectStore.at(bucket.address).list_files()


@pytest.fixture
def silent(monkeypatch):
    """A service that accepts connections; what it answers on each is what is set, a byte at a time."""
    listener, over, taken = socket.create_server(("127.0.0.1", 0)), Event(), []
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
    monkeypatch.setattr(objects, "PATIENT", Patience(0.3, 0.3, 0.3, 1, 0.5))
    beginning = [b""]

    def answer(client):
        with suppress(OSError):
            client.sendall(beginning[0])
            while beginning[0] and not over.wait(0.1):
                client.sendall(b"x")

    def accept():
        with suppress(OSError):
            while True:
                taken.append(listener.accept()[0])
                Thread(target=answer, args=(taken[-1],), daemon=True).start()

    Thread(target=accept, daemon=True).start()
    yield beginning
    over.set()
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    for each in (listener, *taken):
        each.close()


@pytest.mark.parametrize(
    "beginning", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b"HTTP/1.1 200 "]
)
def test_an_answer_that_does_not_come_in_time(bucket, silent, beginning):
    """Whether nothing comes, or a byte now and then, the wait ends."""
    silent[0] = beginning
    store = ObjectStore.at(bucket.address)
    with pytest.raises(StoreUnavailable):
        store.list_files()
    if beginning.endswith(b"\n"):
        return
    # As if the service had answered before.
    store.service.connect = lambda: None
    with pytest.raises(StoreUnavailable):
        store.size("x")
