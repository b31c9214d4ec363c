"""The report must work offline, run nothing, and hold nothing back."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from defectkit.data import image_kinds
from defectkit.data.images import decode_image, write_png
from defectkit.reporting.drawing.overlay import overlay_name
from defectkit.reporting.drawing.plots import plot_scores
from defectkit.reporting.html import render
from defectkit.reporting.html import report as page
from defectkit.reporting.html.report import write_report

RATE = {"value": 0.5, "low": 0.1, "high": 0.9}
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</style><svg onload=alert(1)>",
    "{{ 7 * 191 }}{% raw %}",
    "javascript:alert(1)",
    "http://example.com/a.png",
    "../../../etc/passwd",
    "划痕 #1?.png",
    "bad\udcff.png",
]  # fmt: skip


class Tags(HTMLParser):
    """All tags with their attributes, and the text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def metrics(**image):
    counts = {"escapes": 1, "overkills": 1, "reviews": 0, "n_defective": 2, "n_good": 2}
    thresholds = {"threshold_low": 0.5, "threshold_high": 0.5}
    rates = {"escape_rate": RATE, "overkill_rate": RATE}
    recall = {"found": 1, "total": 2, **RATE}
    return {
        "image": {"average_precision": 0.75, **thresholds, **counts, **rates, **image},
        "pixel": {"dice": 0.5, "iou_by_class": {"<b>1</b>": 0.5}, "aupro_30": None},
        "region": {"recall": recall, "false_alarms_per_image": 0.5, "recall_by_area": {}},
        "class_confusion": {"classes": ["<b>1</b>", "pit"], "counts": [[3, 1, 0], [0, 0, 0]]},
        "speed": {"ms_per_image_median": 12.5, "device": "cpu"},
    }


def row(image_id, outcome, score, **more):
    verdicts = {"hit": "defective", "overkill": "defective", "review": "review"}
    defective = outcome in ("hit", "escape")
    verdict = verdicts.get(outcome, "good")
    return {"image_id": image_id, "defective": defective, "score": score, "verdict": verdict,
            "outcome": outcome, **more}  # fmt: skip


def write_overlays(folder, rows, side=40):
    rng = np.random.default_rng(0)
    for entry in rows:
        picture = rng.integers(0, 256, (side, 2 * side, 3), np.uint8)
        write_png(folder / "overlays" / overlay_name(entry["image_id"]), picture)


def report(folder, rows, *, numbers=None, title="A title", run_info=None):
    return write_report(
        folder,
        metrics=metrics() if numbers is None else numbers,
        images=rows,
        title=title,
        run_info=run_info or {"seed": 0},
    )


def test_the_classes_are_a_table_tinted_by_their_share_of_the_row(tmp_path):
    cells = [tag["class"] for tag in Tags(report(tmp_path, [])).all("td") if "heat-" in
             tag.get("class", "")]  # fmt: skip
    assert cells == [
        "number found heat-8 right", "number found heat-3", "number missed heat-0",
        "number found heat-0", "number found heat-0 right", "number missed heat-0",
    ]  # fmt: skip
    text = "".join(Tags(report(tmp_path, [])).text.split())
    assert "labeledclass<b>1</b>pitmissed<b>1</b>31·pit···" in text


def test_one_class_needs_no_table_of_classes(tmp_path):
    one = metrics() | {"class_confusion": {"classes": ["1"], "counts": [[3, 1]]}}
    assert "labeled class" not in Tags(report(tmp_path, [], numbers=one)).text


def captions(path):
    text = re.sub(r"\s+", " ", Tags(path).text)
    return re.findall(r"(\S+) · score", text)


@pytest.mark.check(28)
def test_hostile_names_are_inert_wherever_they_stand(tmp_path):
    outcomes = ("escape", "overkill", "review", "hit", "pass")
    rows = [row(name, outcomes[n % 5], 0.5) for n, name in enumerate(HOSTILE)]
    write_overlays(tmp_path, rows)
    evil = "".join(HOSTILE[:5])
    numbers = metrics()
    numbers["region"]["recall_by_area"] = {evil: {"found": 0, "total": 0, **RATE}}
    rows.append(row(evil, evil, 0.1, verdict=evil))
    info = {evil: evil, "x": {evil: [evil]}, "warnings": [evil]}
    tags = Tags(report(tmp_path, rows, numbers=numbers, title=evil, run_info=info))
    # A report of tame names has the same tags.
    plain = {"warnings": ["tame"]}
    tame = [row(f"{outcome}.png", outcome, 0.5) for outcome in outcomes]
    write_overlays(tmp_path / "tame", tame)
    known = {name for name, _ in Tags(report(tmp_path / "tame", tame, run_info=plain)).tags}
    assert {name for name, _ in tags.tags} == known
    for name, attributes in tags.tags:
        assert not {key for key in attributes if key.startswith("on")}, (name, attributes)
        assert attributes.keys() <= {
            *("lang", "charset", "name", "content", "http-equiv", "class", "src", "alt", "href"),
            *("scope", "tabindex"),
        }
    assert all(image["src"].startswith("data:image/") for image in tags.all("img"))
    for link in tags.all("a"):
        assert re.fullmatch(r"overlays/[\w.%-]+", link["href"]), link
    assert "1337" not in tags.text
    for name in HOSTILE[:5]:
        assert name in tags.text


