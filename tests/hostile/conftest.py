"""What the tests of hostile clients share with those of the HTTP API."""

from tests.api.conftest import api, app, connect_as, nobody
from tests.api.test_server import serve

__all__ = ["api", "app", "connect_as", "nobody", "serve"]
