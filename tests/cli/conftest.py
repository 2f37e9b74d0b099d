"""The command line's own tests run through a pooler too."""

import pytest

from tests.conftest import POOLERS, SERVERS
from tests.pooler import PGBOUNCER


# The newest server stands behind the pooler, where there is one, and an older one is for the soak. Services
# and the database layer run on both directly.
@pytest.fixture(params=["sqlite", SERVERS[-1 if PGBOUNCER is None else 0], *POOLERS])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that this run of the test is about, or the pooler in front of one."""
    name: str = request.param
    return name


@pytest.fixture
def complete(bare_taskdb, monkeypatch, capsys):
    """Returns what bash is offered for the last of some words."""

    def offered(*words):
        monkeypatch.setenv("_TASKDB_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["taskdb", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit):
            bare_taskdb()
        return capsys.readouterr().out.split()

    return offered
