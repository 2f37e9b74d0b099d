"""What OpenAPI promises, held to what the API does."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from pydantic import TypeAdapter, ValidationError
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from sqlalchemy import make_url

from taskdb_cli.api.app import create_app
from taskdb_cli.api.schemas import (
    ChangeRecord,
    LifeRecord,
    ListedUser,
    OperationRecord,
    TaskRecord,
    UserRecord,
)
from taskdb_cli.database import Database
from taskdb_cli.models.fields import Title
from taskdb_cli.models.vocabulary import (
    CHANGE_FIELDS,
    LIFE_FIELDS,
    OPERATION_FIELDS,
    TASK_FIELDS,
    USER_FIELDS,
)
from tests.api.servers import running
from tests.conftest import SERVERS
from tests.forked import SOAK
from tests.samples import add_task, add_token, add_user

DESCRIPTION = create_app(Database(make_url("sqlite:///unused"))).openapi()
EXAMPLES = 100 if SOAK else 6
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.missing_required_header,
    checks.ignored_auth,
]

schema = schemathesis.openapi.from_dict(DESCRIPTION)


@pytest.fixture(params=["sqlite", SERVERS[-1]])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that this run of the test is about; one PostgreSQL is enough."""
    name: str = request.param
    return name


@pytest.fixture
def served(app, database) -> Iterator[tuple[str, str]]:
    """The URL of a server with some rows, and a token for it."""
    add_user(database)
    for number in range(3):
        add_task(database, title=f"Task {number}", external_id=f"x-{number}")
    with running(app) as url:
        yield url, add_token(database, "schemathesis", scope="write")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_requests_of_every_kind(case, served):
    """Whatever is sent, valid or not, the answer is one that the description tells of."""
    url, token = served
    case.call_and_validate(base_url=url, headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)


def test_records_are_described_field_by_field():
    """The described records have the fields of every other format, in their order."""
    assert tuple(TaskRecord.model_fields) == TASK_FIELDS
    assert tuple(UserRecord.model_fields) == USER_FIELDS
    assert tuple(ListedUser.model_fields) == (*USER_FIELDS, "tasks")
    assert tuple(OperationRecord.model_fields) == OPERATION_FIELDS
    assert tuple(ChangeRecord.model_fields) == CHANGE_FIELDS
    assert tuple(LifeRecord.model_fields) == LIFE_FIELDS


def test_a_text_must_show_something():
    """The patterns of new texts accept what the rules accept, and a stored text may be blank."""
    models = DESCRIPTION["components"]["schemas"]
    pattern = models["TaskCreate"]["properties"]["title"]["pattern"]
    title = TypeAdapter(Title)
    for code in (*range(0x3200), *range(0xE000, 0x10000), *range(0x13400, 0x13500), *range(0xE0000, 0xE1010)):
        try:
            shown = bool(title.validate_python(chr(code)))
        except ValidationError:
            shown = False
        assert bool(re.search(pattern, chr(code))) == shown, hex(code)
    assert models["UserCreate"]["properties"]["name"]["pattern"] == pattern
    assert re.search(models["TaskRecord"]["properties"]["title"]["pattern"], "\u3164")


def operations():
    """Every operation of the description, with its method and path."""
    for path, methods in DESCRIPTION["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


@pytest.mark.parametrize(
    ("name", "operation"), list(operations()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_operation_is_described(name, operation):
    """Each operation says what it does, what it takes, with examples, and every way in which it may end."""
    assert operation["description"].endswith(".")
    for parameter in operation.get("parameters", []):
        assert parameter.get("description"), parameter["name"]
    if body := operation.get("requestBody"):
        assert body["content"]["application/json"]["example"]
    success = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
    assert success["content"]
    assert {"401", "422", "500", "503"} <= set(operation["responses"])


def test_the_description_names_the_token():
    """Everything but the liveness check is described as needing a bearer token."""
    assert DESCRIPTION["security"] == [{"token": []}]
    assert DESCRIPTION["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    open_ = [name for name, operation in operations() if "security" in operation]
    assert open_ == ["get /health/live"]
