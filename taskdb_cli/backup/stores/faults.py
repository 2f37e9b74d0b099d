"""What a bucket's refusals and silences mean: one error of ours for each, without keys or signatures.

Answers and messages of libraries may hold key ids, signatures and what was signed, so nothing of them is
repeated but the status and the error code.
"""

import re
import socket
import ssl
from contextlib import suppress
from http import HTTPStatus

from taskdb_cli.backup.stores.connections import proxies_for, proxy_variable
from taskdb_cli.errors import (
    InvalidConfiguration,
    InvalidInput,
    NotFound,
    StorageFailed,
    StoreUnavailable,
    TaskdbError,
)

_STATUS = re.compile(r"(?:status |\()code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")

_KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_REFUSALS = {
    "InvalidAccessKeyId": ("it does not know the access key", _KEYS),
    "SignatureDoesNotMatch": ("the secret key is wrong", _KEYS),
    "ExpiredToken": ("the credentials have expired", "renew them, for example with 'aws sso login'"),
    "InvalidToken": ("the session token is wrong", "check AWS_SESSION_TOKEN"),
    "RequestTimeTooSkewed": (
        "the clock of this machine differs too much from the store's",
        "set the clock of this machine",
    ),
    "InvalidObjectState": (
        "the object is in an archive storage class and cannot be read yet",
        "restore it in the store first",
    ),
    "PermanentRedirect": ("the bucket is in another region", "set AWS_REGION to the region of the bucket"),
    "AuthorizationHeaderMalformed": (
        "it expects another region",
        "set AWS_REGION to the region of the bucket",
    ),
    "AuthenticationFailed": (
        "the key or the signature is wrong or has expired, or the clock of this machine is wrong",
        "check AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
    ),
    "NotImplemented": ("it does not know this request", "use another service"),
    "BlobArchived": (
        "the object is in the archive access tier and cannot be read yet",
        "restore it in the store first",
    ),
}
_DENIED = "check the keys, and what the policy of the bucket allows"
_REDIRECTION = 3
_UNKNOWN = (HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
_NO_TLS = re.compile(
    r"wrong.version.number|record.layer.failure|http.request\]|packet.length.too.long|InvalidMessage\(",
    re.IGNORECASE,
)
_CERTIFICATES = {
    r"expired": "has expired",
    r"mismatch|doesn't match|NotValidForName": "is for another host",
    r"CaUsedAsEndEntity": "is the certificate of an authority (CA:TRUE), which no service may use",
    r"CERTIFICATE_VERIFY_FAILED|InvalidCertificate": "is not signed by a known authority",
}
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
"""Error codes for a bucket that does not exist, in the words of S3 and of Azure."""

_TEMPORARY = {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "OperationAborted"}


class RequestUnknown(StorageFailed):
    """The service of a bucket does not know this kind of request."""


def status_and_code(text: str) -> tuple[int | None, str]:
    """Return the HTTP status and the error code in a message of obstore, or in an answer."""
    status, code = _STATUS.search(text), _CODE.search(text)
    return int(status[1]) if status else None, code[1] if code else ""


def is_temporary(status: int | None) -> bool:
    """Return whether the same request may succeed later; no status means that no answer came."""
    if status is None or status == HTTPStatus.TOO_MANY_REQUESTS:
        return True
    lasting = (HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.INSUFFICIENT_STORAGE)
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in lasting


def _variable(location: str) -> str:
    return "AZURE_STORAGE_ENDPOINT" if location.startswith("az:") else "AWS_ENDPOINT_URL"


def failure(location: str, status: int | None, code: str, *, endpoint: str) -> TaskdbError:
    """Return the error for an answer with that status and error code; no status means that none came."""
    variable = _variable(location)
    proxy = f", {proxy_variable(endpoint)}" if proxies_for(endpoint) else ""
    later = f"check the network{proxy} and {variable}, or try again later"
    if code in NO_BUCKET:
        what = f"there is no bucket for {location} at {endpoint}"
        return NotFound(what, f"check its name and {variable}, or make the bucket")
    if code in ("InvalidBucketName", "InvalidResourceName"):
        return InvalidInput(f"{location}: this cannot be the name of a bucket", "check its name")
    if status is None:
        return StoreUnavailable(f"{location} cannot be reached, or did not answer in time", later)
    if is_temporary(status) or code in _TEMPORARY:
        answered = f"{status} {code}".rstrip()
        return StoreUnavailable(f"{location} is not available: the store answered {answered}", later)
    if code in _REFUSALS:
        what, hint = _REFUSALS[code]
        kind = RequestUnknown if status == HTTPStatus.NOT_IMPLEMENTED else StorageFailed
        return kind(f"{location}: the store refuses: {what}", hint)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return StorageFailed(f"{location}: the store denies access", _DENIED)
    if status // 100 == _REDIRECTION:
        return StorageFailed(
            f"{location}: the store answers with a redirect", _REFUSALS["PermanentRedirect"][1]
        )
    kind = RequestUnknown if status in _UNKNOWN else StorageFailed
    return kind(f"{location}: the store answered {status} {code}".rstrip(), _DENIED)


def untrusted(location: str, text: str) -> TaskdbError | None:
    """Return the error if a message of a library says that TLS cannot succeed, also not later."""
    if _NO_TLS.search(text):
        message = f"{location}: the service speaks no HTTPS, and its endpoint begins with https://"
        return InvalidConfiguration(message, f"check {_variable(location)}, or the endpoint of the profile")
    for pattern, what in _CERTIFICATES.items():
        if re.search(pattern, text, re.IGNORECASE):
            message = f"{location}: the certificate of the service {what}"
            hint = f"check {_variable(location)}"
            if not location.startswith("az:"):
                hint += ", or name its authority by AWS_CA_BUNDLE"
            return StorageFailed(message, hint)
    return None


def speaks_tls(host: str, port: int, seconds: float) -> bool:
    """Return whether a service begins TLS there, with any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        suppress(OSError, ValueError),
        socket.create_connection((host, port), seconds) as plain,
        context.wrap_socket(plain, server_hostname=host),
    ):
        return True
    return False
