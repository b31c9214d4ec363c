"""The page must work offline, run nothing, and tell which differences are significant."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from comparison_rows import comparison_row as row

from defectkit.data.images import decode_image
from defectkit.reporting.comparison_table import LINES
from defectkit.reporting.html.comparison import comparison_page

EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(1)>{{ 7 * 191 }}</style>'
PICTURE = np.zeros((40, 60, 3), np.uint8)


class Tags(HTMLParser):
    def __init__(self, content):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(content)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += f" {data}"


def behind(key, value, low, high, p_value, differs):
    ends = {f"{key}_to_best": value, f"{key}_to_best_low": low, f"{key}_to_best_high": high,
            f"{key}_to_best_p": p_value}  # fmt: skip
    return {**ends, f"{key}_significant": differs}


def page(rows, notes=(), title="A title", picture=PICTURE):
    return comparison_page(rows, picture, title=title, images=26, groups=9, notes=notes)


def test_each_difference_is_called_significant_or_not():
    rows = [
        row("best", image_ap=0.9),
        row("far", image_ap=0.4, **behind("image_ap", -0.5, -0.6, -0.25, 0.0004, True)),
        row("near", image_ap=0.8, region_recall=0.25,
            **behind("image_ap", -0.1, -0.2, 0.05, 0.25, False),
            **behind("region_recall", -0.25, -0.5, -0.125, 0.05, True)),
    ]  # fmt: skip
    text = Tags(page(rows)).text
    assert "Average precision far best -0.500 -0.600 to -0.250 < 0.001 ▼ significant" in text
    assert "Average precision near best -0.100 -0.200 to +0.050 0.250 may be chance" in text
    assert "-25.0 points -50.0 points to -12.5 points 0.050 ▼ significant" in text
    assert "Of 3 runs, evaluated on the same 26 images, best ranks the images best" in text
    assert "(average precision 0.900); far is significantly worse." in text
    assert text.count("▼ significant") == 2
    assert "The 9 groups of images are resampled 2,000 times" in text
    assert "corrected by Holm for all 3 differences of this table" in text


@pytest.mark.parametrize(
    ("differing", "words"),
    [
        ([], "no other run is significantly worse."),
        (["b", "c"], "b and c are significantly worse."),
        (["b", "c", "d"], "b, c and d are significantly worse."),
    ],
)
def test_the_headline_names_the_runs_that_are_behind(differing, words):
    rows = [row(name, image_ap_significant=name in differing, image_ap=1 - n / 9)
            for n, name in enumerate("abcd")]  # fmt: skip
    assert words in Tags(page(rows)).text


def test_one_run_or_none_that_can_be_ranked_claims_no_winner():
    for rows in ([row("only")], [row("a", image_ap=None), row("b", image_ap=None)]):
        text = Tags(page(rows)).text
        assert "Evaluated on 26 images." in text
        assert "Which differences are significant" not in text


def test_every_line_is_shown_with_its_marks_and_its_meaning():
    rows = [
        row("a", image_ap=0.875, encoder="resnet18"),
        row("b", image_ap=0.25, image_ap_significant=True, exported="f32"),
    ]
    tags = Tags(page(rows, notes=["Mind this."]))
    for line in LINES.values():
        assert line.name in tags.text
        assert line.meaning in tags.text
    assert "0.250 ▼" in tags.text
    assert "Mind this." in tags.text
    assert "Before you compare" not in Tags(page(rows)).text
    marked = [attributes.get("class") for _, attributes in tags.tags]
    assert {"best", "worse"} <= set(marked)


def test_a_fact_that_no_run_has_is_left_out_and_a_metric_is_not():
    text = Tags(page([row("a", image_ap=None), row("b", image_ap=None)])).text
    assert LINES["exported"].meaning not in text
    assert LINES["image_ap"].meaning in text


@pytest.mark.check(28)
def test_hostile_names_are_inert():
    evil = [row(EVIL, device=EVIL, encoder=EVIL), row("b", image_ap=0.6)]
    tags = Tags(page(evil, notes=[EVIL], title=EVIL))
    tame = Tags(page([row("a"), row("b", image_ap=0.6)], notes=["tame"]))
    assert {name for name, _ in tags.tags} == {name for name, _ in tame.tags}
    for name, attributes in tags.tags:
        assert not {key for key in attributes if key.startswith("on")}, (name, attributes)
    assert "1337" not in tags.text
    assert "alert(1)" in tags.text


@pytest.mark.check(28)
def test_a_browser_runs_nothing_and_requests_nothing(tmp_path, browser, tally):
    evil = "".join(browser.names)
    rows = [row(name, device=name, encoder=name, approach=name) for name in browser.names]
    rows[0] |= behind("image_ap", -0.5, -0.6, -0.25, 0.0004, True) | {"image_ap": 0.1}
    (tmp_path / "comparison.html").write_text(
        page(rows, notes=browser.names, title=evil), encoding="utf-8"
    )
    ran, requested = browser.open(tmp_path / "comparison.html")
    for name in browser.names:
        with tally.case(name):
            assert not ran
            assert requested == []


@pytest.mark.check(28)
def test_nothing_is_requested_from_the_network():
    content = page([row("a"), row("b")])
    content = content.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.search(r"https?://|url\(|@import|<link|<iframe|<object", content)
    content = page([row("a"), row("b")])
    (policy,) = [attributes["content"] for name, attributes in Tags(content).tags
                 if attributes.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    style = re.search(r"<style>(.*?)</style>", content, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert f"style-src 'sha256-{digest}'" in policy
    script = re.search(r"<script>(.*?)</script>", content, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_picture_is_within_the_page():
    picture = PICTURE.copy()
    picture[:, :30] = (213, 94, 0)
    tags = Tags(page([row("a")], picture=picture))
    (source,) = [attributes["src"] for name, attributes in tags.tags if name == "img"]
    assert source.startswith("data:image/jpeg;base64,")
    shown = decode_image(base64.b64decode(source.split(",")[1]), name="picture")
    assert shown.shape == picture.shape
    assert np.abs(shown[20, 10].astype(int) - (213, 94, 0)).max() < 12
