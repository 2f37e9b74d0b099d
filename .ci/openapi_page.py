"""The page docs/api-reference.md, made from what the application says of itself in OpenAPI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from sqlalchemy import make_url

from taskdb_cli import errors
from taskdb_cli.api import listings, problems
from taskdb_cli.api.app import create_app
from taskdb_cli.database import Database
from taskdb_cli.errors import TaskdbError

OPENING = """\
# API reference

This page lists every route of the [HTTP API](api.md), with its parameters and answers. The examples call
`curl` with an access token:

```sh
api() { curl -s -H "Authorization: Bearer $TOKEN" "$@"; }
api localhost:8000/openapi.json   # the same description for programs, as OpenAPI
```

"""
TIMES = f"## Times\n\nA time in a query is one of {listings.TIMES}\n\n"
TITLES = {"users": "Users", "tasks": "Tasks", "history": "History", "operations": "The server"}
"""What the groups of routes are called on the page, by their tags."""

NOT_ANSWERED = (errors.BackupRunning, errors.Incomplete)
"""Errors of commands that no route has."""

LARGEST = 2**53
"""A greater limit only says that a number fits into its column."""

Schema = dict[str, Any]


def render() -> str:
    """Return the page as Markdown."""
    described = create_app(Database(make_url("sqlite:///unused"))).openapi()
    routes = [
        (method.upper(), path, route)
        for path, methods in described["paths"].items()
        for method, route in methods.items()
    ]
    parts = [OPENING, described["info"]["description"], "\n"]
    by_tag = sorted(routes, key=lambda each: list(TITLES).index(each[2]["tags"][0]))
    for tag, group in groupby(by_tag, lambda each: each[2]["tags"][0]):
        parts += [f"## {TITLES[tag]}\n\n", *(described_route(*each) for each in group)]
    parts += [TIMES, *described_problems(routes)]
    models = described["components"]["schemas"]
    taken = set(referred([body for *_, route in routes if (body := route.get("requestBody"))], models))
    parts.append("## Schemas\n\n")
    for name in sorted(set(referred([route for *_, route in routes], models))):
        parts.append(described_model(name, models[name], is_taken=name in taken))
    return "".join(parts).rstrip("\n") + "\n"


def described_route(method: str, path: str, route: Schema) -> str:
    """Return the section of a route."""
    text = f"### `{method} {path}`\n\n{route['description']}\n\n"
    text += f"```sh\n{' '.join(curl(method, path, route))}\n```\n\n"
    if parameters := route.get("parameters"):
        text += table(("parameter", "value", "meaning"), [described_parameter(each) for each in parameters])
    if body := route.get("requestBody"):
        text += f"- Body: {value(body['content']['application/json']['schema'])}\n"
    failures = []
    for status, answer in route["responses"].items():
        if status[0] != "2":
            failures.append(status)
            continue
        kinds = {media: kind["schema"] for media, kind in answer["content"].items()}
        shown = "text" if "text/plain" in kinds else value(kinds["application/json"])
        named = [f"`{name}`" for name in ("Location", "ETag") if name in answer["headers"]]
        text += f"- {status}: {shown}{', with ' if named else ''}{' and '.join(named)}\n"
    return text + f"- [Problems](#problems): {', '.join(failures)}\n\n"


def curl(method: str, path: str, route: Schema) -> Iterator[str]:
    """Yield the words of a call of the route."""
    yield "curl" if route.get("security") == [] else "api"
    body = route.get("requestBody")
    if method != ("POST" if body else "GET"):
        yield f"-X {method}"
    for each in route.get("parameters", []):
        if each["in"] == "path":
            path = path.replace(f"{{{each['name']}}}", str(each["schema"]["examples"][0]))
    yield f"localhost:8000{path}"
    if body:
        example = json.dumps(body["content"]["application/json"]["example"])
        yield f"\\\n    --json '{example}'"


def described_parameter(parameter: Schema) -> tuple[str, str, str]:
    """Return a row for a parameter. What stands in the query does not say so."""
    schema, name, meaning = parameter["schema"], parameter["name"], parameter["description"]
    if parameter["in"] == "header":
        return f"`{name.title()}`, a header", "text", meaning
    where = ", in the path" if parameter["in"] == "path" else ""
    if meaning.endswith(f": {listings.TIMES}"):
        return f"`{name}`", "[time](#times)", meaning.removesuffix(f": {listings.TIMES}") + "."
    # A parameter that is not given is null, and its meaning says which words it may be and how long it is.
    [kind] = [kind for kind in schema.get("anyOf", [schema]) if kind["type"] != "null"]
    kind = kind.get("items", kind)
    plain = {rule: kind[rule] for rule in ("type", "minimum", "maximum") if rule in kind}
    default = f", `{schema['default']}` by default" if schema.get("default") else ""
    return f"`{name}`{where}", value(plain) + default, meaning


def value(schema: Schema) -> str:
    """Return in words which values a schema has."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[`{name}`](#{name.lower()})"
    if kinds := schema.get("anyOf"):
        [kind] = [kind for kind in kinds if kind["type"] != "null"]
        noun, comma, rest = value(kind).partition(", ")
        return f"{noun} or null{comma}{rest}"
    if choices := [f"`{word}`" for word in schema.get("enum", [])]:
        return f"{', '.join(choices[:-1])} or {choices[-1]}"
    kind = schema.get("type")
    if kind == "array":
        return f"list of {value(schema['items'])}"
    if kind == "object":
        return f"for each name a {value(schema['additionalProperties'])}"
    if "format" in schema:
        return {"date-time": "time", "email": "e-mail address"}[schema["format"]]
    words = {"integer": "number", "string": "text", "boolean": "true or false", None: "JSON"}[kind]
    if "maxLength" in schema:
        words += f", at most {schema['maxLength']} characters"
    if schema.get("maximum", LARGEST) < LARGEST:
        words += f" from {schema['minimum']} to {schema['maximum']}"
    return words


