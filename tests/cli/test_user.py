"""taskdb user, from the outside."""

import json


def test_create_prints_the_record(taskdb):
    """A created user is printed with every field, its address in lower case."""
    record = json.loads(
        taskdb("user", "create", "--email", "Ann@Example.com", "--name", "Ann", "-o", "json").out
    )
    assert list(record) == ["id", "email", "name", "is_active", "version", "created_at", "updated_at"]
    assert record["email"] == "ann@example.com"
    assert record["version"] == 1
