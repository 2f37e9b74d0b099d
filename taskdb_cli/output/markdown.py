"""Markdown on a terminal, which a person may copy from: no line of code is broken, and no cell is cut."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import CodeBlock, ListItem, Markdown, MarkdownContext, MarkdownElement, TableElement
from rich.segment import Segment
from rich.syntax import Syntax
from rich.table import Table


class _Code(CodeBlock):
    """A block of code. The terminal wraps a line that is too long, and knows that it is one line."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = Syntax("", self.lexer_name, theme=self.theme).highlight(str(self.text).rstrip())
        code.no_wrap, code.overflow = True, "ignore"
        code.rstrip()
        yield code


class _Cells(TableElement):
    """A table. A word that is wider than its column goes on in the next line."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in super().__rich_console__(console, options):
            assert isinstance(table, Table)
            for column in table.columns:
                column.overflow = "fold"
            yield table


class _Item(ListItem):
    """An item of a list. Rich's own cuts lines of code in it."""

    def on_child_close(self, context: MarkdownContext, child: MarkdownElement) -> bool:
        shown: list[RenderableType] = ["", child, ""] if isinstance(child, _Code) else [child]
        for each in shown:
            self.elements.append(each)
        return False

    def render_bullet(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bullet = Segment(" • ", console.get_style("markdown.item.bullet"))
        return self._behind(bullet, console, options)

    def render_number(
        self, console: Console, options: ConsoleOptions, number: int, last_number: int
    ) -> RenderResult:
        text = f"{number:>{len(str(last_number)) + 1}} "
        return self._behind(Segment(text, console.get_style("markdown.item.number")), console, options)

    def _behind(self, mark: Segment, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.update(width=options.max_width - len(mark.text))
        for line in Segment.split_lines(console.render(self.elements, room)):
            yield mark
            yield from line
            yield Segment.line()
            mark = Segment(" " * len(mark.text))


class Page(Markdown):
    """A text that was written as Markdown. It is printed with `crop=False`."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = Markdown.elements | {
        "fence": _Code,
        "code_block": _Code,
        "table_open": _Cells,
        "list_item_open": _Item,
    }
