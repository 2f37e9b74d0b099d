"""Services that speak S3: addresses of buckets, and who we are to them as the tools of AWS find it out.

Credentials, region and endpoint come from the variables and files of AWS, through botocore, never from an
address. obstore moves the data; what it has no call for is signed and sent here.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree as ET

from taskdb_cli.backup.stores.faults import failure, is_temporary, status_and_code
from taskdb_cli.errors import InvalidConfiguration, InvalidInput, StorageFailed
from taskdb_cli.text.escaping import brief

if TYPE_CHECKING:
    from obstore.store import S3Credential, S3Store

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_FORM = "s3://BUCKET/PREFIX"
_SECRETS = "the keys belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in a profile"
_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_RENEW_WITHIN = timedelta(minutes=10)


class Patience(NamedTuple):
    """How long to wait for a store, in seconds, and how often to try a request again."""

    connecting: float
    answering: float
    retries: int
    retrying: float


PATIENT = Patience(connecting=10, answering=300, retries=7, retrying=120)
HASTY = Patience(connecting=3, answering=10, retries=1, retrying=10)


class Answer(NamedTuple):
    """An answer of the store; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def now(self) -> datetime:
        """When the store answered, by its clock."""
        return parsedate_to_datetime(self.headers["date"])


def parse_address(address: str) -> tuple[str, str]:
    """Return the bucket and the prefix of an address.

    Raises InvalidInput for what cannot be one. The error never repeats the address, which may hold a secret.
    """
    scheme, _, rest = address.partition("://")
    if scheme.lower() != "s3":
        message = f"archives cannot be kept in {brief(scheme.lower())}://"
        raise InvalidInput(message, f"name a directory, or a bucket as {_FORM}")
    bucket, _, path = rest.partition("/")
    if not rest.isprintable() or any(each in rest for each in "?#") or any(each in bucket for each in "@:"):
        message = f"the address of a bucket is {_FORM}, without user, password, query and fragment"
        raise InvalidInput(message, _SECRETS)
    if not _BUCKET.fullmatch(bucket):
        raise InvalidInput("this address does not name a bucket", f"write {_FORM}")
    prefix = path.rstrip("/")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise InvalidInput("an address of a bucket has no empty, '.' or '..' parts", f"write {_FORM}")
    return bucket, prefix