@pytest.mark.check(28)
def test_without_protection_names_run_scripts_and_request_files(tmp_path, browser):
    page = tmp_path / "naked.html"
    names = [name for name in browser.names if "refresh" not in name]  # would leave the page
    page.write_text(f"<!doctype html><html><body>{' '.join(names)}</body></html>")
    ran, requested = browser.open(page)
    assert ran
    assert len(requested) > 1


@pytest.mark.check(28)
def test_a_browser_runs_nothing_and_requests_nothing(tmp_path, browser, tally):
    outcomes = ("escape", "overkill", "review", "hit", "pass")
    rows = [row(name, outcomes[n % 5], 0.5) for n, name in enumerate(browser.names)]
    write_overlays(tmp_path, rows)
    numbers = metrics()
    numbers["pixel"]["iou_by_class"] = dict.fromkeys(browser.names, 0.5)
    numbers["region"]["recall_by_area"] = {
        name: {"found": 0, "total": 0, **RATE} for name in browser.names
    }
    evil = "".join(browser.names)
    rows += [row(name, name, 0.1, verdict=name) for name in browser.names]
    info = {evil: evil, "warnings": browser.names, **{name: name for name in browser.names}}
    written = report(tmp_path, rows, numbers=numbers, title=evil, run_info=info)
    ran, requested = browser.open(written)
    for name in browser.names:
        with tally.case(name):
            assert not ran
            assert requested == []


