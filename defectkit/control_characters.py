"""Characters that a terminal obeys or hides instead of showing them, and how they are shown.

Names of files, classes and groups come from others. In a terminal, their escape sequences would
move the cursor, rewrite lines and set titles; marks of writing direction reorder what is read.
"""

import re
from typing import Final

_INVISIBLE = (
    r"\x7f-\x9f"  # DEL and C1, among them a one-byte form of ESC [
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of writing
    r"\u200b\u2060-\u2064\ufeff"  # no width; joiners stay, which scripts and emoji need
    r"\u2028\u2029"  # line and paragraph separators
    r"\ud800-\udfff"  # bytes of file names that are not Unicode
    r"\U000e0000-\U000e007f"  # tags, a hidden copy of ASCII
)
IN_JSON: Final = re.compile(f"[{_INVISIBLE}]")
"""Those that JSON may hold as they are; it has escapes of its own for the others."""
_IN_TEXT = re.compile(rf"[\x00-\x08\x0b-\x1f{_INVISIBLE}]")
_CONTROL = re.compile(rf"[\x00-\x1f{_INVISIBLE}]")
_IN_CELL = re.compile(rf"{_CONTROL.pattern}|\\(?=x[\da-f]{{2}}|u[\da-f]{{4}}|U000e00[\da-f]{{2}})")
_ESCAPE = re.compile(r"\\(?:x([\da-f]{2})|u([\da-f]{4})|U(000e00[\da-f]{2}))")


def has_controls(text: str) -> bool:
    """Return whether ``text`` has control characters, line breaks and tabs among them."""
    return _CONTROL.search(text) is not None


def show_controls(text: str) -> str:
    r"""Return ``text`` with control characters as escapes; line breaks and tabs stay.

    >>> print(show_controls("\x1b[31mred"))
    \x1b[31mred
    """
    return _IN_TEXT.sub(_escape, text)


def escape_controls(text: str) -> str:
    r"""Return ``text`` on one line, without control characters, for ``restore_controls`` to undo.

    A backslash that reads like the start of an escape becomes one.

    >>> print(escape_controls("two\nlines"), escape_controls(r"no\x0aescape"))
    two\x0alines no\x5cx0aescape
    """
    if text.isprintable() and "\\" not in text:  # fast: encoded masks are long
        return text
    return _IN_CELL.sub(_escape, text)


def restore_controls(text: str) -> str:
    """Return what ``escape_controls`` was given."""
    return _ESCAPE.sub(lambda found: chr(int(found[1] or found[2] or found[3], 16)), text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    form = "\\x{:02x}" if code < 0x100 else "\\u{:04x}" if code < 0x10000 else "\\U{:08x}"
    return form.format(code)
