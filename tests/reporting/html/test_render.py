"""A page must escape every value and name its own style sheet alone."""

import base64
import hashlib
import re

import jinja2
import numpy as np
import pytest
from PIL import Image

from defectkit.data import image_kinds
from defectkit.data.images import decode_image, write_png
from defectkit.reporting.drawing.palette import COLORS, hex_code
from defectkit.reporting.html import render
from defectkit.reporting.html.render import (
    data_uri,
    encode_jpeg,
    render_page,
    thumbnail_jpeg,
)


@pytest.fixture
def templates(tmp_path, monkeypatch):
    """A folder of templates beside the real style sheet."""
    (tmp_path / "page.css").write_text((render.TEMPLATES / "page.css").read_text())
    (tmp_path / "head.html").write_text((render.TEMPLATES / "head.html").read_text())
    monkeypatch.setattr(render, "TEMPLATES", tmp_path)
    return tmp_path


def test_every_value_is_escaped_and_never_a_template_itself(templates):
    (templates / "plain.html").write_text("{{ value }}")
    assert render_page("plain.html", value="<b>{{ 7 * 6 }}</b>") == (
        "&lt;b&gt;{{ 7 * 6 }}&lt;/b&gt;"
    )


def test_a_missing_value_is_our_mistake(templates):
    (templates / "plain.html").write_text("{{ value }}")
    with pytest.raises(jinja2.UndefinedError, match="value"):
        render_page("plain.html")


def test_the_policy_names_the_style_sheet_of_the_page(templates):
    (templates / "plain.html").write_text('{% include "head.html" %}')
    page = render_page("plain.html", title="A title")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in page


def test_the_policy_names_the_script_of_the_page_which_is_of_all_its_files(templates):
    (templates / "plain.html").write_text('{% include "head.html" %}<script>{{ script }}</script>')
    (templates / "a.js").write_text("'use strict'; // <a> & é\n")
    (templates / "b.js").write_text("b();\n")
    page = render_page("plain.html", title="A title", scripts=["a.js", "b.js"])
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    assert script == "'use strict'; // <a> & é\nb();\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "script-src" not in render_page("plain.html", title="A title")


def test_a_page_may_have_style_sheets_of_its_own(templates):
    (templates / "plain.html").write_text("<style>{{ style }}</style>")
    (templates / "own.css").write_text("p { margin: 0 }")
    page = render_page("plain.html", styles=["own.css"])
    assert page.endswith("p { margin: 0 }</style>")
    assert page.startswith("<style>:root {")


def test_the_style_sheet_has_the_colors_of_the_pictures():
    style = (render.TEMPLATES / "page.css").read_text()
    names = {"--hit": COLORS["hit"], "--missed": COLORS["missed"], "--false": COLORS["false"]}
    for name, color in names.items():
        assert f"{name}: {hex_code(color)};" in style


def test_a_thumbnail_fits_and_keeps_its_aspect(tmp_path):
    write_png(tmp_path / "wide.png", np.zeros((100, 2 * render.THUMBNAIL_WIDTH, 3), np.uint8))
    thumbnail = decode_image(thumbnail_jpeg(tmp_path / "wide.png"), name="thumbnail")
    assert thumbnail.shape == (50, render.THUMBNAIL_WIDTH, 3)


def test_a_picture_too_large_to_be_read_back_has_no_thumbnail(tmp_path, monkeypatch):
    write_png(tmp_path / "large.png", np.zeros((300, 300), np.uint8))
    monkeypatch.setattr(image_kinds, "MAX_PIXELS", 10_000)
    assert thumbnail_jpeg(tmp_path / "large.png") == b""


def test_thin_colored_lines_stay_colored():
    picture = np.full((40, 40, 3), 128, np.uint8)
    picture[:, 20] = COLORS["missed"]
    shown = decode_image(encode_jpeg(Image.fromarray(picture)), name="picture")
    assert np.abs(shown[20, 20].astype(int) - COLORS["missed"]).max() < 30


def test_a_data_uri_holds_the_file():
    assert data_uri(b"\x00\xff", "png") == "data:image/png;base64,AP8="
