"""What every page needs: the templates, and pictures that are part of the page.

A page loads nothing from the network and runs no script but its own (a content security policy says
so as well), and every text that comes from data is escaped: an image may be called ``<script>``, or
have marks in its name that reverse what follows.
"""

import base64
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image as Pillow

from defectkit.control_characters import show_controls
from defectkit.data.images import read_image
from defectkit.errors import ImageError
from defectkit.files import read_limited

TEMPLATES = Path(__file__).with_name("templates")
THUMBNAIL_WIDTH = 760


def render_page(
    template: str, *, styles: Sequence[str] = (), scripts: Sequence[str] = (), **values: Any
) -> str:
    """Return the page of a template as HTML; all ``values`` are escaped.

    Args:
        template: a file name in ``templates/``.
        styles: style sheets in ``templates/`` beside the one that all pages have.
        scripts: scripts in ``templates/``, which the page has as a single one.
        values: what the template names; one that it names and that is missing is our mistake.
    """
    style, script = _join(["page.css", *styles]), _join(scripts)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_show,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        # The policy allows this very style sheet and script and nothing else, by their hashes.
        style=Markup(style),  # noqa: S704 (our own file)
        style_hash=_hash(style),
        script=Markup(script),  # noqa: S704 (our own file)
        script_hash=_hash(script) if script else "",
        **values,
    )


def _join(names: Sequence[str]) -> str:
    return "".join(read_limited(TEMPLATES / name).decode("utf-8") for name in names)


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _show(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Markup):
        return show_controls(value)
    return value


def thumbnail_jpeg(path: Path) -> bytes:
    """Return a small JPEG of an image file, or nothing where it is too large to be read back."""
    try:
        picture = Pillow.fromarray(read_image(path))
    except ImageError:
        return b""
    picture.thumbnail((THUMBNAIL_WIDTH, 4 * THUMBNAIL_WIDTH), Pillow.Resampling.LANCZOS)
    return encode_jpeg(picture)


def encode_jpeg(picture: Pillow.Image) -> bytes:
    """Return a picture as JPEG in which thin colored lines stay colored."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85, subsampling=0)
    return buffer.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """Return the bytes of an image file as the address of an image in a page.

    Args:
        content: the bytes of the file.
        kind: ``png``, ``jpeg`` or ``gif``.
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
