"""Services that speak S3, and who we are to them as the tools of AWS find it out.

Credentials, region and endpoint come from the variables and files of AWS, through botocore, never from an
address. obstore moves the data; what it has no call for is signed and sent here.
"""

from __future__ import annotations

import os
import random
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote, urlencode, urlsplit
from xml.etree import ElementTree as ET

from taskdb_cli.backup.stores.addresses import is_endpoint
from taskdb_cli.backup.stores.calls import Call
from taskdb_cli.backup.stores.connections import HASTY, Patience, options, proxies_for
from taskdb_cli.backup.stores.credentials import Credentials, unusable_settings
from taskdb_cli.backup.stores.faults import failure, is_temporary, speaks_tls, status_and_code, untrusted
from taskdb_cli.errors import ExtraMissing, InvalidConfiguration, StorageFailed
from taskdb_cli.text.escaping import brief

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from botocore.httpsession import URLLib3Session
    from obstore.store import S3Store

_ENDPOINT = "check AWS_ENDPOINT_URL, or the endpoint of the profile"


class Answer(NamedTuple):
    """An answer of the store; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def now(self) -> datetime:
        """When the store answered, by its clock."""
        return parsedate_to_datetime(self.headers["date"])


class Listed(NamedTuple):
    """An element of a list: its texts by their names, and when the store answered, by its clock."""

    fields: dict[str, str]
    now: datetime


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
            raise ExtraMissing(f"{exc.name} is not installed, and buckets need it", "offsite") from None
        self._bucket, self._patience, self._location = bucket, patience, location
        self._answered = False
        try:
            session = botocore.session.Session()
            self._scoped: dict[str, Any] = session.get_scoped_config()
            self.endpoint = self._endpoint(session)
            self._bundle = session.get_config_variable("ca_bundle")
        except botocore.exceptions.BotoCoreError as exc:
            raise unusable_settings(location, exc) from None
        if self._bundle:
            self._require_certificates()
        self.credentials = Credentials(session, location)

    def _endpoint(self, session: Any) -> str:
        """Set the region, and return the address of the service, as the tools of AWS look them up."""
        self._region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or "us-east-1"
        if not re.fullmatch(r"[A-Za-z0-9-]{1,60}", self._region):
            raise InvalidConfiguration(
                "AWS_REGION is not the name of a region", "set it to the region of the bucket"
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
        if not is_endpoint(configured):
            message = "the endpoint in AWS_ENDPOINT_URL, or in the profile, is not the address of a service"
            raise InvalidConfiguration(message, "write https://HOST, without user, password and query")
        return str(configured).rstrip("/")

    def connect(self) -> None:
        """Ask something of the service, unless it has answered already, and raise as `request` does.

        obstore tries everything again, also what cannot succeed, such as a certificate that is not trusted.
        """
        if not self._answered:
            self.request("GET", **{"list-type": "2", "max-keys": "1"})

    def store(self, seconds: float) -> S3Store:
        """Return the bucket as obstore knows it, with so many seconds for each request."""
        from obstore.store import S3Store

        found = options(self.endpoint, self._patience, seconds)
        if self._bundle:
            found["client_options"]["root_certificate"] = Path(self._bundle).read_bytes()
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
            **found,
            credential_provider=self.credentials.for_obstore,
        )

    def _require_certificates(self) -> None:
        path = brief(self._bundle)
        try:
            ssl.create_default_context(cafile=self._bundle)
        except (ssl.SSLError, ValueError) as exc:
            message = f"AWS_CA_BUNDLE: {path} holds no certificates, or damaged ones"
            raise InvalidConfiguration(message, "name a file of certificates in PEM") from exc
        except OSError as exc:
            message = f"AWS_CA_BUNDLE: {path} cannot be read: {exc.strerror}"
            raise InvalidConfiguration(message, "check the path") from exc

    def request(self, method: str, key: str = "", **query: str) -> Answer:
        """Send a signed request without a body, and return the answer if it is one of success, or 404.

        Tries again after a temporary failure; raises StorageFailed and the other errors of a store.
        """
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.httpsession import URLLib3Session

        patience = self._patience
        url = f"{self.endpoint}/{self._bucket}{'/' * bool(key)}{quote(key, safe='/~')}"
        if query:
            url += f"?{urlencode(query, quote_via=quote, safe='~')}"
        session = URLLib3Session(
            verify=self._bundle or True,
            proxies=proxies_for(self.endpoint),
            timeout=(patience.connecting, patience.answering),
        )
        deadline, pause = time.monotonic() + patience.retrying, 0.2
        for attempt in range(patience.retries + 1):
            request = AWSRequest(method, url)
            status, code = None, ""
            S3SigV4Auth(self.credentials.frozen(), "s3", self._region).add_auth(request)
            with closing(session):
                answer = self._answer(session, request.prepare())
            if answer:
                status = answer.status
                code = status_and_code(answer.body[:10_000].decode(errors="replace"))[1]
                missing = status == HTTPStatus.NOT_FOUND and code != "NoSuchBucket"
                if status < HTTPStatus.MULTIPLE_CHOICES or missing:
                    self._answered = True
                    return answer
            if attempt == 0 and code == "" and status in (None, HTTPStatus.BAD_REQUEST):
                self._require_protocol()
            if not is_temporary(status) or attempt == patience.retries or time.monotonic() + pause > deadline:
                break
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 (spreads requests out, guards nothing)
            pause = min(2 * pause, 15)
        raise failure(self._location, status, code, endpoint=self.endpoint)

    def _answer(self, session: URLLib3Session, request: AWSPreparedRequest) -> Answer | None:
        """Return the answer to a request, or None if none came in time, however slowly it comes."""
        from botocore.exceptions import BotoCoreError, SSLError

        seconds = self._patience.connecting + self._patience.answering
        try:
            if found := Call(lambda: session.send(request)).result_within(seconds):
                headers = {name.lower(): each for name, each in found.headers.items()}
                # urllib3 may take an answer that was cut off for a whole one.
                if headers.get("content-length") in (None, str(len(found.content))):
                    return Answer(found.status_code, headers, found.content)
        except SSLError as exc:
            # A handshake that was cut off may be whole the next time.
            if error := untrusted(self._location, str(exc)):
                raise error from None
        except BotoCoreError:
            # What prevents an answer is many classes, and all mean that none came.
            pass
        return None

    def _require_protocol(self) -> None:
        """Raise InvalidConfiguration if the endpoint is http://, and HTTPS is spoken there."""
        parts = urlsplit(self.endpoint)
        seconds = min(HASTY.connecting, self._patience.connecting)
        if parts.scheme == "http" and speaks_tls(str(parts.hostname), parts.port or 80, seconds):
            message = f"{self._location}: the service speaks HTTPS, and its endpoint begins with http://"
            raise InvalidConfiguration(message, "write https:// in AWS_ENDPOINT_URL, or in the profile")

    def pages(self, container: str, following: Mapping[str, str], **query: str) -> Iterator[list[Listed]]:
        """Yield the elements of a list that have this name, page by page.

        `following` maps the element of an answer that says where the next page begins to the parameter that
        asks for it.
        """
        while True:
            answer = self.request("GET", **query, **{"encoding-type": "url"})
            if answer.status == HTTPStatus.NOT_FOUND:
                raise StorageFailed(
                    f"{self._location}: nothing was found there, and the answer is not that of an S3 service",
                    _ENDPOINT,
                )
            try:
                # It is the answer of the service that the user names, and expat stops bombs.
                root = ET.fromstring(answer.body)  # noqa: S314
            except ET.ParseError as exc:
                raise StorageFailed(f"{self._location}: no S3 service answers there", _ENDPOINT) from exc
            encoded = _text(root, "EncodingType") == "url"
            yield [
                Listed({_local(each): _decoded(each, encoded=encoded) for each in element}, answer.now)
                for element in root
                if _local(element) == container
            ]
            news = {to: _text(root, name) for name, to in following.items()}
            if encoded and "key-marker" in news:
                news["key-marker"] = unquote(news["key-marker"])
            if _text(root, "IsTruncated") != "true" or not any(news.values()):
                return
            query |= news


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(root: ET.Element, name: str) -> str:
    return next((each.text or "" for each in root if _local(each) == name), "")


def _decoded(element: ET.Element, *, encoded: bool) -> str:
    text = element.text or ""
    return unquote(text) if encoded and _local(element) == "Key" else text
