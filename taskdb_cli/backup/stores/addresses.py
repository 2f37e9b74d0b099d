"""Addresses of buckets, and of the services that have them."""

import re
from urllib.parse import urlsplit

from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.escaping import brief

_FORMS = {"s3": "s3://BUCKET/PREFIX", "az": "az://CONTAINER/PREFIX"}
_BUCKETS = {
    "s3": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}"),
    "az": re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*"),
}
_NAMES = {
    "s3": "the name of a bucket has two or more letters, digits, dots and hyphens",
    "az": "the name of a container has 3 to 63 small letters, digits and single hyphens",
}
_LONGEST_ENDPOINT = 2000
_SECRETS = {
    "s3": "the keys belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in a profile",
    "az": "the key belongs in AZURE_STORAGE_ACCOUNT_KEY",
}


def parse_address(address: str, scheme: str) -> tuple[str, str]:
    """Return the bucket and the prefix of an address of that scheme.

    Raises InvalidInput for what cannot be one. The error never repeats the address, which may hold a secret.
    """
    given, _, rest = address.partition("://")
    if given.lower() != scheme:
        message = f"archives cannot be kept in {brief(given.lower())}://"
        raise InvalidInput(message, f"name a directory, or a bucket as {' or '.join(_FORMS.values())}")
    form = _FORMS[scheme]
    bucket, _, path = rest.partition("/")
    if not rest.isprintable() or any(each in rest for each in "?#") or any(each in bucket for each in "@:"):
        message = f"the address of a bucket is {form}, without user, password, query and fragment"
        raise InvalidInput(message, _SECRETS[scheme])
    if not _BUCKETS[scheme].fullmatch(bucket):
        raise InvalidInput("this address does not name a bucket", f"write {form}; {_NAMES[scheme]}")
    prefix = path.rstrip("/")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise InvalidInput("an address of a bucket has no empty, '.' or '..' parts", f"write {form}")
    return bucket, prefix


def is_endpoint(text: str) -> bool:
    """Return whether a text is the address of a service, without user, password and query."""
    # A host name has 253 characters at most. urlsplit would normalize a long text for seconds.
    if len(text) > _LONGEST_ENDPOINT:
        return False
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        named = ":" in host or re.fullmatch(r"[\w-]+(?:\.[\w-]+)*\.?", host)
        usable = parts.scheme in ("http", "https") and named and parts.port != 0
    except ValueError:
        return False
    return bool(usable and text.isprintable()) and not ("@" in parts.netloc or parts.query or parts.fragment)
