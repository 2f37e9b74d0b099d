"""One JSON object of any size, written part by part."""

from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from taskdb_cli.output.formats import to_json, to_plain


def write_document(parts: Iterable[tuple[str, Any]], stream: TextIO) -> None:
    """Write the parts as one object. An iterator becomes a list, whose values are taken one at a time.

    If an exception ends them, the object stays open.
    """
    before = "{\n  "
    for name, value in parts:
        stream.write(f"{before}{to_json(name)}: ")
        if isinstance(value, Iterator):
            between = "[\n    "
            for each in value:
                stream.write(between + to_json(_plain(each)))
                between = ",\n    "
            stream.write("[]" if between.startswith("[") else "\n  ]")
        else:
            stream.write(to_json(_plain(value), indent=2).replace("\n", "\n  "))
        before = ",\n  "
    stream.write("\n}\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else to_plain(value)
