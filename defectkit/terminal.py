"""The console on which every command reports: it shows control characters and obeys none."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from defectkit.control_characters import show_controls


def one_line(text: str) -> str:
    r"""Return a text with names of files as markup that shows them on one line.

    >>> print(one_line("two\nlines"))
    two\nlines
    """
    return escape(text.replace("\n", r"\n"))


class SafeConsole(Console):
    """A console of rich on which texts of others are only text.

    It writes no control characters but its own, for colors and progress bars, and takes ``:name:``
    for no emoji. Brackets are markup, as rich has them: escape them in texts of others. Where a
    line of text ends is left to the terminal, since a path that was broken into two lines can
    neither be copied nor searched for.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"stderr": True, "emoji": False, **options})

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does; lines of text stay whole, tables fit the width."""
        whole = all(isinstance(one, str) for one in objects)
        super().print(*objects, **{"soft_wrap": whole, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Return ``text`` as rich measures and wraps it, with its control characters shown."""
        return super().render_str(show_controls(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the pieces of any output, with the control characters of its texts shown."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=show_controls(segment.text))
