"""The command line's own tests run through a pooler too."""

import pytest

from tests.conftest import POOLERS, SERVERS


# The newest server stands behind the pooler. Services and the database layer run on it directly.
@pytest.fixture(params=["sqlite", SERVERS[0], *POOLERS])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that this run of the test is about, or the pooler in front of one."""
    name: str = request.param
    return name
