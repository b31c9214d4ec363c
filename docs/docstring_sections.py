"""Leaves out of docstrings what is for the command line: examples of a shell, exit statuses.

An extension of griffe, with which mkdocstrings reads the code. The page of the commands has both.
"""

import re
from typing import Any

from griffe import Extension, Function

SHELL = re.compile(r"^Examples:\n(?: +defectkit .*\n)+\n?", re.MULTILINE)
STATUSES = re.compile(r"^Exit status:\n(?: +.*\n)+\n?", re.MULTILINE)


def without_shell(text: str) -> str:
    """Return a docstring without its examples for a shell and its exit statuses."""
    return STATUSES.sub("", SHELL.sub("", f"{text}\n")).rstrip("\n")


class DocstringSections(Extension):
    """Does so in the ``run`` of each pipeline."""

    def on_function(self, *, func: Function, **_: Any) -> None:
        """Change the docstring of a function that was read."""
        if func.docstring and func.name == "run":
            func.docstring.value = without_shell(func.docstring.value)
