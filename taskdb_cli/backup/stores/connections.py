"""Connections to a service: how long to wait for it, how often to try again, and which proxy to take."""

from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple, TypedDict
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from taskdb_cli.errors import InvalidConfiguration

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig


class Patience(NamedTuple):
    """How long to wait for a store, in seconds, and how often to try a request again.

    A request is answered after `answering` seconds, or after `sending` if it sends a part of an upload, or it
    has failed. `retrying` seconds after the first attempt no other one begins.
    """

    connecting: float
    answering: float
    sending: float
    retries: int
    retrying: float


PATIENT = Patience(connecting=10, answering=30, sending=120, retries=7, retrying=45)
HASTY = Patience(connecting=3, answering=10, sending=10, retries=1, retrying=10)


class ObstoreOptions(TypedDict):
    """What obstore is told of connections."""

    client_options: "ClientConfig"
    retry_config: "RetryConfig"


def options(endpoint: str, patience: Patience, seconds: float) -> ObstoreOptions:
    """Return what to tell obstore of the connections to a service, with so many seconds for each request."""
    return {
        "client_options": {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=patience.connecting),
            "timeout": timedelta(seconds=seconds),
            **_unproxied(endpoint),
        },
        "retry_config": {
            "max_retries": patience.retries,
            "retry_timeout": timedelta(seconds=patience.retrying),
            "backoff": {
                "init_backoff": timedelta(milliseconds=200),
                "max_backoff": timedelta(seconds=15),
            },
        },
    }


def proxies_for(endpoint: str) -> dict[str, str]:
    """Return the proxy of a service by its scheme: none if no variable has one, or NO_PROXY has its host.

    ALL_PROXY is for both schemes, and NO_PROXY may have ranges of addresses. Raises InvalidConfiguration for
    what cannot be a proxy, without the address, which may hold a password.
    """
    parts, known = urlsplit(endpoint), getproxies()
    proxy = known.get(parts.scheme) or known.get("all")
    excluded = proxy_bypass(parts.netloc) or _is_within(str(parts.hostname), known.get("no", ""))
    if not proxy or excluded:
        return {}
    if not _may_be_proxy(proxy):
        raise InvalidConfiguration(
            f"{proxy_variable(endpoint)} is not the address of a proxy", "write http://HOST:PORT"
        )
    return {parts.scheme: proxy}


def proxy_variable(endpoint: str) -> str:
    """Return the name of the variable that has the proxy of a service, as it is usually written."""
    scheme = urlsplit(endpoint).scheme
    return f"{scheme.upper()}_PROXY" if getproxies().get(scheme) else "ALL_PROXY"


def _may_be_proxy(address: str) -> bool:
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_within(host: str, ranges: str) -> bool:
    for each in ranges.split(","):
        with suppress(ValueError):
            if "/" in each and ip_address(host) in ip_network(each.strip(), strict=False):
                return True
    return False


def _unproxied(endpoint: str) -> "ClientConfig":
    """Return the options that keep obstore from a proxy that is not for this service.

    obstore would not know `*` in NO_PROXY.
    """
    if getproxies() and not proxies_for(endpoint):
        # Set a proxy that is never used, so that the one in the environment is not used either.
        return {"proxy_url": endpoint, "proxy_excludes": str(urlsplit(endpoint).hostname)}
    return {}
