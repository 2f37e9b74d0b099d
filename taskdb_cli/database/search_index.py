"""What is known of the index that makes searches fast, which a database may have or not."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

SEARCH_PARTS = frozenset(
    {
        "index tasks_title_search",
        "index tasks_description_search",
        "trigger tasks.taskdb_search_insert",
        "trigger tasks.taskdb_search_delete",
        "trigger tasks.taskdb_search_update",
    }
)
"""The names under which `Backend.facts` describes parts of it that are not as taskdb makes them."""

MEND = "'taskdb search on' builds it again, 'taskdb search off' drops it"


PATIENCE = "taskdb_patience"
"""The execution option of a query that raises NothingSoon if its next rows take more than so many steps."""


class NothingSoon(Exception):
    """A search without the index has found no further rows for a while."""


@dataclass(frozen=True)
class SearchIndex:
    """The search index of a database."""

    state: Literal["on", "off", "incomplete"]
    bytes: int = 0
    """What it takes; 0 if it is off."""
    problem: str = ""
    """What is wrong with one that is incomplete, so that no search uses it."""
    tasks_bytes: int | None = None
    """What the table of the tasks takes without any index; None if the engine does not know."""
    only_ascii: bool = False
    """Whether words help only if they have letters from A to Z or digits, by the database's locale."""
    harmful: bool = False
    """Whether tasks cannot be written because of it, or searches may miss some."""


class LowerWithoutIndex(FunctionElement[str]):
    """`lower()` of a column, in a form that a planner does not look for in a search index."""

    inherit_cache = True
    type = Text()


@compiles(LowerWithoutIndex)
def _write_lower(element: LowerWithoutIndex, compiler: SQLCompiler, **options: Any) -> str:
    return f"lower({compiler.process(element.clauses, **options)})"