def described_problems(routes: list[tuple[str, str, Schema]]) -> Iterator[str]:
    """Yield the table of the problems that requests can end in, with their codes."""
    meanings = {
        status: answer["description"]
        for *_, route in routes
        for status, answer in route["responses"].items()
        if status[0] != "2"
    }
    codes: dict[str, set[str]] = {status: set() for status in meanings}
    for kind in [*vars(errors).values(), *vars(problems).values()]:
        if isinstance(kind, type) and issubclass(kind, TaskdbError) and not issubclass(kind, NOT_ANSWERED):
            status, code = problems.status_and_code(kind)
            codes[str(status)].add(code)
    yield "## Problems\n\nA request that fails is answered with [`ProblemDetails`](#problemdetails).\n\n"
    rows = [
        (status, ", ".join(f"`{code}`" for code in sorted(codes[status])), meaning)
        for status, meaning in sorted(meanings.items())
    ]
    yield table(("status", "code", "when"), rows)


def referred(part: object, models: dict[str, Schema]) -> Iterator[str]:
    """Yield the names of the schemas that a part of the description refers to, directly or not."""
    if isinstance(part, dict):
        if reference := part.get("$ref"):
            name = reference.rpartition("/")[2]
            yield name
            yield from referred(models[name], models)
        yield from referred(list(part.values()), models)
    elif isinstance(part, list):
        for each in part:
            yield from referred(each, models)


def described_model(name: str, model: Schema, *, is_taken: bool) -> str:
    """Return the section of a schema; those that the server takes say what they require."""
    required = model.get("required", [])
    rows = []
    for field, schema in model["properties"].items():
        words = value(schema)
        if is_taken and field in required:
            words += "; required"
        elif not is_taken and field not in required:
            words += "; not always there"
        rows.append((f"`{field}`", words, schema.get("description", "")))
    columns = ("field", "value", "meaning") if any(row[2] for row in rows) else ("field", "value")
    text = f"### `{name}`\n\n{model['description']}\n\n{table(columns, rows)}"
    if example := model.get("example"):
        text += f"```json\n{json.dumps(example, indent=2)}\n```\n\n"
    return text


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown, with as many cells of each row as there are columns."""
    lines = [columns, ("---",) * len(columns), *(row[: len(columns)] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"
