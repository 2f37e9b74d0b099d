"""What the tests of hostile clients share with those of the HTTP API."""

from tests.api.conftest import api, app, connect_as, nobody

__all__ = ["api", "app", "connect_as", "nobody"]
