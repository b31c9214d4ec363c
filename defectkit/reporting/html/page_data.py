"""Data for the scripts of a page, as JSON that no text in it can end."""

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from defectkit.control_characters import show_controls

ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}
"""What could end the script element, or a line, in the midst of a text."""


def page_json(content: object) -> Markup:
    r"""Return JSON for ``<script type="application/json">``.

    It means the same as that of ``json.dumps``, except that control characters are shown as
    escapes, as everywhere in a page.

    >>> print(page_json({"id": "</script>"}))
    {"id":"\u003c/script\u003e"}

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(_show(content), separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(ESCAPES))  # noqa: S704 (no mark of HTML is left)


def _show(content: Any) -> Any:
    if isinstance(content, str):
        return show_controls(content)
    if isinstance(content, Mapping):
        return {_show(str(name)): _show(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_show(value) for value in content]
    return content
