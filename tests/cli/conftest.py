"""The command line's own tests run through a pooler too."""

import pytest

from tests.conftest import ENGINES, POOLERS


@pytest.fixture(params=[*ENGINES, *POOLERS])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that this run of the test is about, or the pooler in front of one."""
    name: str = request.param
    return name