@pytest.mark.check(28)
def test_nothing_is_requested_from_the_network(tmp_path):
    rows = [row("a.png", "escape", 0.2)]
    write_overlays(tmp_path, rows)
    path = report(tmp_path, rows)
    content = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import|<link|<script|<iframe|<object", content)
    (policy,) = [
        meta["content"]
        for meta in Tags(path).all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    style = re.search(r"<style>(.*?)</style>", content, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_the_worst_pictures_come_first(tmp_path):
    rows = [
        row("pass-far", "pass", 0.01),
        row("hit-near", "hit", 0.55),
        row("review-low", "review", 0.5),
        row("escape-near", "escape", 0.45),
        row("overkill-near", "overkill", 0.6),
        row("hit-far", "hit", 0.99),
        row("escape-far", "escape", 0.05),
        row("pass-near", "pass", 0.48),
        row("overkill-far", "overkill", 0.95),
        row("review-high", "review", 0.52),
    ]
    expected = "escape-far escape-near overkill-far overkill-near review-high review-low "
    expected += "pass-near hit-near pass-far hit-far"
    path = report(tmp_path, rows)
    assert captions(path) == expected.split()
    shown = re.sub(r"\s+", " ", Tags(path).text)
    assert "escape-far · score 0.050 · defective, called good" in shown
    assert "overkill-far · score 0.950 · good, called defective" in shown
    assert "review-high · score 0.520 · good, sent to review" in shown
    # As they come back from images.csv, all text.
    texts = [{key: str(value) for key, value in entry.items()} for entry in rows]
    before = path.read_text(encoding="utf-8")
    assert report(tmp_path, texts).read_text(encoding="utf-8") == before


def test_thumbnails_are_the_overlays_and_link_to_them(tmp_path):
    rows = [row("lot 7/a.png", "escape", 0.2), row("b", "hit", 0.9, overlay="0001 b.png")]
    (tmp_path / "overlays").mkdir()
    wide = np.zeros((100, 2 * render.THUMBNAIL_WIDTH, 3), np.uint8)
    wide[:, :400] = (213, 94, 0)
    write_png(tmp_path / "overlays" / overlay_name("lot 7/a.png"), wide)
    write_png(tmp_path / "overlays" / "0001 b.png", wide[:, :300])
    tags = Tags(report(tmp_path, rows))
    assert [link["href"] for link in tags.all("a")] == [
        "overlays/" + overlay_name("lot 7/a.png"),
        "overlays/0001%20b.png",
    ]
    first, second = (
        decode_image(base64.b64decode(image["src"].split(",")[1]), name="thumbnail")
        for image in tags.all("img")
    )
    assert first.shape == (50, render.THUMBNAIL_WIDTH, 3)
    assert second.shape == (100, 300, 3)
    assert np.abs(first[25, 100].astype(int) - (213, 94, 0)).max() < 12


def test_an_overlay_too_large_to_be_read_back_is_linked(tmp_path, monkeypatch):
    rows = [row("large", "escape", 0.2), row("small", "escape", 0.3)]
    write_png(tmp_path / "overlays" / "large.png", np.zeros((300, 300), np.uint8))
    write_png(tmp_path / "overlays" / "small.png", np.zeros((30, 30), np.uint8))
    monkeypatch.setattr(image_kinds, "MAX_PIXELS", 10_000)
    tags = Tags(report(tmp_path, rows))
    assert [link["href"] for link in tags.all("a")] == ["overlays/large.png", "overlays/small.png"]
    assert [image["alt"] for image in tags.all("img")] == ["Overlay of small"]


def test_the_legend_speaks_of_both_ways_to_set_the_panels(tmp_path):
    text = Tags(report(tmp_path, [])).text
    assert "Left or above: the image as it is. Right or below: the same image" in text


@pytest.mark.parametrize("name", ["../secret.png", "sub/secret.png", "/secret.png", "..", "."])
def test_no_file_outside_of_the_overlays_is_taken(tmp_path, name):
    folder = tmp_path / "evaluation"
    for place in (tmp_path, folder, folder / "overlays" / "sub"):
        write_png(place / "secret.png", np.zeros((9, 9), np.uint8))
    tags = Tags(report(folder, [row("a", "escape", 0.1, overlay=name)]))
    assert tags.all("img") == []
    assert tags.all("a") == []


def test_many_pictures_do_not_make_a_giant(tmp_path, monkeypatch):
    rows = [row(f"{n}.png", "escape", n / 100) for n in range(30)]
    write_overlays(tmp_path, rows)
    monkeypatch.setattr(page, "MAX_PICTURE_BYTES", 20_000)
    path = report(tmp_path, rows)
    tags = Tags(path)
    assert 1 < len(tags.all("img")) < 20
    assert len(tags.all("a")) == 30, "the others must still be linked"
    assert path.stat().st_size < 80_000


def test_the_rest_is_cut_and_counted(tmp_path):
    rows = [row(f"{n}.png", "pass", 0.4 - n / 1000) for n in range(page.MAX_REST + 6)]
    path = report(tmp_path, rows)
    assert len(captions(path)) == page.MAX_REST
    text = Tags(path).text
    assert f"({page.MAX_REST + 6})" in text
    assert f"The first {page.MAX_REST} are shown." in text
    assert f"{page.MAX_REST + 5}.png" in text, "the table lists them all"


@pytest.mark.parametrize(
    ("image", "headline"),
    [
        (
            {},
            "1 of the 2 defective images was called good, and 1 of the 2 good images was called "
            "defective.",
        ),
        ({"escapes": 0}, "None of the 2 defective images was called good, and 1 of the 2 good"),
        (
            {"escapes": 0, "overkills": 0},
            "None of the 2 defective images was called good, and none of the 2 good images was "
            "called defective.",
        ),
        ({"overkills": 2}, "and 2 of the 2 good images were called defective."),
        (
            {"n_defective": 1, "n_good": 1, "overkills": 0},
            "The only defective image was called good, and the only good image was not called "
            "defective.",
        ),
        ({"n_good": 0, "overkills": 0}, "no good images, so it cannot show overkills."),
        ({"n_defective": 0, "escapes": 0}, "no defective images, so it cannot show escapes."),
    ],
)
def test_the_headline_says_what_counts(tmp_path, image, headline):
    nothing = {"value": None, "low": 0.0, "high": 1.0}
    rates = {}
    if not image.get("n_good", 1):
        rates["overkill_rate"] = nothing
    if not image.get("n_defective", 1):
        rates["escape_rate"] = nothing
    path = report(tmp_path, [], numbers=metrics(**image, **rates))
    assert headline in Tags(path).text


def test_numbers_plots_warnings_and_the_run_are_shown(tmp_path):
    rows = [row("a.png", "hit", 0.9), row("b.png", "pass", 0.1)]
    plot_scores(
        tmp_path / "scores.png", [0.9, 0.1], [True, False], threshold_low=0.5, threshold_high=0.5
    )
    info = {"learning_rate": 0.0005, "warnings": ["Only 2 defective images."]}
    path = report(tmp_path, rows, run_info=info)
    tags = Tags(path)
    assert len(tags.all("img")) == 1
    assert decode_image(
        base64.b64decode(tags.all("img")[0]["src"].split(",")[1]), name="plot"
    ).shape[1] == 1320  # fmt: skip
    assert tags.text.count("Only 2 defective images.") == 1
    for text in (
        *("Only 2 defective images.", "learning rate", "0.0005", "50.0 % (95 % interval 10.0 to"),
        *("Average precision", "0.750", "Dice, pooled", "AUPRO", "12.5", "a.png", "b.png"),
    ):
        assert text in tags.text, text