class S3:
    """A bucket of a service as somebody with credentials.

    Raises InvalidConfiguration if the extra, the credentials or a usable endpoint are missing.
    """

    def __init__(self, bucket: str, patience: Patience, *, location: str) -> None:
        try:
            import botocore.exceptions
            import botocore.session
            import obstore  # noqa: F401 (missing here is better than missing in the middle)
        except ImportError as exc:
            raise InvalidConfiguration(
                f"{exc.name} is not installed, and buckets need it", "pip install 'taskdb-cli[offsite]'"
            ) from None
        self._bucket, self._patience, self._location = bucket, patience, location
        try:
            session = botocore.session.Session()
            self._scoped: dict[str, Any] = session.get_scoped_config()
            self.endpoint = self._endpoint(session)
            self._bundle = session.get_config_variable("ca_bundle")
            self._credentials = session.get_credentials()
            if self._credentials is None:
                raise InvalidConfiguration(f"{location}: no credentials were found", _CREDENTIALS)
            self._credentials.get_frozen_credentials()
        except botocore.exceptions.CredentialRetrievalError as exc:
            # What a program said that was asked for credentials may hold one.
            source = brief(exc.kwargs.get("provider", "their source"))
            message = f"{location}: {source} gives no credentials"
            raise InvalidConfiguration(message, _CREDENTIALS) from None
        except ValueError:
            # A program that was asked for credentials said something else.
            message = f"{location}: what gives the credentials of the profile gives no JSON"
            raise InvalidConfiguration(message, _CREDENTIALS) from None
        except botocore.exceptions.BotoCoreError as exc:
            message = f"{location}: the settings of AWS cannot be used: {brief(exc)}"
            raise InvalidConfiguration(message, _CREDENTIALS) from None

    def _endpoint(self, session: Any) -> str:
        """Set the region, and return the address of the service, as the tools of AWS look them up."""
        self._region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or "us-east-1"
        if not re.fullmatch(r"[A-Za-z0-9-]{1,60}", self._region):
            raise InvalidConfiguration(
                "AWS_REGION is not the name of a region", "set it to that of the bucket"
            )
        services = session.full_config.get("services", {}).get(self._scoped.get("services"), {})
        service = services.get("s3", {})
        configured = (
            os.environ.get("AWS_ENDPOINT_URL_S3")
            or os.environ.get("AWS_ENDPOINT_URL")
            or (service.get("endpoint_url") if isinstance(service, dict) else None)
            or self._scoped.get("endpoint_url")
        )
        if not configured or session.get_config_variable("ignore_configured_endpoint_urls"):
            return f"https://s3.{self._region}.amazonaws.com{'.cn' * self._region.startswith('cn-')}"
        try:
            parts = urlsplit(configured)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or "@" in parts.netloc or parts.query or parts.fragment or not configured.isprintable():
            message = "the endpoint in AWS_ENDPOINT_URL, or in the profile, is not the address of a service"
            raise InvalidConfiguration(message, "write https://HOST, without user, password and query")
        return str(configured).rstrip("/")

    def store(self) -> S3Store:
        """Return the bucket as obstore knows it."""
        from obstore.store import S3Store

        patience = self._patience
        return S3Store(
            self._bucket,
            config={
                "endpoint": self.endpoint,
                "region": self._region,
                "virtual_hosted_style_request": False,
                "skip_signature": False,
                # A single DELETE is known to every service, and its failure is an answer by itself.
                "disable_bulk_delete": True,
            },
            client_options={
                "allow_http": self.endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=patience.connecting),
                "timeout": timedelta(seconds=patience.answering),
                **({"root_certificate": self._certificates()} if self._bundle else {}),
            },
            retry_config={
                "max_retries": patience.retries,
                "retry_timeout": timedelta(seconds=patience.retrying),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=200),
                    "max_backoff": timedelta(seconds=15),
                },
            },
            credential_provider=self._credential,
        )

    def _credential(self) -> S3Credential:
        found = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            # botocore knows when they end and renews them, so it is asked again and again.
            "expires_at": datetime.now(UTC) + _RENEW_WITHIN,
        }

    def _certificates(self) -> bytes:
        try:
            return Path(self._bundle).read_bytes()
        except OSError as exc:
            message = f"AWS_CA_BUNDLE: {brief(self._bundle)} cannot be read: {exc.strerror}"
            raise InvalidConfiguration(message, "check the path") from exc

    def request(self, method: str, key: str = "", **query: str) -> Answer:
        """Send a signed request without a body, and return the answer if it is one of success, or 404.

        Tries again after a temporary failure; raises StorageFailed and the other errors of a store.
        """
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        patience = self._patience
        url = f"{self.endpoint}/{self._bucket}{'/' * bool(key)}{quote(key, safe='/~')}"
        if query:
            url += "?" + "&".join(f"{name}={quote(value, safe='~')}" for name, value in query.items())
        session = URLLib3Session(
            verify=self._bundle or True,
            proxies=get_environ_proxies(url),
            timeout=(patience.connecting, min(patience.answering, 60)),
        )
        deadline, pause = time.monotonic() + patience.retrying, 0.2
        for attempt in range(patience.retries + 1):
            request = AWSRequest(method, url)
            status, code = None, ""
            try:
                frozen = self._credentials.get_frozen_credentials()
            except (BotoCoreError, ValueError) as exc:
                message = f"{self._location}: the credentials cannot be renewed"
                raise StorageFailed(message, _CREDENTIALS) from exc
            S3SigV4Auth(frozen, "s3", self._region).add_auth(request)
            # What prevents an answer is many classes, and all mean that none came.
            with suppress(BotoCoreError), closing(session):
                answer = session.send(request.prepare())
                status, body = answer.status_code, answer.content
                code = status_and_code(body[:10_000].decode(errors="replace"))[1]
            if status is not None and (
                status < HTTPStatus.MULTIPLE_CHOICES
                or (status == HTTPStatus.NOT_FOUND and code != "NoSuchBucket")
            ):
                return Answer(status, {name.lower(): each for name, each in answer.headers.items()}, body)
            if not is_temporary(status) or attempt == patience.retries or time.monotonic() + pause > deadline:
                break
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 (spreads requests out, guards nothing)
            pause = min(2 * pause, 15)
        raise failure(self._location, status, code, endpoint=self.endpoint)

    def pages(self, container: str, following: Mapping[str, str], **query: str) -> Iterator[list[_Entry]]:
        """Yield the elements of a list that have this name, page by page, each as a dictionary of texts.

        `following` maps the element of an answer that says where the next page begins to the parameter that
        asks for it.
        """
        while True:
            answer = self.request("GET", **query, **{"encoding-type": "url"})
            if answer.status == HTTPStatus.NOT_FOUND:
                raise StorageFailed(
                    f"{self._location}: nothing is found there, and no S3 service says so",
                    "check AWS_ENDPOINT_URL, or the endpoint of the profile",
                )
            try:
                # It is the answer of the service that the user names, and expat stops bombs.
                root = ET.fromstring(answer.body)  # noqa: S314
            except ET.ParseError as exc:
                raise failure(self._location, answer.status, "", endpoint=self.endpoint) from exc
            encoded = _text(root, "EncodingType") == "url"
            yield [
                _Entry({_local(each): _decoded(each, encoded=encoded) for each in element}, answer.now)
                for element in root
                if _local(element) == container
            ]
            news = {to: _text(root, name) for name, to in following.items()}
            if encoded and "key-marker" in news:
                news["key-marker"] = unquote(news["key-marker"])
            if _text(root, "IsTruncated") != "true" or not any(news.values()):
                return
            query |= news


class _Entry(NamedTuple):
    fields: dict[str, str]
    now: datetime


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(root: ET.Element, name: str) -> str:
    return next((each.text or "" for each in root if _local(each) == name), "")


def _decoded(element: ET.Element, *, encoded: bool) -> str:
    text = element.text or ""
    return unquote(text) if encoded and _local(element) == "Key" else text
