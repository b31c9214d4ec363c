"""Opens a page in the user's browser, if there is one."""

import os
import sys
import webbrowser
from pathlib import Path

from rich.console import Console

from defectkit.terminal import one_line

SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
"""Variables of which one is set where a browser can open a window, or the user names a browser."""


def open_page(path: Path, console: Console) -> None:
    """Open a page in the browser, and say so if that cannot be done.

    Args:
        path: the page.
        console: where to report.
    """
    try:
        opened = _has_screen() and webbrowser.open(path.absolute().as_uri())
    except (webbrowser.Error, OSError):
        opened = False
    if opened:
        console.print(one_line(f"{path} is opened in the browser"))
    else:
        told = f"no browser can be opened here: open {path} yourself"
        console.print(f"[yellow]warning:[/] {one_line(told)}")


def _has_screen() -> bool:
    # Without a screen, a browser for terminals would take this one.
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in SCREENS)
