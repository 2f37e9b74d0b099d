"""How far long work has come, told by the layer that does it to the one that shows it."""

from collections.abc import Callable
from typing import NamedTuple


class Step(NamedTuple):
    """What is being done, how much of it, and out of how much if that is known.

    `done` and `total` are bytes, or whatever else grows evenly if `rows` says how many rows that was.
    """

    doing: str
    done: int = 0
    total: int | None = None
    rows: int | None = None


Told = Callable[[Step], None]
"""Is called now and then while the work goes on."""
